# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The messages of the kernel and of libvirt that docs/troubleshooting.md quotes, provoked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import typing as t

import pytest
from direct_iface import A, B, domain, nic
from support import ROOT

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor
    from namespaces import Namespace

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
# These take a kernel whose macvtap is a module, and one with VLANs, as the lab's virtual machine has them; and a user
# without privileges, for which see test_unprivileged.py.
ELSEWHERE = (
    "Unknown device type",
    "Network is down",
    "Operation not supported",
    "Operation not permitted",
    "Permission denied",
)

MAKE = "link add {} link {} type macvtap mode {}"
# What is done before, what is done then, and what ip says.
KERNEL = [
    ([], MAKE.format("mt0", "port0", "bridge"), "RTNETLINK answers: Device or resource busy"),
    ([MAKE.format("mt0", "eth0", "bridge")], "link set eth0 master br0", "RTNETLINK answers: Device or resource busy"),
    ([MAKE.format("mt0", "eth0", "bridge")], "link set mt0 master br0", "RTNETLINK answers: Device or resource busy"),
    ([MAKE.format("mt0", "eth0", "bridge")], "link set mt0 address {own}", "RTNETLINK answers: Address already in use"),
    (
        ["link add mt0 address 52:54:00:00:00:0a link eth0 type macvtap", "link set mt0 up",
         "link add mt1 address 52:54:00:00:00:0a link eth0 type macvtap"],
        "link set mt1 up", "RTNETLINK answers: Address already in use",
    ),
    (
        [MAKE.format("mt0", "eth0", "bridge")], "link set mt0 address 01:00:00:00:00:01",
        "RTNETLINK answers: Cannot assign requested address",
    ),
    (
        [MAKE.format("mt0", "eth0", "bridge")], MAKE.format("mt1", "eth0", "passthru"),
        "RTNETLINK answers: Invalid argument",
    ),
    (
        [MAKE.format("mt0", "eth0", "passthru")], MAKE.format("mt1", "eth0", "bridge"),
        "RTNETLINK answers: Invalid argument",
    ),
    (
        [MAKE.format("mt0", "eth0", "bridge")], "link set mt0 type macvtap mode passthru",
        "RTNETLINK answers: Invalid argument",
    ),
    ([MAKE.format("mt0", "eth0", "bridge")], "link set mt0 mtu 9000", "RTNETLINK answers: Invalid argument"),
    ([], MAKE.format("mt0", "lo", "bridge"), "RTNETLINK answers: Invalid argument"),
    (
        [MAKE.format("mt0", "eth0", "bridge")], "link set mt0 type macvtap macaddr add 52:54:00:00:00:01",
        "RTNETLINK answers: Invalid argument",
    ),
    ([MAKE.format("mt0", "eth0", "bridge")], MAKE.format("mt0", "eth0", "bridge"), "RTNETLINK answers: File exists"),
    ([], MAKE.format("mt0", "eth9", "bridge"), 'Cannot find device "eth9"'),
    ([], MAKE.format("a-name-of-17-byte", "eth0", "bridge"), "Error: Attribute failed policy validation."),
]  # fmt: skip
BUSY = "error creating macvtap interface macvtap0@up1 (52:54:00:00:00:0a): Device or resource busy"
INVALID = "error creating macvtap interface macvtap0@up1 (52:54:00:00:00:0b): Invalid argument"
EXISTS = "error creating macvtap interface mt0@eth0 (52:54:00:00:00:0b): File exists"
IN_USE = "Cannot set interface flags on 'macvtap0': Address already in use"
NO_VLAN = "unsupported configuration: interface 52:54:00:00:00:0b - vlan tag not supported for this connection type"
NO_MTU = "unsupported configuration: setting MTU on interface type direct is not supported yet"
MANAGED = "unsupported configuration: unmanaged target dev is not supported on interfaces of type 'direct'"
PASSTHRU = "XML error: Invalid value for attribute 'mode' in element 'source': 'passthru'."
# What ip does before, the interfaces of a domain that is defined and started, and what virsh says.
LIBVIRT = [
    ("", [nic(A, "eth9")], "Unable to get index for interface eth9: No such device"),
    ("link set up1 master br0", [nic(A, "up1")], BUSY),
    ("", [nic(A, "up1"), nic(B, "up1", "passthrough")], INVALID),
    ("link add mt0 link eth0 type macvtap mode bridge", [nic(B, "eth0", more="<target dev='mt0'/>")], EXISTS),
    ("", [nic(A, "up1"), nic(A, "up1")], IN_USE),
    ("", [nic(B, "up1", more="<vlan><tag id='7'/></vlan>")], NO_VLAN),
    ("", [nic(B, more="<mtu size='1400'/>")], NO_MTU),
    ("", [nic(B, more="<target dev='x0' managed='no'/>")], MANAGED),
    ("", [nic(B, mode="passthru")], PASSTHRU),
]
NO_SLOT = "internal error: No more available PCI slots"
NO_CHANGE = "Operation not supported: unable to change config on 'direct' network type"


def quoted(heading: str) -> set[str]:
    """The messages of a section that can be provoked here."""
    (text,) = re.findall(rf"(?ms)^## {heading}$(.*?)^## ", PAGE)
    found = set(re.findall(r"(?m)^\| `([^`]+)` \|", text))
    return {message for message in found if not re.search("|".join(ELSEWHERE), message)} | ({NO_CHANGE} & found)


def test_all_that_is_quoted_is_provoked() -> None:
    assert quoted("From the kernel, by ip link") == {message for _before, _then, message in KERNEL}
    assert quoted("From libvirt") == {message for _before, _nics, message in LIBVIRT} | {NO_SLOT, NO_CHANGE}


@pytest.mark.parametrize(("before", "then", "message"), KERNEL)
def test_the_kernel_says_so(netns: Namespace, before: list[str], then: str, message: str) -> None:
    netns.ip("link", "add", "br0", "type", "bridge")
    netns.ip("link", "add", "port0", "type", "veth", "peer", "name", "farport0")
    netns.ip("link", "set", "port0", "master", "br0")
    try:
        for words in before:
            netns.ip(*words.split())
        words = then.format(own=netns.link("eth0")["address"])
        done = subprocess.run(
            ["ip", "-n", netns.name, *words.split()], capture_output=True, text=True, check=False, timeout=30
        )
        assert (done.returncode != 0, done.stderr.strip()) == (True, message)
    finally:
        netns.ip("link", "del", "port0")


@pytest.fixture(scope="module")
def _hv(_hv: Hypervisor) -> Hypervisor:
    if _hv.release != 9:
        pytest.skip("the page quotes libvirt 9.0")
    _hv.run("ip", "link", "add", "br0", "type", "bridge")
    return _hv


@pytest.fixture
def hv(_hv: Hypervisor) -> t.Iterator[Hypervisor]:
    yield _hv
    _hv.clear()
    _hv.run("ip", "link", "set", "up1", "nomaster")


def says(hv: Hypervisor, *commands: t.Sequence[str], stdin: str = "") -> str:
    """What virsh says of the first command that it fails with, its numbers of links apart; the first gets ``stdin``."""
    for words in commands:
        argv = [*hv.prefix, "virsh", "--quiet", "--connect", "qemu:///system", *words]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            output = done.stderr.strip().splitlines()[-1].removeprefix("error: ")
            return re.sub(r"macvtap\d+", "macvtap0", output)
    return ""


libvirt_is_here = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("libvirtd") is None or shutil.which("qemu-system-x86_64") is None,
    reason="needs root, libvirtd and qemu-system-x86_64",
)


@libvirt_is_here
@pytest.mark.parametrize(("before", "nics", "message"), LIBVIRT)
def test_libvirt_says_so(hv: Hypervisor, before: str, nics: list[str], message: str) -> None:
    if before:
        hv.run("ip", *before.split())
    assert says(hv, ["define", "/dev/stdin"], ["start", "t1"], stdin=domain("t1", *nics)) == message


@libvirt_is_here
def test_libvirt_says_so_of_a_running_guest(hv: Hypervisor) -> None:
    assert not says(hv, ["define", "/dev/stdin"], ["start", "t1"], stdin=domain("t1", nic(A), ports=1))
    assert says(hv, ["attach-device", "t1", "/dev/stdin", "--live"], stdin=nic(B)) == NO_SLOT
    for other in (nic(A, "up1"), nic(A, mode="private")):
        assert says(hv, ["update-device", "t1", "/dev/stdin", "--live"], stdin=other) == NO_CHANGE


@libvirt_is_here
def test_libvirt_starts_a_guest_on_a_source_that_is_down(hv: Hypervisor) -> None:
    hv.run("ip", "link", "set", "up1", "down")
    try:
        assert not says(hv, ["define", "/dev/stdin"], ["start", "t1"], stdin=domain("t1", nic(A, "up1")))
    finally:
        hv.run("ip", "link", "set", "up1", "up")
