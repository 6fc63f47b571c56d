# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The agent of the lab's guests."""

from __future__ import annotations

import json
import typing as t

from support import until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"


def run(hv: Hypervisor, guest: str, answers: t.Mapping[str, t.Any] | None) -> None:
    """Run an agent in a guest with these answers by command, and wait until it is connected. None: it never answers."""
    arguments = [] if answers is None else [json.dumps(answers)]
    runs = 'python3 -I -S /lab/qga.py "$@" </dev/null >/dev/null 2>&1 & echo $! >/run/qga'
    hv.in_guest(guest, "sh", "-c", runs, "sh", *arguments)
    assert until(lambda: "state='connected'" in hv.dump(guest, live=True))


def end(hv: Hypervisor, guest: str) -> None:
    hv.in_guest(guest, "sh", "-c", "kill $(cat /run/qga)")
