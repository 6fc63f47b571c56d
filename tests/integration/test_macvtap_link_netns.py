# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links in another network namespace than their parent."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest
from support import PYTHONS, run_module

if t.TYPE_CHECKING:
    from namespaces import Namespace

MAC = "52:54:00:00:00:01"


def links_in(netns: str) -> dict[str, dict[str, t.Any]]:
    shown = subprocess.run(["ip", "-n", netns, "-d", "-j", "link", "show"], check=True, capture_output=True, text=True)
    return {link["ifname"]: link for link in json.loads(shown.stdout) if link["ifname"] != "lo"}


@pytest.mark.parametrize("python", PYTHONS)
def test_a_link_comes_changes_and_goes_in_another_namespace(netns: Namespace, other_netns: str, python: str) -> None:
    wanted = {
        "name": "mt0",
        "netns": other_netns,
        "parent": "eth0",
        "mode": "bridge",
        "mac": MAC,
        "alias": "for blue",
        "addrgenmode": "none",
        "tap": {"group": "kvm", "mode": "0660"},
    }
    (link,) = netns.run(wanted, python=python)["links"]
    shown = links_in(other_netns)["mt0"]
    assert (shown["address"], shown["ifalias"], shown["inet6_addr_gen_mode"]) == (MAC, "for blue", "none")
    assert "UP" in shown["flags"]
    assert (link["netns"], link["ifindex"], link["parent"]) == (other_netns, shown["ifindex"], "eth0")
    node = pathlib.Path(link["tap"]["path"]).stat()
    assert (os.major(node.st_rdev), os.minor(node.st_rdev)) == (link["tap"]["major"], link["tap"]["minor"])
    assert link["tap"]["own"]
    assert (link["tap"]["group"], link["tap"]["mode"]) == ("kvm", "0660")
    assert "mt0" not in netns.names()
    assert not netns.run(wanted, python=python)["changed"]

    changed = netns.run({**wanted, "mode": "private", "netns": f"/run/netns/{other_netns}"}, python=python)
    assert [(c["field"], c["impact"]) for c in changed["changes"]] == [("mode", "in_place")]
    assert links_in(other_netns)["mt0"]["linkinfo"]["info_data"]["mode"] == "private"

    assert netns.run({"name": "mt0", "netns": other_netns, "state": "absent"}, python=python)["changed"]
    assert links_in(other_netns) == {}


def test_one_name_in_two_namespaces_is_two_links(netns: Namespace, other_netns: str) -> None:
    links = [{"name": "mt0"}, {"name": "mt0", "netns": other_netns}]
    assert netns.run({"parent": "eth0", "mode": "bridge", "links": links})["changed"]
    assert "mt0" in netns.names()
    assert "mt0" in links_in(other_netns)
    netns.run({"links": [{"name": "mt0", "state": "absent"}]})
    assert "mt0" in links_in(other_netns)


def test_an_address_is_once_on_a_parent_across_namespaces(netns: Namespace, other_netns: str) -> None:
    netns.run({"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": MAC})
    failed = netns.run({"name": "mt1", "netns": other_netns, "parent": "eth0", "mode": "bridge", "mac": MAC})
    assert failed["msg"].startswith(f"mac: {MAC} is the MAC address of mt0")
    assert links_in(other_netns) == {}


def test_a_batch_over_two_namespaces_is_put_back(netns: Namespace, other_netns: str) -> None:
    # The kernel refuses the mode where no secret has been set; nobody can see that before.
    links = [{"name": "mt0", "netns": other_netns}, {"name": "mt1"}, {"name": "mt2", "addrgenmode": "stable_secret"}]
    failed = netns.run({"parent": "eth0", "mode": "bridge", "links": links})
    assert failed["msg"].startswith("links[2]: the kernel refused")
    assert failed["msg"].endswith("The host is as it was before")
    assert (netns.names(), links_in(other_netns)) == (set(), {})


def test_a_namespace_that_is_not_there(netns: Namespace) -> None:
    failed = netns.run({"links": [{"name": "mt0", "netns": "no-such"}], "parent": "eth0"})
    assert failed["msg"].startswith("links[0].netns: no network namespace no-such (/run/netns/no-such); known: ")


def test_one_namespace_in_every_spelling(netns: Namespace, other_netns: str) -> None:
    new = {"parent": "eth0", "mode": "bridge", "addrgenmode": "none", "alias": "x"}
    # None, and our own by its name.
    assert netns.run({**new, "name": "mt0", "netns": "", "mac": MAC})["changed"]
    assert not netns.run({**new, "name": "mt0", "netns": netns.name, "mac": MAC})["changed"]
    twice = [{"name": "mt1", "netns": other_netns}, {"name": "mt1", "netns": f"/run/netns/{other_netns}"}]
    netns.refuses({**new, "links": twice}, r"^links\[1\]\.name: .*mt1 is declared twice, here and in links\[0\]\.name")
    assert links_in(other_netns) == {}


@pytest.mark.parametrize("check", [True, False])
def test_a_file_that_is_no_namespace(netns: Namespace, tmp_path: pathlib.Path, check: bool) -> None:
    left = tmp_path / "left"
    left.touch()
    task = {"links": [{"name": "mt0", "netns": str(left)}], "parent": "eth0"}
    netns.refuses(task, rf"^links\[0\]\.netns: {left} \({left}\) is not a network namespace", check=check)


def test_who_may_not_enter_a_namespace(netns: Namespace, other_netns: str) -> None:
    prefix = [*netns.prefix, "setpriv", "--reuid", "nobody", "--clear-groups"]
    failed = run_module(
        "macvtap_link", {"name": "mt0", "netns": other_netns, "parent": "eth0"}, prefix=prefix, check=True
    )
    assert failed["msg"].startswith(
        f"netns: cannot enter the network namespace {other_netns} (/run/netns/{other_netns}): "
    ), failed
    assert failed["msg"].endswith(". Run the task as root (become: true)"), failed
