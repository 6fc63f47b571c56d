# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt_direct_iface_info against a real libvirtd, running guests and their links."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import stat
import subprocess
import sys
import typing as t

import direct_iface
import yaml
from direct_iface import A, B, C, Result, domain, nic, ok
from labkit import model
from other_user import OtherUser
from support import ROOT, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


def ask(hv: Hypervisor, *, check: bool = False, **params: t.Any) -> dict[str, Result]:
    """The domains by name."""
    result = ok(run_module("libvirt_direct_iface_info", params, check=check, prefix=hv.prefix))
    assert not result["changed"]
    assert result["libvirt_version"] in hv.virsh("version", "--daemon")
    return {one["name"]: one for one in result["domains"]}


def only(hv: Hypervisor, name: str = "web1", **params: t.Any) -> Result:
    (interface,) = ask(hv, **params)[name]["interfaces"]
    return t.cast("Result", interface)


def test_a_running_guest_and_all_that_is_behind_it(started: Hypervisor) -> None:
    result = ask(started)["web1"]
    assert (result["uuid"], result["running"], result["persistent"]) == (
        started.virsh("domuuid", "web1").strip(),
        True,
        True,
    )
    assert result["pid"] == int(started.run("cat", "/run/libvirt/qemu/web1.pid"))
    (interface,) = result["interfaces"]
    assert (interface["mac"], interface["differences"], interface["stale_mode"]) == (A, [], None)
    assert interface["stored"]["mode"] == "bridge"
    assert "target" not in interface["stored"]
    link = interface["link"]
    (shown,) = json.loads(started.run("ip", "-d", "-j", "link", "show", interface["live"]["target"]))
    assert link == {
        "name": shown["ifname"],
        "ifindex": shown["ifindex"],
        "parent": "eth0",
        "mode": shown["linkinfo"]["info_data"]["mode"],
        "mac": A,
        "mtu": shown["mtu"],
        "state": "up",
    }
    node = os.stat(interface["tap"]["path"])
    assert interface["tap"]["path"] == f"/dev/tap{link['ifindex']}"
    assert (interface["tap"]["major"], interface["tap"]["minor"]) == (os.major(node.st_rdev), os.minor(node.st_rdev))
    assert interface["tap"]["own"]
    assert interface["held_by_domain"]
    assert interface["holders"] == [{"pid": result["pid"], "command": "qemu-system-x86_64", "domain": "web1"}]
    assert ask(started, check=True)["web1"] == result


def redefine(hv: Hypervisor, *nics: str) -> None:
    """Give web1 these interfaces as `virsh edit` would: the domain is the same one, by its UUID."""
    uuid = f"<uuid>{hv.virsh('domuuid', 'web1').strip()}</uuid>"
    hv.define(domain("web1", *nics).replace("<title>", f"{uuid}<title>"))


def test_what_is_stored_is_not_what_runs(started: Hypervisor) -> None:
    assert not only(started)["differences"]
    redefine(started, nic(A, "up1", "private", "<driver queues='2'/><link state='down'/>"), nic(B))
    first, second = ask(started)["web1"]["interfaces"]
    assert first["differences"] == [
        {"field": "source", "stored": "up1", "live": "eth0"},
        {"field": "mode", "stored": "private", "live": "bridge"},
        {"field": "driver.queues", "stored": 2, "live": None},
        {"field": "link_state", "stored": "down", "live": "up"},
    ]
    assert first["stored"]["driver"] == {"queues": 2}
    assert first["link"]["parent"] == "eth0"
    assert second["differences"] == [{"field": "state", "stored": "present", "live": "absent"}]
    assert (second["mac"], second["live"], second["link"], second["held_by_domain"]) == (B, None, None, None)
    redefine(started)
    assert only(started)["differences"] == [{"field": "state", "stored": "absent", "live": "present"}]


def test_a_mode_that_libvirt_has_not_noticed(started: Hypervisor) -> None:
    link = only(started)["link"]["name"]
    started.run("ip", "link", "set", link, "type", "macvtap", "mode", "vepa")
    result = only(started)
    assert (result["link"]["mode"], result["live"]["mode"], result["stale_mode"]) == ("vepa", "vepa", "bridge")
    assert result["differences"] == [{"field": "mode", "stored": "bridge", "live": "vepa"}]
    started.define(started.dump("web1").replace("mode='bridge'", "mode='vepa'"))
    result = only(started)
    assert (result["differences"], result["stale_mode"]) == ([], "bridge")


def test_passthrough_is_no_stale_mode(hv: Hypervisor) -> None:
    hv.define(domain("web1", nic(A, "up1", "passthrough")))
    hv.virsh("start", "web1")
    result = only(hv)
    assert (result["live"]["mode"], result["link"]["mode"], result["stale_mode"]) == ("passthrough", "passthru", None)
    assert (result["differences"], result["held_by_domain"]) == ([], True)


def test_who_may_open_the_tap(started: Hypervisor) -> None:
    path = only(started)["tap"]["path"]
    started.run("chown", "libvirt-qemu:kvm", path)
    started.run("chmod", "640", path)
    tap = only(started)["tap"]
    assert (tap["owner"], tap["group"], tap["mode"], tap["own"]) == ("libvirt-qemu", "kvm", "0640", True)


def test_a_node_that_is_missing_or_another_ones(started: Hypervisor) -> None:
    tap = only(started)["tap"]
    os.unlink(tap["path"])
    try:
        result = only(started)
        assert (result["tap"]["own"], result["tap"]["owner"], result["tap"]["minor"]) == (False, None, tap["minor"])
        # The guest has it open since before, and does not need the node any more.
        assert result["held_by_domain"]
        os.mknod(tap["path"], stat.S_IFCHR | 0o600, os.makedev(tap["major"], tap["minor"] + 1))
        result = only(started)
        assert (result["tap"]["own"], result["tap"]["owner"], result["tap"]["minor"]) == (False, "root", tap["minor"])
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(tap["path"])


@contextlib.contextmanager
def taken_by_another_namespace(indexes: t.Iterable[int]) -> t.Iterator[None]:
    """Another namespace has macvtap links of these indexes, and so their nodes in /dev."""
    name = f"taken{os.getpid()}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "add", "low0", "type", "veth", "peer", "name", "far0")
        for index in indexes:
            ip("-n", name, "link", "add", "link", "low0", f"t{index}", "index", str(index), "type", "macvtap")
        yield
    finally:
        ip("netns", "del", name)


def test_a_guest_on_another_namespaces_tap(started: Hypervisor) -> None:
    index = only(started)["link"]["ifindex"]
    started.virsh("destroy", "web1")
    with taken_by_another_namespace(range(index + 1, index + 4)):
        # libvirt opens /dev/tapN, which is somebody else's, and notices nothing.
        started.virsh("start", "web1")
        result = only(started)
        assert result["link"]["ifindex"] in range(index + 1, index + 4)
        assert not result["tap"]["own"]
        assert (result["held_by_domain"], result["holders"]) == (False, [])
        assert ask(started)["web1"]["pid"] is None
        started.virsh("destroy", "web1")


def test_a_link_that_is_gone(started: Hypervisor) -> None:
    started.run("ip", "link", "del", only(started)["link"]["name"])
    result = only(started)
    assert result["live"]["target"]
    assert (result["link"], result["tap"], result["held_by_domain"]) == (None, None, False)


def test_a_stopped_domain(hv: Hypervisor) -> None:
    hv.define(domain("web1", nic(A)))
    result = ask(hv)["web1"]
    assert (result["running"], result["persistent"], result["pid"]) == (False, True, None)
    (interface,) = result["interfaces"]
    assert interface["stored"]["source"] == "eth0"
    assert interface["differences"] == []
    nothing = ("live", "stale_mode", "link", "tap", "held_by_domain", "holders")
    assert {name: interface[name] for name in nothing} == dict.fromkeys(nothing)


def test_a_transient_domain(hv: Hypervisor) -> None:
    hv.virsh("create", "/dev/stdin", stdin=domain("fleeting", nic(A)))
    result = ask(hv)["fleeting"]
    assert (result["running"], result["persistent"]) == (True, False)
    (interface,) = result["interfaces"]
    assert (interface["stored"], interface["differences"], interface["held_by_domain"]) == (None, [], True)


def test_which_domains_are_returned(hv: Hypervisor) -> None:
    user = f"<interface type='user'><mac address='{C}'/></interface>"
    for name, nics in (("web2", [nic(B), user]), ("web1", [nic(A)]), ("none", [user]), ("bare", [])):
        hv.define(domain(name, *nics))
    assert list(ask(hv)) == ["web1", "web2"]
    assert only(hv, "web2")["mac"] == B
    named = ask(hv, domains=["web2", "bare", "none", "web2"])
    assert {name: len(one["interfaces"]) for name, one in named.items()} == {"web2": 1, "bare": 0, "none": 0}
    assert list(named) == ["web2", "bare", "none"]
    assert ask(hv, domains=[]) == {}
    failed = run_module("libvirt_direct_iface_info", {"domains": ["web1", "wab2"]}, prefix=hv.prefix)
    assert failed["msg"] == "domains[1]: no domain 'wab2' on qemu:///system (known: web2, web1 and 2 more)"


def test_many_domains_in_one_run(hv: Hypervisor) -> None:
    for number in range(24):
        hv.define(domain(f"web{number:02}", *(nic(f"52:54:00:00:{side}:{number:02x}") for side in ("01", "02"))))
    running = {f"web{number:02}" for number in range(0, 24, 6)}
    for name in running:
        hv.virsh("start", name)
    result = ask(hv)
    assert list(result) == [f"web{number:02}" for number in range(24)]
    assert {name for name, one in result.items() if one["running"]} == running
    pids = {name: one["pid"] for name, one in result.items() if one["pid"]}
    assert pids == {name: int(hv.run("cat", f"/run/libvirt/qemu/{name}.pid")) for name in running}
    links = [i["link"]["name"] for name in running for i in result[name]["interfaces"]]
    assert len(set(links)) == 8
    assert all(i["held_by_domain"] for name in running for i in result[name]["interfaces"])


def test_a_socket_of_this_host_is_this_host(started: Hypervisor) -> None:
    by_socket = only(started, uri=f"qemu+unix:///system?socket={started.socket}")
    assert by_socket == only(started)
    assert by_socket["link"]


def test_libvirts_own_test_driver_has_no_links(hv: Hypervisor) -> None:
    assert ask(hv, uri="test:///default") == {}
    result = ask(hv, uri="test:///default", domains=["test"])["test"]
    assert (result["running"], result["pid"], result["interfaces"]) == (True, None, [])


def test_a_user_who_is_not_root_sees_all_but_the_processes(started: Hypervisor) -> None:
    user = OtherUser(started)
    (result,) = ok(user.module("libvirt_direct_iface_info"))["domains"]
    (interface,) = result["interfaces"]
    as_root = only(started)
    unseen: Result = {"held_by_domain": None, "holders": None}
    assert interface == {**as_root, **unseen}
    assert interface["link"]["name"]
    assert interface["tap"]["own"]
    (link,) = ok(user.module("macvtap_link_info"))["links"]
    assert (link["name"], link["holders"]) == (interface["link"]["name"], None)
    assert result["pid"] is None


def test_the_examples(started: Hypervisor, tmp_path: pathlib.Path) -> None:
    started.define(started.dump("web1").replace("mode='bridge'", "mode='private'"))
    documented = subprocess.run(
        [sys.executable, "-c", "import runpy, sys; print(runpy.run_path(sys.argv[1])['EXAMPLES'])",
         str(ROOT / "plugins/modules/libvirt_direct_iface_info.py")],
        check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")},
    ).stdout  # fmt: skip
    play = [{"hosts": "all", "gather_facts": False, "tasks": yaml.safe_load(documented)}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    inventory = str(t.cast("model.Lab", model.load(started.cell.lab)).inventory)
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", inventory, str(tmp_path / "play.yml")],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'"msg": "web1 {A}: mode"' in done.stdout
    assert '"web1.domains[0].interfaces[0].link.name": "macvtap' in done.stdout
