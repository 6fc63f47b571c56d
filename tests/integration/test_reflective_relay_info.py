# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""reflective_relay_info, and what asks as it does, against the real kernel: its bridge is the switch."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from support import PYTHONS, module_command, module_environment, module_input, running_module

if t.TYPE_CHECKING:
    from namespaces import Namespace
    from reflecting import Result, Switch


# Prints the frames that come in on a link, one a line, until it ends.
LISTEN = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind((sys.argv[1], 3))
print("ready", flush=True)
while True:
    frame, address = s.recvfrom(2048)
    if address[2] != socket.PACKET_OUTGOING:
        print(frame.hex(), flush=True)
"""
# Sends what looks like the frames that ask back as soon as one comes, but with another's random number.
FORGE = """
import os, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind((sys.argv[1], 3))
print("ready", flush=True)
while True:
    frame, address = s.recvfrom(2048)
    if address[2] != socket.PACKET_OUTGOING and frame[12:14].hex() == "88b5":
        for number in range(5):
            s.send(frame[:14] + os.urandom(16) + frame[30:])
        print(frame.hex(), flush=True)
"""


@contextlib.contextmanager
def running(netns: Namespace, code: str, link: str) -> t.Iterator[t.IO[str]]:
    """Run ``code`` in the namespace; gives what it prints, once it is ready."""
    command = [*netns.prefix, "/usr/bin/python3", "-c", code, link]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process.stdout
        finally:
            process.kill()


@contextlib.contextmanager
def asking(netns: Namespace, **params: t.Any) -> t.Iterator[subprocess.Popen[str]]:
    """Start a run that goes on for long, where the switch does not reflect."""
    given = {"parent": "eth0", "timeout": 10_000, "count": 6, **params}
    with running_module("reflective_relay_info", given, prefix=netns.prefix) as process:
        try:
            yield process
        finally:
            process.kill()


def alone_on(netns: Namespace, parent: str) -> bool:
    """Whether no macvlan or macvtap link is on the parent, in any namespace: one in mode passthru allows no other."""
    words = ["link", "add", "link", parent, "name", "alone0", "type", "macvtap", "mode", "passthru"]
    made = subprocess.run(["ip", "-n", netns.name, *words], capture_output=True, check=False)
    if made.returncode == 0:
        netns.ip("link", "del", "alone0")
    return made.returncode == 0


def held_open(netns: Namespace, stack: contextlib.ExitStack, **params: t.Any) -> None:
    """Make links as of running guests: up, and their taps held open."""
    done = netns.run({"parent": "eth0", **params})
    assert "failed" not in done, done
    for link in done["links"]:
        assert link["tap"]["own"]
        stack.callback(os.close, os.open(link["tap"]["path"], os.O_RDWR))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("method", ["lower", "endpoints"])
def test_a_switch_that_reflects_and_one_that_does_not(switch: Switch, method: str, python: str) -> None:
    before = switch.netns.links()
    for on in (False, True, False):
        switch.hairpin(on)
        for check in (False, True):
            params = {"parent": "eth0", "method": method, "count": 3}
            told = switch.netns.run(params, module="reflective_relay_info", python=python, check=check)
            assert (told["reflective_relay"], told["changed"]) == (on, False)
            assert (told["reason"] is None) == on
            (one,) = told["parents"]
            assert (one["parent"], one["reflective_relay"], len(one["round_trips"])) == ("eth0", on, 3 * on)
            assert all(0 < trip < 1000 for trip in one["round_trips"])
            assert (one["sent"]["method"], one["sent"]["frames"], one["sent"]["ethertype"]) == (method, 3, "0x88b5")
    assert switch.netns.links() == before
    assert alone_on(switch.netns, "eth1")


@pytest.mark.parametrize("method", ["lower", "endpoints"])
@pytest.mark.parametrize(
    ("mode", "count"), [("bridge", 1), ("bridge", 20), ("vepa", 1), ("vepa", 20), ("private", 1), ("source", 1)]
)
def test_beside_running_guests(switch: Switch, method: str, mode: str, count: int) -> None:
    with contextlib.ExitStack() as stack:
        held_open(switch.netns, stack, mode=mode, links=[{"name": f"mt{n}"} for n in range(count)])
        # As a guest does that listens to all there is.
        switch.netns.ip("link", "set", "mt0", "promisc", "on", "allmulticast", "on")
        for on in (False, True):
            switch.hairpin(on)
            before = switch.netns.links()
            assert switch.ask(method=method)["reflective_relay"] is on
            assert switch.netns.links() == before


def test_beside_a_guest_that_has_all_of_the_parent(switch: Switch) -> None:
    with contextlib.ExitStack() as stack:
        held_open(switch.netns, stack, name="mt0", mode="passthru")
        for on in (False, True):
            switch.hairpin(on)
            assert switch.ask()["reflective_relay"] is on
        told = switch.ask(method="endpoints")
        assert told["reflective_relay"] is None
        assert "mode passthru" in told["reason"]


@pytest.mark.parametrize("method", ["lower", "endpoints"])
def test_what_is_on_the_wire_is_the_frames_alone(switch: Switch, method: str) -> None:
    eth0 = switch.netns.link("eth0")["address"].replace(":", "")
    with running(switch.netns, LISTEN, "far0") as heard:
        (told,) = switch.ask(method=method, count=3)["parents"]
        source, destination = (told["sent"][end].replace(":", "") for end in ("source", "destination"))
        assert (source == destination == eth0) == (method == "lower")
        # This one comes last.
        (after,) = switch.ask(timeout=1, count=1)["parents"]
        assert after["sent"]["source"].replace(":", "") == eth0
        asked = [destination + source + "88b5"] * 3 + [eth0 + eth0 + "88b5"]
        frames: list[str] = []
        while len(frames) < len(asked):
            frame = heard.readline()[:28]
            # The host's own stack talks of itself at times. A new link would tell the LAN of an IPv6 address.
            if frame[24:] == "88b5" or frame[12:24] != eth0:
                frames.append(frame)
        assert frames == asked


@pytest.mark.parametrize("method", ["lower", "endpoints"])
def test_two_that_ask_at_once_get_their_own_answers(switch: Switch, method: str) -> None:
    switch.hairpin(True)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _number: switch.ask(method=method, count=100, timeout=1000), range(4)))
    for one in told:
        assert len(one["parents"][0]["round_trips"]) == 100


def test_frames_of_somebody_else_are_no_answers(switch: Switch) -> None:
    with running(switch.netns, FORGE, "far0") as forged:
        assert switch.ask(timeout=100)["reflective_relay"] is False
        assert forged.readline()


def test_what_cannot_be_known(netns: Namespace, lower: str) -> None:
    def told(parent: str, **params: t.Any) -> Result:
        result = netns.run({"parent": parent, **params}, module="reflective_relay_info")
        assert result["reflective_relay"] is None
        assert result["parents"][0]["sent"]["frames"] == 0
        return result

    assert "Ethernet" in told("lo")["reason"]
    netns.ip("link", "set", "lowfar0", "down")
    assert told(lower)["reason"] == "low0 has no carrier"
    netns.ip("link", "set", lower, "down")
    assert told(lower)["reason"] == "low0 is down"
    netns.ip("link", "add", "br0", "type", "bridge")
    netns.ip("link", "set", "eth1", "master", "br0")
    netns.ip("link", "set", "br0", "up")
    assert "a bridge" in told("br0")["reason"]
    assert "on a port of a bridge" in told("eth1", method="endpoints")["reason"]
    # But as its port it can be asked on.
    assert netns.run({"parent": "eth1"}, module="reflective_relay_info")["reflective_relay"] is False


def test_behind_a_bridge(switch: Switch) -> None:
    """eth0 is the port of br0 now, in a host that still has bridges."""
    switch.netns.ip("link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
    switch.netns.ip("link", "set", "eth0", "master", "br0")
    switch.netns.ip("link", "set", "br0", "up")
    for on in (False, True):
        switch.hairpin(on)
        assert switch.ask()["reflective_relay"] is on
        assert switch.ask(parent="br0", method="endpoints")["reflective_relay"] is on


def test_many_parents_however_they_are_called(switch: Switch) -> None:
    switch.hairpin(True)
    switch.netns.ip("link", "property", "add", "dev", "eth1", "altname", "second-uplink")
    try:
        mac = switch.netns.link("eth0")["address"]
        told = switch.ask(parents=["second-uplink", mac, "eth0", "lo"])
        found = [(one["parent"], one["reflective_relay"]) for one in told["parents"]]
        assert found == [("eth1", False), ("eth0", True), ("eth0", True), ("lo", None)]
        assert "reflective_relay" not in told
        switch.netns.refuses(
            {"parents": ["eth0", "ehtnone"]}, r"^parents\[1\]: there is no link ehtnone", module="reflective_relay_info"
        )
    finally:
        switch.netns.ip("link", "property", "del", "dev", "eth1", "altname", "second-uplink")
    for option in ("timeout", "count"):
        switch.netns.refuses({"parent": "eth0", option: 0}, f"^{option}: 0 is not", module="reflective_relay_info")


def test_without_root(netns: Namespace) -> None:
    for method in ("lower", "endpoints"):
        prefix = [*netns.prefix, "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
        command = [*prefix, *module_command("reflective_relay_info", sys.executable)]
        stdin = module_input({"parent": "eth0", "method": method})
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, env=module_environment()
        )
        told = json.loads(done.stdout)
        assert told["failed"]
        assert "requires root" in told["msg"]
        assert "become" in told["msg"]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("method", ["lower", "endpoints"])
def test_nothing_is_left_behind_by_one_that_is_killed(switch: Switch, method: str, sign: signal.Signals) -> None:
    before = switch.netns.links()
    with running(switch.netns, LISTEN, "far0") as heard, asking(switch.netns, method=method) as process:
        # In the middle of it.
        while heard.readline()[24:28] != "88b5":
            assert process.poll() is None
        assert alone_on(switch.netns, "eth0") == (method == "lower")
        # Of the two links there is nothing to be seen even now.
        assert [link["ifname"] for link in switch.netns.links()] == [link["ifname"] for link in before]
        process.send_signal(sign)
        process.wait()
    deadline = time.monotonic() + 10
    while not alone_on(switch.netns, "eth0"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert switch.netns.links() == before
