# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt_direct_network and its info module on a real libvirtd, with guests that run on the networks."""

from __future__ import annotations

import re
import signal
import subprocess
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Result, domain, impacts, ok
from support import (
    MODULES,
    Meanwhile,
    ansible_path,
    module_command,
    module_environment,
    module_input,
    run_module,
)

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

METADATA = "<metadata><x:y xmlns:x='urn:x' a='1'><portgroup name='no'/></x:y></metadata>"


class Networks:
    """The module on a hypervisor."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv

    def __call__(self, *, check: bool = False, **params: t.Any) -> Result:
        return run_module("libvirt_direct_network", params, check=check, diff=True, prefix=self.hv.prefix)

    def refused(self, message: str, **params: t.Any) -> None:
        """Run with ``params``, which is to fail with ``message`` (a pattern) and to leave every network as it was."""
        before = self.all()
        for check in (True, False):
            failed = self(check=check, **params)
            assert failed.get("failed"), failed
            assert re.search(message, failed["msg"]), failed["msg"]
        assert self.all() == before

    def info(self, **params: t.Any) -> list[Result]:
        done = ok(run_module("libvirt_direct_network_info", params, prefix=self.hv.prefix))
        return t.cast("list[Result]", done["networks"])

    def names(self) -> list[str]:
        return self.hv.virsh("net-list", "--all", "--name").split()

    def xml(self, name: str, *, live: bool = False) -> str:
        return self.hv.virsh("net-dumpxml", *(() if live else ("--inactive",)), name)

    def all(self) -> list[str]:
        return [text for name in self.names() for text in (self.xml(name), self.xml(name, live=True), self.state(name))]

    def state(self, name: str) -> str:
        return self.hv.virsh("net-info", name)

    def define(self, xml: str) -> None:
        self.hv.virsh("net-define", "/dev/stdin", stdin=xml)


@pytest.fixture
def networks(hv: Hypervisor) -> Networks:
    return Networks(hv)


def nic(mac: str, portgroup: str = "", network: str = "lan") -> str:
    group = f" portgroup='{portgroup}'" if portgroup else ""
    return (
        f"<interface type='network'><mac address='{mac}'/><source network='{network}'{group}/>"
        "<model type='virtio'/></interface>"
    )


def start(hv: Hypervisor, name: str = "web1", mac: str = A, portgroup: str = "") -> None:
    hv.define(domain(name, nic(mac, portgroup)))
    hv.virsh("start", name)


def test_create_change_stop_and_remove(networks: Networks) -> None:
    groups = [{"name": "web", "trust_guest_rx_filters": True}, {"name": "db", "default": True}]
    declared: Result = {"name": "lan", "interfaces": ["eth0"], "portgroups": groups}
    predicted = ok(networks(check=True, **declared))
    assert networks.names() == []
    made = ok(networks(**declared))
    assert made["changes"] == predicted["changes"]
    assert made["networks"] == [{**predicted["networks"][0], "uuid": made["networks"][0]["uuid"]}]
    assert impacts(made)["state"] == "live"
    assert re.search("Active: +yes\nPersistent: +yes\nAutostart: +yes", networks.state("lan"))
    assert not ok(networks(**declared))["changed"]
    # Without guests a mode takes a restart that nobody feels; uplinks and portgroups are changed at once.
    assert impacts(ok(networks(name="lan", mode="vepa"))) == {"mode": "recreate"}
    more: Result = {"name": "lan", "interfaces": ["up1", "eth0"], "portgroups": [{"name": "web", "state": "absent"}]}
    assert set(impacts(ok(networks(**more))).values()) == {"live"}
    assert not ok(networks(**more))["changed"]
    (shown,) = networks.info()
    assert (shown["mode"], shown["interfaces"], shown["live"]["mode"]) == ("vepa", ["up1", "eth0"], "vepa")
    assert sorted(shown["live"]["interfaces"]) == ["eth0", "up1"]
    assert [one["name"] for one in shown["portgroups"]] == ["db"]
    stopped: Result = {"name": "lan", "state": "inactive", "autostart": False}
    assert impacts(ok(networks(**stopped))) == {"autostart": "config", "state": "live"}
    assert not ok(networks(**stopped))["changed"]
    assert ok(networks(name="lan", state="absent"))["changed"]
    assert networks.names() == []
    assert not ok(networks(name="lan", state="absent"))["changed"]


def test_everything_else_of_a_network_stays(networks: Networks) -> None:
    networks.define(
        f"<network trustGuestRxFilters='yes'><name>lan</name>{METADATA}<forward mode='bridge' dev='eth0'/>"
        "<portgroup name='a'/><portgroup name='b' default='yes'/></network>"
    )
    before = networks.xml("lan")
    ok(networks(name="lan", mode="private", interfaces=["up1"], portgroups=[{"name": "a", "default": True}]))
    changes = (
        ("eth0", "up1"),
        ("bridge", "private"),
        ("name='b' default='yes'", "name='b'"),
        ("'a'>", "'a' default='yes'>"),
    )
    expected = before
    for old, new in changes:
        expected = expected.replace(old, new)
    assert networks.xml("lan") == expected
    ok(networks(name="lan", mode="bridge", interfaces=["eth0"], portgroups=[{"name": "b", "default": True}]))
    assert networks.xml("lan") == before.replace("name='a' default='yes'", "name='a'")


def test_running_guests_keep_what_they_have_and_get_the_rest_at_their_next_start(networks: Networks) -> None:
    hv = networks.hv
    ok(networks(name="lan", interfaces=["eth0", "up1"], portgroups=[{"name": "web"}]))
    start(hv, portgroup="web")
    links = hv.run("ip", "-br", "link", "show", "type", "macvtap")
    other: Result = {"name": "lan", "mode": "private", "interfaces": ["up1"], "portgroups": [{"name": "db"}]}
    predicted = ok(networks(check=True, **other))
    done = ok(networks(**other))
    assert impacts(done) == {"mode": "restart", "interfaces": "restart", "portgroups.db": "live"}
    nic_of = {"network": "lan", "domain": "web1", "mac": A, "fields": ["mode", "interfaces"]}
    network = {"network": "lan", "domain": None, "mac": None, "fields": ["mode", "interfaces"]}
    assert done["restart_required"] == predicted["restart_required"] == [network, nic_of]
    assert hv.run("ip", "-br", "link", "show", "type", "macvtap") == links
    # The uplink that the guest is on stays as long, because libvirt would keep its port for ever.
    assert networks.info()[0]["live"]["interfaces"] == ["eth0", "up1"]
    again = ok(networks(**other))
    assert (again["changed"], again["restart_required"]) == (False, [network, nic_of])
    hv.virsh("destroy", "web1")
    assert hv.virsh("net-port-list", "lan").split() == []
    assert set(impacts(ok(networks(**other))).values()) == {"recreate"}
    hv.virsh("start", "web1")
    assert "dev='up1' mode='private'" in hv.dump("web1", live=True)
    assert ok(networks(**other))["restart_required"] == []


def test_a_network_that_guests_use_is_not_taken_from_them(networks: Networks) -> None:
    hv = networks.hv
    ok(networks(name="lan", interfaces=["eth0"], portgroups=[{"name": "web"}]))
    hv.define(domain("web1", nic(A, "web")))
    for state, what in (("absent", "removed"), ("inactive", "stopped")):
        networks.refused(
            rf"state: network 'lan' is used by web1 \({A}, not running\). If it is {what}", name="lan", state=state
        )
    gone: Result = {"name": "lan", "portgroups": [{"name": "web", "state": "absent"}]}
    networks.refused(r"portgroups\[0\].state: portgroup 'web' of network 'lan' is used by web1", **gone)
    hv.virsh("start", "web1")
    hv.virsh("undefine", "web1")
    networks.refused("used by web1 .*running", name="lan", state="absent", timeout=1)
    (one,) = networks.info(networks=["lan"])[0]["used_by"]
    assert (one["domain"], one["stored"], one["live"], one["uplink"]) == ("web1", False, True, "eth0")
    done = ok(networks(name="lan", state="absent", force=True))
    assert impacts(done) == {"state": "restart"}
    assert "running" in hv.virsh("list")


def test_a_pool_of_whole_uplinks_keeps_its_accounts(networks: Networks) -> None:
    hv = networks.hv
    hv.run("ip", "link", "add", "up2", "type", "veth", "peer", "name", "far2")
    for link in ("up2", "far2"):
        hv.run("ip", "link", "set", link, "up")
    networks.refused("mode: eth0 has addresses of the host", name="lan", mode="passthrough", interfaces=["eth0"])
    pool: Result = {"name": "lan", "mode": "passthrough", "interfaces": ["up1", "up2"]}
    ok(networks(**pool))
    start(hv)
    changed: Result = {**pool, "portgroups": [{"name": "web"}]}
    assert impacts(ok(networks(**changed))) == {"portgroups.web": "restart"}
    # The second guest gets the free one, since libvirt still knows of the first.
    start(hv, "web2", B)
    assert {one["uplink"] for one in networks.info()[0]["used_by"]} == {"up1", "up2"}


@pytest.mark.parametrize(
    "inner", ["", "<forward mode='open'/><ip address='10.9.9.1'/>", "<forward mode='bridge'/><bridge name='br0'/>"]
)
def test_other_networks_are_left_alone(networks: Networks, inner: str) -> None:
    networks.define(f"<network><name>lan</name>{inner}</network>")
    for state in ("active", "absent"):
        networks.refused("name: network 'lan' exists and is not a direct network", name="lan", state=state)
    assert networks.info() == []


def test_a_transient_network_becomes_persistent(networks: Networks) -> None:
    networks.hv.virsh(
        "net-create", "/dev/stdin", stdin="<network><name>lan</name><forward mode='vepa' dev='eth0'/></network>"
    )
    done = ok(networks(name="lan"))
    assert impacts(done) == {"persistent": "config", "autostart": "config"}
    assert (done["networks"][0]["mode"], done["networks"][0]["active"]) == ("vepa", True)
    assert not ok(networks(name="lan"))["changed"]


def test_a_failure_puts_all_networks_back(networks: Networks) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    ok(networks(name="old", interfaces=["eth0"], state="inactive"))
    before = networks.all()
    # libvirt stores a pool of virtual functions, and does not start one without any.
    declared = [
        {"name": "lan", "mode": "vepa", "interfaces": ["up1"], "autostart": False},
        {"name": "old", "state": "absent"},
        {"name": "new", "interfaces": ["up1"]},
        {"name": "pool", "pf": "eth0"},
    ]
    failed = networks(networks=declared)
    assert "No usable Vf" in failed["msg"]
    assert failed["msg"].endswith("The host is as it was before")
    assert networks.all() == before
    kept = networks(networks=declared, on_error="keep")
    assert kept["failed"]
    assert networks.names() == ["lan", "new", "pool"]


def test_what_another_editor_changes_meanwhile_is_not_overwritten(networks: Networks) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    update = ["virsh", "net-update", "lan", "add", "portgroup", "<portgroup name='theirs'/>", "--config"]
    meanwhile = Meanwhile("after", "_networks.planner.plan_of", update)
    params = {"name": "lan", "interfaces": ["up1"]}
    failed = run_module("libvirt_direct_network", params, prefix=networks.hv.prefix, meanwhile=meanwhile)
    assert "changed by another editor while this ran" in failed["msg"]
    assert "name='theirs'" in networks.xml("lan")
    assert "eth0" in networks.xml("lan")


def test_a_guest_that_starts_meanwhile_keeps_its_network(networks: Networks) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    networks.hv.define(domain("web1", nic(A)))
    meanwhile = Meanwhile("after", "_networks.planner.plan_of", ["virsh", "start", "web1"])
    params = {"name": "lan", "mode": "vepa"}
    failed = run_module("libvirt_direct_network", params, prefix=networks.hv.prefix, meanwhile=meanwhile)
    assert "is used by web1" in failed["msg"]
    assert failed["msg"].endswith("The host is as it was before")
    assert "vepa" not in networks.xml("lan")
    assert len(networks.hv.virsh("net-port-list", "lan").split()) == 1


def test_the_switch_decides_the_mode(networks: Networks) -> None:
    declared: Result = {"name": "lan", "mode": "auto", "interfaces": ["eth0"]}
    assert ok(networks(**declared))["networks"][0]["mode"] == "bridge"
    networks.hv.hairpin(True)
    assert not ok(networks(**declared))["changed"]
    done = ok(networks(**declared, auto="always"))
    assert (impacts(done), done["reflective_relay"][0]["reflective_relay"]) == ({"mode": "recreate"}, True)
    networks.hv.hairpin(False)


def test_an_update_that_is_lost_at_the_very_moment_is_reported(networks: Networks) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    theirs = networks.xml("lan").replace("</network>", "<portgroup name='theirs'/></network>")
    # Another editor defines it right after this run has looked for the last time.
    code = f"""
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import adapter
unchanged, their_xml = adapter._Run._unchanged, [{theirs!r}]
def acting(self, before):
    handle = unchanged(self, before)
    if their_xml:
        self._connection.handle.networkDefineXML(their_xml.pop())
    return handle
adapter._Run._unchanged = acting
"""
    program = f"""
import runpy, sys
sys.path.append({ansible_path()!r})
{code}
del sys.argv[1:]
runpy.run_module({MODULES + ".libvirt_direct_network"!r}, run_name="__main__", alter_sys=True)
"""
    python, dash, _code = module_command("libvirt_direct_network")
    params = {"name": "lan", "interfaces": ["up1"]}
    prefix = [*networks.hv.prefix, python, dash, program, "--"]
    failed = run_module("libvirt_direct_network", params, prefix=prefix)
    assert "changed by another editor at the moment when this run stored it" in failed["msg"]
    assert failed["msg"].endswith("What the other editor has stored of network 'lan' may be lost. Check it")


@pytest.mark.parametrize("moment", ["destroy", "networkDefineXML", "setAutostart"])
def test_a_run_that_is_killed_leaves_what_the_next_one_completes(networks: Networks, moment: str) -> None:
    ok(networks(name="lan", interfaces=["eth0"]))
    owner = "virConnect" if moment == "networkDefineXML" else "virNetwork"
    program = f"""
import libvirt, os, runpy, signal, sys
sys.path.append({ansible_path()!r})
real = libvirt.{owner}.{moment}
def killed(self, *arguments):
    real(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)
libvirt.{owner}.{moment} = killed
runpy.run_module({MODULES + ".libvirt_direct_network"!r}, run_name="__main__", alter_sys=True)
"""
    params: Result = {"name": "lan", "mode": "vepa", "interfaces": ["up1"], "autostart": False}
    python, dash, _code = module_command("libvirt_direct_network")
    command = [*networks.hv.prefix, python, dash, program]
    done = subprocess.run(
        command, input=module_input(params), capture_output=True, text=True, check=False, env=module_environment()
    )
    assert done.returncode == -signal.SIGKILL
    ok(networks(**params))
    assert not ok(networks(**params))["changed"]
    assert "mode='vepa'" in networks.xml("lan", live=True)
