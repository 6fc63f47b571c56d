# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What docs/unprivileged.md shows and says: its examples are run as they stand there."""

from __future__ import annotations

import functools
import re
import subprocess
import typing as t

import direct_iface
import pytest
from labkit import hypervisor, model
from unprivileged import (
    DIRECT,
    INTERFACE,
    LINKS,
    MACS,
    ONE_QUEUE,
    PAGE,
    SESSION,
    SWITCH,
    SYSTEM,
    TWO_QUEUES,
    USER,
    User,
    card,
    eventually,
    interrupts,
    learnt,
    link,
    module,
    names,
    ping,
    quoted,
    refuses_to_remove,
    speaks,
    without_holders,
)

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


@pytest.fixture(scope="module")
def _hv(_hv: Hypervisor) -> t.Iterator[Hypervisor]:
    # /etc and /var are the hypervisor's own.
    _hv.run("useradd", "--system", "--user-group", "--create-home", "--home-dir", f"/var/lib/{USER}", USER)
    _hv.run("chmod", "1777", hypervisor.GUEST_SOCKETS)
    yield _hv
    _hv.run("chmod", "755", hypervisor.GUEST_SOCKETS)
    # Its libvirtd may have a moment left.
    _hv.run("sh", "-c", f"pkill -KILL -u {USER}; while pgrep -u {USER}; do sleep 0.05; done; userdel -r {USER}")


@pytest.fixture
def hv(_hv: Hypervisor) -> t.Iterator[Hypervisor]:
    """A hypervisor with the links of the page."""
    done = module(_hv, **LINKS)
    assert done["rc"] == 0, done
    yield _hv
    module(_hv, links=[{"name": name} for name in MACS], state="absent", force=True)


@pytest.fixture
def user(hv: Hypervisor) -> t.Iterator[User]:
    """A user with no domains; those that a test makes go with it, and those of the system."""
    made = User(hv)
    yield made
    made.clear()


def test_the_user_gets_the_taps(hv: Hypervisor) -> None:
    for name, mac in MACS.items():
        made = link(hv, name)
        assert (made["mac"], made["state"], made["holders"]) == (mac, "up", [])
        assert {key: made["tap"][key] for key in ("owner", "group", "mode")} == LINKS["tap"]
    assert not module(hv, **LINKS)["changed"]


@pytest.mark.parametrize("uri", [SYSTEM, SESSION])
def test_a_domain_on_a_link_made_beforehand(hv: Hypervisor, user: User, uri: str) -> None:
    before = link(hv, "mt0")
    if uri == SYSTEM:
        module(hv, name="mt0", tap={"owner": "root", "group": "root", "mode": "0600"})
        before = link(hv, "mt0")
    user.define(uri, "web1", INTERFACE)
    user.virsh(uri, "start", "web1")
    found = card(hv, "web1")
    assert found["mac"] == MACS["mt0"]
    assert ping(hv, "web1", SWITCH)

    held = link(hv, "mt0")
    assert without_holders(held) == without_holders(before)
    assert [(holder["domain"], holder["command"]) for holder in held["holders"]] == [("web1", "qemu-system-x86_64")]
    (uid,) = re.findall(r"^Uid:\t(\d+)", hv.run("cat", f"/proc/{held['holders'][0]['pid']}/status"), re.MULTILINE)
    assert (uid == "0") == (uri == SYSTEM)
    refuses_to_remove(hv, "mt0", f"^{quoted('removing mt0')}$")
    assert ping(hv, "web1", SWITCH)

    user.virsh(uri, "destroy", "web1")
    assert link(hv, "mt0")["holders"] == []
    assert without_holders(link(hv, "mt0")) == without_holders(before)
    assert module(hv, name="mt0", state="absent")["changed"]


@pytest.mark.parametrize(("script", "queues"), [(ONE_QUEUE, 1), (TWO_QUEUES, 2)])
def test_qemu_without_libvirt(hv: Hypervisor, user: User, script: str, queues: int) -> None:
    before = link(hv, "mt1")
    user.define(SYSTEM, "web2", DIRECT.format("web2-lan"))
    user.virsh(SYSTEM, "start", "web2")
    with user.script("web3", script) as pid:
        other = card(hv, "web2")
        found = card(hv, "web3")
        assert found["mac"] == MACS["mt1"]
        for one, another in (("web3", other), ("web2", found)):
            assert ping(hv, one, another["ipv4"])
            assert ping(hv, one, "-6", another["ipv6"])
        assert ping(hv, "web3", SWITCH)

        held = link(hv, "mt1")
        assert [(holder["pid"], holder["domain"]) for holder in held["holders"]] == [(pid, None)]
        assert re.search(rf"^Uid:\t{hv.run('id', '-u', USER).strip()}\t", hv.run("cat", f"/proc/{pid}/status"), re.M)
        assert re.search(r"^CapEff:\t0+$", hv.run("cat", f"/proc/{pid}/status"), re.M)
        refuses_to_remove(hv, "mt1", rf"^removing mt1 would disconnect pid {pid} \(qemu-system-x86_64\)")
        # QEMU 10.0 says nothing of it here.
        warns = queues == 2 and hv.release < 11
        assert ("TUNSETSTEERINGEBPF" in hv.run("cat", "/tmp/web3.log")) == warns
        # Flows of many ports, since the frames of one flow stay on one queue.
        flood = f"for port in {{9000..9063}}; do echo >/dev/udp/{found['ipv4']}/$port; done"
        switch = model.require(hv.cell.lab).switch
        subprocess.run(["ip", "netns", "exec", switch.netns, "bash", "-c", flood], check=True, timeout=30)
        received = interrupts(hv.in_guest("web3", "cat", "/proc/interrupts"), r"virtio\d+-input")
        assert len(received) == queues
        assert 0 not in received
    assert without_holders(link(hv, "mt1")) == without_holders(before)
    assert link(hv, "mt1")["holders"] == []


def test_two_queues_in_libvirt(hv: Hypervisor, user: User) -> None:
    (driver,) = re.findall(r"`(<driver queues=.*?/>)`", PAGE)
    user.define(SESSION, "web1", INTERFACE.replace("</interface>", f"{driver}</interface>"))
    user.virsh(SESSION, "start", "web1")
    (holder,) = link(hv, "mt0")["holders"]
    words = hv.run("cat", f"/proc/{holder['pid']}/cmdline")
    assert re.search(r'"fds":"\d+:\d+"', words)
    assert '"mq":true,"vectors":6' in words


def test_what_libvirt_does_not_look_at(hv: Hypervisor, user: User) -> None:
    change = functools.partial(module, hv, name="mt0")
    change(state="down", mac="52:54:00:00:02:99", mtu=1400)
    before = without_holders(link(hv, "mt0"))
    user.define(SESSION, "web1", INTERFACE)
    user.virsh(SESSION, "start", "web1")
    output = hv.in_guest("web1", "ip", "link", "show", "eth0")
    assert "LOWER_UP" in output
    assert "mtu 1500" in output
    mac = MACS["mt0"]
    learnt(hv, mac)
    assert not speaks(hv, "web1")
    assert not learnt(hv, mac)
    assert without_holders(link(hv, "mt0")) == before

    change(state="up")
    assert not speaks(hv, "web1")
    assert learnt(hv, mac)
    # It is held, and who holds it would be off the network if its address were not the guest's.
    assert "force: true" in change(mac=mac)["msg"]
    assert change(mac=mac, force=True)["changed"]
    eventually(lambda: speaks(hv, "web1"))
    # 1,500 bytes with their headers, on a link of 1,400.
    assert ping(hv, "web1", "-s", "1472", SWITCH)
    hv.in_guest("web1", "ip", "link", "set", "eth0", "mtu", "9000")
    assert ping(hv, "web1", "-s", "1472", SWITCH)
    assert not ping(hv, "web1", "-s", "3000", SWITCH)
    assert link(hv, "mt0")["mtu"] == 1400

    user.define(SYSTEM, "web2", INTERFACE.replace("<model", "<mtu size='1400'/><model"))
    user.virsh(SYSTEM, "start", "web2")
    assert {holder["domain"] for holder in link(hv, "mt0")["holders"]} == {"web1", "web2"}
    assert "mtu 1400" in hv.in_guest("web2", "ip", "link", "show", "eth0")


def test_a_tap_that_is_not_the_users(hv: Hypervisor, user: User) -> None:
    module(hv, name="mt0", tap={"owner": "root", "group": "root", "mode": "0600"})
    user.define(SESSION, "web1", INTERFACE)
    assert "Permission denied" in user.virsh(SESSION, "start", "web1", check=False)
    assert link(hv, "mt0")["holders"] == []


def test_a_start_with_the_name_of_a_link_fails_and_may_delete_it(hv: Hypervisor, user: User) -> None:
    user.define(SYSTEM, "web1", INTERFACE)
    user.virsh(SYSTEM, "start", "web1")
    user.define(SYSTEM, "web2", DIRECT.format("mt0"))
    assert re.search(quoted("error creating macvtap interface mt0"), user.virsh(SYSTEM, "start", "web2", check=False))
    assert user.virsh(SYSTEM, "list", "--name").split() == ["web1"]
    # libvirt 11.3 leaves it.
    deletes = hv.release < 11
    assert ("mt0" not in names(hv)) == deletes
    user.virsh(SYSTEM, "destroy", "web1")
    if deletes:
        assert "specified dev doesn't exist" in user.virsh(SYSTEM, "start", "web1", check=False)
    else:
        user.virsh(SYSTEM, "start", "web1")

    # Of whatever kind it is.
    hv.run("ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1")
    user.define(SYSTEM, "web3", DIRECT.format("other0"))
    assert "File exists" in user.virsh(SYSTEM, "start", "web3", check=False)
    assert {"other0", "other1"}.isdisjoint(names(hv)) == deletes


def test_what_fails_on_the_name_of_a_link_and_leaves_it(hv: Hypervisor, user: User) -> None:
    before = without_holders(link(hv, "mt0"))
    user.define(SYSTEM, "web1")
    user.virsh(SYSTEM, "start", "web1")
    hv.run("install", "-m", "644", "/dev/stdin", "/tmp/direct.xml", stdin=DIRECT.format("mt0"))
    output = user.virsh(SYSTEM, "attach-device", "web1", "/tmp/direct.xml", "--live", check=False)
    assert "File exists" in output
    assert without_holders(link(hv, "mt0")) == before

    user.define(SESSION, "web2", DIRECT.format("mt0"))
    assert "Operation not permitted" in user.virsh(SESSION, "start", "web2", check=False)
    assert without_holders(link(hv, "mt0")) == before

    user.define(SYSTEM, "web3", INTERFACE.replace(" managed='no'", ""))
    assert "The mt0 interface already exists" in user.virsh(SYSTEM, "start", "web3", check=False)
    assert without_holders(link(hv, "mt0")) == before


def test_whoever_may_open_a_tap_may_change_the_address_and_forge_the_source(hv: Hypervisor, user: User) -> None:
    forged, mac = "52:54:00:00:02:77", "52:54:00:00:02:88"
    code = f"""if True:
        import fcntl, os, struct, sys
        with open("/sys/class/net/mt0/ifindex") as file:
            tap = os.open("/dev/tap" + file.read().strip(), os.O_RDWR)
        fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"", 0x1002))  # TUNSETIFF: IFF_TAP, IFF_NO_PI
        fcntl.ioctl(tap, 0x8924, struct.pack("16sH14s", b"mt0", 1, bytes.fromhex("{mac.replace(":", "")}")))
        frame = bytes.fromhex("ff" * 6 + "{forged.replace(":", "")}" + "88b6") + bytes(46)
        os.write(tap, frame)
    """
    hv.run(*user.prefix, "/usr/bin/python3", "-c", code)
    assert link(hv, "mt0")["mac"] == mac
    assert learnt(hv, forged)
    assert not module(hv, **LINKS).get("failed")
    assert link(hv, "mt0")["mac"] == MACS["mt0"]
