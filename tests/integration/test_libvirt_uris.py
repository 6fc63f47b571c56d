# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whatever URI libvirt is reached by, and where no daemon answers it."""

from __future__ import annotations

import contextlib
import pathlib
import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Result, domain, impacts, nic, ok
from labkit import model
from other_user import OtherUser
from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
MODULES = ("libvirt_direct_iface", "libvirt_direct_iface_info")
SESSION = "qemu:///session"
RUN = "/run/libvirt"
START = "Start libvirtd.socket or, where libvirt has a daemon for each driver, virtqemud.socket"
NOT_BEHIND_IT: Result = {"link": None, "tap": None, "held_by_domain": None, "holders": None, "stale_mode": None}


@pytest.fixture
def hv(_hv: Hypervisor) -> t.Iterator[Hypervisor]:
    """A hypervisor on which web1 runs, with no operating system and the interface A on eth0 in mode bridge."""
    _hv.define(domain("web1", nic(A)))
    _hv.virsh("start", "web1")
    yield _hv
    _hv.clear()


@pytest.fixture(scope="module")
def user(_hv: Hypervisor) -> OtherUser:
    return OtherUser(_hv)


@pytest.fixture
def over_ssh(hv: Hypervisor, tmp_path: pathlib.Path) -> str:
    """The URI by which this machine reaches the hypervisor, which is another host to it."""
    config = t.cast("model.Lab", model.load(hv.cell.lab)).ssh_config
    command = tmp_path / "ssh"
    command.write_text(f'#!/bin/sh\nexec ssh -F {config} "$@"\n')
    command.chmod(0o755)
    return f"qemu+ssh://{hv.cell.name}/system?command={command}"


@contextlib.contextmanager
def stopped(hv: Hypervisor) -> t.Iterator[None]:
    """The hypervisor has no libvirt for a while; its guests run on."""
    pid = hv.run("cat", f"/run/{hv.daemon}.pid").strip()
    hv.run("kill", pid)
    hv.run("sh", "-c", f"while test -e /proc/{pid}; do sleep 0.05; done")
    try:
        yield
    finally:
        hv.run(hv.daemon, "-d")
        # It takes its guests up again after it answers, and ends one that is destroyed meanwhile with an error.
        hv.virsh("qemu-monitor-command", "web1", "--hmp", "info status")


@contextlib.contextmanager
def renamed(hv: Hypervisor, names: t.Mapping[str, str]) -> t.Iterator[None]:
    for old, new in names.items():
        hv.run("mv", f"{RUN}/{old}", f"{RUN}/{new}")
    try:
        yield
    finally:
        for old, new in names.items():
            hv.run("mv", f"{RUN}/{new}", f"{RUN}/{old}")


def sockets(hv: Hypervisor) -> tuple[str, str]:
    """The daemon's, for all and for reading."""
    name = pathlib.PurePath(hv.socket).name
    return name, f"{name}-ro"


def change(hv: Hypervisor, **params: t.Any) -> Result:
    return run_module("libvirt_direct_iface", {"domain": "web1", "mac": A, **params}, prefix=hv.prefix)


def told(result: Result, name: str = "web1") -> Result:
    ((interface,),) = (one["interfaces"] for one in ok(result)["domains"] if one["name"] == name)
    return t.cast("Result", interface)


def failures(hv: Hypervisor, uri: str) -> str:
    """What both modules say when they fail; it is the same, but for which of the two sockets they ask."""
    (changing, asking) = (
        run_module(name, {"uri": uri, **params}, prefix=hv.prefix)
        for name, params in zip(MODULES, ({"domain": "web1", "mac": A}, {}))
    )
    for failed in (changing, asking):
        assert failed["rc"] == 1
        assert "exception" not in failed
    assert asking["msg"].replace("-sock-ro", "-sock") == changing["msg"]
    return str(changing["msg"])


def test_over_a_socket_elsewhere_it_is_this_host(hv: Hypervisor) -> None:
    with renamed(hv, {sockets(hv)[0]: "elsewhere"}):
        uri = f"qemu+unix:///system?socket={RUN}/elsewhere"
        done = ok(change(hv, uri=uri, mode="private"))
        assert impacts(done) == {"mode": "live"}
        assert not ok(change(hv, uri=uri, mode="private"))["changed"]
        interface = told(run_module("libvirt_direct_iface_info", {"uri": uri}, prefix=hv.prefix))
    assert (interface["link"]["mode"], interface["held_by_domain"]) == ("private", True)


def test_a_daemon_for_each_driver_is_found_by_its_sockets(hv: Hypervisor) -> None:
    # Debian has no virtqemud; to libvirt's client the names of the sockets are what tells one from libvirtd.
    modular = ("virtqemud-sock", "virtqemud-sock-ro")
    with renamed(hv, {old: new for old, new in zip(sockets(hv), modular) if old != new}):
        assert impacts(ok(change(hv, mode="private"))) == {"mode": "live"}
        assert not ok(change(hv, mode="private"))["changed"]
        assert told(run_module("libvirt_direct_iface_info", {}, prefix=hv.prefix))["link"]["mode"] == "private"


def test_virtqemud_alone_answers(hv: Hypervisor) -> None:
    if hv.daemon != "virtqemud":
        pytest.skip("MACVTAP_TEST_ROOT names no system's root directory that has virtqemud")
    daemons = {line for line in hv.run("ps", "-e", "-o", "comm=").splitlines() if line.startswith(("virt", "libvirt"))}
    assert daemons == {"virtlogd", "virtqemud"}
    assert impacts(ok(change(hv, link_state="down", mode="private"))) == {"link_state": "live", "mode": "live"}
    assert impacts(ok(change(hv, mac=B, source="eth0", mode="bridge")))["state"] == "live"
    with stopped(hv):
        message = failures(hv, "qemu:///system")
    assert "Failed to connect socket to '/var/run/libvirt/virtqemud-sock'" in message
    assert message.endswith(START)
    assert not ok(change(hv))["changed"]


def test_another_host_over_ssh(hv: Hypervisor, over_ssh: str) -> None:
    interface = told(run_module("libvirt_direct_iface_info", {"uri": over_ssh}))
    assert {**interface, **NOT_BEHIND_IT} == interface
    assert (interface["live"]["source"], interface["differences"]) == ("eth0", [])
    # The mode of its link is out of reach, and no source is looked for here.
    declared: Result = {"uri": over_ssh, "domain": "web1", "mac": A, "mode": "private", "source": "up1"}
    done = ok(run_module("libvirt_direct_iface", declared))
    assert impacts(done) == {"source": "restart", "mode": "restart"}
    assert not ok(run_module("libvirt_direct_iface", declared))["changed"]
    assert impacts(ok(run_module("libvirt_direct_iface", {**declared, "link_state": "down"}))) == {"link_state": "live"}
    added = ok(run_module("libvirt_direct_iface", {**declared, "mac": B, "source": "eth0"}))
    assert set(impacts(added).values()) == {"live"}
    assert B in hv.dump("web1", live=True)
    (web1,) = ok(run_module("libvirt_direct_iface_info", {"uri": over_ssh, "domains": ["web1"]}))["domains"]
    assert [[one["field"] for one in seen["differences"]] for seen in web1["interfaces"]] == [["source", "mode"], []]


def test_another_host_that_does_not_answer(hv: Hypervisor, over_ssh: str) -> None:
    nowhere = over_ssh.replace("//hv1/", "//hv9.invalid/")
    failed = run_module("libvirt_direct_iface_info", {"uri": nowhere})
    assert re.match(r"uri: cannot connect to 'qemu\+ssh://hv9\.invalid/.*hv9\.invalid", failed["msg"])
    assert failed["msg"].endswith(
        "Does ssh to hv9.invalid work for this user without a prompt? If so, does libvirt run there?"
    )
    with stopped(hv):
        failed = run_module("libvirt_direct_iface_info", {"uri": over_ssh})
    assert hv.socket in failed["msg"]
    assert failed["msg"].endswith(f"Is the daemon running on hv1? {START}")


def test_a_daemon_that_is_down(hv: Hypervisor) -> None:
    with stopped(hv):
        message = failures(hv, "qemu:///system")
    assert message == (
        f"uri: cannot connect to 'qemu:///system': Failed to connect socket to '/var{hv.socket}': No such file or "
        f"directory. Is the daemon running? {START}"
    )
    assert not ok(change(hv))["changed"]


def test_a_socket_without_a_listener(hv: Hypervisor) -> None:
    hv.run("touch", f"{RUN}/left")
    message = failures(hv, f"qemu+unix:///system?socket={RUN}/left")
    assert f"'{RUN}/left': Connection refused. Is the daemon running? {START}" in message


def test_a_user_who_may_not(hv: Hypervisor, user: OtherUser) -> None:
    names = [f"{RUN}/{socket}" for socket in sockets(hv)]
    hv.run("chmod", "700", *names)
    try:
        for name, params in zip(MODULES, ({"domain": "web1", "mac": A}, {})):
            message = user.module(name, **params)["msg"]
            assert "Permission denied. This user has no permission. Set become: true" in message
            assert "Start" not in message
    finally:
        hv.run("chmod", "777", *names)


def test_a_uri_that_is_none(hv: Hypervisor) -> None:
    message = failures(hv, "foo:///system")
    # Where libvirt has a daemon for each driver, it looks for that of this one.
    assert re.match("uri: cannot connect to 'foo:///system': (no connection driver|Failed to connect socket) ", message)
    assert message.endswith("libvirt has no driver foo; the guests of QEMU and KVM are those of qemu:///system")


def test_libvirts_own_test_driver(hv: Hypervisor) -> None:
    # Its domains are gone with the process; and it has no host whose links could be looked at.
    done = ok(change(hv, uri="test:///default", domain="test", source="no-such-link", mode="bridge", live="none"))
    assert done["interfaces"][0]["stored"]["source"] == "no-such-link"
    assert set(impacts(done).values()) == {"restart"}
    failed = change(hv, uri="test:///default", domain="test", source="no-such-link", mode="bridge")
    assert "not supported" in failed["msg"]
    assert failed["msg"].endswith("The host is as it was before")


def test_a_users_own_libvirt_stores_but_does_not_start(hv: Hypervisor, user: OtherUser) -> None:
    def virsh(*words: str) -> str:
        done = user.command("virsh", "--quiet", "--connect", SESSION, *words)
        return f"{done.stdout}{done.stderr}"

    def module(name: str = "mine", **params: t.Any) -> Result:
        return user.module("libvirt_direct_iface", uri=SESSION, domain=name, **params)

    for name, nics in (("mine", [nic(A)]), ("idle", [])):
        hv.run("install", "-m", "644", "/dev/stdin", f"/tmp/{name}.xml", stdin=domain(name, *nics))
        virsh("define", f"/tmp/{name}.xml")
    assert impacts(ok(module(mac=A, mode="private"))) == {"mode": "config"}
    assert not ok(module(mac=A, mode="private"))["changed"]
    interface = told(user.module("libvirt_direct_iface_info", uri=SESSION), "mine")
    assert (interface["stored"]["mode"], interface["live"]) == ("private", None)
    # The hypervisor's own domains are others.
    assert "no domain 'web1' on qemu:///session (known: idle, mine)" in module("web1", mac=A)["msg"]

    assert "creating macvtap interface" in virsh("start", "mine")
    virsh("start", "idle")
    before = virsh("dumpxml", "--inactive", "idle")
    failed = module("idle", mac=B, source="eth0", mode="bridge")["msg"]
    assert "cannot add 52:54:00:00:00:0b to the running domain 'idle': error creating macvtap interface" in failed
    assert "Only root can create macvtap links" in failed
    assert failed.endswith("The host is as it was before")
    assert virsh("dumpxml", "--inactive", "idle") == before
    stored = ok(module("idle", mac=B, source="eth0", mode="bridge", live="none"))
    assert stored["restart_required"] == [{"domain": "idle", "mac": B, "fields": ["state"]}]
    virsh("destroy", "idle")


def test_a_users_own_libvirt_has_networks_and_no_rules_of_the_host(hv: Hypervisor, user: OtherUser) -> None:
    def network(**params: t.Any) -> Result:
        return user.module("libvirt_direct_network", uri=SESSION, networks=[{"name": "lan", **params}])

    hv.run("install", "-m", "644", "/dev/stdin", "/tmp/netted.xml", stdin=domain("netted", nic(A)))
    user.command("virsh", "--connect", SESSION, "define", "/tmp/netted.xml")
    assert ok(network(interfaces=["eth0"]))["changed"]
    assert not ok(network(interfaces=["eth0"]))["changed"]
    connect: Result = {"domain": "netted", "mac": A, "network": "lan", "convert": True}
    assert set(impacts(ok(user.module("libvirt_direct_iface", uri=SESSION, **connect))).values()) == {"config"}
    assert "is used by netted" in network(state="absent")["msg"]
    # Guards are the host's, and so are the rules for multicast.
    guarded = user.module("libvirt_direct_iface", uri=SESSION, domain="netted", mac=A, guard={"addresses": ["learned"]})
    assert guarded["msg"].endswith("Permission denied. Changing guards requires root")
    for name, params in (
        ("libvirt_guest_rules", {"nics": [{"mac": A}]}),
        ("libvirt_guest_announce", {"domain": "web1"}),
    ):
        assert f"uri: {SESSION} is not this host's own libvirt" in user.module(name, uri=SESSION, **params)["msg"]
    left = {"domain": "netted", "mac": A, "state": "absent"}
    assert ok(user.module("libvirt_direct_iface", uri=SESSION, **left))["changed"]
    assert ok(network(state="absent"))["changed"]
    user.command("virsh", "--connect", SESSION, "undefine", "netted")


def test_roots_own_libvirt_starts_such_guests(hv: Hypervisor) -> None:
    def module(**params: t.Any) -> Result:
        return change(hv, uri=SESSION, domain="roots", **params)

    def virsh(*words: str) -> None:
        hv.run("virsh", "--quiet", "--connect", SESSION, *words)

    hv.run("install", "-m", "644", "/dev/stdin", "/tmp/roots.xml", stdin=domain("roots", nic(B)))
    virsh("define", "/tmp/roots.xml")
    try:
        virsh("start", "roots")
        assert impacts(ok(module(mac=B, mode="private"))) == {"mode": "live"}
        guarded = module(mac=B, guard={"addresses": ["learned"]})
        assert ok(guarded)["guards"][0]["links"] == [guarded["interfaces"][0]["live"]["target"]]
        assert module(mac=B, allmulticast=True)["msg"] == (
            "allmulticast: libvirt cannot store it: a rule of the host sets it, which guests of a user's own libvirt "
            f"do not get with {SESSION}. Leave it out"
        )
        assert ok(module(mac=B, guard={"state": "absent"}))["changed"]
    finally:
        virsh("destroy", "roots")
        virsh("undefine", "roots")
