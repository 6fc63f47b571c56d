# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The host's own stack on links whose tap no process holds: it does not answer there, and guests notice nothing."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import typing as t

import pytest
from lan import TOOL
from support import run_module, until

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import netlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

if t.TYPE_CHECKING:
    from namespaces import Namespace

pytestmark = pytest.mark.root

HOST, OTHER, PREFIX = "192.0.2.1", "192.0.2.9", "2001:db8:77::"
QUIET, LOUD, GUEST = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:77"
BROADCAST, NODES, ROUTERS = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "01:00:5e:00:00:01"

# Holds the tap as a guest does. For each line on stdin, frames go both ways, and it says which of them arrived.
_GUEST = """
import fcntl, os, select, socket, struct, sys, time
name, far, mac, *groups = sys.argv[1:]
raw = lambda address: bytes.fromhex(address.replace(":", ""))
tap = os.open(f"/dev/tap{socket.if_nametoindex(name)}", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"", 0x1002))  # TUNSETIFF: IFF_TAP, IFF_NO_PI
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
out.bind((far, 3))
own = out.getsockname()[4]
print("ready", flush=True)
for word in sys.stdin:
    mark = b"\\x88\\xb5" + word.strip().encode()
    inward, outward = {mac, *groups}, {own.hex(":"), *groups}
    for address in inward:
        out.send((raw(address) + own + mark).ljust(60, b"\\0"))
    for address in outward:
        os.write(tap, (raw(address) + raw(mac) + mark).ljust(60, b"\\0"))
    deadline = time.monotonic() + 5
    while (inward or outward) and time.monotonic() < deadline:
        for one in select.select([tap, out], [], [], 0.1)[0]:
            frame = os.read(one.fileno() if one is out else one, 2000)
            if frame[12:].startswith(mark):
                (outward if frame[6:12] == raw(mac) else inward).discard(frame[:6].hex(":"))
    print("all" if not inward | outward else f"missing: in {inward}, out {outward}", flush=True)
"""


def addresses(netns: Namespace, name: str) -> list[str]:
    """Return the IPv6 addresses of the link."""
    (shown,) = json.loads(netns.ip("-j", "-6", "address", "show", "dev", name)) or [{}]
    return [one["local"] for one in shown.get("addr_info", ())]


def routes(netns: Namespace) -> set[str]:
    """Return the links that the host has a default route over."""
    shown = json.loads(netns.ip("-j", "-6", "route", "show", "default"))
    return {hop["dev"] for one in shown for hop in one.get("nexthops", [one])}


def answering(netns: Namespace) -> set[str]:
    """Return the MAC addresses by which the host answers ARP for its address."""
    command = [*netns.prefix, sys.executable, TOOL, "arp", "lowfar0", HOST, OTHER]
    return {*subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()}


def advertise(netns: Namespace) -> None:
    subprocess.run([*netns.prefix, sys.executable, TOOL, "advertise", "lowfar0", PREFIX], check=True)


def sysctl(netns: Namespace, name: str) -> str:
    command = [*netns.prefix, "cat", f"/proc/sys/net/ipv6/conf/{name}/accept_ra"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_host_answers_on_no_new_link_and_gets_no_route_over_it(netns: Namespace, lower: str) -> None:
    netns.ip("address", "add", f"{HOST}/24", "dev", lower)
    quiet = {"name": "mt0", "mac": QUIET}
    loud = {"name": "mt1", "mac": LOUD, "arp": True, "accept_ra": True}
    declared = {"parent": lower, "mode": "bridge", "links": [quiet, loud]}
    assert netns.run(declared)["rc"] == 0
    # As the kernel has it by itself: the host answers with the address of a link for a guest.
    assert answering(netns) == {LOUD, netns.link(lower)["address"]}
    advertise(netns)
    assert until(lambda: any(one.startswith("2001:") for one in addresses(netns, "mt1")))
    assert until(lambda: {"mt1", lower} <= routes(netns))
    assert routes(netns) == {"mt1", lower}
    assert not any(one.startswith("2001:") for one in addresses(netns, "mt0"))
    again = netns.run(declared)
    assert (again["rc"], again["changed"]) == (0, False)


def test_an_existing_link_is_made_quiet_in_place_and_its_guest_notices_nothing(netns: Namespace, lower: str) -> None:
    netns.ip("link", "add", "link", lower, "name", "mt0", "address", GUEST, "type", "macvtap", "mode", "bridge")
    netns.ip("link", "set", "mt0", "allmulticast", "on", "up")
    index = netns.link("mt0")["ifindex"]
    declared = {"name": "mt0", "parent": lower, "mode": "bridge"}
    # What is not declared stays.
    assert netns.run(declared)["changed"] is False
    command = [*netns.prefix, sys.executable, "-c", _GUEST, "mt0", "lowfar0", GUEST, BROADCAST, NODES, ROUTERS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None

        def talks(word: str) -> str:
            assert guest.stdin is not None
            assert guest.stdout is not None
            print(word, file=guest.stdin, flush=True)
            return guest.stdout.readline().strip()

        assert guest.stdout.readline() == "ready\n"
        assert talks("before") == "all"
        for quiet in (True, False, True):
            wanted = {**declared, "arp": not quiet, "accept_ra": not quiet}
            done = netns.run(wanted)
            assert done["rc"] == 0, done
            impacts = {change["field"]: change["impact"] for change in done["changes"]}
            assert impacts == {"arp": "in_place", "accept_ra": "in_place"}
            assert ("NOARP" in netns.link("mt0")["flags"], sysctl(netns, "mt0")) == (quiet, "0" if quiet else "1")
            assert talks(f"quiet{quiet}") == "all"
            assert netns.run(wanted)["changed"] is False
        guest.stdin.close()
        assert guest.wait(20) == 0
    assert netns.link("mt0")["ifindex"] == index


def test_a_link_without_ipv6_is_quiet_as_it_is(netns: Namespace, lower: str) -> None:
    declared = {"name": "mt0", "parent": lower, "mode": "bridge", "mtu": 1000, "accept_ra": False}
    assert netns.run(declared)["rc"] == 0
    assert netns.run(declared)["changed"] is False
    netns.refuses({**declared, "accept_ra": True}, "^accept_ra: requires IPv6, .* the link has 1000")
    # IPv6 comes with a larger MTU, and the kernel's defaults with it.
    assert netns.run({**declared, "accept_ra": None, "mtu": 1500})["rc"] == 0
    assert sysctl(netns, "mt0") == "0"


@pytest.fixture
def elsewhere(netns: Namespace) -> t.Iterator[str]:
    name = f"{netns.name}q"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


def test_a_link_in_another_namespace_is_quiet_there(netns: Namespace, lower: str, elsewhere: str) -> None:
    assert pathlib.Path(f"/run/netns/{elsewhere}").exists()
    assert netns.run({"name": "mt0", "parent": lower, "mode": "bridge", "netns": elsewhere})["rc"] == 0
    there = ["ip", "netns", "exec", elsewhere, "cat", "/proc/sys/net/ipv6/conf/mt0/accept_ra"]
    assert subprocess.run(there, check=True, capture_output=True, text=True).stdout.strip() == "0"
    assert (
        "NOARP"
        in subprocess.run(
            ["ip", "-n", elsewhere, "link", "show", "mt0"], check=True, capture_output=True, text=True
        ).stdout
    )


def test_a_link_that_the_host_itself_uses_goes_on_answering(netns: Namespace, lower: str) -> None:
    netns.ip("link", "add", "link", lower, "name", "mt0", "type", "macvtap", "mode", "bridge")
    netns.ip("link", "set", "mt0", "up")
    netns.ip("address", "add", f"{HOST}/24", "dev", "mt0")
    # As the role has it by default.
    quiet = {"name": "mt0", "arp": False, "accept_ra": False, "addrgenmode": "none", "allmulticast": True}
    netns.refuses(quiet, rf"^mt0 has addresses of the host \({HOST}/24\), and setting arp: false on it would cut them")
    done = netns.run({**quiet, "allow_host_disconnect": True})
    assert (done["rc"], "NOARP" in netns.link("mt0")["flags"]) == (0, True)


@pytest.fixture
def read_only(netns: Namespace) -> list[str]:
    """The words before a command by which it finds /proc/sys as in a container."""
    mount = 'mount -o bind,ro /proc/sys /proc/sys && exec "$@"'
    return [*netns.prefix, "unshare", "--mount", "sh", "-c", mount, "sh"]


def test_where_proc_sys_is_read_only_links_come_without_it_on_request(
    netns: Namespace, lower: str, read_only: list[str]
) -> None:
    declared = {"name": "mt0", "parent": lower}
    failed = run_module("macvtap_link", declared, prefix=read_only)
    assert failed["msg"].startswith("cannot set /proc/sys/net/ipv6/conf/mt0/accept_ra to 0: Read-only file system. Run")
    assert failed["msg"].endswith("or set accept_ra: true. The host is as it was before")
    assert not netns.names()
    assert run_module("macvtap_link", {**declared, "accept_ra": True}, prefix=read_only)["rc"] == 0


def test_a_rollback_sets_a_link_up_even_where_proc_sys_is_read_only(
    netns: Namespace, lower: str, read_only: list[str]
) -> None:
    assert netns.run({"name": "mt0", "parent": lower})["rc"] == 0
    failed = run_module("macvtap_link", {"name": "mt0", "queues": {"tx": 2}}, prefix=read_only)
    assert "The rollback failed as well: cannot set /proc/sys/net/ipv6/conf/mt0/accept_ra" in failed["msg"]
    link = netns.link("mt0")
    assert ("UP" in link["flags"], "NOARP" in link["flags"], link["num_tx_queues"]) == (True, True, 1)


def test_nothing_is_written_for_another_link_that_has_the_name_now() -> None:
    with netlink.session() as session, pytest.raises(MacvtapError, match=r"^lo was renamed while this task ran$"):
        session.write_sysctl(Link("lo", 99), "ipv6/conf/{}/accept_ra", 1)
