# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A signal that arrives while the kernel carries a request out: its answer is still to be received then."""

from __future__ import annotations

import typing as t

import pytest
from support import STOPPED_IN_SEND

if t.TYPE_CHECKING:
    from namespaces import Namespace

MT0 = {"name": "mt0", "parent": "eth0", "mac": "52:54:00:00:00:01", "mode": "bridge", "mtu": 1400}
MT1 = {**MT0, "name": "mt1", "parent": "eth1", "mac": "52:54:00:00:00:02"}


def shown(netns: Namespace) -> list[dict[str, t.Any]]:
    """Return the links by their names, without their indexes: a recreated link has another one."""
    return sorted(({**link, "ifindex": 0} for link in netns.links()), key=lambda link: str(link["ifname"]))


@pytest.mark.parametrize(
    "change",
    [
        [{**MT0, "mode": "passthru", "mac": None}],
        [{**MT0, "mode": "private", "mtu": 1300}, {**MT1, "parent": "eth0"}],
    ],
    ids=["one", "several"],
)
def test_a_signal_in_any_request_leaves_links_as_they_were(netns: Namespace, change: list[dict[str, t.Any]]) -> None:
    params = {"links": [{key: value for key, value in one.items() if value} for one in change], "force": True}
    assert "failed" not in netns.run({"links": [MT0, MT1]})
    before = shown(netns)
    for number in range(1, 40):
        result = netns.run(params, patch=STOPPED_IN_SEND.format(number=number))
        if not result.get("failed"):
            break
        assert result["msg"].startswith("stopped by SIGTERM"), (number, result["msg"])
        assert "rollback failed" not in result["msg"], (number, result["msg"])
        assert shown(netns) == before, number
    assert 1 < number < 39
