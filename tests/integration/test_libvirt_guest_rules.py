# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a host keeps for a guest's NIC goes along: first it is on the destination, and last it leaves the source."""

from __future__ import annotations

import typing as t

import direct_iface
import moved_guests
import pytest
from direct_iface import A, B, Result, domain, nic, ok
from moved_guests import Hosts
from support import meanwhile, module_command, module_input, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
RULES = "/etc/udev/rules.d/90-macvtap-domains.rules"
UDEV = "import os, stat; os.makedirs('/run/udev', exist_ok=True); os.mknod('/run/udev/control', stat.S_IFSOCK | 0o600)"


@pytest.fixture
def udev(hosts: Hosts) -> t.Iterator[Hosts]:
    """Two hosts that look as if they had udev; web1 runs on the first one, with no operating system."""
    for hv in hosts.all:
        hv.run("python3", "-c", UDEV)
    hosts.source.define(domain("web1", nic(A)))
    hosts.source.virsh("start", "web1")
    yield hosts
    for hv in hosts.all:
        hv.run("rm", "-rf", "/run/udev", RULES)
        run(hv, "macvtap_guard", guards=[{"mac": mac, "state": "absent"} for mac in (A, B)])


def run(hv: Hypervisor, module: str, *, check: bool = False, **params: t.Any) -> Result:
    return run_module(module, params, check=check, prefix=hv.prefix)


def has_rule(hv: Hypervisor) -> bool:
    return A in hv.run("sh", "-c", f"cat {RULES} 2>/dev/null; true")


def guards(hv: Hypervisor) -> dict[str, list[str]]:
    """Return the links that the guards of a host are on, by MAC address."""
    return {one["mac"]: one["links"] for one in ok(run(hv, "macvtap_guard_info"))["guards"]}


def test_guards_and_rules_go_along_with_a_guest(udev: Hosts) -> None:
    here, there = udev.source, udev.destination
    to: dict[str, t.Any] = {
        "domain": "web1",
        "destination_uri": moved_guests.uri(there, "tls"),
        "uplinks": {here.uplink: there.uplink},
    }
    ok(run(here, "libvirt_direct_iface", domain="web1", mac=A, allmulticast=True, guard={"rate": 100}))
    assert (has_rule(here), list(guards(here))) == (True, [A])
    refused = run(here, "libvirt_guest_migrate", **to)
    assert refused["msg"] == (
        f"prepared: domain 'web1' has a guard ({A}) and a link that receives all multicast ({A}), which hv2 would not "
        "have. The role macvtap_migration takes that along. If it is there already, set prepared: true"
    )
    rules = ok(run(here, "libvirt_guest_migrate", check=True, prepared=True, **to))["rules"]
    assert [(one["mac"], one["allmulticast"], one["guard"]["rate"]) for one in rules] == [(A, True, 100)]

    for check, changed in ((True, True), (False, True), (False, False)):
        result = ok(run(there, "libvirt_guest_rules", check=check, nics=rules))
        assert result["changed"] is changed
        assert (has_rule(there), guards(there)) == ((False, {}) if check else (True, {A: []}))

    ok(run(here, "libvirt_guest_migrate", prepared=True, **to))
    links = [name for name, _index, mac in there.macvtaps() if mac == A]
    assert len(links) == 1
    # Neither udev nor a hook may have put it on the link: libvirt knows only those that its daemon has started with.
    ok(run(there, "libvirt_guest_rules", nics=rules))
    assert guards(there) == {A: links}
    assert not ok(run(there, "libvirt_guest_rules", nics=rules))["changed"]

    # Not those of a guest that is there.
    kept = ok(run(there, "libvirt_guest_rules", nics=rules, state="absent"))
    assert not kept["changed"]
    assert f"the rules of {A} (web1) stay: domains of this host have these addresses" in str(kept["warnings"])
    assert has_rule(there)
    for check, changed in ((True, True), (False, True), (False, False)):
        assert ok(run(here, "libvirt_guest_rules", check=check, nics=rules, state="absent"))["changed"] is changed
    assert (has_rule(here), guards(here)) == (False, {})
    assert (has_rule(there), list(guards(there))) == (True, [A])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"nics": [{"mac": "nonsense"}]}, "nics[0].mac: 'nonsense' is not a MAC address"),
        ({"nics": [{"mac": A}, {"mac": A.upper()}]}, f"nics[1]: {A} is declared twice, here and in nics[0]"),
        ({"nics": [], "uri": "qemu+ssh://hv2/system"}, "uri: qemu+ssh://hv2/system is not this host's own libvirt"),
        ({"nics": [{"mac": A, "guard": {"addresses": ["nonsense"]}}]}, "nics[0].guard.addresses"),
    ],
)
def test_what_is_wrong_is_named(udev: Hosts, params: dict[str, t.Any], message: str) -> None:
    assert run(udev.source, "libvirt_guest_rules", **params)["msg"].startswith(message)


def test_a_guard_is_on_the_link_before_the_guest_runs_there(udev: Hosts) -> None:
    here, there = udev.source, udev.destination
    to: dict[str, t.Any] = {
        "domain": "web1",
        "destination_uri": moved_guests.uri(there, "tls"),
        "uplinks": {here.uplink: there.uplink},
    }
    ok(run(there, "libvirt_guest_rules", nics=[{"mac": A, "guard": {"rate": 100}}]))
    there.restart()
    ok(run(here, "libvirt_guest_migrate", **to))
    assert guards(there) == {A: [name for name, _index, mac in there.macvtaps() if mac == A]}
    assert guards(there)[A]


def setting_a_guard(**guard: t.Any) -> list[str]:
    """Return a command that sets a guard for the guest on its host."""
    given = module_input({"guards": [{"mac": A, **guard}]})
    return ["sh", "-c", 'printf %s "$0" | "$@"', given, *module_command("macvtap_guard")]


def test_a_guard_that_is_changed_while_the_guest_moves_is_told(udev: Hosts) -> None:
    here, there = udev.source, udev.destination
    to = moved_guests.options(here, there, prepared=True)
    ok(run(here, "libvirt_direct_iface", domain="web1", mac=A, allmulticast=True, guard={"rate": 100}))
    rules = ok(run(here, "libvirt_guest_migrate", check=True, **to))["rules"]
    patch = meanwhile("before", "_migration.transfer.flags_of", setting_a_guard(rate=7))
    moved = ok(run_module("libvirt_guest_migrate", {**to, "rules": rules}, prefix=here.prefix, patch=patch))
    assert moved["rules"] == moved["left"] == [{**rules[0], "guard": {**rules[0]["guard"], "rate": 7}}]


def test_a_guard_that_the_destination_has_already_can_stay(udev: Hosts) -> None:
    there = udev.destination
    ok(run(there, "macvtap_guard", mac=A, rate=7))
    nics = [{"mac": mac, "guard": {"rate": 100}, "keep_guard": True} for mac in (A, B)]
    ok(run(there, "libvirt_guest_rules", nics=nics))
    found = ok(run(there, "macvtap_guard_info"))["guards"]
    assert {one["mac"]: one["rate"] for one in found} == {A: 7, B: 100}
    assert not ok(run(there, "libvirt_guest_rules", nics=nics))["changed"]
    # What was only declared to stay is not removed with what came along.
    ok(run(there, "libvirt_guest_rules", nics=[nics[0], {**nics[1], "keep_guard": False}], state="absent"))
    assert [one["mac"] for one in ok(run(there, "macvtap_guard_info"))["guards"]] == [A]
    # One that was edited by hand is not known as a whole.
    there.run("sed", "-i", "s/return/nonsense/", "/etc/linuxvirt-macvtap/guards.json")
    edited = run(there, "libvirt_guest_rules", nics=nics)
    assert edited["msg"].startswith(f"nics[0].keep_guard: the guard that this host stores for {A} was edited")
    ok(run(there, "macvtap_guard", mac=A, rate=7))


def test_a_guard_that_is_set_right_before_the_move_is_not_left_behind(udev: Hosts) -> None:
    here, there = udev.source, udev.destination
    to = moved_guests.options(here, there, prepared=True)
    rules = ok(run(here, "libvirt_guest_migrate", check=True, **to))["rules"]
    assert rules == []
    # Between the look of the module and its move.
    patch = meanwhile("after", "_migration.planner.plan", setting_a_guard())
    late = run_module("libvirt_guest_migrate", to, prefix=here.prefix, patch=patch)
    assert f"what this host keeps for {A} of domain 'web1' (guards, rules for multicast) has changed" in late["msg"]
    assert late["msg"].endswith("Run again. The host is as it was before")
    # And between the look of a task before and this one's.
    refused = run(here, "libvirt_guest_migrate", rules=rules, **to)
    assert refused["msg"].startswith(f"rules: what this host keeps for {A}")
    assert moved_guests.where(udev, "web1").runs == ["hv1"]
    rules = ok(run(here, "libvirt_guest_migrate", check=True, **to))["rules"]
    ok(run(here, "libvirt_guest_migrate", rules=rules, **to))


def test_what_a_killed_run_has_left_is_found_by_the_next_one(udev: Hosts) -> None:
    here, there = udev.source, udev.destination
    to = moved_guests.options(here, there, prepared=True)
    ok(run(here, "libvirt_direct_iface", domain="web1", mac=A, allmulticast=True, guard={"rate": 100}))
    first = ok(run(here, "libvirt_guest_migrate", **to))
    assert first["left"] == first["rules"]
    again = ok(run(here, "libvirt_guest_migrate", **to))
    assert (again["changed"], again["rules"]) == (False, first["rules"])
    assert again["left"] == first["rules"]
    ok(run(here, "libvirt_guest_rules", nics=again["left"], state="absent"))
    assert (has_rule(here), guards(here)) == (False, {})
    assert ok(run(here, "libvirt_guest_migrate", **to))["left"] == []


def content(hv: Hypervisor) -> str:
    return hv.run("cat", RULES)


# Somebody edits the rules right before this run writes them, and what it wrote cannot be looked at.
EDITED_AND_FAILED = f"""
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.udev_rules import RuleStore
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import rule_run
apply, read, written = RuleStore.apply, rule_run.read, []
def edited(self, *args, **how):
    if not written:
        text = open("{RULES}").read()
        open("{RULES}", "w").write(text.replace("allmulticast on", "allmulticast on promisc on"))
    written.append(1)
    apply(self, *args, **how)
def failing(*args):
    if len(written) == 1:
        written.append(1)
        raise MacvtapError("cannot be asked")
    return read(*args)
RuleStore.apply, rule_run.read = edited, failing
"""


def test_a_rule_that_was_edited_by_hand_stays(udev: Hosts) -> None:
    hv = udev.source
    nics = [{"mac": B, "allmulticast": True}]
    ok(run(hv, "libvirt_guest_rules", nics=nics))
    failed = run_module(
        "libvirt_guest_rules", {"nics": nics, "state": "absent"}, prefix=hv.prefix, patch=EDITED_AND_FAILED
    )
    assert failed["failed"]
    assert "cannot be asked" in failed["msg"]
    # The rollback puts back what was there when it was written, not what this collection writes.
    edited = content(hv)
    assert "promisc on" in edited
    for state in ("present", "absent"):
        result = ok(run(hv, "libvirt_guest_rules", nics=nics, state=state))
        assert not result["changed"]
        assert f"the udev rules of {B} were edited by hand, and stay as they are" in str(result["warnings"])
        assert content(hv) == edited
