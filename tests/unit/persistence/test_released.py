# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Boot configuration that would take a link that the host needs from its network manager."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    Address,
    Connection,
    DesiredShim,
    Reach,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import disruptions, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import UNMANAGED_FILE, Declared, Host

from .cut_off import ADDRESSED, OURS, SHIM, TAP, THEIRS, VLAN, host, lost
from .planned import ETC, MAC, after, link, vlan


@pytest.mark.parametrize("reached", [ADDRESSED, Reach(routes=(Route("0.0.0.0/0", 9, "192.0.2.254"),))])
def test_a_link_that_networkd_configures_keeps_its_addresses(reached: Reach) -> None:
    text = lost(host(VLAN, networkd=THEIRS), reached, vlan())
    assert text.startswith("vlans[0]: eth0.20 has ")
    assert "and taking it from its network manager would remove them at the next boot at the latest. " in text
    assert f"or have networkd set them by {OURS}.d/address.conf, or set" in text
    # Of any kind, and for whatever needs it.
    tap = replace(TAP, index=9)
    assert lost(host(tap, networkd=f"{ETC}/90-all.network"), reached, link()).startswith("links[0]: mt0 has ")
    bridge = Link("br0", 12, "bridge", up=True)
    moved = replace(reached, addresses=(Address("192.0.2.1", 24, index=12),), routes=())
    there = host(replace(VLAN, master="br0"), bridge, networkd=THEIRS)
    assert lost(there, moved, vlan()).startswith(
        "vlans[0]: br0 has addresses of the host (192.0.2.1/24), which depends"
    )


def test_a_link_that_the_connection_goes_over_stays_with_its_manager() -> None:
    reach = Reach(connections=(Connection("192.0.2.1", "192.0.2.9", 9),))
    text = "Ansible's connection from 192.0.2.9 to 192.0.2.1 goes over eth0.20, and taking it from its network manager"
    assert text in lost(host(VLAN, networkd=THEIRS), reach, vlan())
    # Of a shim, addresses are declared.
    shim = Declared(DesiredShim("host0", "shims[0]", parent="eth0", mac=MAC, addresses=("192.0.2.1",)), "auto")
    on_shim = host(replace(SHIM, index=9), networkd=f"{ETC}/90-all.network")
    assert "goes over host0" in lost(on_shim, reach, shim)
    assert not lost(on_shim, ADDRESSED, shim)


@pytest.mark.parametrize(
    "there",
    [host(VLAN), host(VLAN, networkd=""), host(VLAN, networkd=THEIRS, extended="eth0.20"), host(networkd=THEIRS)],
)
def test_a_link_that_no_manager_gives_up(there: Host) -> None:
    """Networkd does not configure it, goes on by a user's drop-in, or it does not exist."""
    assert not lost(there, ADDRESSED, vlan())


def test_a_link_without_addresses_of_the_host_may_be_taken() -> None:
    elsewhere = Reach((Address("192.0.2.1", 24, index=2), Address("fe80::1", 64, index=9, link_local=True)))
    for there in (host(VLAN, networkd=THEIRS), host(VLAN, uuid="theirs")):
        assert not lost(there, elsewhere, vlan())
    # What is ours on it, or a guest's, needs no manager.
    shim, tap = replace(SHIM, parent="eth0.20", parent_index=9), replace(TAP, parent="eth0.20", parent_index=9)
    for index in (10, 11):
        assert not lost(host(VLAN, shim, tap, networkd=THEIRS), Reach((Address("192.0.2.1", 24, index=index),)), vlan())


def test_a_second_run_that_changes_nothing() -> None:
    for there in (
        host(VLAN, networkd=THEIRS),
        host(VLAN, uuid="theirs"),
        host(VLAN, networkd=OURS, extended="eth0.20"),
    ):
        again = after(there, vlan())
        assert not planner.plan([vlan()], again).changed
        assert not lost(again, ADDRESSED, vlan())
    gone = after(host(VLAN), vlan(), vlan(id=30))
    assert not lost(after(gone, vlan(state="absent")), ADDRESSED, vlan(state="absent"))


def test_a_link_that_networkmanager_has_an_active_profile_for() -> None:
    there = host(VLAN, uuid="theirs")
    text = lost(there, ADDRESSED, vlan())
    assert text.startswith("vlans[0]: eth0.20 has addresses of the host (192.0.2.1/24), and taking it from its network")
    assert "Declare eth0.20 with persistence: none, or absent, or set" in text
    # Another link in the same file.
    assert lost(after(there, link()), ADDRESSED, vlan()) == text
    assert not lost(there, ADDRESSED, link())
    assert not lost(there, ADDRESSED, vlan(backend="none"))


def test_a_name_with_a_comma_is_looked_up_as_it_is() -> None:
    odd = replace(VLAN, name="a,b")
    text = lost(host(odd, uuid="theirs"), ADDRESSED, vlan(name="a,b"))
    assert text.startswith("vlans[0]: a,b has addresses of the host")
    assert not lost(after(host(odd, uuid="theirs"), vlan(name="a,b")), ADDRESSED, vlan(name="a,b"))


def test_a_link_that_an_earlier_run_wrote_and_this_one_does_not_declare() -> None:
    written = after(host(VLAN), vlan(), link())
    files = {path: one for path, one in written.files.items() if path != UNMANAGED_FILE}
    there = replace(written, files=files, networkmanager={VLAN.index: "theirs"})
    text = lost(there, ADDRESSED, link())
    # No option of this run's is wrong.
    assert text.startswith("eth0.20 has addresses of the host")
    assert "Declare eth0.20 with persistence: none, or absent, or set" in text


def test_a_drop_in_that_is_gone() -> None:
    there = replace(after(host(VLAN, networkd=OURS, extended="eth0.20"), vlan()), extended=frozenset())
    text = lost(there, ADDRESSED, vlan())
    assert "taking it from its network manager" in text
    assert f"or have networkd set them by {OURS}.d/address.conf" in text


def test_the_links_that_a_reload_of_networkd_may_change() -> None:
    def changing(there: Host, *declared: Declared) -> list[str]:
        return [one.link for one in disruptions.by_networkd(there, planner.plan(declared, there))]

    theirs, ours = host(VLAN, networkd=THEIRS), host(VLAN, networkd=OURS, extended="eth0.20")
    assert changing(theirs, vlan()) == changing(after(theirs, vlan()), link()) == ["eth0.20"]
    assert changing(ours, vlan()) == changing(after(ours, vlan()), vlan(state="absent")) == ["eth0.20"]
    # By a file that somebody has removed since networkd read it.
    assert changing(ours, link()) == ["eth0.20"]
    # It begins to, by a user's drop-in.
    assert changing(host(VLAN, extended="eth0.20"), vlan()) == ["eth0.20"]
    assert changing(theirs, link()) == changing(host(VLAN), vlan()) == changing(host(networkd=THEIRS), vlan()) == []
