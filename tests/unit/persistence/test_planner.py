# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Who keeps which link, which files that makes, and which files stay, change and go."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import MARK, WantedVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.decide import Declared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    HEADER,
    UNIT_FILE,
    UNIT_LINK,
    File,
    Host,
    NetworkdLink,
)

ETC = "/etc/systemd/network"
KEYFILES = "/etc/NetworkManager/system-connections"
INTERFACES = "/etc/network/interfaces.d/macvtap"
UDEV = "/etc/udev/rules.d/90-macvtap.rules"
MAC = "52:54:00:00:00:01"
# One parent for each manager, and one for none.
LINKS = {
    link.name: link
    for link in (
        Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500, pci="0000:03:00.0", altnames=frozenset({"lan-a"})),
        Link("eth1", 3, mac="02:00:00:00:00:03", mtu=1500),
        Link("eth2", 4, mac="02:00:00:00:00:04", mtu=1500),
        Link("eth3", 5, mac="02:00:00:00:00:05", mtu=1500, altnames=frozenset({"lan-d"}), pci="0000:04:00.0"),
    )
}
HOST = Host(
    LINKS,
    networkd={
        2: NetworkdLink(True, f"{ETC}/20-eth0.network", ("eth0",)),
        3: NetworkdLink(False),
        4: NetworkdLink(False),
        5: NetworkdLink(False),
    },
    networkmanager=frozenset({3}),
    ifupdown=frozenset({"lo", "eth2"}),
    enabled=("networkd", "networkmanager", "ifupdown"),
    interfaces_sourced=True,
)


def link(name: str = "mt0", parent: str | None = "eth0", backend: str = "auto", **fields: t.Any) -> Declared:
    given: dict[str, t.Any] = {"mode": "bridge", "mac": MAC, "path": f"links[{name[-1:]}]", **fields}
    return Declared(Wanted(name, parent=parent, **given), backend)


def vlan(parent: str = "eth0", id: int = 20, backend: str = "auto", **fields: t.Any) -> Declared:  # noqa: A002
    return Declared(WantedVlan(parent, id, path="vlans[0]", **fields), backend)


def after(host: Host, *declared: Declared, purge: bool = False) -> Host:
    """Return the host once the plan is done."""
    return replace(host, files=planner.foreseen(planner.plan(declared, host, purge=purge), host))


def backends(host: Host, *declared: Declared) -> dict[str, str | None]:
    return dict(planner.decided_of(declared, host).backends)


def warnings(host: Host, *declared: Declared) -> tuple[str, ...]:
    return planner.plan(declared, host).warnings


def refused(path: str, why: str, host: Host, *declared: Declared) -> None:
    with pytest.raises(MacvtapError, match=why) as caught:
        planner.plan(declared, host)
    assert caught.value.path == path


# who


def test_the_manager_of_the_parent_keeps_the_link() -> None:
    found = backends(HOST, link("a0", "eth0"), link("b1", "eth1"), link("c2", "eth2"))
    assert found == {"a0": "networkd", "b1": "networkmanager", "c2": "ifupdown"}


def test_a_link_on_a_vlan_goes_with_it() -> None:
    declared = [link("mt0", "eth1.20"), vlan("eth1"), link("mt1", "lan30"), vlan("eth0", 30, name="lan30")]
    assert backends(HOST, *declared) == {
        "eth1.20": "networkmanager",
        "mt0": "networkmanager",
        "lan30": "networkd",
        "mt1": "networkd",
    }
    files = after(HOST, *declared).files
    assert "MACVTAP=mt1\n" in files[f"{ETC}/05-macvtap-lan30.network.d/50-macvtap.conf"].text
    assert "VLAN=lan30\n" in files[f"{ETC}/20-eth0.network.d/50-macvtap.conf"].text


def test_where_nobody_manages_the_parent_the_only_manager_that_starts_keeps_the_link() -> None:
    assert backends(replace(HOST, enabled=("networkmanager",)), link(parent="eth3")) == {"mt0": "networkmanager"}


def test_where_that_is_not_known_nothing_is_written_and_one_warning_says_so() -> None:
    declared = [link("mt0", "eth3"), link("mt1", "eth3", mac=None), vlan("eth3"), link("mt2", "eth3.20")]
    assert not planner.plan(declared, HOST).changed
    (warning,) = warnings(HOST, *declared)
    assert "eth3" in warning
    assert "macvtap_links_persistence" in warning


@pytest.mark.parametrize("purge", [False, True])
def test_what_was_written_stays_while_nobody_can_tell_who_manages_the_parent(purge: bool) -> None:
    declared = [vlan(), link("mt0", "eth0.20"), link("mt1", "eth0")]
    written = after(HOST, *declared)
    made = Link("eth0.20", 9, "vlan", parent="eth0", parent_index=2, alias=MARK, vlan_id=20, vlan_protocol="802.1Q")
    silent = replace(written, networkd={}, links={**LINKS, "eth0.20": made})
    planned = planner.plan([*declared[:2], link("mt1", "eth0", mac="52:54:00:00:00:99")], silent, purge=purge)
    assert not planned.changed
    assert "stays as it is" in " ".join(planned.warnings)
    assert backends(silent, *declared) == {"eth0.20": "networkd", "mt0": "networkd", "mt1": "networkd"}
    # What is undeclared goes all the same, and so does what is said to.
    assert planner.plan([link("mt1", "eth0")], silent, purge=True).changed
    assert after(silent, *(replace(one, backend="none") for one in declared)).files == {}


def test_none_is_silent_and_takes_away_what_was_written() -> None:
    assert planner.plan([link(backend="none", parent="eth3")], HOST) == planner.Plan()
    kept = after(HOST, link())
    assert after(kept, link(backend="none")).files == {}


def test_each_link_may_say_its_own() -> None:
    found = backends(HOST, link("a0", "eth2", "networkmanager"), link("b1", "eth2"), vlan("eth2", backend="none"))
    assert found == {"a0": "networkmanager", "b1": "ifupdown", "eth2.20": None}


def test_a_vlan_of_another_manager_is_a_parent_like_others() -> None:
    foreign = Link("eth0.20", 9, "vlan", parent="eth0", parent_index=2, vlan_id=20, vlan_protocol="802.1Q")
    host = replace(HOST, links={**LINKS, "eth0.20": foreign}, networkmanager=frozenset({9}))
    assert backends(host, vlan(), link("mt0", "eth0.20")) == {"eth0.20": None, "mt0": "networkmanager"}
    ours = replace(foreign, alias=MARK)
    host = replace(host, links={**LINKS, "eth0.20": ours})
    assert backends(host, vlan(), link("mt0", "eth0.20")) == {"eth0.20": "networkd", "mt0": "networkd"}


# what


def test_a_link_keeps_the_address_and_the_mode_that_it_has() -> None:
    there = Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode="private", mac="02:00:00:00:00:99")
    host = replace(HOST, links={**LINKS, "mt0": there})
    netdev = after(host, link(parent=None, mac=None, mode=None)).files[f"{ETC}/50-macvtap-mt0.netdev"].text
    assert "MACAddress=02:00:00:00:00:99\n" in netdev
    assert "Mode=private\n" in netdev


@pytest.mark.parametrize(("has", "kept"), [("vepa", "vepa"), ("private", "private"), (None, "bridge")])
def test_auto_is_the_mode_that_was_chosen_for_the_link(has: str | None, kept: str) -> None:
    there = {"mt0": Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode=has)} if has else {}
    host = replace(HOST, links={**LINKS, **there})
    assert f"Mode={kept}\n" in after(host, link(mode="auto")).files[f"{ETC}/50-macvtap-mt0.netdev"].text


def test_a_link_in_mode_passthru_has_no_address_of_its_own() -> None:
    there = Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode="passthru", mac="02:00:00:00:00:02")
    host = replace(HOST, links={**LINKS, "mt0": there})
    assert "MACAddress" not in after(host, link(mac=None, mode=None)).files[f"{ETC}/50-macvtap-mt0.netdev"].text


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ("eth3", "Name=eth3"),
        ("lan-d", "Name=lan-d"),
        ("02-00-00-00-00-05", "PermanentMACAddress=02:00:00:00:00:05"),
        ("04:00.0", "Path=pci-0000:04:00.0"),
    ],
)
def test_a_parent_is_found_by_what_was_said(said: str, match: str) -> None:
    files = after(HOST, link(parent=said, backend="networkd")).files
    assert f"[Match]\n{match}\n" in files[f"{ETC}/70-macvtap-parent-eth3.network"].text


def test_our_own_file_for_a_parent_stays_the_place_when_networkd_uses_it() -> None:
    host = after(HOST, link(parent="eth3", backend="networkd"))
    used = {**HOST.networkd, 5: NetworkdLink(True, f"{ETC}/70-macvtap-parent-eth3.network", ("eth3",))}
    host = replace(host, networkd=used)
    assert not planner.plan([link(parent="eth3")], host).changed
    assert after(host, replace(link(), backend="none")).files == {}


def test_files_that_are_shared_have_a_block_for_each_link_and_go_with_the_last() -> None:
    taps: dict[str, t.Any] = {"tap_group": "kvm", "tap_mode": 0o660}
    host = after(HOST, link("mt1", **taps), link("mt0", mac=None, **taps), vlan())
    assert host.files[f"{ETC}/20-eth0.network.d/50-macvtap.conf"].text == (
        f"{HEADER}\n\n# vlan eth0.20\n[Network]\nVLAN=eth0.20\n\n# macvtap mt0\n[Network]\nMACVTAP=mt0\n\n"
        "# macvtap mt1\n[Network]\nMACVTAP=mt1\n"
    )
    host = after(host, link("mt1", state="absent"))
    assert "mt1" not in "".join(file.path + file.text for file in host.files.values())
    assert "# macvtap mt0\n" in host.files[UDEV].text
    host = after(host, link("mt0", state="absent"))
    assert set(host.files) == {
        f"{ETC}/05-macvtap-eth0.20.network",
        f"{ETC}/20-eth0.network.d/50-macvtap.conf",
        f"{ETC}/50-macvtap-eth0.20.netdev",
        UDEV,
    }
    assert after(host, vlan(state="absent")).files == {}


def test_a_link_that_moves_to_another_parent_or_manager_leaves_nothing_behind() -> None:
    host = after(HOST, link())
    assert set(after(host, link(parent="eth1")).files) == {f"{KEYFILES}/macvtap-mt0.nmconnection"}
    assert set(after(host, link(parent="eth2")).files) == {INTERFACES}


def test_purge_takes_what_is_not_declared_and_only_that() -> None:
    host = after(HOST, link("mt0"), link("mt1", mac=None), vlan())
    assert after(host, link("mt0")).files == host.files
    assert after(host, link("mt0"), purge=True).files == after(HOST, link("mt0")).files
    assert after(host, purge=True).files == {}


def test_libvirt_waits_for_the_links_where_there_is_systemd() -> None:
    host = after(replace(HOST, systemd=True), link("mt-0"), link("mt1", "eth2"))
    assert host.files[UNIT_LINK].target == UNIT_FILE
    text = host.files[UNIT_FILE].text
    assert "Before=libvirtd.service virtqemud.service libvirt-guests.service\n" in text
    assert "After=sys-subsystem-net-devices-mt\\x2d0.device\n" in text
    assert "After=sys-subsystem-net-devices-mt1.device\n" in text
    assert "Requires" not in text
    assert after(host, purge=True).files == {}


# never others' files


@pytest.mark.parametrize("path", [f"{ETC}/50-macvtap-mt0.netdev", f"{ETC}/20-eth0.network.d/50-macvtap.conf"])
def test_a_file_that_is_not_ours_is_an_error_where_it_is_in_the_way_and_stays_elsewhere(path: str) -> None:
    host = replace(HOST, files={path: File(path, "# mine\n")})
    refused("", f"{path} is somebody else's", host, link())
    assert not planner.plan([link("mt1", parent="eth1", state="absent")], host, purge=True).changed


def test_a_file_with_another_mode_is_mended() -> None:
    host = after(HOST, link(parent="eth1"))
    (path,) = host.files
    (change,) = planner.plan(
        [link(parent="eth1")], replace(host, files={path: replace(host.files[path], mode=0o644)})
    ).changes
    assert (change.field, change.before, change.after) == ("mode", "0644", "0600")


def test_undo_brings_back_what_was_there() -> None:
    before = after(HOST, link("mt0"), link("mt1", mac=None))
    planned = planner.plan([link("mt0", mode="private"), link("mt1", state="absent")], before)
    half = replace(before, files={**before.files, **{s.target: s.after for s in planned.steps[:1] if s.after}})
    back = planner.undo(planned.steps, half)
    assert planner.foreseen(back, half) == before.files


# what cannot be


def test_what_a_manager_needs_is_an_error_that_says_it() -> None:
    refused(
        "links[0].backend",
        "source /etc/network/interfaces.d",
        replace(HOST, interfaces_sourced=False),
        link(parent="eth2"),
    )
    refused("links[0].backend", "networkd does not run", replace(HOST, networkd={}), link(backend="networkd"))
    refused("links[0].backend", "managed by networkmanager", HOST, link(parent="eth1", backend="networkd"))
    alone = replace(HOST, networkd={2: NetworkdLink(False, f"{ETC}/20-eth0.network")})
    refused("links[0].backend", "to leave eth0 alone", alone, link(backend="networkd"))
    both = NetworkdLink(True, f"{ETC}/20-all.network")
    shared = replace(HOST, networkd={2: both, 3: both})
    refused("links[0].parent", "20-all.network configures eth0, eth1", shared, link())


def test_what_cannot_be_written_is_an_error_at_its_option() -> None:
    refused("links[0].alias", "cannot be written", HOST, link(alias='a "b"'))
    refused("links[*].name", "Choose another name", HOST, link("mt*"))
    refused("links[0].altnames[0]", "Choose another name", HOST, link(altnames=frozenset({"a*"})))
    refused("links[0].netns", "network namespace guests", HOST, link(netns="guests", backend="networkd"))
    refused("links[0].parent", "must be known", HOST, link(parent=None))
    refused("links[0].parent", "there is no link eth7", HOST, link(parent="eth7"))
    refused("links[0].queues", "networkd cannot keep 4 transmit", HOST, link(tx_queues=4))


def test_nothing_is_written_for_a_link_that_something_else_makes() -> None:
    # A file of ours for it would take its addresses away at the next boot.
    refused("links[0].name", "a name of eth3, a physical", HOST, link("eth3", path="links[0]"))
    refused("links[0].name", "a name of eth3, a physical", HOST, link("lan-d", path="links[0]"))
    refused("vlans[0].name", "a name of eth3, a physical", HOST, vlan(name="eth3"))
    bridge = Link("br0", 9, "bridge")
    refused("links[0].name", "a name of br0, a bridge link", replace(HOST, links={**LINKS, "br0": bridge}), link("br0"))


def test_an_alternative_name_may_become_the_name_of_another_macvtap_link() -> None:
    there = Link("mt1", 9, "macvtap", parent="eth0", parent_index=2, mode="bridge", altnames=frozenset({"mt0"}))
    assert planner.plan([link("mt0")], replace(HOST, links={**LINKS, "mt1": there})).changed


@pytest.mark.parametrize("backend", ["auto", "networkd"])
def test_nothing_is_written_on_a_parent_that_the_kernel_would_refuse(backend: str) -> None:
    links = {
        **LINKS,
        "lo": Link("lo", 1, loopback=True),
        "mt9": Link("mt9", 9, "macvtap", parent="eth0", parent_index=2),
        "port": Link("port", 10, master="br0"),
        "br0": Link("br0", 11, "bridge"),
    }
    host = replace(HOST, links=links, networkd={**HOST.networkd, **{n: NetworkdLink(False) for n in (1, 9, 10)}})
    host = replace(host, enabled=("networkd",))
    for parent, why in (("lo", "loopback"), ("mt9", "itself a macvtap"), ("port", "port of the bridge br0")):
        refused("links[0].parent", why, host, link(parent=parent, backend=backend))
        # What arrives tagged on a port of a bridge goes to the VLAN first.
        if parent != "port":
            refused("vlans[0].parent", "macvtap link" if parent == "mt9" else why, host, vlan(parent, backend=backend))


def test_what_is_declared_twice_is_an_error() -> None:
    refused("links[0].name", "declared twice", HOST, link("mt0"), link("mt0", state="absent"))
    refused("links[0].name", "declared twice", HOST, link("mt0"), link("mt0", "eth1", backend="none"))
    refused("links[0].name", "twice, here and in vlans", HOST, vlan(name="mt0"), link("mt0"))
    refused("vlans[0].id", "VLAN 20", HOST, vlan(name="a"), vlan(name="b"))
    refused("vlans[0].name", "declared twice", HOST, vlan(name="a"), vlan(id=30, name="a", state="absent"))
    # In another network namespace it is another link.
    assert backends(HOST, link("mt0"), link("mt0", netns="x", backend="none")) == {"mt0": "networkd"}
    assert backends(HOST, link("mt0", netns="x", backend="none"), link("mt0")) == {"mt0": "networkd"}


def test_no_link_is_kept_on_a_vlan_that_goes() -> None:
    there = Link("lan20", 9, "vlan", "eth0", 2, vlan_id=20, vlan_protocol="802.1Q", alias=MARK)
    going = vlan(name="lan20", state="absent")
    host = replace(HOST, links={**LINKS, "lan20": there})
    refused("links[0].parent", "absent in vlans", host, going, link("mt0", "lan20"))
    # vlan_link leaves it where it is.
    host = replace(HOST, links={**LINKS, "lan20": replace(there, alias=None)}, enabled=("networkmanager",))
    assert backends(host, going, link("mt0", "lan20"))["mt0"] == "networkmanager"


def test_networkd_takes_no_addresses_away() -> None:
    host = replace(HOST, enabled=("networkd",), addresses={5: ["192.0.2.5/24"]})
    refused("links[0].backend", r"eth3 has addresses .*\(192.0.2.5/24\)", host, link("mt0", "eth3", "networkd"))
    assert backends(host, link("mt0", "eth3")) == {"mt0": None}
    assert "leave its addresses alone" in warnings(host, link("mt0", "eth3"))[0]
    assert backends(replace(host, addresses={2: ["192.0.2.2/24"]}), link("mt0"), link("mt1", "eth3", mac=None)) == {
        "mt0": "networkd",
        "mt1": "networkd",
    }


@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2"])
def test_a_link_on_a_vlan_that_an_earlier_task_wrote_goes_with_it(parent: str) -> None:
    ours = Link("lan20", 9, "vlan", parent, LINKS[parent].index, vlan_id=20, vlan_protocol="802.1Q", alias=MARK)
    at_once = after(HOST, vlan(parent, name="lan20"), link("mt0", "lan20"))
    first = after(HOST, vlan(parent, name="lan20"))
    # The managers have not read their files yet.
    first = replace(first, links={**LINKS, "lan20": ours}, networkd={**HOST.networkd, 9: NetworkdLink(False)})
    assert after(first, link("mt0", "lan20")).files == at_once.files


def test_what_does_no_harm_is_a_warning() -> None:
    assert "network namespace guests" in warnings(HOST, link(netns="guests"))[0]
    assert warnings(HOST, link(netns="guests", backend="none")) == ()
    assert "bclim" in warnings(HOST, link(bclim=5))[0]
    assert "promiscuous" in warnings(HOST, link(promiscuous=False))[0]
    assert "finds it by that at the next boot" in warnings(HOST, link(parent="02:00:00:00:00:02"))[0]
    there = Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode="bridge", mac=MAC)
    grabbed = {**HOST.networkd, 9: NetworkdLink(True, f"{ETC}/90-all.network")}
    host = replace(HOST, links={**LINKS, "mt0": there}, networkd=grabbed)
    assert "90-all.network" in warnings(host, link())[0]


NAMES = st.sampled_from(["mt0", "mt1", "web-1", "a.b"])
DECLARED = st.lists(
    st.builds(
        link,
        NAMES,
        st.sampled_from(["eth0", "eth1", "eth2", "02:00:00:00:00:05", "eth0.20", "eth2.20"]),
        st.sampled_from(["auto", "none"]),
        mac=st.none(),
        state=st.sampled_from(["up", "down", "present", "absent"]),
        alias=st.sampled_from([None, "50% of $x"]),
        group=st.sampled_from([None, 7]),
        tap_mode=st.sampled_from([None, 0o660]),
    ),
    unique_by=lambda declared: declared.want.name,
    max_size=4,
)


@given(DECLARED, DECLARED, st.booleans(), st.booleans())
def test_what_is_written_is_found_as_declared_again(
    first: list[Declared], second: list[Declared], purge: bool, systemd: bool
) -> None:
    vlans = [vlan("eth0"), vlan("eth2")]
    host = after(replace(HOST, systemd=systemd), *vlans, *first)
    once = after(host, *vlans, *second, purge=purge)
    assert not planner.plan([*vlans, *second], once, purge=purge).changed
    # Whatever was there before, what is declared looks the same; but for what nobody can tell now who is to keep it.
    fresh = after(replace(HOST, systemd=systemd), *vlans, *second)
    if purge and not planner.decided_of([*vlans, *second], host).left:
        assert once.files == fresh.files
    assert after(once, purge=True).files == {}
