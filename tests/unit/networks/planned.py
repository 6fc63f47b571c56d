# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What tests of the planner and of the rollback share: the network lan, as libvirt shows it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import edit, reader
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Network

UUID = "a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c"


def lan(stored: Definition | None, live: Definition | None, **more: t.Any) -> Network:
    """Return the network, persistent and active as far as it has these definitions."""
    texts = [edit.new("lan", UUID, one) if one is not None else "" for one in (stored, live)]
    return replace(reader.network_of("lan", UUID, texts[0], texts[1], autostart=stored is not None), **more)
