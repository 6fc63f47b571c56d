# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that migrate from one libvirtd to another while, or after, a run has changed them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import typing as t

import direct_iface
import libvirtd_fixture
import pytest
from direct_iface import A, Result, domain, nic, ok
from support import run_module

pytestmark = direct_iface.MARKS

# A listener that takes in next to nothing, so that what is sent to it does not end.
STALLS = """
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
listener.bind(("127.0.0.1", 49999))
listener.listen()
print(flush=True)
sys.stdin.read()
"""
Pair = t.Tuple[libvirtd_fixture.Hypervisor, libvirtd_fixture.Hypervisor]


@pytest.fixture(scope="module")
def _pair() -> t.Iterator[Pair]:
    with libvirtd_fixture.hypervisors(f"moves{os.getpid()}", ("hv1", "hv2")) as (source, destination):
        yield source, destination


@pytest.fixture
def pair(_pair: Pair) -> t.Iterator[Pair]:
    """A source where web1 runs, with no operating system and the interface A, and a destination with nothing."""
    _pair[0].define(domain("web1", nic(A)))
    _pair[0].virsh("start", "web1")
    yield _pair
    for one in _pair:
        one.clear()


def migrate(pair: Pair, *where: str) -> list[str]:
    source, destination = (one.uri for one in pair)
    how = ["--live", "--persistent", "--undefinesource", "--migrateuri", *where]
    return ["virsh", "-q", "-c", source, "migrate", "web1", destination, *how]


@contextlib.contextmanager
def migrating(pair: Pair) -> t.Iterator[None]:
    """Have web1 migrate, for as long as the context lasts, and then not have migrated."""
    source = pair[0]
    source.run("sh", "-c", "echo 4096 4096 4096 > /proc/sys/net/ipv4/tcp_wmem")
    pipe = subprocess.PIPE
    with subprocess.Popen([*source.prefix, "python3", "-c", STALLS], stdin=pipe, stdout=pipe) as listener:
        assert listener.stdout is not None
        listener.stdout.readline()
        command = migrate(pair, "tcp://127.0.0.1:49999", "--listen-address", "127.0.0.1")
        with subprocess.Popen(command, stdout=pipe, stderr=pipe) as migration:
            try:
                deadline = time.monotonic() + 60
                while not _has_begun(pair):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                yield
                assert migration.poll() is None
            finally:
                source.virsh("domjobabort", "web1")
                listener.kill()
                migration.wait(60)


def _has_begun(pair: Pair) -> bool:
    """Whether the source sends: the destination has the domain for some time before."""
    source, destination = pair
    return (
        "Outgoing migration" in source.virsh("domjobinfo", "web1")
        and "web1" in destination.virsh("list", "--name").split()
        and "(migrating)" in destination.virsh("domstate", "--reason", "web1")
    )


def mode_of_its_link(hv: libvirtd_fixture.Hypervisor) -> str:
    (link,) = [line for line in hv.run("ip", "-d", "-o", "link").splitlines() if A in line]
    return link.partition("macvtap mode ")[2].split()[0]


def test_nothing_is_written_to_a_domain_that_migrates(pair: Pair) -> None:
    source, destination = pair
    declared: Result = {"domain": "web1", "mac": A, "mode": "private"}

    def fails(hv: libvirtd_fixture.Hypervisor) -> str:
        return str(run_module("libvirt_direct_iface", declared, prefix=hv.prefix)["msg"])

    with migrating(pair):
        before = source.dump("web1"), source.dump("web1", live=True)
        assert fails(source) == (
            "domain 'web1' is migrating to another host, and what is stored here now would not arrive there. Run again "
            "when the migration has ended, on the host that has the domain then"
        )
        assert fails(destination) == (
            "domain 'web1' is migrating to this host, and its stored configuration arrives with it. Run again when "
            "the migration has ended"
        )
        assert (source.dump("web1"), source.dump("web1", live=True)) == before
        assert mode_of_its_link(source) == mode_of_its_link(destination) == "bridge"
    assert ok(run_module("libvirt_direct_iface", declared, prefix=source.prefix))["changed"]


def test_a_request_goes_along_with_a_guest_and_the_keeper_does_not(pair: Pair) -> None:
    source, destination = pair
    declared: Result = {"domain": "web1", "mac": A, "model": "e1000e", "live": "replug", "timeout": 0}
    asked = ok(run_module("libvirt_direct_iface", declared, prefix=source.prefix))
    assert "on another host that the guest has migrated to: run this again there" in str(asked["warnings"])
    # The network namespaces of the two have none in common, and /dev is one for all.
    socket = f"/dev/shm/moves{os.getpid()}"
    subprocess.run(migrate(pair, f"unix://{socket}"), check=True, capture_output=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket)
    deadline = time.monotonic() + 20
    while source.run("sh", "-c", "ls /run/linuxvirt.macvtap/*.json; grep -l keeper[.]pyz /proc/[0-9]*/cmdline; true"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ok(run_module("libvirt_direct_iface_info", {}, prefix=destination.prefix))["pending"] == []
    destination.virsh("reset", "web1")
    while A in destination.dump("web1", live=True):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ok(run_module("libvirt_direct_iface", declared, prefix=destination.prefix))["changed"]
    assert "e1000e" in destination.dump("web1", live=True)
