# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
from __future__ import annotations

import re
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import impact, planner, resolution
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Plan

MAC = "52:54:00:00:00:01"
OTHER = "52:54:00:00:00:02"
VALUES = {
    "trust_guest_rx_filters": "no",
    "source": "eth0",
    "mode": "bridge",
    "model": "virtio",
    "link_state": "up",
    "pci_address": "0000:01:00.0",
}
STORED = Iface(MAC, values=VALUES, xml="<interface/>", index=0)
LIVE = replace(STORED, values={**VALUES, "target": "macvtap0", "alias": "net0"})
LINKS: Links = {
    "eth0": Link("eth0", 2, mac="02:00:00:00:00:01", parent="far0", altnames=frozenset({"lan0"})),
    "far0": Link("far0", 7, kind="veth", parent="eth0"),
    "eth1": Link("eth1", 3, mac="02:00:00:00:00:02", kind="veth"),
    "br0": Link("br0", 4, kind="bridge"),
    "port0": Link("port0", 5, master="br0"),
    "macvtap0": Link("macvtap0", 6, kind="macvtap", parent="eth0", mode="bridge", mac=MAC, up=True),
}


def changed(iface: Iface, **values: str | None) -> Iface:
    merged = {**iface.values, **values}
    return replace(iface, values={name: text for name, text in merged.items() if text is not None})


def host(*domains: Domain, **more: t.Any) -> Host:
    known = ("web1", "web2", "db1")
    return Host("qemu:///system", {domain.name: domain for domain in domains}, known, **{"version": 9_000_000, **more})


def stopped(*stored: Iface, **other: t.Any) -> Domain:
    return Domain("web1", stored=stored, **other)


def running(stored: t.Sequence[Iface], live: t.Sequence[Iface], **other: t.Any) -> Domain:
    return Domain("web1", running=True, stored=tuple(stored), live=tuple(live), **other)


def want(domain: str = "web1", mac: str = MAC, *, present: bool = True, **given: t.Any) -> Desired:
    convert = bool(given.pop("convert", None))
    return Desired("interfaces[2]", domain, key=mac, mac=mac, present=present, given=given, convert=convert)


def by(selector: str, key: str, **given: str) -> Desired:
    return Desired("interfaces[2]", "web1", by=selector, key=key, given={**given, selector: key})


def changes(plan: Plan[Nic]) -> list[tuple[str, t.Any, t.Any, str]]:
    return [(c.field, c.before, c.after, c.impact.value) for c in plan.changes]


def impacts(desired: Desired, on: Host, level: str = "update") -> dict[str, str]:
    return {c.field: c.impact.value for c in planner.plan([desired], on, level=level).changes}


def restart(desired: Desired, on: Host, level: str = "update") -> tuple[str, ...]:
    return resolution.resolve([desired], on, level=level)[0].restart_fields()


@pytest.mark.parametrize(
    "desired",
    [want(), want(source="eth0", mode="bridge", model="virtio"), want(mac=OTHER, present=False), want(target=None)],
)
def test_what_is_as_declared_needs_nothing(desired: Desired) -> None:
    for domain in (stopped(STORED), running([STORED], [LIVE])):
        assert planner.plan([desired], host(domain, links=LINKS)) == Plan()
        assert restart(desired, host(domain, links=LINKS)) == ()


def test_only_given_fields_change() -> None:
    plan = planner.plan([want(mode="private", boot_order="1")], host(stopped(STORED)))
    assert changes(plan) == [("mode", "bridge", "private", "config"), ("boot_order", None, 1, "config")]
    (step,) = plan.steps
    assert step.after is not None
    assert step.after.stored == changed(STORED, mode="private", boot_order="1")
    assert step.path == "interfaces[2]"
    assert step.target == f"web1 {MAC}"


def test_what_is_taken_away_goes_with_the_rest_of_its_element() -> None:
    limited = changed(STORED, **{"bandwidth.inbound.average": "10", "bandwidth.inbound.peak": "20", "boot_order": "1"})
    plan = planner.plan(
        [replace(want(), given={"bandwidth.inbound.average": None, "boot_order": None})], host(stopped(limited))
    )
    assert changes(plan) == [
        ("bandwidth.inbound.average", 10, None, "config"),
        ("bandwidth.inbound.peak", 20, None, "config"),
        ("boot_order", 1, None, "config"),
    ]


# What each field takes in a running guest: with its link known and libvirt 9.0, at the level that allows all.
COSTS = {
    "mode": ("private", "live"),
    "link_state": ("down", "live"),
    "bandwidth.inbound.average": ("10", "live"),
    "source": ("br0", "replug"),
    "model": ("virtio-transitional", "replug"),
    "driver.queues": ("4", "replug"),
    "target": ("web0", "replug"),
    "alias": ("ua-lan", "replug"),
    "pci_address": ("0000:07:00.0", "replug"),
    "acpi_index": ("3", "replug"),
    "trust_guest_rx_filters": ("yes", "replug"),
    "boot_order": ("1", "restart"),
    "rom.bar": ("off", "restart"),
}


@pytest.mark.parametrize("field", COSTS)
def test_the_impact_of_each_field_at_each_level(field: str) -> None:
    value, cost = COSTS[field]
    desired = replace(want(), given={field: value})
    on = host(running([STORED], [LIVE]), links=LINKS)
    expected = {
        "none": "restart",
        "update": "live" if cost == "live" else "restart",
        "replug": cost,
    }
    for level, message in expected.items():
        assert impacts(desired, on, level) == {field: message}
        assert restart(desired, on, level) == ((field,) if message == "restart" else ())
    assert impacts(desired, host(stopped(STORED), links=LINKS)) == {field: "config"}


def test_what_goes_with_a_field_that_is_taken_away_goes_live_with_it() -> None:
    limit = {"bandwidth.inbound.average": "10", "bandwidth.inbound.peak": "20"}
    limited = running([changed(STORED, **limit)], [changed(LIVE, **limit)])
    clear = replace(want(), given={"bandwidth.inbound.average": None})
    assert impacts(clear, host(limited)) == dict.fromkeys(limit, "live")
    assert restart(clear, host(limited)) == ()
    assert impacts(clear, host(limited), level="none") == dict.fromkeys(limit, "restart")


@pytest.mark.parametrize(
    ("version", "trust", "bandwidth"),
    [
        (9_000_000, "restart", "live"),
        # Where libvirt would forget that it has made the link, and leave it behind.
        (9_010_000, "restart", "restart"),
        (10_000_000, "restart", "restart"),
        (10_001_000, "live", "live"),
        (11_003_000, "live", "live"),
    ],
)
def test_what_is_live_with_which_libvirt(version: int, trust: str, bandwidth: str) -> None:
    on = host(running([STORED], [LIVE]), version=version)
    given = {"trust_guest_rx_filters": "yes", "bandwidth.outbound.average": "500", "link_state": "down"}
    assert impacts(replace(want(), given=given), on) == {
        "trust_guest_rx_filters": trust,
        "bandwidth.outbound.average": bandwidth,
        "link_state": "live",
    }


@pytest.mark.parametrize(
    ("was", "wanted", "links"),
    [
        ("bridge", "passthrough", LINKS),
        ("passthrough", "bridge", LINKS),
        ("bridge", "private", None),
        ("bridge", "vepa", {}),
    ],
)
def test_a_mode_that_the_kernel_cannot_change_needs_a_replug(was: str, wanted: str, links: Links | None) -> None:
    on = host(running([changed(STORED, mode=was)], [changed(LIVE, mode=was)]), links=links)
    assert impacts(want(mode=wanted), on) == {"mode": "restart"}
    assert impacts(want(mode=wanted), on, "replug") == {"mode": "replug"}


def test_a_replug_brings_along_all_that_is_stored() -> None:
    stored = changed(STORED, boot_order="1")
    plan = planner.plan([want(model="e1000e")], host(running([stored], [LIVE])), level="replug")
    assert changes(plan) == [("model", "virtio", "e1000e", "replug"), ("boot_order", None, 1, "replug")]
    (step,) = plan.steps
    assert step.after is not None
    assert step.after.live == step.after.stored == changed(stored, model="e1000e")


def test_what_is_stored_already_is_brought_to_the_guest() -> None:
    on = host(running([changed(STORED, mode="private")], [LIVE]), links=LINKS)
    assert changes(planner.plan([want(mode="private")], on)) == [("mode", "bridge", "private", "live")]
    # Not declared, and so not touched, but said.
    assert not planner.plan([want(source="eth0")], on).changed
    assert restart(want(source="eth0"), on) == ("mode",)


def test_the_restart_stays_due_until_it_happened() -> None:
    on = host(running([changed(STORED, model="e1000e")], [LIVE]))
    assert not planner.plan([want(model="e1000e")], on).changed
    assert restart(want(model="e1000e"), on) == ("model",)


def test_going_back_to_what_runs_needs_no_restart() -> None:
    on = host(running([changed(STORED, model="e1000e")], [LIVE]))
    assert changes(planner.plan([want(model="virtio")], on)) == [("model", "e1000e", "virtio", "config")]
    assert restart(want(model="virtio"), on) == ()


def test_a_nic_that_runs_as_another_type_needs_a_restart() -> None:
    bridged = Iface(MAC, "bridge", {name: text for name, text in VALUES.items() if name not in {"source", "mode"}})
    assert restart(want(), host(running([STORED], [bridged]))) == ("type", "source", "mode")


def test_a_missing_interface_is_added_with_virtio() -> None:
    plan = planner.plan([want(source="eth0", mode="bridge")], host(stopped()))
    assert changes(plan) == [
        ("state", "absent", "present", "config"),
        ("source", None, "eth0", "config"),
        ("mode", None, "bridge", "config"),
        ("model", None, "virtio", "config"),
    ]
    assert plan.warnings == ()


def test_a_new_interface_with_no_mode_is_in_mode_bridge() -> None:
    plan = planner.plan([want(source="eth0")], host(stopped()))
    assert ("mode", None, "bridge", "config") in changes(plan)
    assert plan.warnings == ()


def test_a_missing_interface_is_attached_to_a_running_guest() -> None:
    desired = want(source="eth0", mode="bridge")
    (step,) = planner.plan([desired], host(running([], []))).steps
    assert {c.impact.value for c in step.changes} == {"live"}
    assert step.after is not None
    assert step.after.live == step.after.stored
    assert set(impacts(desired, host(running([], [])), "none").values()) == {"restart"}
    assert restart(desired, host(running([], [])), "none") == ("state",)


def test_a_stored_interface_that_the_guest_lacks_is_attached() -> None:
    on = host(running([STORED], []))
    assert changes(planner.plan([want()], on)) == [("live", "absent", "present", "live")]
    assert not planner.plan([want()], on, level="none").changed
    assert restart(want(), on, "none") == ("state",)


def test_a_live_interface_that_is_not_stored_is_stored_as_it_is() -> None:
    on = host(running([], [changed(LIVE, **{"driver.queues": "4"})]))
    plan = planner.plan([want(boot_order="1")], on)
    (step,) = plan.steps
    assert step.after is not None
    assert step.after.stored is not None
    assert step.after.stored.values == {
        **{name: text for name, text in VALUES.items() if name != "pci_address"},
        "driver.queues": "4",
        "boot_order": "1",
    }
    assert restart(want(source="eth1", mode="bridge"), on) == ("source",)


def test_a_new_interface_needs_a_source() -> None:
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.source: "):
        planner.plan([want()], host(stopped()))


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (stopped(STORED), [("state", "present", "absent", "config")]),
        (running([STORED], [LIVE]), [("state", "present", "absent", "live")]),
        (running([STORED], []), [("state", "present", "absent", "config")]),
        (running([], [LIVE]), [("live", "present", "absent", "live")]),
    ],
)
def test_removal(domain: Domain, message: list[tuple[str, str, str, str]]) -> None:
    plan = planner.plan([want(present=False)], host(domain))
    assert [c for c in changes(plan) if c[0] in {"state", "live"}] == message


def test_a_removal_that_the_guest_may_not_feel_waits_for_its_restart() -> None:
    on = host(running([STORED], [LIVE]))
    assert impacts(want(present=False), on, "none")["state"] == "restart"
    assert restart(want(present=False), on, "none") == ("state",)


@pytest.mark.parametrize("desired", [want(present=False), want(model="e1000e")])
def test_a_guest_that_does_not_answer_is_not_asked_twice_in_one_run(desired: Desired) -> None:
    on = host(running([changed(STORED, model="e1000e")] if desired.present else [], [LIVE]))
    assert planner.plan([desired], on, level="replug").changed
    assert not planner.plan([desired], on, {("web1", MAC)}, level="replug").changed


def test_an_unknown_domain_is_reported_with_similar_names() -> None:
    with pytest.raises(MacvtapError) as caught:
        planner.plan([want(domain="web")], host(stopped()))
    assert str(caught.value) == (
        "interfaces[2].domain: no domain 'web' on qemu:///system (known: web2, web1 and 1 more). "
        "Correct the name, or define the domain first"
    )


def test_nothing_is_absent_from_an_unknown_domain() -> None:
    plan = planner.plan([want(domain="gone", present=False)], host())
    assert not plan.changed
    assert "no domain 'gone'" in plan.warnings[0]


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (
            stopped(replace(STORED, type="bridge")),
            "interfaces[2].mac: domain 'web1' has 52:54:00:00:00:01 as an interface of type 'bridge'",
        ),
        (stopped(STORED, changed(STORED, source="eth1")), "interfaces[2].mac: domain 'web1' has 2 interfaces with"),
    ],
)
def test_ambiguous_or_impossible_declarations_are_refused(domain: Domain, message: str, present: bool) -> None:
    with pytest.raises(MacvtapError) as caught:
        planner.plan([want(present=present)], host(domain))
    assert str(caught.value).startswith(message)


TWO = (changed(STORED, alias="ua-lan"), replace(changed(STORED, source="eth1", target="web0"), mac=OTHER))


@pytest.mark.parametrize(
    ("desired", "found"),
    [
        (by("alias", "ua-lan"), MAC),
        (by("target", "web0"), OTHER),
        (by("source", "eth0"), MAC),
        (by("source", "eth1"), OTHER),
    ],
)
def test_an_interface_is_found_by_more_than_its_address(desired: Desired, found: str) -> None:
    (resolved,) = resolution.resolve([desired], host(stopped(*TWO)))
    assert resolved.before.mac == found
    assert not planner.plan([desired], host(stopped(*TWO))).changed


def test_several_that_fit_are_listed() -> None:
    on = host(stopped(TWO[0], changed(TWO[1], source="eth0")))
    with pytest.raises(MacvtapError) as caught:
        planner.plan([by("source", "eth0")], on)
    assert str(caught.value) == (
        "interfaces[2].source: domain 'web1' has 2 direct interfaces with the source eth0: "
        "52:54:00:00:00:01 direct eth0 ua-lan; 52:54:00:00:00:02 direct eth0 web0. Select one by its MAC address"
    )


def test_one_interface_declared_in_two_ways_is_refused() -> None:
    with pytest.raises(MacvtapError, match="this selects the same interface"):
        planner.plan([want(), by("alias", "ua-lan")], host(stopped(*TWO)))


def new_mac(desired: Desired, on: Host) -> str:
    (step,) = planner.plan([desired], on).steps
    assert step.after is not None
    return step.after.mac


def test_a_new_interface_gets_a_stable_and_unique_address() -> None:
    first = new_mac(by("source", "eth0", mode="bridge"), host(stopped(uuid="u1")))
    assert first.startswith("52:54:00:")
    assert first == new_mac(by("source", "eth0", mode="vepa"), host(stopped(uuid="u1")))
    assert first != new_mac(by("source", "eth0", mode="bridge"), host(stopped(uuid="u2")))
    assert first != new_mac(by("source", "eth0", mode="bridge"), host(stopped(uuid="u1"), macs={first: ("db1",)}))
    prefixed = replace(by("source", "eth0", mode="bridge"), mac_prefix="02:aa")
    assert new_mac(prefixed, host(stopped(uuid="u1"))).startswith("02:aa:")


def test_two_new_interfaces_of_one_run_get_two_addresses() -> None:
    both = [by("alias", "ua-a", source="eth0", mode="bridge"), by("alias", "ua-b", source="eth0", mode="bridge")]
    first, second = planner.plan(both, host(stopped(uuid="u1"))).steps
    assert first.target != second.target


def test_an_address_that_another_domain_has_is_refused_for_a_new_interface() -> None:
    desired = want(source="eth0", mode="bridge")
    for on in (
        host(stopped(), macs={MAC: ("db1",)}),
        host(stopped(), Domain("db1", stored=(STORED,))),
        host(stopped(), Domain("db1", running=True, live=(LIVE,))),
    ):
        with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.mac: .* is already .* of domain db1"):
            planner.plan([desired], on)
    moving = [desired, want(domain="db1", present=False)]
    assert planner.plan(moving, host(stopped(), Domain("db1", stored=(STORED,)))).changed
    # What is there already stays.
    assert not planner.plan([want()], host(stopped(STORED), macs={MAC: ("db1",)})).changed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "eth7"}, r"interfaces\[2\]\.source: there is no link eth7 on this host; did you mean eth1 or eth0"),
        ({"source": "port0"}, r"interfaces\[2\]\.source: port0 is a port of the bridge br0.*Use br0 instead"),
        ({"source": "macvtap0"}, r"interfaces\[2\]\.source: macvtap0 is a macvtap link"),
        ({"vlan": "20"}, r"interfaces\[2\]\.vlan: .*Only an SR-IOV virtual function.*eth0\.20 type vlan id 20"),
        (
            {"vlan": "20", "mode": "passthrough", "source": "br0"},
            r"interfaces\[2\]\.vlan: br0 is not an SR-IOV virtual function",
        ),
        (
            {"virtualport.type": "802.1Qbg", "source": "eth1"},
            r"interfaces\[2\]\.virtualport\.type: eth1 is a veth link, on which libvirtd 9\.0 hangs",
        ),
        # The source that is there already, and one with a veth link below it.
        (
            {"virtualport.type": "802.1Qbg"},
            r"interfaces\[2\]\.virtualport\.type: eth0 is on the veth link far0, on which libvirtd 9\.0 hangs",
        ),
        ({"vlan": "20", "mode": "passthrough"}, r"interfaces\[2\]\.vlan: eth0 is not an SR-IOV virtual function"),
        ({"target": "br0"}, r"interfaces\[2\]\.target: br0 is already a link of this host, a bridge link\."),
        ({"target": "lan0"}, r"interfaces\[2\]\.target: lan0 is already a link of this host"),
        (
            {"virtualport.profileid": "x"},
            r"interfaces\[2\]\.virtualport\.type: a virtual port with parameters needs a type",
        ),
        ({"model": "e1000e", "driver.queues": "2"}, r"interfaces\[2\]\.driver\.queues: .*drops this for .* e1000e"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(given: dict[str, t.Any], message: str) -> None:
    for on in (host(stopped(STORED), links=LINKS), host(running([STORED], [LIVE]), links=LINKS)):
        with pytest.raises(MacvtapError, match=f"^{message}"):
            planner.plan([want(**given)], on)


def test_a_source_may_be_an_alternative_name() -> None:
    # libvirt finds the link by it too: what runs is on that link already.
    for desired in (want(source="lan0"), by("source", "lan0")):
        on = host(running([STORED], [LIVE]), links=LINKS)
        assert changes(planner.plan([desired], on)) == [("source", "eth0", "lan0", "config")]
        assert restart(desired, on) == ()
        done = host(running([changed(STORED, source="lan0")], [LIVE]), links=LINKS)
        assert not planner.plan([desired], done).changed
        assert restart(desired, done) == ()


def test_a_nic_that_is_not_virtio_loses_its_driver() -> None:
    on = host(stopped(changed(STORED, **{"driver.name": "vhost", "driver.queues": "4"})))
    assert changes(planner.plan([want(model="e1000e")], on)) == [
        ("model", "virtio", "e1000e", "config"),
        ("driver.name", "vhost", None, "config"),
        ("driver.queues", 4, None, "config"),
    ]


def test_a_target_is_refused_where_a_domain_has_it_that_is_not_in_the_task() -> None:
    on = host(stopped(), macs={}, targets={"web0": ("db1",)})
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.target: web0 is already .* of domain db1"):
        planner.plan([want(source="eth0", target="web0")], on)
    assert planner.plan([want(source="eth0", target="web1")], on).changed


def test_a_target_is_refused_where_another_interface_has_it() -> None:
    web0 = changed(STORED, target="web0")
    other = Domain("db1", stored=(replace(web0, mac=OTHER),))
    with pytest.raises(MacvtapError, match=rf"^interfaces\[2\]\.target: .*also .* interface {OTHER} of domain db1"):
        planner.plan([want(target="web0")], host(stopped(STORED), other))
    twins = [want(target="web0"), want(mac=OTHER, source="eth0", mode="bridge", target="web0")]
    with pytest.raises(MacvtapError, match=r"\.target: .* also the target"):
        planner.plan(twins, host(stopped(STORED)))
    # It moves from one to the other; and what stays is not judged.
    moving = [want(target="web0"), want(domain="db1", mac=OTHER, present=False)]
    assert planner.plan(moving, host(stopped(STORED), other)).changed
    assert not planner.plan([want(target="web0")], host(stopped(web0), other)).changed


def test_an_address_that_the_link_below_has_is_refused_for_a_new_interface() -> None:
    own = "02:00:00:00:00:01"
    for taken, message in ((own, "eth0, the source itself"), (MAC, "macvtap0, another link on eth0")):
        with pytest.raises(MacvtapError, match=rf"^interfaces\[2\]\.mac: {taken} is the address of {message}"):
            planner.plan([want(mac=taken, source="eth0", mode="bridge")], host(stopped(), links=LINKS))
    assert planner.plan([want(mac=own, source="eth0", mode="passthrough")], host(stopped(), links=LINKS)).changed
    moving = [want(source="eth0", mode="bridge"), want(domain="db1", present=False)]
    db1 = Domain("db1", running=True, stored=(STORED,), live=(LIVE,))
    assert planner.plan(moving, host(stopped(), db1, links=LINKS)).changed


def test_conversion_leaves_the_name_of_a_link_that_was_made_before() -> None:
    links = {"eth0": LINKS["eth0"], "mt0": Link("mt0", 7, kind="macvtap")}
    made_before = Iface(MAC, "ethernet", {"target": "mt0"}, None, "<interface/>")
    on = host(running([made_before], [made_before]), links=links)
    (step,) = planner.plan([want(source="eth0", mode="bridge", convert="yes")], on).steps
    assert step.after is not None
    assert step.after.stored is not None
    assert step.after.stored.get("target") is None
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.target: mt0 is already a link of this host, a macvtap"):
        planner.plan([want(source="eth0", mode="bridge", convert="yes", target="mt0")], on)
    # It stays on its parent with this address when the guest lets go of it.
    stays = {**links, "mt0": replace(links["mt0"], parent="eth0", mac=MAC, up=True)}
    with pytest.raises(MacvtapError, match=rf"^interfaces\[2\]\.mac: {MAC} is the address of mt0, another link"):
        planner.plan([want(source="eth0", mode="bridge", convert="yes")], replace(on, links=stays))


def test_an_interface_without_an_address_is_refused() -> None:
    nameless = replace(changed(STORED, alias="ua-lan"), mac="")
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.alias: .*direct eth0 ua-lan has no MAC address"):
        planner.plan([by("alias", "ua-lan")], host(stopped(nameless)))


def test_a_source_that_stays_is_not_judged() -> None:
    gone = changed(STORED, source="gone0")
    assert changes(planner.plan([want(source="gone0", mode="private")], host(stopped(gone), links=LINKS))) == [
        ("mode", "bridge", "private", "config")
    ]


BRIDGED = Iface(
    MAC,
    "bridge",
    {"model": "e1000e", "boot_order": "1", "alias": "ua-lan", "pci_address": "0000:01:00.0", "vlan": "7"},
    "br0",
    "<interface/>",
)


def test_conversion_keeps_what_the_guest_sees() -> None:
    desired = want(source="eth0", mode="bridge", convert="yes")
    (step,) = planner.plan([desired], host(stopped(BRIDGED))).steps
    assert step.after is not None
    assert step.after.stored is not None
    assert step.after.stored.type == "direct"
    assert step.after.stored.xml == BRIDGED.xml
    assert {n: step.after.stored.get(n) for n in ("model", "boot_order", "alias", "pci_address", "vlan", "source")} == {
        "model": "e1000e",
        "boot_order": "1",
        "alias": "ua-lan",
        "pci_address": "0000:01:00.0",
        "vlan": None,
        "source": "eth0",
    }
    first, *_rest = changes(planner.plan([desired], host(stopped(BRIDGED))))
    assert first == ("type", "bridge", "direct", "config")


def test_conversion_gives_up_the_link_of_an_ethernet_interface() -> None:
    desired = want(source="eth0", mode="bridge", convert="yes")
    for kind, kept in (("ethernet", None), ("bridge", "web0")):
        named = replace(changed(BRIDGED, target="web0"), type=kind)
        (step,) = planner.plan([desired], host(stopped(named))).steps
        assert step.after is not None
        assert step.after.stored is not None
        assert step.after.stored.get("target") == kept


def test_conversion_of_a_running_guests_interface_needs_a_replug() -> None:
    desired = want(source="eth0", mode="bridge", convert="yes")
    on = host(running([BRIDGED], [changed(BRIDGED, target="vnet0")]))
    assert set(impacts(desired, on).values()) == {"restart"}
    assert set(impacts(desired, on, "replug").values()) == {"replug"}


def test_conversion_needs_a_source_and_is_no_removal() -> None:
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.source: .*is required, to convert"):
        planner.plan([want(convert="yes")], host(stopped(BRIDGED)))
    with pytest.raises(MacvtapError, match=r"only interfaces of type 'direct'$"):
        planner.plan([want(present=False)], host(stopped(BRIDGED)))
    # It was to be converted and has not been, so that the declared direct interface is not there.
    for on in (stopped(BRIDGED), running([BRIDGED], [changed(BRIDGED, target="vnet0")])):
        assert planner.plan([want(convert="yes", present=False)], host(on)) == Plan()


def test_purge_removes_what_is_direct_and_not_declared() -> None:
    bridged = replace(BRIDGED, mac="52:54:00:00:00:03")
    only_live = replace(LIVE, mac="52:54:00:00:00:04")
    on = host(running([*TWO, bridged], [LIVE, bridged, only_live]), Domain("db1", stored=(STORED,)), links=LINKS)
    plan = planner.plan([want()], on, purge=True)
    assert {(step.target, step.path) for step in plan.steps} == {
        (f"web1 {OTHER}", "purge"),
        ("web1 52:54:00:00:00:04", "purge"),
    }
    assert all(step.after is not None and step.after.stored is None for step in plan.steps)


def test_addresses_of_the_others_matter_only_where_one_is_added() -> None:
    assert resolution.needs_all_macs([want(source="eth0")], host(stopped()))
    assert not resolution.needs_all_macs([want(source="eth0")], host(stopped(STORED)))
    assert not resolution.needs_all_macs([want(present=False), want(domain="gone")], host(stopped()))


def test_every_level_allows_more_than_the_one_before() -> None:
    none, update, pause, replug = impact.LEVELS.values()
    assert none < update < pause
    assert update < replug
    assert Impact.RESTART not in pause | replug


# Multicast, of which libvirt's configuration knows nothing: the link has it, and udev gives it to the next one.


def heard(iface: Iface, text: str = "yes") -> Iface:
    return changed(iface, allmulticast=text)


def udev_rules(domain: Domain, *macs: str, **more: t.Any) -> Host:
    """A host with udev, and rules for these addresses."""
    message = dict.fromkeys(macs, "yes")
    stored = tuple(heard(iface, message.get(iface.mac, "no")) for iface in domain.stored)
    return host(replace(domain, stored=stored), **{"links": LINKS, "managed_rules": frozenset(macs), **more})


@pytest.mark.parametrize(
    ("given", "live", "macs", "level", "expected"),
    [
        ("yes", "no", [], "update", [("allmulticast", False, True, "live")]),
        ("yes", "no", [], "none", [("allmulticast", False, True, "restart")]),
        # Somebody has set it by hand: it is written down, and no more.
        ("yes", "yes", [], "update", [("allmulticast", False, True, "config")]),
        # A link that was made before its rule.
        ("yes", "no", [MAC], "update", [("allmulticast", False, True, "live")]),
        ("yes", "yes", [MAC], "update", []),
        ("no", "yes", [MAC], "update", [("allmulticast", True, False, "live")]),
        ("no", "yes", [], "update", [("allmulticast", True, False, "live")]),
        ("no", "no", [], "update", []),
        (None, "yes", [], "update", []),
        (None, "no", [MAC], "update", []),
    ],
)
def test_allmulticast_of_a_running_guest(
    given: str | None, live: str, macs: list[str], level: str, expected: list[t.Any]
) -> None:
    desired = replace(want(), given={"allmulticast": given} if given else {})
    on = udev_rules(running([STORED], [heard(LIVE, live)]), *macs)
    planned = planner.plan([desired], on, level=level)
    assert changes(planned) == expected
    assert planned.warnings == ()


def test_allmulticast_of_a_guest_that_does_not_run() -> None:
    planned = planner.plan([want(allmulticast="yes")], udev_rules(stopped(STORED)))
    assert changes(planned) == [("allmulticast", False, True, "config")]
    assert not planner.plan([want(allmulticast="yes")], udev_rules(stopped(STORED), MAC)).changed


def test_a_link_with_allmulticast_is_no_reason_to_restart_unless_declared() -> None:
    on = udev_rules(running([STORED], [heard(LIVE)]))
    assert restart(want(), on) == ()
    assert restart(want(allmulticast="no"), on, level="none") == ("allmulticast",)
    assert restart(want(), udev_rules(running([STORED], [heard(LIVE, "no")]), MAC)) == ("allmulticast",)


def test_allmulticast_lasts_until_the_guest_stops_where_rules_are_unsupported() -> None:
    on = host(running([STORED], [heard(LIVE, "no")]), links=LINKS, rules_unsupported="there is no udev")
    planned = planner.plan([want(allmulticast="yes")], on)
    assert changes(planned) == [("allmulticast", False, True, "live")]
    (warning,) = planned.warnings
    assert "lasts only until the guest stops: there is no udev" in warning
    done = host(running([STORED], [heard(LIVE)]), links=LINKS, rules_unsupported="there is no udev")
    again = planner.plan([want(allmulticast="yes")], done)
    assert (again.changed, again.warnings, restart(want(allmulticast="yes"), done)) == (False, (warning,), ())
    (off,) = planner.plan(
        [want(allmulticast="yes")], host(stopped(STORED), links=LINKS, rules_unsupported="no udev")
    ).warnings
    assert "is not set when the guest starts: no udev" in off


@pytest.mark.parametrize(("level", "live"), [("update", "yes"), ("none", None)])
def test_a_new_interface_is_made_with_it(level: str, live: str | None) -> None:
    (step,) = planner.plan(
        [want(mac=OTHER, source="eth0", mode="bridge", allmulticast="yes")],
        udev_rules(running([STORED], [LIVE]), macs={}),
        level=level,
    ).steps
    assert step.after is not None
    assert step.after.stored is not None
    assert step.after.stored.get("allmulticast") == "yes"
    assert (step.after.live and step.after.live.get("allmulticast")) == live


@pytest.mark.parametrize(
    "uri_and_links", [("qemu+ssh://far/system", None), ("file /x.xml", None), ("qemu:///session", LINKS)]
)
def test_allmulticast_is_refused_where_the_link_is_out_of_reach(uri_and_links: tuple[str, Links | None]) -> None:
    uri, links = uri_and_links
    on = replace(host(stopped(STORED)), uri=uri, links=links)
    with pytest.raises(MacvtapError, match=rf"^interfaces\[2\].allmulticast: .* with {re.escape(uri)}\. Leave it out"):
        planner.plan([want(allmulticast="yes")], on)


def test_allmulticast_and_trust_are_not_for_one_interface() -> None:
    trusting = running([changed(STORED, trust_guest_rx_filters="yes")], [LIVE])
    for declared, on in (
        (want(allmulticast="yes"), udev_rules(trusting)),
        (want(allmulticast="yes", trust_guest_rx_filters="yes"), udev_rules(running([STORED], [LIVE]))),
        (want(allmulticast="yes", trust_guest_rx_filters="yes"), host(stopped(STORED), links=LINKS)),
    ):
        with pytest.raises(MacvtapError, match=r"\.allmulticast: .* removes allmulticast"):
            planner.plan([declared], on)


def test_allmulticast_waits_for_libvirt_to_trust_the_running_guest_no_longer() -> None:
    trust = {"trust_guest_rx_filters": "yes"}
    on = udev_rules(running([changed(STORED, **trust)], [heard(changed(LIVE, **trust), "no")]))
    given = want(allmulticast="yes", trust_guest_rx_filters="no")
    assert set(impacts(given, on).values()) == {"restart"}
    assert set(impacts(given, on, level="replug").values()) == {"replug"}
    assert set(impacts(given, replace(on, version=11_003_000)).values()) == {"live"}


def test_trust_is_refused_for_a_nic_that_does_not_report_its_filters() -> None:
    for given in ({"model": "e1000e", "trust_guest_rx_filters": "yes"}, {"trust_guest_rx_filters": "yes"}):
        on = host(stopped(changed(STORED, model="e1000e")))
        with pytest.raises(MacvtapError, match=r"\.trust_guest_rx_filters: QEMU does not report .* model e1000e"):
            planner.plan([replace(want(), given=given)], on)
    # What is so already is no business of this task.
    had = changed(STORED, model="e1000e", trust_guest_rx_filters="yes")
    assert not planner.plan([want(trust_guest_rx_filters="yes")], host(stopped(had))).changed


@pytest.mark.parametrize(("text", "message"), [("yes", "next changes its own"), ("no", "stay on its link")])
def test_a_live_change_of_trust_warns_about_its_limits(text: str, message: str) -> None:
    other = {"trust_guest_rx_filters": "no" if text == "yes" else "yes"}
    on = host(running([changed(STORED, **other)], [changed(LIVE, **other)]), links=LINKS, version=11_003_000)
    (warning,) = planner.plan([want(trust_guest_rx_filters=text)], on).warnings
    assert message in warning


DRIFTED = replace(changed(LIVE, mode="private"), stale_mode="bridge")


@pytest.mark.parametrize(
    ("desired", "live", "warned"),
    [
        (want(mode="private"), LIVE, True),
        # Back to what libvirt shows anyhow.
        (want(mode="bridge"), DRIFTED, False),
        (want(mode="vepa"), DRIFTED, True),
        (want(present=False), LIVE, False),
        (want(present=False), changed(LIVE, trust_guest_rx_filters="yes"), False),
    ],
)
def test_a_mode_that_libvirt_does_not_show_is_warned_of(desired: Desired, live: Iface, warned: bool) -> None:
    plan = planner.plan([desired], host(running([STORED], [live]), links=LINKS, version=11_000_000))
    assert any(change.impact is Impact.LIVE for change in plan.changes)
    assert any("virsh dumpxml shows another mode than" in warning for warning in plan.warnings) is warned
    assert len(plan.warnings) == warned


def test_purging_warns_of_no_mode() -> None:
    other = replace(LIVE, mac=OTHER, values={**LIVE.values, "target": "macvtap1", "mode": "vepa"})
    on = host(running([STORED, replace(STORED, mac=OTHER)], [LIVE, other]), links=LINKS)
    plan = planner.plan([want()], on, purge=True)
    assert (plan.changed, plan.warnings) == (True, ())


def fleeting(*live: Iface) -> Domain:
    return running([], live, persistent=False)


def test_of_a_transient_domain_what_it_can_have_as_it_runs() -> None:
    on = host(fleeting(LIVE), links=LINKS)
    (resolved,) = resolution.resolve([want(mode="private", model="e1000")], on)
    assert resolved.restart_fields() == ()
    assert resolved.warnings == (
        f"web1 {MAC}: the domain is transient, so nothing of it is stored (virsh define would store it). The running "
        "guest does not get model",
    )
    assert changes(planner.plan([want(mode="private", model="e1000")], on)) == [("mode", "bridge", "private", "live")]
    added = planner.plan([want(mac=OTHER, source="eth0", mode="bridge")], on)
    assert changes(added) == [("live", "absent", "present", "live")]
    (step,) = added.steps
    assert step.after is not None
    assert step.after.stored is None
    assert changes(planner.plan([want(present=False)], on)) == [("live", "present", "absent", "live")]


def test_what_a_transient_domain_cannot_have_stops_no_other() -> None:
    on = host(fleeting(LIVE), Domain("web2", stored=(replace(STORED, mac=OTHER),)), links=LINKS)
    others = [want("web2", OTHER, mode="private")]
    for entry in (want(model="e1000"), want(mac="52:54:00:00:00:09", source="eth0", mode="vepa"), want(present=False)):
        plan = planner.plan([entry, *others], on, level="none")
        assert [step.target for step in plan.steps] == [f"web2 {OTHER}"]
        assert any("is transient" in warning for warning in plan.warnings)
    nothing = planner.plan([want(mac="52:54:00:00:00:09", present=False), *others], on)
    assert [step.target for step in nothing.steps] == [f"web2 {OTHER}"]
    assert not [warning for warning in nothing.warnings if "transient" in warning]


def test_what_would_fail_in_a_transient_domain_is_refused_first() -> None:
    with pytest.raises(MacvtapError, match="there is no link eth9"):
        planner.plan([want(mac=OTHER, source="eth9", mode="bridge")], host(fleeting(LIVE), links=LINKS))
    with pytest.raises(MacvtapError, match="must be the only one on its parent"):
        planner.plan([want(mac=OTHER, source="eth0", mode="passthrough")], host(fleeting(LIVE), links=LINKS))


LINK_FAULTS = changed(LIVE, **{"link.state": "down", "link.mac": "02:00:00:00:00:99"})


def test_a_link_that_keeps_its_guest_off_the_network_is_due() -> None:
    on = host(running([STORED], [LINK_FAULTS]), links=LINKS)
    for desired in (want(), want(link_state="up")):
        assert changes(planner.plan([desired], on)) == [
            ("link.state", "down", "up", "live"),
            ("link.mac", "02:00:00:00:00:99", MAC, "live"),
        ]
        assert not planner.plan([desired], on, level="none").changed
        assert restart(desired, on, "none") == ("link.state", "link.mac")
    # Another link comes with a replug, and none stays of what is removed.
    replugged = planner.plan([want(model="e1000")], on, level="replug")
    assert {change.field for change in replugged.changes} == {"model"}
    assert {c.field for c in planner.plan([want(present=False)], on).changes}.isdisjoint({"link.state", "link.mac"})
    # What a trusted guest has given its link is its own.
    own = changed(LIVE, trust_guest_rx_filters="yes", **{"link.guests_mac": "02:00:00:00:00:99"})
    moved = {**LINKS, "macvtap0": replace(LINKS["macvtap0"], mac="02:00:00:00:00:99")}
    trusted = host(running([changed(STORED, trust_guest_rx_filters="yes")], [own]), links=moved)
    assert not planner.plan([want()], trusted).changed
    assert impacts(want(mode="private"), trusted) == {"mode": "live"}


@pytest.mark.parametrize(
    ("card", "functions", "fits"),
    [
        (Link("eth2", 9, pci="0000:01:00.1"), frozenset(), True),
        (Link("eth2", 9, pci="0000:01:00.0"), frozenset({"eth2"}), False),
        (Link("eth2", 9), frozenset(), False),
    ],
)
def test_only_a_virtual_function_can_have_a_vlan(card: Link, functions: frozenset[str], fits: bool) -> None:
    on = host(stopped(), links={**LINKS, "eth2": card}, non_vfs=functions)
    desired = [want(source="eth2", mode="passthrough", vlan="20")]
    if fits:
        assert planner.plan(desired, on).changed
        return
    with pytest.raises(MacvtapError, match=r"\.vlan: eth2 is not an SR-IOV virtual function"):
        planner.plan(desired, on)


def test_a_domain_that_cannot_be_read_is_only_a_warning() -> None:
    on = host(stopped(STORED), links=LINKS, macs={}, unreadable=("secret1",))
    added = planner.plan([want(mac=OTHER, source="eth0", mode="bridge")], on)
    assert added.changed
    assert added.warnings == (
        f"this user may not read secret1, so a domain there may have the address of web1 {OTHER} already",
    )
    assert planner.plan([want(mode="private")], on).warnings == ()


def test_others_are_read_only_where_they_matter() -> None:
    rules = frozenset({OTHER})
    on = host(stopped(STORED, replace(STORED, mac=OTHER)), managed_rules=rules)
    assert not resolution.needs_all_macs([want(present=False)], on)
    assert not resolution.needs_all_macs([want(allmulticast="no")], on)
    assert resolution.needs_all_macs([want(mac=OTHER, present=False)], on)
    assert resolution.needs_all_macs([want()], on, purge=True)
    assert not resolution.needs_all_macs([want()], host(stopped(STORED), managed_rules=rules), purge=True)
    assert resolution.needs_all_macs([want("gone", OTHER, present=False)], on)


@pytest.mark.parametrize("kind", ["network", "bridge", "hostdev"])
def test_what_only_the_running_guest_has_as_another_type_is_not_this_modules(kind: str) -> None:
    attached = replace(LIVE, mac=OTHER, type=kind)
    there = host(running([STORED], [LIVE, attached]), links=LINKS)
    gone = planner.plan([want(mac=OTHER, present=False)], there)
    assert not gone.changed
    assert f"has it as an interface of type {kind!r}, which is left alone" in gone.warnings[0]
    givens: tuple[dict[str, t.Any], ...] = ({"mode": "private"}, {"source": "eth1", "mode": "bridge"})
    for given in givens:
        with pytest.raises(
            MacvtapError, match=f"{OTHER} as an interface of type {kind!r}.*Set convert: true to convert it"
        ):
            planner.plan([want(mac=OTHER, **given)], there)
    converted = planner.plan([want(mac=OTHER, source="eth1", mode="bridge", convert=True)], there)
    assert ("state", "absent", "present", "restart") in changes(converted)


@pytest.mark.parametrize(
    ("name", "value"),
    [("alias", "ua-lan"), ("pci_address", "0000:02:00.0"), ("boot_order", "2"), ("acpi_index", "7")],
)
def test_what_no_two_devices_of_a_domain_can_have_is_given_once(name: str, value: str) -> None:
    other = changed(replace(STORED, mac=OTHER), **{"pci_address": "0000:03:00.0", name: value})
    on = host(stopped(STORED, other), Domain("web2", stored=(replace(other, mac="52:54:00:00:00:03"),)))
    with pytest.raises(
        MacvtapError, match=rf"^interfaces\[2\]\.{name}: {value} is also used by interface {OTHER} of the"
    ):
        planner.plan([replace(want(), given={name: value})], on)
    free = VALUES.get(name, "ua-1" if name == "alias" else "1")
    swapped = [replace(want(), given={name: value}), replace(want(mac=OTHER), given={name: free})]
    assert planner.plan(swapped, on).changed


def test_a_rom_that_is_off_is_not_tuned() -> None:
    off = changed(STORED, **{"rom.enabled": "no"})
    with pytest.raises(
        MacvtapError, match=r"^interfaces\[2\]\.rom\.bar: libvirt accepts rom.bar only with an enabled ROM"
    ):
        planner.plan([replace(want(), given={"rom.bar": "on"})], host(stopped(off)))
    tuned = changed(STORED, **{"rom.file": "/x"})
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.rom\.enabled: libvirt accepts rom.file only"):
        planner.plan([replace(want(), given={"rom.enabled": "no"})], host(stopped(tuned)))
    assert planner.plan([replace(want(), given={"rom.enabled": "yes", "rom.bar": "on"})], host(stopped(off))).changed
