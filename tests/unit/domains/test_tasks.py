# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""In which order NICs are attached while guests still hold others."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Key, Task, attachable
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

A, B, C = (f"52:54:00:00:00:0{digit}" for digit in "abc")


def task(domain: str, mac: str, *, replugs: bool = False) -> Task:
    before, after = Nic(domain, mac, live=Iface(mac) if replugs else None), Nic(domain, mac, live=Iface(mac))
    return Task(Step(f"{domain} {mac}", before, after, ()), before, after, replugs)


@pytest.mark.parametrize(
    ("waiting", "held", "ready"),
    [
        # Each replug for itself.
        ([task("web1", A, replugs=True), task("web2", B, replugs=True)], [("web2", B)], ["web1"]),
        ([task("web1", A, replugs=True)], [("web1", A)], []),
        ([task("web1", A, replugs=True)], [("web1", B)], ["web1"]),
        # An address that moves.
        ([task("web1", A), task("web3", C)], [("web2", A)], ["web3"]),
        # The slot that the other one frees.
        ([task("web1", A)], [("web1", B)], []),
        ([task("web1", A)], [], ["web1"]),
    ],
)
def test_a_nic_waits_for_no_other_guest_than_it_must(waiting: list[Task], held: list[Key], ready: list[str]) -> None:
    assert [one.key[0] for one in attachable(waiting, held)] == ready
