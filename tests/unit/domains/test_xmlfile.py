# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One domain XML file, with no libvirt: all of the way from options to bytes."""

from __future__ import annotations

import pathlib
import re
import typing as t

import odd_xml
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import xml, xmlfile
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

from .xmlfiles import DOMAIN, MAC, TO_DIRECT, converge, never, put


def test_what_is_in_the_file(path: pathlib.Path) -> None:
    file = xmlfile.open_file(str(path), write=never)
    host = file.observe({"web1"}, {"eth0"})
    domain = host.domains["web1"]
    assert (domain.uuid, domain.running, domain.live) == ("01234567-89ab-cdef-0123-456789abcdef", False, ())
    assert [(iface.mac, iface.type, iface.origin) for iface in domain.stored] == [(MAC, "bridge", "br0")]
    assert (host.links, host.macs, host.uri, domain.document) == (None, {}, f"file {path}", DOMAIN)
    assert file.only_domain == "web1"
    with pytest.raises(MacvtapError, match=r"no domain 'web2' on file .*web1\.xml \(known: web1\)"):
        converge(file, {"domain": "web2", **TO_DIRECT})


_NIC = "    <interface type='direct'>\n      <mac address='{}'/>\n      <source dev='eth0'/>\n    </interface>\n"


@pytest.mark.parametrize(
    ("document", "macs"),
    [
        # What libvirt itself never writes.
        (
            f"<domain>\n  <name>web1</name>\n  <devices>\n{_NIC.format(MAC)}  </devices>\n"
            f"  <devices>\n{_NIC.format(MAC[:-1] + '2')}  </devices>\n</domain>\n",
            [MAC, MAC[:-1] + "2"],
        ),
        (
            "<domain>\n  <name>web1</name>\n  <devices>\n    <mine>\n" + _NIC.format(MAC) + "</mine>\n"
            "  </devices>\n</domain>\n",
            [],
        ),
        (
            f"<domain>\n  <name>web1</name>\n  <mine>\n  <devices>\n{_NIC.format(MAC)}  </devices>\n</mine>\n"
            f"<devices>{_NIC.format(MAC[:-1] + '2')}</devices>\n</domain>\n",
            [MAC[:-1] + "2"],
        ),
    ],
)
def test_files_look_as_their_authors_like(path: pathlib.Path, document: str, macs: list[str]) -> None:
    path.write_text(document)
    stored = xmlfile.open_file(str(path), write=never).observe({"web1"}, ()).domains["web1"].stored
    assert [iface.mac for iface in stored] == macs


def test_an_interface_is_converted_once_and_only_it(path: pathlib.Path) -> None:
    file = xmlfile.open_file(str(path), write=put)
    outcome = converge(file, TO_DIRECT)
    assert outcome.plan.changed
    assert path.read_text() == DOMAIN.replace("type='bridge'", "type='direct'").replace(
        "<source bridge='br0'/>", "<source dev='eth0' mode='bridge'/>"
    )
    again = xmlfile.open_file(str(path), write=never)
    assert not converge(again, TO_DIRECT).plan.changed


def test_check_mode_writes_nothing(path: pathlib.Path) -> None:
    assert converge(xmlfile.open_file(str(path), write=never), TO_DIRECT, check_mode=True).plan.changed


def test_several_at_once_are_one_write(path: pathlib.Path) -> None:
    writes = []

    def counted(name: str, content: bytes) -> None:
        writes.append(name)
        put(name, content)

    file = xmlfile.open_file(str(path), write=counted)
    converge(file, {"source": "eth1", "mode": "vepa"}, TO_DIRECT)
    assert writes == [str(path)]
    converge(file, {"mac": MAC, "state": "absent"}, {"source": "eth1", "boot_order": 1}, {"source": "eth2"})
    assert writes == [str(path)] * 2
    assert [iface.get("source") for iface in file.observe({"web1"}).domains["web1"].stored] == ["eth1", "eth2"]


def test_a_byte_order_mark_and_line_ends_are_kept(path: pathlib.Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + DOMAIN.replace("\n", "\r\n").encode())
    converge(xmlfile.open_file(str(path), write=put), {"source": "eth1", "mode": "bridge", "mac_prefix": "52:54:00"})
    content = path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf<?xml")
    assert content.count(b"\n") == content.count(b"\r\n") == DOMAIN.count("\n") + 5


def test_what_a_daemon_keeps_is_warned_of(monkeypatch: pytest.MonkeyPatch, path: pathlib.Path) -> None:
    assert xmlfile.open_file(str(path), write=never).warnings == []
    monkeypatch.setattr(xmlfile, "_DAEMONS", (f"{path.parent}/",))
    (output,) = xmlfile.open_file(str(path), write=never).warnings
    assert "belongs to a libvirt daemon" in output


OPTIONS = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["eth0", "eth1.5", "ä"]),
        "mode": st.sampled_from(["vepa", "bridge", "private", "passthru"]),
        "model": st.sampled_from(["virtio", "virtio", "virtio-transitional", "e1000e"]),
        "convert": st.just(True),
    },
    optional={
        "state": st.sampled_from(["present", "present", "present", "absent"]),
        "target": st.sampled_from(["web0", ""]),
        "alias": st.sampled_from(["ua-lan", ""]),
        "link_state": st.sampled_from(["up", "down"]),
        "boot_order": st.integers(0, 3),
        "acpi_index": st.integers(0, 3),
        "pci_address": st.sampled_from(["1:2.0", "0000:01:00.0", ""]),
        "trust_guest_rx_filters": st.booleans(),
        "vlan": st.just(0),
        "driver": st.fixed_dictionaries({}, optional={"queues": st.integers(1, 4), "rss": st.booleans()}),
        "rom": st.fixed_dictionaries({}, optional={"bar": st.booleans(), "file": st.just("/a'b")}),
        "bandwidth": st.fixed_dictionaries(
            {}, optional={"inbound": st.just({"average": 0}), "outbound": st.just({"average": 9, "burst": 1})}
        ),
        "virtualport": st.sampled_from([{"type": "none"}, {"type": "802.1Qbg", "managerid": 11}, {"type": "802.1Qbh"}]),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(odd_xml.documents(), st.lists(OPTIONS, min_size=1, max_size=3), st.booleans())
def test_whatever_is_declared_is_there_after_one_run(
    tmp_path: pathlib.Path, odd: odd_xml.Odd, entries: list[dict[str, t.Any]], purge: bool
) -> None:
    path = tmp_path / "odd.xml"
    path.write_bytes(odd.text.encode())
    declared = [{**one, "mac": odd_xml.mac_of(index)} for index, one in enumerate(entries)]
    try:
        converge(xmlfile.open_file(str(path), write=put), *declared, purge=purge)
    except MacvtapError as exc:
        assert "still differs" not in exc.message  # noqa: PT017
        assert path.read_bytes() == odd.text.encode()
        return
    assert not converge(xmlfile.open_file(str(path), write=never), *declared, purge=purge).plan.changed
    # The rest of the document, and the interfaces that are not declared, apart from white space before what has gone.
    left = re.sub(r"\s", "", path.read_bytes().decode())
    undeclared = xml.interfaces(odd.text)[len(declared) :]
    others = [iface.xml for iface in undeclared if not purge or iface.type != "direct"]
    for piece in (odd.pieces[0], *others):
        assert re.sub(r"\s", "", piece) in left
    assert left.endswith(re.sub(r"\s", "", odd.pieces[-1].partition("</devices")[2]))


def test_the_networks_of_a_file_are_not_known(path: pathlib.Path) -> None:
    """Those that the task names are direct ones; an interface on any other is of another type."""
    entry = {"mac": MAC, "network": "lan", "portgroup": "web"}

    def attempt(*options: dict[str, t.Any], **more: t.Any) -> bool:
        return converge(xmlfile.open_file(str(path), write=put), *options, **more).plan.changed

    with pytest.raises(MacvtapError, match=r"^interfaces\[0\]\.mac: .* of type 'bridge'"):
        attempt(entry)
    assert attempt({**entry, "convert": True})
    text = path.read_text()
    assert "<interface type='network'>" in text
    assert "<source network='lan' portgroup='web'/>" in text
    assert not attempt(entry)
    assert attempt({"mac": "52:54:00:00:00:02", "network": "lan1"})
    # An interface on a network that is not named is not removed.
    assert not attempt({"mac": "52:54:00:00:00:03", "state": "absent"}, purge=True)
    with pytest.raises(MacvtapError, match="of type 'network'"):
        attempt({"mac": MAC, "source": "eth0"})
    assert attempt({"mac": MAC, "source": "eth0", "convert": True})
    assert "<source dev='eth0' mode='bridge'/>" in path.read_text()
    assert attempt({"mac": MAC, "source": "eth0"}, {"mac": "52:54:00:00:00:02", "network": "lan1", "state": "absent"})
    assert "network" not in path.read_text()
