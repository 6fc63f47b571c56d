# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The playbook preflight over the lab's hypervisors, with conflicts made on purpose and without."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import re
import typing as t

import installed
import pytest
import yaml
from direct_iface import domain, nic
from installed import Fleet, changed
from labkit import switch

A, B = "52:54:00:00:01:01", "52:54:00:00:02:01"
CLEAN: dict[str, t.Any] = {
    "vars": {"macvtap_domains_source": "eth0", "macvtap_links_parent": "eth0"},
    "hosts": {
        "hv1": {"macvtap_domains_interfaces": [{"domain": "web1", "mac": A}]},
        "hv2": {
            "macvtap_domains_interfaces": [{"domain": "web2", "mac": B}],
            "macvtap_links_links": [{"name": "spare0", "mac": "52:54:00:00:02:02"}],
        },
    },
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    """Two hypervisors with a domain each, of which web1 is stored as it is declared."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for the lab")
    with installed.fleet(tmp_path_factory, ("hv1", "hv2")) as made:
        made.on("hv1", "virsh", "define", "/dev/stdin", stdin=domain("web1", nic(A)))
        made.on("hv2", "virsh", "define", "/dev/stdin", stdin=domain("web2"))
        made.on("hv2", "ip", "link", "add", "br0", "type", "bridge")
        made.on("hv2", "ip", "link", "add", "port0", "type", "veth", "peer", "name", "far0")
        made.on("hv2", "ip", "link", "set", "port0", "master", "br0")
        yield made


def state(fleet: Fleet) -> list[t.Any]:
    result: list[t.Any] = []
    for hv, name in (("hv1", "web1"), ("hv2", "web2")):
        links = json.loads(fleet.on(hv, "ip", "-d", "-j", "link"))
        # The carrier comes and goes by itself.
        result += [{**link, "operstate": "", "flags": []} for link in links]
        result.append(fleet.on(hv, "virsh", "dumpxml", "--inactive", name))
    return result


def inventory(path: pathlib.Path, text: t.Mapping[str, t.Any]) -> pathlib.Path:
    file = path / "inventory.yml"
    file.write_text(yaml.safe_dump({"hypervisors": text}))
    return file


@pytest.fixture
def spoilt() -> dict[str, t.Any]:
    """web2 is to have the address of web1, and a link is to be on the port of a bridge."""
    text = copy.deepcopy(CLEAN)
    text["hosts"]["hv2"]["macvtap_domains_interfaces"][0]["mac"] = A
    text["hosts"]["hv2"]["macvtap_links_links"][0]["parent"] = "port0"
    return text


def test_a_clean_fleet_passes_with_its_summary_and_nothing_changed(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    before, report = state(fleet), tmp_path / "preflight.json"
    done = fleet.play("preflight", "-e", f"macvtap_preflight_json={report}", inventory=inventory(tmp_path, CLEAN))
    assert changed(done) == [0, 0]
    lines = [line.strip(' ",') for line in done.stdout.splitlines()]
    shown = [line for line in lines if re.match(r"hv\d: \d|No conflicts", line)]
    assert shown == ["hv1: 1 NIC", "hv2: 1 NIC, 1 link", "No conflicts on 2 hosts"]
    written = json.loads(report.read_text())
    assert (written["state"], written["conflicts"], written["gaps"]) == ("ok", [], [])
    assert written["hosts"] == ["hv1", "hv2"]
    assert state(fleet) == before


def test_a_name_that_means_nothing_is_no_success(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    text = {**copy.deepcopy(CLEAN), "vars": {"macvtap_domain_interfaces": []}}
    done = fleet.play("preflight", inventory=inventory(tmp_path, text), check=False)
    assert done.returncode != 0
    assert "did you mean macvtap_domains_interfaces?" in done.stdout
    for playbook in ("preflight", "site", "verify", "teardown"):
        done = fleet.play(playbook, "-e", "macvtap_hosts=kvmhosts", inventory=inventory(tmp_path, CLEAN), check=False)
        assert done.returncode != 0
        assert "no host of the inventory is in 'kvmhosts'" in done.stdout + done.stderr


def test_conflicts_are_named_in_one_table_and_as_json_and_stop_site_before_it_begins(
    fleet: Fleet, tmp_path: pathlib.Path, spoilt: dict[str, t.Any]
) -> None:
    before, report = state(fleet), tmp_path / "preflight.json"
    done = fleet.play(
        "site", "-e", f"macvtap_preflight_json={report}", inventory=inventory(tmp_path, spoilt), check=False
    )
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert re.search(rf"mac +hv1 +web1 +{A} +declared, stored", text), text
    assert re.search(rf" +hv2 +web2 +{A} +declared", text)
    assert f"{A} is used twice on one network" in text
    assert re.search(r"parent +hv2 +spare0 +declared", text)
    assert "port0 is a port of the bridge br0, which receives all its frames. Use br0 instead" in text
    assert "Conflicts: 2. See the table above" in text
    # Each on the hosts that they are of.
    assert re.findall(r"^(\w+) +:.* failed=(\d)", done.stdout, re.MULTILINE) == [("hv1", "1"), ("hv2", "1")]
    assert "macvtap_kernel" not in done.stdout
    assert changed(done) == [0, 0]
    assert state(fleet) == before
    written = json.loads(report.read_text())
    conflicts = written["conflicts"]
    assert (written["state"], written["counts"]["hosts_conflict"]) == ("conflict", 2)
    assert [(one["kind"], [place["host"] for place in one["where"]]) for one in conflicts] == [
        ("parent", ["hv2"]),
        ("mac", ["hv1", "hv2"]),
    ]


def test_a_host_that_cannot_be_reached_is_named_and_the_others_are_compared(
    fleet: Fleet, tmp_path: pathlib.Path, spoilt: dict[str, t.Any]
) -> None:
    spoilt["hosts"]["hv0"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    file, report = inventory(tmp_path, spoilt), tmp_path / "preflight.json"
    text = fleet.play("preflight", "-e", f"macvtap_preflight_json={report}", inventory=file, check=False).stdout
    assert json.loads(report.read_text())["state"] == "unreachable"
    assert "Not checked: hv0: cannot be reached" in text
    assert f"{A} is used twice on one network" in text
    # Nobody looks at the others, but what they declare is compared.
    for words in (("--limit", "hv1"), ("-e", "macvtap_hosts=hv1")):
        limited = fleet.play("preflight", *words, inventory=file, check=False)
        reason = "outside of --limit or macvtap_hosts; its declarations were compared"
        assert f"Not checked: hv0, hv2: {reason}" in limited.stdout
        assert f"{A} is used twice on one network" in limited.stdout
        assert "1 conflict on 1 host" in limited.stdout
    allowed = json.dumps({"macvtap_preflight_allow": [f"mac {A}"]})
    done = fleet.play("preflight", "--limit", "hv1", "-e", allowed, inventory=file)
    assert "allowed by macvtap_preflight_allow" in done.stdout
    assert "No conflicts on 1 host, 1 allowed" in done.stdout


def test_a_host_with_no_libvirt_daemon_is_named_and_site_can_leave_preflight_out(
    fleet: Fleet, tmp_path: pathlib.Path
) -> None:
    file = inventory(tmp_path, CLEAN)
    done = fleet.play("preflight", "-e", "macvtap_domains_uri=qemu+unix:///system?socket=/nowhere", inventory=file)
    assert re.search(r"Not checked: hv1, hv2: their domains, because cannot connect to", done.stdout)
    left_out = fleet.play("site", "--check", "-e", "macvtap_preflight=false", inventory=file)
    _looked, shown = left_out.stdout.split("TASK [Show the declarations and the conflicts]")
    assert re.search(r"\A.*\nskipping: \[hv1\]", shown)
    assert "Not checked" not in left_out.stdout


def test_a_host_that_is_left_out_is_named_and_leaves_out_no_other(
    fleet: Fleet, tmp_path: pathlib.Path, spoilt: dict[str, t.Any]
) -> None:
    # Tasks that run once go by the variables of the first host.
    spoilt["hosts"]["hv1"]["macvtap_preflight"] = False
    done = fleet.play("site", inventory=inventory(tmp_path, spoilt), check=False)
    assert re.search(r"parent +hv2 +spare0 +declared", done.stdout), done.stdout
    assert "Conflicts: 1." in done.stdout + done.stderr
    assert "Not compared, because macvtap_preflight is false: hv1" in done.stdout
    assert "macvtap_kernel" not in done.stdout
    alone = fleet.play("preflight", inventory=inventory(tmp_path, spoilt), check=False)
    assert "Conflicts: 2." in alone.stdout + alone.stderr


def test_a_host_whose_variables_cannot_be_read_stops_site_and_hides_no_other(
    fleet: Fleet, tmp_path: pathlib.Path, spoilt: dict[str, t.Any]
) -> None:
    spoilt["hosts"]["hv1"]["macvtap_host_access_addresses"] = ["{{ nowhere }}"]
    report = tmp_path / "preflight.json"
    options = ("--check", "-e", f"macvtap_preflight_json={report}")
    done = fleet.play("site", *options, inventory=inventory(tmp_path, spoilt), check=False)
    assert re.search(r"declaration +hv1\W+a variable cannot be read: 'nowhere' is undefined", done.stdout), done.stdout
    assert re.search(r"parent +hv2 +spare0 +declared", done.stdout)
    assert "macvtap_kernel" not in done.stdout
    # In check mode too, since the file is no host's.
    assert {one["kind"] for one in json.loads(report.read_text())["conflicts"]} == {"declaration", "parent", "mac"}


def test_a_fleet_of_which_no_host_could_be_looked_at_fails(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    nobody = {"hosts": {"hv0": {"ansible_host": "127.0.0.1", "ansible_port": 1}}}
    done = fleet.play("preflight", "--limit", "hv0", inventory=inventory(tmp_path, nobody), check=False)
    assert done.returncode != 0
    assert "Not checked: hv0: cannot be reached" in done.stdout
    assert "No host could be checked" in done.stdout + done.stderr


@pytest.mark.parametrize("reflects", [False, True])
def test_vepa_is_a_conflict_where_the_switch_does_not_reflect(
    fleet: Fleet, tmp_path: pathlib.Path, reflects: bool
) -> None:
    text = copy.deepcopy(CLEAN)
    text["hosts"]["hv1"]["macvtap_domains_interfaces"][0]["mode"] = "vepa"
    switch.set_hairpin(fleet.lab, fleet.lab.hypervisor("hv1"), reflects)
    done = fleet.play("preflight", inventory=inventory(tmp_path, text), check=False)
    assert (done.returncode == 0) == reflects, done.stdout
    assert ("mode vepa on eth0, whose switch port does not reflect frames" in done.stdout) != reflects
    assert "Conflicts: 1." in done.stdout or reflects


def test_vepa_that_exists_and_is_not_declared_again_is_a_conflict_too(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    text = copy.deepcopy(CLEAN)
    text["hosts"]["hv2"]["macvtap_links_links"] = [{"name": "spare0", "mode": "auto"}]
    text["vars"].pop("macvtap_links_parent")
    switch.set_hairpin(fleet.lab, fleet.lab.hypervisor("hv2"), False)
    fleet.on("hv2", "ip", "link", "add", "link", "eth0", "name", "spare0", "type", "macvtap", "mode", "vepa")
    try:
        done = fleet.play("preflight", inventory=inventory(tmp_path, text), check=False)
    finally:
        fleet.on("hv2", "ip", "link", "del", "spare0")
    assert re.search(r"vepa +hv2 +spare0 +declared", done.stdout), done.stdout
    assert "Conflicts: 1." in done.stdout


def test_odd_values_of_one_host_are_told_beside_the_conflicts_of_the_others(
    fleet: Fleet, tmp_path: pathlib.Path, spoilt: dict[str, t.Any]
) -> None:
    spoilt["hosts"]["hv1"] |= {
        "macvtap_links_links": 5,
        "macvtap_links_mtu": "big",
        "macvtap_host_access_shims": "x",
    }
    spoilt["hosts"]["hv1"]["macvtap_domains_interfaces"] += ["web1", {"domain": "web1", "mode": ["vepa"], "source": {}}]
    text = fleet.play("preflight", inventory=inventory(tmp_path, spoilt), check=False).stdout
    for message in (
        "macvtap_links_links: must be a list, not 5",
        "macvtap_links_mtu: 'big' is not a whole number",
        "macvtap_host_access_shims: must be a list, not 'x'",
        "macvtap_domains_interfaces[1]: must be a dictionary, not 'web1'",
        "macvtap_domains_interfaces[2].mode: must be a text, not ['vepa']",
        f"{A} is used twice on one network",
        "port0 is a port of the bridge br0, which receives all its frames. Use br0 instead",
    ):
        assert message in text, text


LEFT: dict[str, t.Any] = {
    "vars": {
        "macvtap_links_parent": "eth0",
        "macvtap_host_access_parent": "eth0",
        "macvtap_kernel_packages": False,
    },
    "hosts": {
        "hv1": {
            "macvtap_links_links": [{"name": "left0", "mac": "52:54:00:00:03:01"}],
            "macvtap_host_access_shims": [{"name": "host0", "addresses": ["10.77.0.250"]}],
        }
    },
}


def test_what_is_deleted_from_the_variables_is_shown_by_verify_and_removed_by_purge(
    fleet: Fleet, tmp_path: pathlib.Path
) -> None:
    fleet.play("site", inventory=inventory(tmp_path, LEFT))
    deleted = copy.deepcopy(LEFT)
    deleted["hosts"]["hv1"] = {}
    done = fleet.play("verify", inventory=inventory(tmp_path, deleted))
    assert set(changed(done)) == {0}
    assert f"hv1: NIC {A} of web1 on eth0, link left0 on eth0, host interface host0 on eth0" in done.stdout
    deleted["vars"]["macvtap_host_access_purge"] = True
    fleet.play("site", "--tags", "host_access", inventory=inventory(tmp_path, deleted))
    shown = fleet.on("hv1", "ip", "-br", "link", "show")
    assert ("left0" in shown, "host0" in shown) == (True, False)
    fleet.on("hv1", "ip", "link", "del", "left0")
    fleet.on(
        "hv1", "sh", "-c", "! grep -rs host0 /etc/network/interfaces.d /etc/systemd/network /etc/linuxvirt-macvtap"
    )


def test_the_report_shows_what_was_done_by_hand_and_who_is_not_reached(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    text = copy.deepcopy(CLEAN)
    text["hosts"]["hv0"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    report = tmp_path / "report"
    options = ("-e", f"macvtap_report={report}")
    fleet.play("report", *options, inventory=inventory(tmp_path, CLEAN))
    fleet.on("hv1", "ip", "link", "add", "link", "eth0", "name", "stray0", "type", "macvtap", "mode", "vepa")
    try:
        done = fleet.play("report", *options, inventory=inventory(tmp_path, text), check=False)
    finally:
        fleet.on("hv1", "ip", "link", "del", "stray0")
    assert set(changed(done)) == {0}
    shown = report.with_suffix(".txt").read_text()
    assert re.search(rf"hv1 +web1 +shut off +{A} +eth0 +bridge +yes", shown), shown
    assert re.search(rf"hv2 +web2 +shut off +{B} +eth0 +missing", shown), shown
    assert "hv1: link stray0 on eth0 is not declared" in shown
    assert "hv1 link stray0: state absent → present" in shown
    assert "hv0: cannot be reached" in shown
    assert "stray0" in report.with_suffix(".html").read_text()
    assert "stray0" in report.with_suffix(".md").read_text()
    assert json.loads(report.with_suffix(".json").read_text())["summary"]["not_inspected"] == 1
