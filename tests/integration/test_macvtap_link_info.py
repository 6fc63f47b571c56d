# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""macvtap_link_info against the real kernel."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

if t.TYPE_CHECKING:
    from namespaces import Namespace


@pytest.fixture
def links(netns: Namespace) -> Namespace:
    netns.run(
        {
            "mode": "bridge",
            "links": [
                {"name": "a0", "parent": "eth0", "group": 7, "alias": "first", "queues": {"tx": 2, "rx": 3}},
                {"name": "a1", "parent": "eth0", "state": "down"},
                {"name": "b0", "parent": "eth1", "group": 7, "mode": "source", "source_macs": ["52:54:00:00:00:09"]},
            ],
        }
    )
    netns.ip("link", "add", "link", "eth1", "name", "other0", "type", "macvlan")
    return netns


def ask(netns: Namespace, **params: t.Any) -> dict[str, dict[str, t.Any]]:
    result = netns.run(params, module="macvtap_link_info")
    assert not result["changed"]
    return {link["name"]: link for link in result["links"]}


def test_all_links_of_the_kind_and_no_other(links: Namespace) -> None:
    found = ask(links)
    assert list(found) == ["a0", "a1", "b0"]
    shown = links.link("a0")
    assert found["a0"]["ifindex"] == shown["ifindex"]
    assert found["a0"]["attributes"] == {
        "accept_ra": False,
        "addrgenmode": "eui64",
        "alias": "first",
        "allmulticast": False,
        "altnames": [],
        "arp": False,
        "bclim": 1,
        "bcqueuelen": shown["linkinfo"]["info_data"]["bcqueuelen"],
        "group": 7,
        "gso_max_size": shown["gso_max_size"],
        "nodst": False,
        "promiscuous": True,
        "queues": {"tx": 2, "rx": 3},
        "source_macs": [],
        "txqueuelen": shown["txqlen"],
    }
    assert found["b0"]["attributes"]["source_macs"] == ["52:54:00:00:00:09"]
    assert (found["a1"]["state"], found["a1"]["carrier"]) == ("down", False)
    assert set(found["a0"]["counters"]) >= {"rx_packets", "tx_packets", "rx_bytes", "tx_bytes"}


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"name": ["a1", "b0", "other0"]}, ["a1", "b0"]),
        ({"parent": "eth0"}, ["a0", "a1"]),
        ({"group": 7}, ["a0", "b0"]),
        ({"group": 7, "parent": "eth1"}, ["b0"]),
        ({"name": ["none"]}, []),
    ],
)
def test_filters(links: Namespace, params: dict[str, t.Any], names: list[str]) -> None:
    assert list(ask(links, **params)) == names


def test_who_holds_a_tap(links: Namespace) -> None:
    path = pathlib.Path(ask(links)["a0"]["tap"]["path"])
    with path.open("rb+", buffering=0):
        found = ask(links)
    (holder,) = found["a0"]["holders"]
    assert (holder["pid"], holder["domain"]) == (os.getpid(), None)
    assert found["a1"]["holders"] == []
    assert ask(links)["a0"]["holders"] == []


def test_counters_count(links: Namespace) -> None:
    before = ask(links)["a0"]["counters"]["rx_packets"]
    # Broadcast from the other end of the cable reaches every link of the parent that is up.
    links.ip("link", "set", "far0", "arp", "on")
    links.ip("address", "add", "192.0.2.1/24", "dev", "far0")
    try:
        links.ip("neigh", "add", "192.0.2.2", "lladdr", "ff:ff:ff:ff:ff:ff", "dev", "far0")
        command = (
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('192.0.2.2', 9))"
        )
        subprocess.run([*links.prefix, "/usr/bin/python3", "-c", command], check=True)
        assert ask(links)["a0"]["counters"]["rx_packets"] > before
    finally:
        links.ip("address", "flush", "dev", "far0")
