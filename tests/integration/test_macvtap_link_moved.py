# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links that others rename, remove, recreate or make between the look at them and what is done to them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    holders,
    netlink,
    netns,
    planner,
    rtnetlink,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

if t.TYPE_CHECKING:
    import socket

    from namespaces import Namespace

MAC = "52:54:00:00:00:01"
OTHER = "52:54:00:00:00:02"
MT0 = {"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": MAC}


@contextlib.contextmanager
def session_in(namespace: Namespace, **files: str) -> t.Iterator[netlink.Session]:
    with netns.entered(f"/run/netns/{namespace.name}"), netlink.session(files) as session:
        yield session


def rename(namespace: Namespace) -> None:
    namespace.ip("link", "set", "mt0", "name", "theirs0")


def remove(namespace: Namespace) -> None:
    namespace.ip("link", "del", "mt0")


def recreate(namespace: Namespace) -> None:
    remove(namespace)
    namespace.ip("link", "add", "link", "eth0", "name", "mt0", "address", MAC, "type", "macvtap", "mode", "bridge")


def recreate_with_that_index(namespace: Namespace) -> None:
    index = str(namespace.link("mt0")["ifindex"])
    remove(namespace)
    kind = ("type", "macvtap", "mode", "bridge")
    namespace.ip("link", "add", "link", "eth1", "name", "mt0", "index", index, "address", MAC, *kind)


DEEDS = (
    DesiredLink("mt0", state="absent"),
    DesiredLink("mt0", parent="eth1"),
    DesiredLink("mt0", mtu=1400),
    DesiredLink("mt0", mac=OTHER, state="down"),
)


@pytest.mark.parametrize("wanted", DEEDS, ids=lambda wanted: f"{wanted.state}-{wanted.parent}-{wanted.mtu}")
@pytest.mark.parametrize("meanwhile", [rename, remove, recreate, recreate_with_that_index])
def test_what_is_another_link_by_now_is_left_alone(
    netns: Namespace, wanted: DesiredLink, meanwhile: t.Callable[[Namespace], None]
) -> None:
    netns.run(MT0)
    with session_in(netns) as session:
        steps = planner.plan([wanted], session.observe()).steps
        meanwhile(netns)
        before, journal = netns.links(), Journal[Link]()
        with pytest.raises(MacvtapError, match=r"^mt0 .*: something else changed it after this task started\. It"):
            session.apply(steps, journal)
        assert netns.links() == before
        assert not planner.undo(journal, session.observe(), session.lost, session.brought).changed


def test_a_parent_that_is_another_link_by_now_gets_none(netns: Namespace, lower: str) -> None:
    with session_in(netns) as session:
        steps = planner.plan([DesiredLink("mt0", parent=lower, mode="bridge")], session.observe()).steps
        netns.ip("link", "set", lower, "name", "elsewhere0")
        journal = Journal[Link]()
        with pytest.raises(MacvtapError, match=rf"^mt0 has the parent {lower}, which no longer exists"):
            session.apply(steps, journal)
        assert (netns.names(), journal.entries) == (set(), ())
        netns.ip("link", "set", "elsewhere0", "name", lower)


def test_what_somebody_makes_under_our_name_is_not_removed_on_the_way_back(netns: Namespace) -> None:
    with session_in(netns) as session:
        steps = planner.plan([DesiredLink("mt0", parent="eth0", mode="bridge", mac=MAC)], session.observe()).steps
        netns.ip("link", "add", "link", "eth0", "name", "mt0", "address", MAC, "type", "macvtap", "mode", "bridge")
        before, journal = netns.links(), Journal[Link]()
        with pytest.raises(MacvtapError, match=r"the kernel refused to create mt0 on eth0: File exists"):
            session.apply(steps, journal)
        session.revert(planner.undo(journal, session.observe(), session.lost, session.brought).steps)
        assert netns.links() == before


@pytest.mark.parametrize("renamed", ["mt0", "theirs0"])
def test_what_this_run_has_made_or_changed_is_put_back_under_any_name(netns: Namespace, renamed: str) -> None:
    netns.run({**MT0, "name": "mt1", "mac": OTHER})
    wanted = [DesiredLink("mt0", parent="eth0", mode="bridge"), DesiredLink("mt1", mtu=1400, altnames=frozenset({"a"}))]
    with session_in(netns) as session:
        before, journal = netns.link("mt1"), Journal[Link]()
        session.apply(planner.plan(wanted, session.observe()).steps, journal)
        if renamed != "mt0":
            netns.ip("link", "set", "mt0", "name", renamed)
        # Others have done this, and it stays so.
        netns.ip("link", "set", "mt1", "txqueuelen", "77")
        session.revert(planner.undo(journal, session.observe(), session.lost, session.brought).steps)
        assert netns.names() == {"mt1"}
        assert {**netns.link("mt1"), "txqlen": before.get("txqlen")} == before
        assert netns.link("mt1")["txqlen"] == 77


def test_a_guest_on_a_link_that_was_renamed_meanwhile_is_seen_on_the_way_back(netns: Namespace) -> None:
    with session_in(netns) as session:
        journal = Journal[Link]()
        wanted = [DesiredLink("mt0", parent="eth0", mode="bridge")]
        session.apply(planner.plan(wanted, session.observe({"mt0"})).steps, journal)
        tap = pathlib.Path(f"/dev/tap{netns.link('mt0')['ifindex']}")
        netns.ip("link", "set", "mt0", "name", "theirs0")
        with tap.open("rb+", buffering=0):
            links = session.observe({"mt0"})
            back = planner.undo(journal, links, session.lost, session.brought).steps
            held = holders.of(session.with_taps(planner.disconnecting(back, links)))
            refused = [str(error) for error in planner.cuts(back, held, doubts=False).values()]
            assert len(refused) == 1
            assert f"would disconnect pid {os.getpid()} " in refused[0]


def test_the_way_back_says_what_it_cannot_bring_back(netns: Namespace) -> None:
    netns.run(MT0)
    netns.ip("addr", "add", "198.51.100.1/24", "dev", "mt0")
    netns.ip("route", "add", "203.0.113.0/24", "via", "198.51.100.7")
    bad = {"name": "bad0", "addrgenmode": "stable_secret", "parent": "eth1", "mode": "bridge"}
    task = {"links": [{"name": "mt0", "parent": "eth1"}, bad], "allow_host_disconnect": True}
    failed = netns.run(task)
    assert failed["msg"].startswith("links[1]: the kernel refused to create bad0"), failed["msg"]
    assert "as far as possible. mt0: recreated during the rollback, with another index and /dev/tapN" in failed["msg"]
    assert "mt0: its addresses and routes are lost: 198.51.100.1/24, the route to 203.0.113.0/24" in failed["msg"]
    assert "The host is as it was before" not in failed["msg"]


class _Killed:
    """A socket in a process that is killed right after it has sent for the n-th time."""

    def __init__(self, sock: socket.socket, sends: int) -> None:
        self._sock, self._left = sock, sends

    def send(self, data: bytes) -> int:
        sent = self._sock.send(data)
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return sent

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._sock, name)


def test_what_a_killed_purge_leaves_the_next_one_finds(netns: Namespace) -> None:
    links = [{"name": f"own{n}"} for n in range(3)]
    kept = {"parent": "eth0", "mode": "bridge", "group": 7}
    purge = {**kept, "purge": True, "links": []}
    killed = True
    sends = 0
    while killed:
        sends += 1
        netns.run({**kept, "links": links})
        child = os.fork()
        if child == 0:
            with session_in(netns) as session:
                steps = planner.plan([], session.observe(()), purge_group=7).steps
                session.sockets[None] = t.cast("socket.socket", _Killed(session.sockets[None], sends))
                session.apply(steps)
                os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        netns.run(purge)
        assert netns.names() == set(), sends
    assert sends > 2


def test_links_elsewhere_take_one_look_however_many_they_are(
    netns: Namespace, other_netns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = {"dump": 0, "child": 0}

    def counted(what: str, function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def call(*args: t.Any, **how: t.Any) -> t.Any:
            looks[what] += 1
            return function(*args, **how)

        return call

    monkeypatch.setattr(rtnetlink, "dump_links", counted("dump", rtnetlink.dump_links))
    monkeypatch.setattr(_child, "run", counted("child", _child.run))
    seen = []
    name = other_netns
    with session_in(netns, **{name: f"/run/netns/{name}"}) as session:
        for numbers in (range(2), range(2, 32)):
            wanted = [DesiredLink(f"mt{n}", parent="eth0", mode="bridge", netns=name, tap_mode=0o660) for n in numbers]
            looks.update(dump=0, child=0)
            session.apply(planner.plan(wanted, session.observe(())).steps)
            seen.append(dict(looks))
        assert len([link for link in session.observe(()).values() if link.netns == name and link.up]) >= 32
    assert seen[0] == seen[1]
