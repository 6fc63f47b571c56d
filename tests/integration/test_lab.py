# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The lab itself: what it makes, that two do not meet, and that nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from support import ROOT_ONLY, until

TOOL = Path(__file__).resolve().parents[2] / "extensions" / "molecule" / "lab" / "lab.py"
pytestmark = ROOT_ONLY


def lab(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    argv = ["/usr/bin/python3", str(TOOL), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, done.stderr
    return done


def traces(name: str) -> list[str]:
    """Whatever there is on the machine that bears the lab's name."""
    found = [str(path) for path in Path("/run/netns").glob(f"{name}-*")]
    found += [str(path) for path in Path("/run/linuxvirt-lab").glob(f"*{name}*")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{name}-" in line]
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/{name}/" in words or f"/{name}-" in words:
            found.append(words)
    return found


def status(name: str) -> dict[str, t.Any]:
    answer: dict[str, t.Any] = json.loads(lab("status", "--name", name).stdout)
    return answer


@pytest.fixture(scope="module")
def two_labs() -> t.Iterator[tuple[str, str]]:
    names = (f"one{os.getpid()}", f"two{os.getpid()}")
    try:
        lab("create", "--name", names[0], "--hypervisors", "hv1,hv2", "--management")
        lab("create", "--name", names[1], "--hypervisors", "hv1")
        yield names
    finally:
        for name in names:
            lab("destroy", "--name", name, check=False)
    assert [traces(name) for name in names] == [[], []]


def test_index_ranges_are_disjoint(two_labs: tuple[str, str]) -> None:
    ranges = []
    for name in two_labs:
        for hv, what in status(name)["hypervisors"].items():
            first, last = what["indexes"]
            link = json.loads(lab("exec", "--name", name, hv, "--", "ip", "-j", "link", "show", "eth0").stdout)[0]
            assert first <= link["ifindex"] <= last
            ranges.append((first, last))
    ranges.sort()
    assert all(before[1] < after[0] for before, after in zip(ranges, ranges[1:]))


def test_each_has_its_own_libvirt_and_files(two_labs: tuple[str, str]) -> None:
    one, two = two_labs
    lab("exec", "--name", one, "hv1", "--", "touch", "/etc/only-here", "/tmp/only-here", "/usr/share/only-here")
    for name, hv, expected in ((one, "hv1", 0), (one, "hv2", 2), (two, "hv1", 2)):
        done = lab("exec", "--name", name, hv, "--", "ls", "/etc/only-here", "/usr/share/only-here", check=False)
        assert done.returncode == expected
    assert not Path("/etc/only-here").exists()
    assert not Path("/usr/share/only-here").exists()
    xml = lab("guest-xml", "--name", "web1").stdout
    subprocess.run(
        ["ssh", "-F", status(one)["ssh_config"], "hv1", "virsh -q -c qemu:///system define /dev/stdin"],
        input=xml, text=True, check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    assert status(one)["hypervisors"]["hv1"]["guests"] == {"web1": "shut off"}
    assert status(one)["hypervisors"]["hv2"]["guests"] == {}
    assert status(two)["hypervisors"]["hv1"]["guests"] == {}


def test_hypervisors_of_a_lab_reach_each_other_by_a_management_network(two_labs: tuple[str, str]) -> None:
    one, two = two_labs
    assert status(one)["hypervisors"]["hv2"]["management"] == "203.0.113.12"
    for uri in ("qemu+ssh://hv2/system", "qemu+tls://hv2/system"):
        assert lab("exec", "--name", one, "hv1", "--", "virsh", "-q", "-c", uri, "hostname").stdout == "hv2\n"
    # Without a certificate by the lab's authority nobody is let in, nor without encryption.
    lab("exec", "--name", one, "hv1", "--", "mv", "/etc/pki/libvirt/clientcert.pem", "/tmp")
    for uri in ("qemu+tls://hv2/system", "qemu+tcp://hv2/system"):
        assert lab("exec", "--name", one, "hv1", "--", "virsh", "-c", uri, "hostname", check=False).returncode
    lab("exec", "--name", one, "hv1", "--", "mv", "/tmp/clientcert.pem", "/etc/pki/libvirt")
    # Other labs have none.
    links = json.loads(lab("exec", "--name", two, "hv1", "--", "ip", "-j", "link").stdout)
    assert {link["ifname"] for link in links} == {"lo", "eth0"}
    assert status(two)["hypervisors"]["hv1"]["management"] is None


def test_hairpin(two_labs: tuple[str, str]) -> None:
    one, two = two_labs
    lab("hairpin", "--name", one, "hv2", "on")
    states = [status(name)["hypervisors"][hv]["hairpin"] for name, hv in ((one, "hv1"), (one, "hv2"), (two, "hv1"))]
    assert states == [False, True, False]
    lab("hairpin", "--name", one, "hv2", "off")
    assert status(one)["hypervisors"]["hv2"]["hairpin"] is False


def test_creating_twice_is_harmless(two_labs: tuple[str, str]) -> None:
    before = status(two_labs[1])
    assert "up already" in lab("create", "--name", two_labs[1], "--hypervisors", "hv1").stderr
    assert status(two_labs[1]) == before
    other = lab("create", "--name", two_labs[1], "--hypervisors", "hv1,hv9", check=False)
    assert other.returncode == 1
    assert "is there with hypervisors hv1" in other.stderr


def test_an_interrupted_create_leaves_nothing() -> None:
    name = f"cut{os.getpid()}"
    argv = ["/usr/bin/python3", str(TOOL), "create", "--name", name, "--hypervisors", "hv1"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        # When it has begun: it is done within a second or so.
        assert until(lambda: bool(traces(name)))
        process.send_signal(signal.SIGTERM)
        words = process.communicate(timeout=60)[1]
    assert process.returncode == 1, words
    assert "error: interrupted" in words
    # What carried a connection ends by itself, when that is closed.
    assert until(lambda: traces(name) == []), traces(name)


@pytest.mark.skipif(os.environ.get("MACVTAP_TEST_VM") == "no", reason="MACVTAP_TEST_VM=no")
def test_an_interrupted_virtual_machine_leaves_nothing() -> None:
    name = f"vm{os.getpid()}"
    argv = ["/usr/bin/python3", str(TOOL), "create", "--name", name, "--vms", "vm1"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        # Its disk may have to be made first.
        deadline = time.monotonic() + 1200
        while not any("qemu-system-x86_64" in trace for trace in traces(name)) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        words = process.communicate(timeout=60)[1]
    assert process.returncode == 1, words
    assert "error: interrupted" in words
    # What carried a connection ends by itself, when that is closed.
    assert until(lambda: traces(name) == []), traces(name)


def test_the_switch_has_the_vlans_that_were_asked_for() -> None:
    name = f"vlan{os.getpid()}"
    # An ARP request with a tag, and who answers it; this machine's kernel need not know VLANs.
    ask = """if True:
        import socket, struct, sys
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.setsockopt(263, 8, 1)
        sock.bind(("eth0", 3))
        sock.settimeout(float(sys.argv[3]))
        mac = sock.getsockname()[4]
        arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, mac, bytes(4), bytes(6), socket.inet_aton(sys.argv[2]))
        sock.send(b"\\xff" * 6 + mac + struct.pack("!HHH", 0x8100, int(sys.argv[1]), 0x806) + arp)
        while True:
            data, ancillary, _flags, address = sock.recvmsg(2000, 100)
            if address[2] != socket.PACKET_OUTGOING and data[12:14] == b"\\x08\\x06" and data[20:22] == b"\\x00\\x02":
                print(struct.unpack_from("@H", ancillary[0][2], 16)[0], socket.inet_ntoa(data[28:32]))
                break
    """
    try:
        lab("create", "--name", name, "--hypervisors", "hv1", "--vlans", "20,30")
        assert status(name)["switch"]["vlans"] == {"lan20": "198.51.100.1/26", "lan30": "198.51.100.65/26"}
        argv = ["exec", "--name", name, "hv1", "--", "/usr/bin/python3", "-c", ask]
        assert lab(*argv, "20", "198.51.100.1", "10").stdout == "20 198.51.100.1\n"
        assert lab(*argv, "30", "198.51.100.65", "10").stdout == "30 198.51.100.65\n"
        assert "TimeoutError" in lab(*argv, "21", "198.51.100.1", "1", check=False).stderr
    finally:
        lab("destroy", "--name", name)
    # What carried a connection ends by itself, when that is closed.
    assert until(lambda: traces(name) == []), traces(name)


def test_a_killed_create_is_cleared_away() -> None:
    name = f"dead{os.getpid()}"
    argv = ["/usr/bin/python3", str(TOOL), "create", "--name", name, "--hypervisors", "hv1"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(1)
        process.kill()
    assert traces(name) != []
    lab("destroy", "--name", name)
    # What carried a connection ends by itself, when that is closed.
    assert until(lambda: traces(name) == []), traces(name)
    lab("destroy", "--name", name)


@pytest.mark.parametrize(
    "words",
    [
        ("create", "--name", "BAD_"),
        ("create", "--name", "fine", "--hypervisors", "hv1,hv1"),
        ("create", "--name", "fine", "--hypervisors", "lan"),
        ("inventory", "--name", "no-such-lab"),
        ("exec", "--name", "no-such-lab", "hv1", "--", "true"),
        ("reserve-indexes", "--netns", "no-such-namespace"),
    ],
)
def test_errors_are_one_line(words: tuple[str, ...]) -> None:
    done = lab(*words, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("lab: error: ")


def test_a_namespace_of_ones_own_gets_a_range() -> None:
    name = f"own{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        given = json.loads(lab("reserve-indexes", "--netns", name, "--count", "16").stdout)
        again = json.loads(lab("reserve-indexes", "--netns", name, "--count", "16").stdout)
        assert again == given
        subprocess.run(["ip", "-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
        shown = subprocess.run(["ip", "-n", name, "-j", "link"], check=True, capture_output=True, text=True).stdout
        assert all(given["start"] <= link["ifindex"] < given["start"] + 16 for link in json.loads(shown)[1:])
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
