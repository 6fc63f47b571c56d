# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter against libvirt's own test driver, which needs no daemon."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    hostlinks,
    hypervisor,
    planner,
    rollback,
    xml,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.definitions import Definitions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    Desired,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.writes import Writes
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

libvirt = pytest.importorskip("libvirt")

MAC = "52:54:00:00:00:01"
URI = "test:///default"
ADD = Desired("interfaces[0]", "web1", key=MAC, mac=MAC, given={"source": "eth0", "mode": "bridge"})


@pytest.fixture
def connection() -> t.Iterator[t.Any]:
    opened = libvirt.open(URI)
    domain = opened.defineXML(
        "<domain type='test'><name>web1</name><memory>8192</memory><os><type>hvm</type></os>"
        "<devices><graphics type='vnc' passwd='s3cret'/></devices></domain>"
    )
    yield opened
    domain.undefine()
    opened.close()


@pytest.fixture
def hv(connection: t.Any) -> t.Iterator[hypervisor.Hypervisor]:  # noqa: ARG001  # it has the domain
    with hypervisor.connect(URI, timeout=1) as connected:
        yield connected


def stored(connection: t.Any) -> str:
    domain = connection.lookupByName("web1")
    return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))


def test_an_interface_is_added_and_taken_back(connection: t.Any, hv: hypervisor.Hypervisor) -> None:
    before = stored(connection)
    steps = planner.plan([ADD], hv.observe(["web1"])).steps
    journal: Journal[Nic] = Journal()
    hv.apply(steps, journal)
    assert [(i.mac, i.get("source"), i.get("mode"), i.get("model")) for i in xml.interfaces(stored(connection))] == [
        (MAC, "eth0", "bridge", "virtio")
    ]
    assert not planner.plan([ADD], hv.observe(["web1"])).changed
    hv.revert(rollback.undo(journal, hv.observe(["web1"])).steps)
    assert stored(connection) == before
    assert "s3cret" in before


def test_another_editor_is_noticed(connection: t.Any, hv: hypervisor.Hypervisor) -> None:
    hv.apply(planner.plan([ADD], hv.observe(["web1"])).steps)
    steps = planner.plan([replace(ADD, given={"mode": "private"})], hv.observe(["web1"])).steps
    connection.defineXML(stored(connection).replace("eth0", "eth7"))
    with pytest.raises(StaleError, match=r"^interfaces\[0\]: domain 'web1': .*kept changing while this ran"):
        hv.apply(steps)
    assert "eth7" in stored(connection)


def test_another_editors_work_elsewhere_is_kept(connection: t.Any, hv: hypervisor.Hypervisor) -> None:
    steps = planner.plan([ADD], hv.observe(["web1"])).steps
    journal: Journal[Nic] = Journal()
    hv.apply(steps, journal)
    connection.defineXML(stored(connection).replace("<memory unit='KiB'>8192<", "<memory unit='KiB'>16384<"))
    hv.revert(rollback.undo(journal, hv.observe(["web1"])).steps)
    assert xml.interfaces(stored(connection)) == ()
    assert ">16384<" in stored(connection)


def test_another_editors_work_before_this_ones_is_kept_on_the_way_back(
    connection: t.Any, hv: hypervisor.Hypervisor
) -> None:
    steps = planner.plan([ADD], hv.observe(["web1"])).steps
    connection.defineXML(stored(connection).replace("<memory unit='KiB'>8192<", "<memory unit='KiB'>16384<"))
    journal: Journal[Nic] = Journal()
    hv.apply(steps, journal)
    hv.revert(rollback.undo(journal, hv.observe(["web1"])).steps)
    assert xml.interfaces(stored(connection)) == ()
    assert ">16384<" in stored(connection)


def test_missing_links_are_distinguished_from_existing_ones(hv: hypervisor.Hypervisor) -> None:
    host = hv.observe(["web1", "web2", "web1"])
    assert list(host.domains) == ["web1"]
    assert host.known == ("test", "web1")
    assert hv.observe(["web1"]).known == ()


def test_errors_are_ours_and_nothing_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    refused = pytest.raises(MacvtapError, match=r"^uri: cannot connect to .*: .*/none.* Start libvirtd")
    with refused, hypervisor.connect("qemu+unix:///system?socket=/none", timeout=1):
        pass
    assert capfd.readouterr().err == ""


def test_a_pci_address_that_libvirt_ignores_is_refused_with_its_option() -> None:
    with pytest.raises(MacvtapError, match="is not a libvirt URI"), hypervisor.connect("qemu:\0", read_only=True):
        pass


def test_a_driver_that_assigns_no_alias_is_reported(connection: t.Any, hv: hypervisor.Hypervisor) -> None:
    hv.apply(planner.plan([ADD], hv.observe(["web1"])).steps)
    connection.lookupByName("web1").create()
    try:
        before = stored(connection)
        steps = planner.plan([replace(ADD, present=False)], hv.observe(["web1"])).steps
        journal: Journal[Nic] = Journal()
        with pytest.raises(MacvtapError, match=r"assigns no alias to NICs, which detaching needs\. Set live: none"):
            hv.apply(steps, journal)
        hv.revert(rollback.undo(journal, hv.observe(["web1"])).steps)
        assert stored(connection) == before
    finally:
        connection.lookupByName("web1").destroy()


@pytest.mark.parametrize("listed", [True, False])
def test_a_managed_save_is_known_whether_or_not_the_driver_can_list_them(
    connection: t.Any, hv: hypervisor.Hypervisor, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    if not listed:
        monkeypatch.setattr(Connection, "names_of_saved", lambda _self: None)
    hv.apply(planner.plan([ADD], hv.observe(["web1"])).steps)
    assert hv.observe(["web1"]).domains["web1"].saved is None
    domain = connection.lookupByName("web1")
    domain.create()
    domain.managedSave()
    try:
        assert hv.observe(["web1"]).domains["web1"].saved is not None
    finally:
        domain.managedSaveRemove()
    assert hv.observe(["web1"]).domains["web1"].saved is None


def test_domains_without_a_managed_save_are_not_asked_for_it(
    hv: hypervisor.Hypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "saved", lambda *_: pytest.fail("it was asked"))
    assert hv.observe(["web1"]).domains["web1"].saved is None


def test_a_domain_that_was_undefined_does_not_come_back(connection: t.Any, hv: hypervisor.Hypervisor) -> None:
    connection.defineXML("<domain type='test'><name>web3</name><memory>8192</memory><os><type>hvm</type></os></domain>")
    steps = planner.plan([replace(ADD, domain="web3")], hv.observe(["web3"])).steps
    connection.lookupByName("web3").undefine()
    journal: Journal[Nic] = Journal()
    with pytest.raises(MacvtapError, match="domain 'web3' was undefined, renamed or moved while this ran"):
        hv.apply(steps, journal)
    assert journal.entries == ()
    assert "web3" not in [domain.name() for domain in connection.listAllDomains()]


@pytest.mark.parametrize("events", [True, False])
def test_a_domain_that_is_undefined_while_others_are_stored_does_not_come_back(
    connection: t.Any, hv: hypervisor.Hypervisor, monkeypatch: pytest.MonkeyPatch, events: bool
) -> None:
    steps = planner.plan([ADD], hv.observe(["web1"])).steps
    listed = Definitions._persistent

    def undefined_since(self: Definitions, path: str) -> dict[str, t.Any]:
        found = listed(self, path)
        # As a guest that runs, it does not disappear.
        domain = connection.lookupByName("web1")
        domain.create()
        domain.undefine()
        return found

    monkeypatch.setattr(Definitions, "_persistent", undefined_since)
    if not events:
        monkeypatch.setattr(Definitions, "_counted", lambda _self: contextlib.nullcontext(Writes(libvirt, None)))
    document = stored(connection)
    journal: Journal[Nic] = Journal()
    try:
        with pytest.raises(MacvtapError, match="domain 'web1' was undefined, renamed or moved while this ran"):
            hv.apply(steps, journal)
        assert journal.entries == ()
        assert not connection.lookupByName("web1").isPersistent()
    finally:
        connection.lookupByName("web1").destroy()
        connection.defineXML(document)


@pytest.mark.parametrize(("everybody", "held"), [(True, True), (False, True), (False, False)])
def test_the_holder_of_a_tap_counts_only_if_every_process_was_inspected(everybody: bool, held: bool) -> None:
    links = {"macvtap0": Link("macvtap0", 6, kind="macvtap", parent="eth0", mode="bridge", mac=MAC)}
    holders = {"macvtap0": (Holder(7, "qemu", "web2"),)} if held else {}
    on = Host(URI, {}, links=links, holders=holders, all_holders=everybody)
    message = hostlinks.link_fault(Iface(MAC, values={"target": "macvtap0"}), "web1", on)
    assert bool(message) == everybody


def test_a_trusted_guest_may_have_given_its_link_another_address() -> None:
    links = {"macvtap0": Link("macvtap0", 6, kind="macvtap", parent="eth0", mode="bridge", mac="02:00:00:00:00:07")}
    on = Host(URI, {}, links=links, holders={"macvtap0": (Holder(7, "qemu", "web1"),)}, all_holders=True)
    for trusted in (True, False):
        iface = Iface(MAC, values={"target": "macvtap0", "trust_guest_rx_filters": "yes" if trusted else "no"})
        assert (hostlinks.link_fault(iface, "web1", on) is None) == trusted


def test_what_stopped_domains_have_stored_on_a_source_is_known(connection: t.Any, hv: hypervisor.Hypervisor) -> None:
    hv.apply(planner.plan([ADD], hv.observe(["web1"])).steps)
    assert hv.with_macs(hv.observe([])).stored_by_source == {"eth0": (("web1", MAC, "bridge"),)}
    connection.lookupByName("web1").create()
    try:
        assert hv.with_macs(hv.observe([])).stored_by_source == {}
    finally:
        connection.lookupByName("web1").destroy()


def test_a_domain_that_this_user_may_not_read_is_listed(
    hv: hypervisor.Hypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = libvirt.virDomain.XMLDesc

    def refused(domain: t.Any, flags: int = 0) -> str:
        if domain.name() == "test":
            raise libvirt.libvirtError("access denied")
        # Passwords are asked for only of what may be defined again.
        assert not flags & libvirt.VIR_DOMAIN_XML_SECURE or domain.name() == "web1"
        return str(real(domain, flags))

    monkeypatch.setattr(libvirt.virDomain, "XMLDesc", refused)
    host = hv.with_macs(hv.observe(["web1"]))
    assert host.unreadable == ("test",)
    plan = planner.plan([ADD], host)
    assert plan.changed
    assert "this user may not read test" in plan.warnings[0]
