# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How often the host is looked at while steps are carried out."""

from __future__ import annotations

import socket
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.execution import Execution, Steps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links, Lost, Tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.network import OnLinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

ETH0 = Link("eth0", 2, up=True)
MT0, MT1 = (
    Link(
        f"mt{n}", 10 + n, "macvtap", "eth0", 2, "bridge", f"02:00:00:00:00:0{n}", up=True, tap=Tap(f"/dev/tap{10 + n}")
    )
    for n in range(2)
)


class Network:
    """A host with these links and no sockets: what is sent is lost."""

    def __init__(self, *links: Link) -> None:
        self.looks: list[Links] = []
        self._links = {link.key: link for link in links}
        self.sockets: dict[str | None, socket.socket] = {}
        self.descriptors: dict[str | None, int] = {}
        self.lost: dict[tuple[str | None, int], Lost] = {}
        self.on_links: OnLinks = lambda _links, _new: {}

    def observe(self, *_what: t.Any, **_more: t.Any) -> Links:
        self.looks.append(dict(self._links))
        return self.looks[-1]

    def observe_on_links(self) -> dict[int, list[str]]:
        return {}

    def taps(self, _links: t.Sequence[Link]) -> dict[str, Tap]:
        raise AssertionError

    def write_sysctl(self, _link: Link, _path: str, _value: int) -> None:
        raise AssertionError


@pytest.mark.parametrize("after", [{"mode": "vepa"}, None], ids=["changes", "removals"])
def test_all_links_are_looked_at_once_right_before_they_change(after: dict[str, t.Any] | None) -> None:
    network = Network(ETH0, MT0, MT1)
    asked = []

    def confirm(steps: Steps, links: Links) -> dict[str, MacvtapError]:
        asked.append(([step.target for step in steps], links))
        return {}

    steps = [planner.step_between(link, None if after is None else replace(link, **after)) for link in (MT0, MT1)]
    Execution(network, Journal(), confirm).carry_out(steps)
    assert asked == [(["mt0", "mt1"], network.looks[0])]
    assert len(network.looks) == 1


def test_what_has_changed_since_is_not_confirmed_either() -> None:
    network = Network(ETH0, replace(MT0, index=99))
    with pytest.raises(MacvtapError, match="mt0 has been removed or recreated"):
        Execution(network, Journal(), lambda *_: pytest.fail("it was asked for")).carry_out(
            [planner.step_between(MT0, None)]
        )
    assert len(network.looks) == 1
