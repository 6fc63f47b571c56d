# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the link behind a running guest's interface has otherwise than it must have."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hostlinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Iface, link_of_iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Link

A, OTHER = "52:54:00:00:00:0a", "02:00:00:00:00:99"
LINK = Link("macvtap0", 7, "macvtap", "eth0", 2, "bridge", A, up=True)
IFACE = Iface(A, values={"source": "eth0", "mode": "bridge", "target": "macvtap0", "link_state": "up"})
WEB1 = Domain("web1", running=True)
ITS_OWN, NOBODYS = (Holder(4711, "qemu", "web1"),), ()


def faults(iface: Iface, link: Link, held: t.Sequence[Holder] = ITS_OWN, domain: Domain = WEB1) -> dict[str, str]:
    read = hostlinks._with_faults(iface, domain, {"macvtap0": link}, tuple(held))
    return {name: text for name, text in read.values.items() if name not in iface.values}


@pytest.mark.parametrize(
    ("iface", "link", "held", "domain", "found"),
    [
        (IFACE, LINK, ITS_OWN, WEB1, {}),
        (IFACE, replace(LINK, up=False), ITS_OWN, WEB1, {"link.state": "down"}),
        # As libvirt leaves it, of a guest that is paused, or as it was asked to be.
        (IFACE, replace(LINK, up=False), ITS_OWN, replace(WEB1, paused=True), {}),
        (replace(IFACE, values={**IFACE.values, "link_state": "down"}), replace(LINK, up=False), ITS_OWN, WEB1, {}),
        (IFACE, replace(LINK, mac=OTHER), ITS_OWN, WEB1, {"link.mac": OTHER}),
        # Another link has got its name: of that nothing is said.
        (IFACE, replace(LINK, mac=OTHER, up=False), NOBODYS, WEB1, {}),
        (IFACE, replace(LINK, mac=OTHER, up=False), ITS_OWN, Domain("web2", running=True), {}),
        (replace(IFACE, type="network"), replace(LINK, up=False), ITS_OWN, WEB1, {}),
        # In mode passthru it has its parent's.
        (IFACE, replace(LINK, mac=OTHER, mode="passthru"), ITS_OWN, WEB1, {}),
    ],
)
def test_what_keeps_a_guest_off_the_network(
    iface: Iface, link: Link, held: tuple[Holder, ...], domain: Domain, found: dict[str, str]
) -> None:
    assert faults(iface, link, held, domain) == found


ETH0 = Link("eth0", 2, mac=OTHER, up=True)


@pytest.mark.parametrize(
    ("iface", "links", "domain", "lost"),
    [
        (IFACE, [ETH0], WEB1, True),
        # libvirt takes an alternative name of the uplink as well.
        (IFACE, [replace(ETH0, name="lan0", altnames=frozenset({"eth0"}))], WEB1, True),
        (IFACE, [ETH0, LINK], WEB1, False),
        # It was renamed.
        (IFACE, [ETH0, replace(LINK, name="web0")], WEB1, False),
        # libvirt runs in another network namespace, for all that is known.
        (IFACE, [], WEB1, False),
        (IFACE, [replace(ETH0, name="lan0")], WEB1, False),
        (IFACE, [ETH0], Domain("web1", running=False), False),
        (replace(IFACE, type="network"), [ETH0], WEB1, False),
    ],
)
def test_a_link_that_is_gone(iface: Iface, links: list[Link], domain: Domain, lost: bool) -> None:
    read = hostlinks._with_faults(iface, domain, {link.name: link for link in links}, NOBODYS)
    assert ("link" in read.values) == lost


def test_what_has_changed_while_it_was_read_has_lost_no_link() -> None:
    gone = replace(IFACE, values={**IFACE.values, "link": "absent"})
    host = Host("", {name: Domain(name, running=True, live=(gone,)) for name in ("web1", "web2")})
    assert hostlinks.without_links(host) == ["web1", "web2"]
    assert hostlinks.without_links(hostlinks.without_claims(host, {"web1"})) == ["web2"]


def test_an_address_that_a_trusted_guest_has_set_is_no_fault() -> None:
    trusted = replace(IFACE, values={**IFACE.values, "trust_guest_rx_filters": "yes"})
    moved = replace(LINK, mac=OTHER)
    assert faults(trusted, moved) == {"link.guests_mac": OTHER}
    links = {"macvtap0": moved}
    assert link_of_iface(trusted, links) is None
    assert link_of_iface(hostlinks._with_faults(trusted, WEB1, links, ITS_OWN), links) is moved


@pytest.mark.parametrize("capable", [True, None])
def test_a_user_with_unknown_capabilities_may_try_to_change_links(
    monkeypatch: pytest.MonkeyPatch, capable: bool | None
) -> None:
    monkeypatch.setattr(hostlinks.process_table, "capable", lambda _number: capable)
    hostlinks.require("interfaces[1]")


def test_who_may_not_change_links_is_refused_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostlinks.process_table, "capable", lambda _number: False)
    with pytest.raises(MacvtapError, match=r"^interfaces\[1\]: changing the macvtap link .* Set become: true"):
        hostlinks.require("interfaces[1]")
