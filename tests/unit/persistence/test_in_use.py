# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The boot configuration of a link that a guest uses stays, as the link does: as macvtap_link and vlan_link decide."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Holders, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import in_use, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Declared, Host

from .cut_off import SHIM, TAP, VLAN, host
from .planned import LINKS, after, link, vlan
from .planned_shims import shim

QEMU = Holders((Holder(7, "qemu-system-x86", "web1"),))
UNKNOWN = Holders(doubt="no root")
ON_VLAN = replace(TAP, index=12, parent="eth0.20", parent_index=9)
GUESTS = replace(ON_VLAN, name="macvtap0", index=13)
GONE: dict[str, tuple[list[Declared], bool, str]] = {
    "absent": ([link(state="absent"), vlan(state="absent")], False, ""),
    "purge": ([], True, "purge"),
}


def used(
    there: Host,
    *declared: Declared,
    purge: bool = False,
    group: int | None = None,
    held: t.Mapping[str, Holders] | None = None,
    check_mode: bool = False,
) -> str:
    """Return why this is refused, or in check mode the warnings, "" if there is neither."""
    resolved, planned = planner.resolved_of(declared, there), planner.plan(declared, there, purge=purge)
    found = in_use.removals(resolved, there, planned, group)
    asked = {tap.key for one in found for tap in one.taps}
    asked_of = {name: who for name, who in (held or {}).items() if name in asked}
    try:
        return "; ".join(in_use.check(found, asked_of, check_mode=check_mode))
    except MacvtapError as exc:
        return str(exc)


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize(
    ("who", "why"),
    [
        (QEMU, f"{QEMU.by[0]} holds its tap open"),
        (UNKNOWN, "whether a process holds its tap open is unknown: no root"),
    ],
)
def test_a_macvtap_link_whose_tap_may_be_held(how: str, who: Holders, why: str) -> None:
    there = after(host(TAP), link())
    declared, purge, path = GONE[how]
    text = used(there, *declared, purge=purge, held={"mt0": who})
    assert text.startswith(f"{path or 'links[0]'}: mt0 is in use, and removing its configuration would break that at ")
    assert why in text
    assert text.endswith(
        "Fix that first, declare mt0, or set force: true" if purge else "Fix that first, or set force: true"
    )
    assert not used(there, *declared, purge=purge, held={"mt0": Holders()})
    # It is not there, or only the same name in another namespace is.
    gone = replace(there, links=host().links)
    assert not used(gone, *declared, purge=purge, held={"mt0": who})
    elsewhere = replace(there, links={**host().links, "red/mt0": replace(TAP, netns="red")})
    assert not used(elsewhere, *declared, purge=purge, held={"mt0": who, "red/mt0": who})


def test_what_stays_or_is_left_to_something_else_is_not_asked_about() -> None:
    there, held = after(host(TAP), link(), link("mt1", mac=None)), {"mt0": QEMU}
    for declared in (link(), link(mode="private"), link(parent="eth1"), link(backend="none"), link("mt1", mac=None)):
        assert not used(there, declared, held=held)
    assert used(there, link("mt1", mac=None), purge=True, held=held)


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize(
    ("above", "why"),
    [
        ((GUESTS,), "macvtap0 is on it"),
        ((GUESTS, replace(GUESTS, name="macvtap1", index=14)), "macvtap0, macvtap1 are on it"),
        ((replace(SHIM, parent="eth0.20", parent_index=9, alias=None),), "host0 is on it"),
        ((Link("wg0", 12, "vxlan", under=9),), "wg0 is on it"),
        ((replace(VLAN, master="br0"), Link("br0", 12, "bridge")), "it is a port of br0"),
    ],
)
def test_a_vlan_that_links_are_on(how: str, above: tuple[Link, ...], why: str) -> None:
    """Whether or not guests use these: vlan_link does not ask either."""
    there = after(host(VLAN, *above), vlan())
    declared, purge, path = GONE[how]
    text = used(there, *declared, purge=purge)
    assert text.startswith(f"{path or 'vlans[0]'}: eth0.20 is in use, and removing its configuration would break that ")
    assert f" at the next boot: {why}. Fix that first" in text
    with pytest.raises(MacvtapError, match=r"eth0\.20 is "):
        vlans.plan([DesiredVlan("eth0", 20, state="absent")], there.links)
    alone = replace(there, links=host(VLAN).links)
    assert not used(alone, *declared, purge=purge)
    # One of something else is created by that.
    theirs = replace(there, links={**there.links, "eth0.20": replace(there.links["eth0.20"], alias=None)})
    assert not used(theirs, *declared, purge=purge)


LEAVING: dict[str, tuple[list[Declared], bool, int | None]] = {
    "absent": ([vlan(state="absent"), link(state="absent")], False, None),
    "moved": ([vlan(state="absent"), link(parent="eth1")], False, None),
    "moved, and created by something else": ([vlan(state="absent"), link(parent="eth1", backend="none")], False, None),
    "moved to a new VLAN": ([vlan(state="absent"), vlan(id=30), link(parent="eth0.30", backend="none")], False, None),
    "moved to a VLAN of something else": (
        [vlan(state="absent"), vlan(id=30, backend="none"), link(parent="eth0.30", backend="none")],
        False,
        None,
    ),
    "purged": ([], True, 7),
    "purged, and the VLAN absent": ([vlan(state="absent")], True, 7),
}


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("how", LEAVING)
def test_links_that_leave_a_vlan_do_not_keep_it_but_their_guests_do(how: str, written: bool) -> None:
    declared, purge, group = LEAVING[how]
    there = after(host(VLAN, replace(ON_VLAN, group=7)), vlan(), *([link(parent="eth0.20")] if written else []))
    assert not used(there, *declared, purge=purge, group=group)
    text = used(there, *declared, purge=purge, group=group, held={"mt0": QEMU})
    assert "holds the tap of mt0 open" in text or text.startswith(("links[0]: mt0 is in use", "purge: mt0 is in use"))
    # One more that stays.
    more = replace(there, links={**there.links, "macvtap0": GUESTS})
    assert "macvtap0 is on it" in used(more, *declared, purge=purge, group=group)


def test_a_written_link_that_is_purged_leaves_its_vlan_whatever_its_group() -> None:
    there = after(host(VLAN, ON_VLAN), vlan(), link(parent="eth0.20"))
    assert not used(there, purge=True)
    assert used(there, purge=True, held={"mt0": QEMU}).startswith("purge: eth0.20 is in use")


def test_a_declared_link_stays_on_a_vlan_whatever_creates_it() -> None:
    there = after(host(VLAN, ON_VLAN), vlan(), link(parent="eth0.20"))
    for parent in ("eth0.20", None):
        assert "mt0 is on it" in used(there, link(parent=parent, backend="none"), purge=True)
    # Nothing can create links on this host at boot.
    unwritten = after(host(VLAN, ON_VLAN), vlan())
    left = replace(unwritten, systemd=False, networkd={}, networkmanager={}, enabled=(), interfaces_sourced=False)
    assert "mt0 is on it" in used(left, link(parent=None), vlan(state="absent"))
    assert not used(left, link(parent="eth1"), vlan(state="absent"))
    # A purged shim is removed by another role, later.
    on_it = replace(SHIM, parent="eth0.20", parent_index=9)
    shimmed = after(host(VLAN, on_it), vlan())
    assert "host0 is on it" in used(shimmed, vlan(state="absent"))
    assert not used(shimmed, vlan(state="absent"), shim("eth0.20", state="absent"))


def test_a_vlan_in_a_vlan() -> None:
    inner = replace(VLAN, name="inner", index=20, parent="eth0.20", parent_index=9, vlan_id=5)
    guests = replace(GUESTS, parent="inner", parent_index=20)
    there = after(after(host(VLAN, inner, guests), vlan()), vlan("eth0.20", 5, name="inner"))
    both = (vlan(state="absent"), vlan("eth0.20", 5, name="inner", state="absent"))
    assert "macvtap0 is on it" in used(there, *both)
    assert not used(replace(there, links=host(VLAN, inner).links), *both)


@pytest.mark.parametrize("state", ["up", "absent"])
def test_a_link_of_another_namespace_takes_nothing_from_the_link_of_its_name(state: str) -> None:
    """macvtap_link leaves the host's own link alone, so the next boot must create it."""
    elsewhere = link(netns="red", state=state)
    there = after(host(TAP), link())
    assert not planner.plan([elsewhere], there).changed
    assert used(there, elsewhere, purge=True, held={"mt0": QEMU}).startswith("purge: mt0 is in use")
    # It is on a VLAN, which vlan_link leaves alone, too.
    on_vlan = after(host(VLAN, ON_VLAN), vlan())
    assert "mt0 is on it" in used(on_vlan, vlan(state="absent"), elsewhere)
    # No such link is there, so what is written is of one that has moved.
    gone = after(host(), link())
    assert planner.plan([elsewhere], gone).changed is (state == "up")
    another_kind = replace(gone, links=host(replace(VLAN, name="mt0")).links)
    assert planner.plan([elsewhere], another_kind).changed is (state == "up")
    assert not planner.plan([elsewhere, link()], gone).changed
    assert not planner.plan([link(), elsewhere], gone).changed


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize(
    "above", [(GUESTS,), (GUESTS, replace(SHIM, name="macvtap1", parent="eth0.20", parent_index=9))]
)
def test_in_check_mode_an_earlier_task_has_not_removed_the_nics_on_a_vlan(how: str, above: tuple[Link, ...]) -> None:
    there = after(host(VLAN, ON_VLAN, *above), vlan(), link(parent="eth0.20"))
    declared, purge, path = GONE[how]
    text = used(there, *declared, purge=purge, held={"mt0": Holders()}, check_mode=True)
    on_it = "macvtap0, macvtap1 are on it" if len(above) > 1 else "macvtap0 is on it"
    assert text == (
        f"eth0.20 is in use: {on_it}. Without check mode, removing the configuration of eth0.20 is refused, unless an "
        "earlier task has removed that"
    )
    refused = f"eth0.20 is in use, and removing its configuration would break that at the next boot: {on_it}. Fix that"
    assert refused in used(there, *declared, purge=purge)
    # No other task removes these.
    for other in (Link("wg0", 15, "vxlan", under=9), replace(VLAN, name="inner", index=16, parent_index=9)):
        more = replace(there, links={**there.links, other.name: other})
        assert f"{other.name} are on it. Fix that" in used(more, *declared, purge=purge, check_mode=True)
    port = replace(
        there, links={**there.links, "eth0.20": replace(VLAN, master="br0"), "br0": Link("br0", 15, "bridge")}
    )
    assert "is in use, and " in used(port, *declared, purge=purge, check_mode=True)
    assert "mt0 open" in used(there, vlan(state="absent"), link(parent="eth1"), held={"mt0": QEMU}, check_mode=True)
    text = used(there, *declared, purge=purge, held={"mt0": QEMU}, check_mode=True)
    assert text.startswith(f"{path or 'vlans[0]'}: eth0.20 is in use, ")


STALE = {
    "another parent": vlan("eth1", name="prod"),
    "another parent, by its address": vlan(str(LINKS["eth1"].mac), name="prod"),
    "another parent, by its alternative name": vlan("lan-d", name="prod"),
    "another VLAN ID": vlan(id=30, name="prod"),
    "another protocol": vlan(protocol="802.1ad", name="prod"),
}


@pytest.mark.parametrize("what", STALE)
def test_what_is_written_of_a_vlan_whose_name_another_one_has_by_now(what: str) -> None:
    """vlan_link does not touch that, and it was not created from these files."""
    prod, tap = replace(VLAN, name="prod"), replace(ON_VLAN, parent="prod")
    there = after(host(), STALE[what])
    now = replace(there, links=host(prod, tap).links)
    gone = replace(STALE[what], entry=replace(t.cast("t.Any", STALE[what].entry), state="absent"))
    assert planner.plan([gone], now).changed
    assert not used(now, gone, held={"mt0": QEMU})
    assert not used(now, purge=True, held={"mt0": QEMU})
    # It is on a VLAN that goes, and stays there.
    outer = replace(VLAN, name="outer", index=30, parent="eth2", parent_index=4, vlan_id=7)
    inside = host(outer, replace(prod, parent="outer", parent_index=30)).links
    both = after(replace(now, links=inside), vlan("eth2", 7, name="outer"))
    assert "prod is on it" in used(both, gone, vlan("eth2", 7, name="outer", state="absent"))


@pytest.mark.parametrize("written", ["eth0", str(LINKS["eth0"].mac), "lan-a", "0000:03:00.0"])
def test_what_is_written_of_a_vlan_is_that_vlan_whatever_its_parent_is_called(written: str) -> None:
    prod, tap = replace(VLAN, name="prod"), replace(ON_VLAN, parent="prod")
    now = replace(after(host(), vlan(written, name="prod")), links=host(prod, tap).links)
    assert "mt0 is on it" in used(now, vlan(name="prod", state="absent"))
    # The uplink may have another name by now, which is not known.
    renamed = {name: replace(one, name="lan0") if name == "eth0" else one for name, one in now.links.items()}
    unclear = replace(now, links={("lan0" if name == "eth0" else name): one for name, one in renamed.items()})
    assert "is in use" in used(unclear, purge=True, held={"mt0": QEMU})
