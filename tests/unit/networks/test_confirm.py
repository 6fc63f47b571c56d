# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is taken from guests that have started on a network, or were defined on it, since the plan."""

from __future__ import annotations

import contextlib

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import edit, reader, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Host, Network, User
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Step

UUID = "a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c"
RUNNING = User("lan", "web1", "52:54:00:00:00:0a", True, True, uplink="eth0", mode="bridge")
STORED = User("lan", "web1", "52:54:00:00:00:0a", True)


def network(mode: str, *uplinks: str, active: bool = True) -> Network:
    text = edit.new("lan", UUID, Definition(mode, uplinks))
    return reader.network_of("lan", UUID, text, text if active else "")


BRIDGE, PASS = network("bridge", "eth0"), network("passthrough", "eth0")
MORE = network("bridge", "eth0", "eth1")


@pytest.mark.parametrize(
    ("before", "after", "impact", "user", "running", "refused"),
    [
        (BRIDGE, None, Impact.LIVE, STORED, False, True),
        (BRIDGE, network("bridge", "eth0", active=False), Impact.LIVE, STORED, False, True),
        (BRIDGE, network("bridge", "eth0", active=False), Impact.LIVE, STORED, True, False),
        (BRIDGE, None, Impact.LIVE, RUNNING, True, True),
        (BRIDGE, network("vepa", "eth0"), Impact.RECREATE, STORED, False, False),
        (BRIDGE, network("vepa", "eth0"), Impact.RECREATE, RUNNING, False, True),
        (BRIDGE, MORE, Impact.LIVE, RUNNING, False, False),
        (MORE, network("bridge", "eth1"), Impact.LIVE, RUNNING, False, True),
        (MORE, BRIDGE, Impact.LIVE, RUNNING, False, False),
        # libvirt would forget that the guest has the uplink.
        (PASS, network("passthrough", "eth0", "eth1"), Impact.LIVE, RUNNING, False, True),
        (PASS, network("passthrough", "eth0", "eth1"), Impact.LIVE, STORED, False, False),
    ],
)  # fmt: skip
def test_what_guests_use_by_now_is_not_taken_from_them(
    before: Network, after: Network | None, impact: Impact, user: User, *, running: bool, refused: bool
) -> None:
    step = Step("lan", before, after, (Change("lan", "x", 1, 2, impact),), path="networks[0]")
    host = Host("qemu:///system", {"lan": before}, {"lan": (user,)})
    refusal = pytest.raises(StaleError, match=r"^networks\[0\]: network 'lan' is used by web1 \(52:54:00:00:00:0a, ")
    with refusal if refused else contextlib.nullcontext():
        validate.confirm(step, host, running=running)
    validate.confirm(step, Host("qemu:///system", {"lan": before}))
