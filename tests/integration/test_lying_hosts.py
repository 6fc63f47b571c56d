# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What hosts and guests report is never a template on the controller, with the oldest and the newest ansible-core."""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from fleet import found, mac, network
from lying_hosts import CORES, Controller, Values, variants

from ansible_collections.linuxvirt.macvtap.plugins.filter import fleet_moves
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import reports
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.fleet import DAMAGED
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import overview

ADDRESS = {
    "address": "192.0.2.7",
    "family": "ipv4",
    "scope": "global",
    "state": "confirmed",
    "prefix": 24,
    "shim": None,
    "source": "probe",
    "sources": ["probe"],
    "age": 1,
}
NIC = {
    "mac": mac(1),
    "type": "direct",
    "link": "macvtap0",
    "uplink": "eth0",
    "vlan": None,
    "mode": "private",
    "network": None,
    "portgroup": "web",
    "not_asked": "in mode private",
    "addresses": [ADDRESS],
}
GUEST = {"name": "web", "uuid": "u", "state": "running", "interfaces": [NIC]}
ANSWER: Values = {"changed": False, "guests": [GUEST], "others": [NIC], "warnings": ["a warning"]}
# Reads all that a play can know of them.
READ = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.debug": {"msg": "{{ [group_names, groups, inventory_hostname, hostvars | to_json] }}"}},
            {"ansible.builtin.debug": {"msg": "{{ [vars.macvtap_guest | default(), vars.note | default()] }}"}},
        ],
    }
]


@pytest.fixture(params=CORES)
def controller(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Controller:
    return Controller(tmp_path, request.param)


def own(number: int, thing: Values) -> Values:
    """Return something that none of the others is: a guest with a name, a UUID and an address of its own."""
    text = json.dumps(thing).replace('"web"', f'"web{number}"').replace('"u"', f'"u{number}"')
    text = text.replace(mac(1), mac(number + 1)).replace("192.0.2.7", f"192.0.{number}.7")
    found: Values = json.loads(text)
    return found


def accepted(things: t.Iterable[Values], check: t.Callable[[list[Values]], t.Any]) -> list[Values]:
    """Return those that are used at all."""
    found = []
    for number, thing in enumerate(things):
        with contextlib.suppress(MacvtapError):
            found += check([own(number, thing)])
    return found


def test_nothing_that_the_inventory_of_guests_is_made_of(controller: Controller) -> None:
    guests = accepted(variants(GUEST, controller.payload), reports.guests)
    others = accepted(variants(NIC, lambda name: controller.payload(f"o{name}")), reports.others)
    assert min(len(guests), len(others)) > 20
    failure = {"failed": True, "msg": controller.payload("msg")}
    refused = {**ANSWER, "guests": [{**GUEST, "interfaces": [{**NIC, "mac": controller.payload("mac")}]}]}
    answers = {"hv0": {**ANSWER, "guests": guests}, "hv1": {**ANSWER, "guests": [], "others": others}}
    controller.hosts({**answers, "hv2": failure, "hv3": refused})
    nics = "macvtap_guest.interfaces"
    keyed = [{"key": f"{nics} | map(attribute='{name}') | list", "prefix": ""} for name in ("portgroup", "uplink")]
    note = "macvtap_guest.name ~ ' ' ~ macvtap_guest.interfaces | map(attribute='link') | join"
    controller.guests(probe=True, jump="always", keyed_groups=keyed, compose={"note": note})
    (controller.directory / "read.play").write_text(json.dumps(READ))
    shown = controller.run("playbook", str(controller.directory / "read.play"))
    assert controller.evaluated == []
    # The payloads came as far as that.
    assert shown.stdout.count("ansible.builtin.pipe") > 20
    assert "hv2: its guests are missing: {{ lookup(" in shown.stderr.replace("\n", " ")


LINK = Link("macvtap0", 10, "macvtap", "eth0", 2, "bridge", mac(1), 1500, up=True)
NICS = Iface(mac(1), values={"source": "eth0", "mode": "bridge", "target": "macvtap0"})
DOMAIN = Domain("web", "u", running=True, stored=(NICS,), live=(NICS,))
GUARD = {
    "mac": mac(1),
    "policy": "drop",
    "other_macs": False,
    "persistent": True,
    "rules": "loaded",
    "domains": ["web"],
    "counters": {},
}
WRITTEN = {"name": "web0", "kind": "macvtap"}
LOOK: Values = {
    **found(LINK, network(groups="office"), DOMAIN),
    "guards": [GUARD],
    "guards_reason": None,
    "pending": [],
    "written": [WRITTEN],
    "addresses": {"guests": [GUEST], "reason": None},
    "changed": False,
}
CHANGE = {"target": "eth0", "field": "mtu", "before": "1500", "after": "9000", "impact": "in_place"}
STAGE = {"name": "kernel", "module": "kernel_macvtap_check", "changed": True, "error": None, "skipped": None}
STAGE = {**STAGE, "changes": [CHANGE], "warnings": ["a warning"]}


def planned(look: Values, **stage: t.Any) -> Values:
    host = {name: value for name, value in look.items() if name != "changed"}
    return {"changed": False, "stages": [{**STAGE, **stage}], "to_do": ["kernel"], "host": host}


def usable(look: Values) -> bool:
    """Whether a host that reports this is not taken for damaged."""
    try:
        fleet_moves.fleet_moves({"hv": look, "there": LOOK}, ["hv"])
    except AnsibleFilterError:
        return False
    (host,) = overview.overview({"hv": {"declared": {}, "found": look}})["hosts"]
    return bool(host["inspected"]) and DAMAGED not in json.dumps(host)


def _only(name: str, things: list[Values]) -> Values:
    return {name: things}


def hostile(text: t.Callable[[str], str]) -> dict[str, Values]:
    """Return results of hosts with each text in some place."""

    def many(name: str, of: t.Sequence[Values], put: t.Callable[[list[Values]], Values]) -> list[Values]:
        """Return things with each text of theirs in turn."""
        changed = (own(n, one) for n, one in enumerate(variants(of[0], lambda place: text(f"{name}{place}"))))
        return [*of, *(one for one in changed if usable({**LOOK, **put([one])}))]

    lists = dict(LOOK)
    for name in ("links", "networks", "domains", "guards", "written"):
        lists[name] = many(name, LOOK[name], functools.partial(_only, name))
    addresses = many("addresses", [GUEST], lambda things: {"addresses": {"guests": things, "reason": None}})
    libvirt = {**LOOK["libvirt"], "uri": text("uri"), "version": text("version"), "reason": text("reason")}
    changes = [
        change for change in variants(CHANGE, lambda place: text(f"change{place}")) if change["impact"] == "in_place"
    ]
    return {
        "lists": planned(lists),
        "addresses": planned({**LOOK, "addresses": {"guests": addresses, "reason": text("addresses")}}),
        "libvirt": planned({**LOOK, "libvirt": libvirt}),
        "stage": planned(LOOK, changes=changes, warnings=[text("warning")]),
        "error": planned(LOOK, changes=[], changed=False, error=text("error")),
        "failed": {"failed": True, "msg": text("msg"), "exception": text("exception")},
        "there": planned({**LOOK, "domains": []}),
    }


def shown(controller: Controller, playbook: str, **variables: t.Any) -> str:
    done = controller.run("playbook", f"linuxvirt.macvtap.{playbook}", "-e", json.dumps(variables), ok=False)
    assert controller.evaluated == []
    return done.stdout


def test_nothing_that_playbooks_show(controller: Controller) -> None:
    results = hostile(controller.payload)
    assert [len(results["lists"]["host"][name]) > 3 for name in ("links", "networks", "domains", "guards")] == [
        True
    ] * 4
    controller.hosts({name: result.get("host", result) for name, result in results.items()}, results)
    report = controller.directory / "report"
    texts = {
        "verify": shown(controller, "verify", macvtap_verify_json=f"{report}.verify.json"),
        "preflight": shown(controller, "preflight", macvtap_preflight_json=f"{report}.preflight.json"),
        "show": shown(controller, "show"),
        "report": shown(controller, "report", macvtap_report=str(report)),
        # Compares with the first one.
        "again": shown(controller, "report", macvtap_report=str(report)),
    }
    written = report.with_suffix(".json").read_text()
    # The payloads came as far as that.
    assert min(texts["verify"].count("ansible.builtin.pipe"), written.count("ansible.builtin.pipe")) > 10, texts
    assert all("ansible.builtin.pipe" in texts[name] for name in ("preflight", "show")), texts


def test_nothing_that_decides_where_guests_go(controller: Controller) -> None:
    results = hostile(controller.payload)
    controller.hosts({name: result.get("host", result) for name, result in results.items()}, results)
    file = controller.directory / "evacuated"
    options = {"macvtap_migration_file": str(file), "macvtap_migration_leave_stuck": True}
    found = shown(controller, "evacuate", macvtap_migration_from="lists", macvtap_migration_to=["there"], **options)
    assert "ansible.builtin.pipe" in found
    homes = {domain["name"]: "there" for domain in results["lists"]["host"]["domains"]}
    file.write_text(json.dumps(homes))
    assert "ansible.builtin.pipe" in shown(controller, "return", **options)
