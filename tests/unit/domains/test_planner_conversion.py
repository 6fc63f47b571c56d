# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Interfaces of other types: how they are converted, and that they are left alone otherwise."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

from .planned import BRIDGED, LINKS, LIVE, MAC, OTHER, STORED, changed, changes, host, impacts, running, stopped, want


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
