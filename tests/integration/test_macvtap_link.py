# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""macvtap_link against the real kernel."""

from __future__ import annotations

import os
import pathlib
import re
import stat
import typing as t

import pytest
from support import PYTHONS

if t.TYPE_CHECKING:
    from namespaces import Namespace

MAC = "52:54:00:00:00:01"


@pytest.mark.parametrize("python", PYTHONS)
def test_a_link_comes_changes_and_goes(netns: Namespace, python: str) -> None:
    wanted = {"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": MAC, "mtu": 1400}
    made = netns.run(wanted, python=python)
    assert made["changed"]
    shown = netns.link("mt0")
    assert shown["linkinfo"]["info_data"]["mode"] == "bridge"
    assert (shown["link"], shown["address"], shown["mtu"]) == ("eth0", MAC, 1400)
    assert "UP" in shown["flags"]

    (link,) = made["links"]
    node = os.stat(f"/dev/tap{shown['ifindex']}")
    assert link == {
        "name": "mt0",
        "netns": None,
        "ifindex": shown["ifindex"],
        "parent": "eth0",
        "mode": "bridge",
        "mac": MAC,
        "mtu": 1400,
        "state": "up",
        "tap": {
            "path": f"/dev/tap{shown['ifindex']}",
            "major": os.major(node.st_rdev),
            "minor": os.minor(node.st_rdev),
            "own": True,
            "owner": "root",
            "group": "root",
            "mode": "0600",
        },
    }
    assert not netns.run(wanted, python=python)["changed"]

    changed = netns.run({**wanted, "mode": "private", "mtu": 1300, "mac": "52:54:00:00:00:02"}, python=python)
    assert {(c["field"], c["impact"]) for c in changed["changes"]} == {
        ("mode", "in_place"),
        ("mtu", "in_place"),
        ("mac", "in_place"),
    }
    assert changed["links"][0]["ifindex"] == shown["ifindex"]
    assert netns.link("mt0")["linkinfo"]["info_data"]["mode"] == "private"

    assert netns.run({"name": "mt0", "state": "absent"}, python=python)["changed"]
    assert netns.names() == set()
    assert not netns.run({"name": "mt0", "state": "absent"}, python=python)["changed"]


@pytest.mark.parametrize("python", PYTHONS)
def test_many_links_in_one_run(netns: Namespace, python: str) -> None:
    links = [{"name": f"mt{n}", "mac": f"52:54:00:00:01:{n:02x}"} for n in range(30)]
    links[7]["mode"] = "private"
    wanted = {"parent": "eth0", "mode": "bridge", "links": links}
    assert netns.run(wanted, python=python)["changed"]
    assert netns.names() == {f"mt{n}" for n in range(30)}
    assert netns.link("mt7")["linkinfo"]["info_data"]["mode"] == "private"
    assert netns.link("mt8")["linkinfo"]["info_data"]["mode"] == "bridge"
    again = netns.run(wanted, python=python)
    assert not again["changed"]
    assert [link["name"] for link in again["links"]] == [link["name"] for link in links]
    assert netns.run({"links": [{**link, "state": "absent"} for link in links]}, python=python)["changed"]
    assert netns.names() == set()


def test_states(netns: Namespace) -> None:
    def up() -> bool:
        return "UP" in netns.link("mt0")["flags"]

    base = {"name": "mt0", "parent": "eth0", "mode": "bridge"}
    netns.run({**base, "state": "present"})
    assert not up()
    assert netns.run({**base, "state": "up"})["changed"]
    assert up()
    assert not netns.run({**base, "state": "present"})["changed"]
    assert netns.run({**base, "state": "down"})["changes"][0] == {
        "target": "mt0",
        "field": "state",
        "before": "up",
        "after": "down",
        "impact": "in_place",
    }
    assert not up()


@pytest.mark.parametrize("wanted", [{"parent": "eth1"}, {"mode": "passthru"}])
def test_what_cannot_change_in_place_is_made_anew(netns: Namespace, wanted: dict[str, str]) -> None:
    base = {"name": "mt0", "parent": "eth0", "mode": "bridge", "tap": {"group": "kvm", "mode": "0660"}}
    before = netns.run(base)["links"][0]
    after = netns.run({**base, **wanted})
    assert any(change["impact"] == "recreate" for change in after["changes"])
    (link,) = after["links"]
    assert link["ifindex"] != before["ifindex"]
    assert {**before, **wanted}.items() >= {key: link[key] for key in ("name", "parent", "mode", "state")}.items()
    assert (link["tap"]["group"], link["tap"]["mode"]) == ("kvm", "0660")
    if link["mode"] == "passthru":
        assert link["mac"] == netns.link("eth0")["address"]
        assert netns.run(base)["links"][0]["mac"] != link["mac"]
    else:
        assert link["mac"] == before["mac"]


def test_without_a_mode_a_new_link_is_in_mode_bridge_and_an_existing_one_keeps_its_mode(netns: Namespace) -> None:
    made = netns.run({"name": "mt0", "parent": "eth0"})
    assert made["links"][0]["mode"] == "bridge"
    assert "warnings" not in made
    netns.run({"name": "mt0", "mode": "private"})
    kept = netns.run({"name": "mt0", "parent": "eth0"})
    assert not kept["changed"]
    assert kept["links"][0]["mode"] == "private"


def test_check_mode_and_diff_tell_and_touch_nothing(netns: Namespace) -> None:
    netns.run({"name": "mt0", "parent": "eth0", "mode": "vepa"})
    before = netns.links()
    result = netns.run({"name": "mt0", "mode": "bridge"}, check=True, diff=True)
    assert result["changed"]
    assert "mode: vepa → bridge" in result["diff"][0]["after_header"]
    assert "mode: vepa" in result["diff"][0]["before"]
    assert "mode: bridge" in result["diff"][0]["after"]
    assert result["links"][0]["mode"] == "bridge"
    result = netns.run({"name": "mt1", "parent": "eth0", "mode": "bridge"}, check=True)
    assert result["links"][0]["ifindex"] is None
    assert netns.run({"name": "mt0", "state": "absent"}, check=True)["links"] == []
    assert netns.links() == before


def test_permissions_of_the_tap(netns: Namespace) -> None:
    wanted = {
        "name": "mt0",
        "parent": "eth0",
        "mode": "bridge",
        "tap": {"owner": "nobody", "group": "kvm", "mode": "0660"},
    }
    (link,) = netns.run(wanted)["links"]
    node = os.stat(link["tap"]["path"])
    assert stat.S_IMODE(node.st_mode) == 0o660
    assert not netns.run(wanted)["changed"]
    changed = netns.run({"name": "mt0", "tap": {"mode": "0600"}})
    assert [change["field"] for change in changed["changes"]] == ["tap.mode"]
    assert (changed["links"][0]["tap"]["owner"], changed["links"][0]["tap"]["group"]) == ("nobody", "kvm")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"parent": "eth7"}, r"^parent: there is no link eth7 on this host; did you mean eth\d"),
        ({"mac": "01:00:5e:00:00:01"}, r"^mac: 01:00:5e:00:00:01 is a multicast address"),
        ({"name": "a123456789012345"}, r"^name: 'a123456789012345' has 16 bytes and the kernel allows 15"),
        ({"mtu": 9000}, r"^mtu: 9000 exceeds the MTU of the parent eth0 \(1500\)"),
        ({"parent": "lo"}, r"^parent: lo is the loopback link"),
        ({"parent": "old0"}, r"^parent: old0 is a macvtap link.*Use eth0 instead"),
        ({"parent": "far1"}, r"^parent: far1 is a port of the bridge br0.*Use br0"),
        ({"name": "eth1"}, r"^name: eth1 already exists and is a veth link, not a macvtap link"),
        ({"name": "eth1", "state": "absent"}, r"^name: eth1 already exists and is a veth link, not a macvtap link"),
        ({"mode": "passthru"}, r"^mode: a link in mode passthru must be the only one on its parent"),
        ({"mac": "52:54:00:00:00:99"}, r"^mac: 52:54:00:00:00:99 is the MAC address of old0, another link"),
        ({"mode": "sideways"}, r"^value of mode must be one of"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_bad_input_gets_one_error_and_changes_nothing(
    netns: Namespace, params: dict[str, t.Any], message: str, check: bool
) -> None:
    netns.run({"name": "old0", "parent": "eth0", "mode": "bridge", "mac": "52:54:00:00:00:99"})
    netns.ip("link", "add", "br0", "type", "bridge")
    netns.ip("link", "set", "far1", "master", "br0")
    before = netns.names()
    failed = netns.run({"name": "mt0", "parent": "eth0", "mode": "bridge", **params}, check=check)
    assert failed["failed"]
    assert failed["rc"] != 0
    assert re.search(message, failed["msg"]), failed["msg"]
    assert netns.names() == before


def test_an_error_in_a_list_names_the_entry(netns: Namespace) -> None:
    links = [{"name": "mt0"}, {"name": "mt1", "mtu": 9000}]
    failed = netns.run({"parent": "eth0", "mode": "bridge", "links": links})
    assert failed["msg"].startswith("links[1].mtu: 9000 exceeds the MTU of the parent eth0 (1500)")
    assert netns.names() == set()


def test_a_batch_that_fails_in_the_middle_is_put_back(netns: Namespace) -> None:
    there = [{"name": "old0", "mac": MAC}, {"name": "old1"}]
    netns.run({"links": there, "parent": "eth0", "mode": "private"})
    failed = netns.run(
        {
            "parent": "eth0",
            "mode": "bridge",
            "links": [
                {"name": "old0", "state": "absent"},
                {"name": "old1", "mtu": 1300},
                {"name": "new0"},
                # The kernel refuses it where nobody has set a secret, which only the kernel knows.
                {"name": "new1", "addrgenmode": "stable_secret"},
            ],
        }
    )
    assert failed["msg"].startswith("links[3]: the kernel refused to create new1 on eth0: Invalid argument (EINVAL)")
    assert failed["msg"].endswith("old0: recreated during the rollback, with another index and /dev/tapN")
    assert netns.names() == {"old0", "old1"}
    assert netns.link("old0")["address"] == MAC
    assert netns.link("old1")["mtu"] == 1500
    assert netns.link("old1")["linkinfo"]["info_data"]["mode"] == "private"


@pytest.mark.parametrize("action", [{"state": "absent"}, {"parent": "eth1"}])
def test_a_link_that_a_process_holds_is_not_cut_off(netns: Namespace, action: dict[str, str]) -> None:
    base = {"name": "mt0", "parent": "eth0", "mode": "bridge"}
    (link,) = netns.run(base)["links"]
    with pathlib.Path(link["tap"]["path"]).open("rb+", buffering=0):
        failed = netns.run({**base, **action})
        assert re.search(rf"would disconnect pid {os.getpid()} \(.*force: true", failed["msg"]), failed["msg"]
        assert netns.run({"name": "mt0", "mode": "vepa"})["changed"]
        assert netns.link("mt0")["ifindex"] == link["ifindex"]
        assert netns.run({**base, **action, "force": True})["changed"]


def test_without_pyroute2_its_package_is_named(netns: Namespace, tmp_path: pathlib.Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nshift; exec /usr/bin/python3 -c \"import sys; sys.modules['pyroute2'] = None; $1\"\n")
    python.chmod(0o755)
    failed = netns.run({"name": "mt0", "parent": "eth0"}, python=str(python))
    assert "Failed to import the required Python library (pyroute2)" in failed["msg"]
    assert "apt install python3-pyroute2" in failed["msg"]
