# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of macvtap_host_info, apart from what it does with them: that takes long to import."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue

OPTIONS: dict[str, t.Any] = {
    **_glue.shared("uri"),
    "timeout": {"type": "int", "default": 0},
    "relay": {"type": "list", "elements": "str", "default": []},
    "relay_vepa": {"type": "bool", "default": False},
    "guests": {"type": "bool", "default": False},
    "probe_networks": {"type": "list", "elements": "str", "default": []},
    "probe_rate": {"type": "int", "default": 200},
}
