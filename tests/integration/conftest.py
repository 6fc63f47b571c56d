# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Real network namespaces and hypervisors for the tests, gone when they are over.

All files of a process share them: what is made once costs one file nothing. Each file finds them as if they were new.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pathlib
import subprocess
import sys
import typing as t

import direct_iface
import direct_network
import lan as lans
import libvirtd_fixture
import managed
import moved_guests
import namespaces
import pytest
import reflecting
from claimed import pytest_runtestloop
from guests_then import pytest_runtest_makereport
from namespaces import Namespace
from shuffled import pytest_collection_modifyitems, pytest_terminal_summary
from support import ROOT

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import indexes

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_runtest_makereport",
    "pytest_runtestloop",
    "pytest_terminal_summary",
]

T = t.TypeVar("T")
# As many interface indexes as the tests of one file use, at most.
OF_A_FILE = indexes.COUNT
CLONE_NEWNS = 0x20000
LOCK = pathlib.Path("/run/linuxvirt.macvtap.links.lock")


@pytest.fixture(scope="session", autouse=True)
def _own_lock(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let no run of the tests wait for another's modules, whose links are in other namespaces.

    The namespaces of a test share the machine's /run, and so the lock of the modules that change links. From here on it
    is another file for this process and its children; all else of /run, the namespaces' names too, stays the machine's.
    """
    if os.geteuid() != 0:
        return
    # This makes of /run/netns a mount that all processes share, before there is a second view of it.
    name = f"macvtap-first-{os.getpid()}"
    for word in ("add", "del"):
        subprocess.run(["ip", "netns", word, name], check=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    found = subprocess.run(["findmnt", "-n", "-o", "TARGET", "-T", "/run"], check=True, capture_output=True, text=True)
    subprocess.run(["mount", "--make-private", found.stdout.strip()], check=True)
    own = tmp_path_factory.mktemp("run") / LOCK.name
    own.touch()
    LOCK.touch(0o600)
    subprocess.run(["mount", "--bind", own, LOCK], check=True)


class Shared(t.Generic[T]):
    """What is made when a file first needs it, and made again when too few interface indexes are left for another.

    ``make`` gets a number, another one each time.
    """

    def __init__(self, make: t.Callable[[int], t.ContextManager[T]], netns_of: t.Callable[[T], str]) -> None:
        self._make, self._netns_of = make, netns_of
        self._numbers = itertools.count()
        self._stack = contextlib.ExitStack()
        self._made: list[T] = []

    def get(self) -> T:
        if self._made and indexes.left(self._netns_of(self._made[0])) < OF_A_FILE:
            self.remove()
        if not self._made:
            self._made.append(self._stack.enter_context(self._make(next(self._numbers))))
        return self._made[0]

    def remove(self) -> None:
        self._made.clear()
        self._stack.close()


@pytest.fixture(scope="session")
def _namespaces() -> t.Iterator[Shared[Namespace]]:
    shared = Shared(lambda n: namespaces.made(f"macvtap-test-{os.getpid()}-{n}", 2 * OF_A_FILE), lambda made: made.name)
    yield shared
    shared.remove()


@pytest.fixture(scope="module")
def _namespace(_namespaces: Shared[Namespace]) -> Namespace:
    return _namespaces.get()


@pytest.fixture
def roomy_netns() -> t.Iterator[Namespace]:
    """A namespace of the test's own in which thousands of links may come and go."""
    with namespaces.made(f"macvtap-roomy-{os.getpid()}", 8 * indexes.COUNT) as namespace:
        yield namespace


@pytest.fixture
def netns(_namespace: Namespace) -> t.Iterator[Namespace]:
    """A namespace with nothing on its uplinks; what a test makes there goes with it."""
    yield _namespace
    _namespace.clear()


@pytest.fixture
def other_netns() -> t.Iterator[str]:
    """Another namespace, with nothing in it."""
    with namespaces.empty(f"macvtap-other-{os.getpid()}") as name:
        yield name


@pytest.fixture
def lower(netns: Namespace) -> t.Iterator[str]:
    """An uplink for this test alone, which may do to it what it likes."""
    netns.ip("link", "add", "low0", "type", "veth", "peer", "name", "lowfar0")
    for end in ("low0", "lowfar0"):
        netns.ip("link", "set", end, "up")
    yield "low0"
    if any(link["ifname"] == "lowfar0" for link in netns.links()):
        netns.ip("link", "del", "lowfar0")


@pytest.fixture
def switch(netns: Namespace) -> reflecting.Switch:
    """The switch that eth0 is plugged into."""
    return reflecting.Switch(netns)


@pytest.fixture(scope="session")
def _hypervisors() -> t.Iterator[Shared[libvirtd_fixture.Hypervisor]]:
    shared = Shared(
        lambda n: libvirtd_fixture.hypervisor(f"iface{os.getpid()}-{n}", 2 * OF_A_FILE), lambda made: made.cell.netns
    )
    yield shared
    shared.remove()


@pytest.fixture(scope="module")
def _hv(_hypervisors: Shared[libvirtd_fixture.Hypervisor]) -> t.Iterator[libvirtd_fixture.Hypervisor]:
    made = _hypervisors.get()
    yield made
    made.reset()


@pytest.fixture
def hv(_hv: libvirtd_fixture.Hypervisor) -> t.Iterator[libvirtd_fixture.Hypervisor]:
    """A hypervisor with no domains; those that a test makes go with it."""
    yield _hv
    _hv.clear()


@pytest.fixture(scope="session")
def _shared_hosts() -> t.Iterator[Shared[moved_guests.Hosts]]:
    shared = Shared(
        lambda n: moved_guests.made(f"migrate{os.getpid()}-{n}", indexes=2 * OF_A_FILE),
        lambda made: made.source.cell.netns,
    )
    yield shared
    shared.remove()


@pytest.fixture(scope="module")
def _hosts(_shared_hosts: Shared[moved_guests.Hosts]) -> t.Iterator[moved_guests.Hosts]:
    made = _shared_hosts.get()
    yield made
    made.reset()


@pytest.fixture
def hosts(_hosts: moved_guests.Hosts) -> t.Iterator[moved_guests.Hosts]:
    """Two hosts with no domains and no networks, between which guests migrate; those that a test makes go with it."""
    yield _hosts
    _hosts.clear()


@pytest.fixture
def module(_hv: libvirtd_fixture.Hypervisor) -> direct_iface.Module:
    """libvirt_direct_iface on that hypervisor."""
    return direct_iface.on(_hv)


@pytest.fixture
def started(hv: libvirtd_fixture.Hypervisor) -> libvirtd_fixture.Hypervisor:
    """web1 runs, with no operating system, and has the interface A on eth0 in mode bridge."""
    hv.define(direct_iface.domain("web1", direct_iface.nic(direct_iface.A)))
    hv.virsh("start", "web1")
    return hv


@pytest.fixture
def nets(hv: libvirtd_fixture.Hypervisor) -> libvirtd_fixture.Hypervisor:
    """A hypervisor with networks."""
    direct_network.define_networks(hv)
    return hv


@pytest.fixture
def networks(hv: libvirtd_fixture.Hypervisor) -> direct_network.Networks:
    """libvirt_direct_network on a hypervisor without networks."""
    return direct_network.Networks(hv)


@pytest.fixture
def host(hv: libvirtd_fixture.Hypervisor) -> t.Iterator[managed.Host]:
    """A hypervisor without any boot configuration; what a test makes of it goes with the test."""
    with managed.lent(hv) as made:
        yield made


@pytest.fixture(scope="session")
def _shared_lan() -> t.Iterator[lans.Lan]:
    with lans.made() as made:
        yield made


@pytest.fixture
def lan(_shared_lan: lans.Lan) -> t.Iterator[lans.Lan]:
    """A LAN with nothing on the host but its uplink; what a test makes there goes with it."""
    yield _shared_lan
    _shared_lan.clear()


@pytest.fixture(scope="module")
def netns_of_links() -> t.Iterator[Namespace]:
    """A namespace for all the examples of a property, each of which begins with nothing on the uplinks."""
    with namespaces.made(f"macvtap-prop-{os.getpid()}", 4 * indexes.COUNT) as namespace:
        yield namespace
