# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Random runs on a real kernel, while something else acts on the same links between any two of their requests."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import typing as t
from functools import partial

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import holders, netlink, netns, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import UNCHANGED, Plan, Step, converge

if t.TYPE_CHECKING:
    import socket

    from namespaces import Namespace

THERE, NEW = ("mt0", "mt1", "mt2"), ("mt3", "mt4")
MACS = {name: f"52:54:00:00:00:{n:02x}" for n, name in enumerate((*THERE, *NEW))}

changes = st.sampled_from(
    [{"state": "absent"}, {"parent": "eth1"}, {"mode": "private"}, {"mtu": 1400}, {"state": "down", "alias": "x"}, {}]
)
runs = st.dictionaries(st.sampled_from((*THERE, *NEW)), changes, min_size=2)
deeds = st.tuples(
    st.integers(0, 9), st.sampled_from(["rename", "remove", "recreate", "take", "hold", "mtu"]), st.sampled_from(THERE)
)


class Other:
    """Something else that acts once, right before the n-th send of a run."""

    def __init__(self, namespace: Namespace, moment: int, deed: str, name: str) -> None:
        self.namespace, self.moment, self.deed, self.name = namespace, moment, deed, name
        self.theirs: dict[str, dict[str, t.Any]] = {}
        self.touched: set[int] = set()
        self.held: pathlib.Path | None = None
        self.looked = False
        self._stack = contextlib.ExitStack()

    def act(self) -> None:
        there = {link["ifname"]: link for link in self.namespace.links("type", "macvtap") if link}
        link = there.get(self.name)
        if self.deed == "take":
            if NEW[0] not in there:
                self._make(NEW[0])
            return
        if link is None:
            return
        if self.deed == "hold":
            if not self.looked:
                self.held = pathlib.Path(f"/dev/tap{link['ifindex']}")
                self._stack.enter_context(self.held.open("rb+", buffering=0))
            return
        self.touched.add(link["ifindex"])
        if self.deed == "rename":
            self.namespace.ip("link", "set", self.name, "name", "theirs0")
        elif self.deed == "mtu":
            self.namespace.ip("link", "set", self.name, "mtu", "1300")
        else:
            self.namespace.ip("link", "del", self.name)
            if self.deed == "recreate":
                self._make(self.name)

    def _make(self, name: str) -> None:
        self.namespace.ip("link", "add", "link", "eth0", "name", name, "type", "macvtap", "mode", "vepa")
        self.theirs[name] = self.namespace.link(name)

    def close(self) -> None:
        self._stack.close()


class Reusing(Other):
    """Something else that gets the device number of a link's tap as soon as that is gone, for a guest of its own."""

    def act(self) -> None:
        self.moment += 1
        if self.name in self.namespace.names():
            return
        self._make("theirs0")
        self.held = pathlib.Path(f"/dev/tap{self.theirs['theirs0']['ifindex']}")
        self._stack.enter_context(self.held.open("rb+", buffering=0))
        self.moment = -1


class Interrupted:
    """The socket of a run, at which the other acts."""

    def __init__(self, sock: socket.socket, other: Other) -> None:
        self._sock, self._other, self._sends = sock, other, 0

    def send(self, data: bytes) -> int:
        if self._sends == self._other.moment:
            self._other.act()
        self._sends += 1
        return self._sock.send(data)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._sock, name)


def run(session: netlink.Session, wanted: t.Sequence[DesiredLink], other: Other) -> str:
    """Do what macvtap_link does, and return its error, "" if there is none."""
    names = {want.name for want in wanted}

    def cut(steps: t.Sequence[Step[Link]], links: Links, *, doubts: bool = True) -> dict[str, MacvtapError]:
        other.looked = True
        return planner.cuts(steps, holders.of(planner.disconnecting(steps, links)), doubts=doubts)

    def plan(links: Links, held: t.Mapping[str, t.Any]) -> Plan[Link]:
        planned = planner.plan(wanted, links)
        planner.check_holders(planned, held, force=False)
        return planned

    def apply(steps: t.Sequence[Step[Link]], journal: t.Any) -> None:
        session.sockets[None] = t.cast("socket.socket", Interrupted(session.sockets[None], other))
        session.apply(steps, journal, cut)

    try:
        converge(
            observe=lambda: session.observe(names),
            inquire=holders.of,
            plan=plan,
            apply=apply,
            undo=lambda journal, links: planner.undo(journal, links, session.lost, session.brought),
            revert=lambda steps: session.revert(steps, partial(cut, doubts=False)),
            check_mode=False,
        )
    except MacvtapError as exc:
        return str(exc)
    return ""


def by_index(namespace: Namespace) -> dict[int, dict[str, t.Any]]:
    return {link["ifindex"]: link for link in namespace.links("type", "macvtap") if link}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs, deeds)
def test_whatever_something_else_does_meanwhile(
    netns_of_links: t.Any, declared: dict[str, dict[str, t.Any]], deed: tuple[int, str, str]
) -> None:
    namespace = t.cast("Namespace", netns_of_links)
    batch = [f"link del dev {link['ifname']}" for link in by_index(namespace).values()]
    made = "link add link eth0 name {} address {} up type macvtap mode bridge"
    batch += [made.format(name, MACS[name]) for name in THERE]
    command = ["ip", "-n", namespace.name, "-batch", "-"]
    subprocess.run(command, input="\n".join(batch), text=True, check=True, capture_output=True)
    before = by_index(namespace)
    wanted = []
    for number, (name, change) in enumerate(declared.items()):
        base = {"parent": "eth0", "mode": "bridge"} if name in NEW else {}
        wanted.append(DesiredLink(name, f"links[{number}]", **{**base, **change}))
    other = Other(namespace, *deed)
    with contextlib.closing(other), netns.entered(f"/run/netns/{namespace.name}"), netlink.session() as session:
        failed = run(session, wanted, other)
        after = by_index(namespace)
        # A link of something else's is never changed, nor is the link of whoever came before the last look.
        for name, link in other.theirs.items():
            assert after.get(link["ifindex"]) == link, (name, failed)
        if other.held is not None:
            assert int(other.held.name[3:]) in after, failed
        event(f"{other.deed}: {failed.partition('.')[2][:40] if failed else 'done'}")
        if not failed:
            return
        if failed.endswith(UNCHANGED):
            # What it says is so: nothing came, and what was there is there, but for what the other has done.
            assert after.keys() - before.keys() <= {link["ifindex"] for link in other.theirs.values()}, failed
            for index in before.keys() - other.touched:
                assert after.get(index) == before[index], failed
        # What was only changed, not removed, has nothing of this run's, under whichever name.
        for index in before.keys() & after.keys():
            own = ("mtu", "ifname") if index in other.touched else ()
            assert {k: v for k, v in after[index].items() if k not in own} == {
                k: v for k, v in before[index].items() if k not in own
            }, failed


def test_a_guest_on_another_link_does_not_hold_one_that_this_run_has_removed(netns_of_links: t.Any) -> None:
    namespace = t.cast("Namespace", netns_of_links)
    with contextlib.ExitStack() as opened:
        opened.enter_context(netns.entered(f"/run/netns/{namespace.name}"))
        session = opened.enter_context(netlink.session())
        for _try in range(50):
            for name in namespace.names():
                namespace.ip("link", "del", name)
            namespace.run({"name": "mt0", "parent": "eth0", "mode": "bridge"})
            tap = os.stat(f"/dev/tap{namespace.link('mt0')['ifindex']}").st_rdev
            other = opened.enter_context(contextlib.closing(Reusing(namespace, 0, "", "mt0")))
            assert run(session, [DesiredLink("mt0", parent="eth1")], other) == ""
            assert namespace.link("mt0")["link"] == "eth1"
            # Another link of the machine may get the number first.
            if other.held and other.held.stat().st_rdev == tap:
                return
    pytest.fail("no link has got the device number of the one before")
