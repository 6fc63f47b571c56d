# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The inventory of guests, of hypervisors that report what a test has written: names, variables, and the cache."""

from __future__ import annotations

import json
import pathlib
import shlex
import typing as t

import pytest
from fleet import mac
from lying_hosts import CORES, Controller, Values

SERVERS = {"servers": {"hosts": {"gitlab": {"ansible_host": "198.51.100.10"}, "static": {}, "uplink_eth7": {}}}}


@pytest.fixture(params=CORES)
def controller(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Controller:
    return Controller(tmp_path, request.param)


def guests(*names: str, first: int = 1, **nic: t.Any) -> Values:
    """Return an answer with guests of these names, with addresses from 192.0.2.``first`` on."""
    found = []
    for number, name in enumerate(names, first):
        address = {"address": f"192.0.2.{number}", "family": "ipv4", "scope": "global", "state": "confirmed"}
        own = {"mac": mac(number), "uplink": "eth0", "addresses": [address], **nic}
        found.append({"name": name, "uuid": f"u{number}", "state": "running", "interfaces": [own]})
    return {"changed": False, "guests": found, "others": []}


def change(controller: Controller, **variables: t.Any) -> None:
    """Give a hypervisor other variables."""
    path = controller.directory / "hosts.yml"
    inventory = json.loads(path.read_text())
    inventory["hypervisors"]["hosts"]["hv2"].update(variables)
    path.write_text(json.dumps(inventory))


def test_no_guest_takes_the_name_of_something_else(controller: Controller) -> None:
    refused = (
        "all",
        "guests",
        "hypervisors",
        "servers",
        "localhost",
        "127.0.0.1",
        "gitlab",
        "uplink_eth0",
        "hv2",
        "tag",
        "office",
    )
    controller.hosts(
        {"hv1": guests("web1", "static", *refused), "hv2": guests("web2", first=50, uplink="eth7", portgroup="office")},
        **SERVERS,
    )
    keyed = [{"key": "macvtap_guest.interfaces | map(attribute='portgroup') | list", "prefix": "", "separator": ""}]
    controller.guests(merge=["static"], groups={"tag": "true"}, keyed_groups=keyed, jump="always")
    done = controller.run("inventory", "--list")
    listed = json.loads(done.stdout, object_hook=lambda one: one.get("__ansible_unsafe", one))
    hosts = listed["_meta"]["hostvars"]
    assert sorted(listed["guests"]["hosts"]) == ["static", "web1", "web2"]
    assert hosts["gitlab"] == {"ansible_host": "198.51.100.10"}
    assert hosts["static"]["ansible_host"] == "192.0.2.2"
    assert sorted(listed["hypervisors"]["hosts"]) == ["hv1", "hv2"]
    assert listed["office"]["hosts"] == ["web2"]
    assert listed["tag"]["hosts"] == listed["guests"]["hosts"]
    # A group of its name would hide that host.
    assert "uplink_eth7" in listed["servers"]["hosts"]
    assert listed["uplink_eth7_"]["hosts"] == ["web2"]
    errors = " ".join(done.stderr.split())
    for name, problem in (
        *(
            (name, "is called as a group")
            for name in ("all", "guests", "hypervisors", "servers", "uplink_eth0", "tag", "office")
        ),
        *((name, "is called as the controller itself") for name in ("localhost", "127.0.0.1")),
        ("gitlab", "is called as a host of another source, and merge does not have that"),
        ("hv2", "is called as a hypervisor"),
    ):
        assert f"'{name}' on hv1 {problem}; left out" in errors


def test_a_variable_that_cannot_be_read_hides_no_other_hypervisor(controller: Controller) -> None:
    controller.hosts({"hv1": guests("web1"), "hv2": guests("web2", first=50)})
    controller.guests(jump="always")
    change(controller, ansible_ssh_extra_args="{{ [1, 2] | nosuchfilter }}", macvtap_segment="{{ 1 / 0 }}")
    done = controller.run("inventory", "--graph")
    assert "web1" in done.stdout
    assert "web2" not in done.stdout
    errors = " ".join(done.stderr.split())
    assert "hv2: its guests are missing: a variable cannot be read: ansible_ssh_extra_args: " in errors
    assert "nosuchfilter" in errors
    # Without a way through it, that variable does not matter.
    controller.guests()
    done = controller.run("inventory", "--graph")
    assert "web2" in done.stdout
    assert "hv2: its guests are in no segment: a variable cannot be read: macvtap_segment: " in " ".join(
        done.stderr.split()
    )


def test_arguments_of_ssh_that_cannot_be_read_hide_no_other_hypervisor(controller: Controller) -> None:
    controller.hosts({"hv1": guests("web1"), "hv2": guests("web2", first=50)})
    controller.guests(jump="always")
    change(controller, ansible_ssh_common_args="-o 'ProxyCommand=nc")
    done = controller.run("inventory", "--graph")
    assert "web1" in done.stdout
    assert "hv2: its guests are missing: jump: ansible_ssh_common_args of hv2 cannot be read" in " ".join(
        done.stderr.split()
    )


def test_the_variables_that_lead_through_a_hypervisor(controller: Controller) -> None:
    controller.hosts({"hv1": guests("web1"), "hv2": guests("web2", first=50)})
    controller.guests(jump="always")
    change(controller, ansible_ssh_host="fe80::1%eth0", ansible_ssh_user="{{ 'ad' ~ 'min' }}", ansible_ssh_port=2222)
    arguments = controller.listed()["_meta"]["hostvars"]["web2"]["ansible_ssh_common_args"]
    words = shlex.split(arguments.replace("%%", "%"))
    assert words == ["-o", "ProxyCommand=ssh -p 2222 -l admin -W [%h]:%p -- fe80::1%eth0"]


def test_a_failure_is_not_cached(controller: Controller) -> None:
    controller.hosts({"hv1": guests("web1"), "hv2": {"failed": True, "msg": "not yet"}})
    cache = {"cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(controller.directory / "cache")}
    controller.guests(cache=True, **cache)
    assert "hv2: its guests are missing: not yet" in controller.run("inventory", "--graph").stderr
    controller.hosts({"hv1": guests("other1"), "hv2": guests("web2", first=50)})
    for _run in range(2):
        done = controller.run("inventory", "--graph")
        assert "WARNING" not in done.stderr
        # The first one has answered, and is not asked again.
        assert [name in done.stdout for name in ("web1", "web2", "other1")] == [True, True, False]
        (controller.directory / "hv2.sh.json").write_text(json.dumps({"failed": True, "msg": "asked again"}))
