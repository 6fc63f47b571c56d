# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Pools of SR-IOV virtual functions: of a physical function that has some, none, or is something else."""

from __future__ import annotations

import pathlib
import typing as t
from dataclasses import replace

import fake_networks
import pytest
from compared import conflicts, nic, only
from fleet import declared as variables_of
from fleet import found, mac, uplink
from network_model import Model

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import sriov
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import adapter, declare, edit, planner, reader
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Host, Network
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

UUID = "a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c"
PF, BRIDGE = Link("eth2", index=4, pci="0000:01:00.0"), Link("br0", index=5, kind="bridge")
LINKS = {link.name: link for link in (PF, BRIDGE)}


def pool(pf: str, *, active: bool) -> Network:
    text = edit.new("lan", UUID, Definition("passthrough", pf=pf))
    return reader.network_of("lan", UUID, text, text if active else "", autostart=active)


def plan(network: Network | None, functions: dict[str, tuple[str, ...]], **options: t.Any) -> Plan[Network]:
    there = {"lan": network} if network is not None else {}
    host = Host("qemu:///system", there, links=LINKS, functions=functions)
    resolved = resolve(declare.declare([("", {"name": "lan", **options})]), host, {"lan": UUID}, force=False)
    return planner.plan_of(resolved, host, force=False)


@pytest.mark.parametrize(
    ("network", "functions", "options", "message"),
    [
        (None, {"eth2": ()}, {"pf": "eth2"}, r"^pf: eth2 has no virtual functions, and libvirt starts no pool without"),
        (None, {}, {"pf": "br0"}, "^pf: br0 is a bridge link, which has no virtual functions, and libvirt starts no"),
        (pool("eth2", active=False), {"eth2": ()}, {}, "^pf: eth2 has no virtual functions"),
        (pool("eth2", active=True), {"eth2": ()}, {"pf": "br0"}, "^pf: br0 is a bridge link"),
        (None, {"eth2": ("eth2v0",)}, {"pf": "eth2"}, None),
        # A guest has it.
        (None, {"eth2": ("0000:01:10.0",)}, {"pf": "eth2"}, None),
        # Not known: sysfs does not show the device.
        (None, {}, {"pf": "eth2"}, None),
        (None, {"eth2": ()}, {"pf": "eth2", "state": "inactive"}, None),
        # It goes on with what it has.
        (pool("eth2", active=True), {"eth2": ()}, {"autostart": False}, None),
        (pool("eth2", active=False), {"eth2": ()}, {"state": "absent"}, None),
        (pool("eth9", active=False), {}, {"autostart": True, "state": "inactive"}, None),
    ],
)  # fmt: skip
def test_a_pool_that_libvirt_would_not_start_is_refused(
    network: Network | None, functions: dict[str, tuple[str, ...]], options: dict[str, t.Any], message: str | None
) -> None:
    if message is None:
        assert plan(network, functions, **options).changed
    else:
        with pytest.raises(MacvtapError, match=message):
            plan(network, functions, **options)


def test_what_libvirt_says_of_a_pool_without_functions_names_the_option() -> None:
    # Where the links are not known, such as those of a remote host.
    libvirt = fake_networks.module(Model())
    networks = adapter.Networks(Connection(libvirt, libvirt.open(""), "qemu:///system", read_only=False))
    host = Host("qemu:///system", {})
    resolved = resolve(declare.declare([("", {"name": "lan", "pf": "eth2"})]), host, {"lan": UUID}, force=False)
    with pytest.raises(MacvtapError, match=r"No usable Vf's .*\. The link that pf names has no virtual functions"):
        networks.apply(planner.plan_of(resolved, host, force=False).steps)


def test_the_functions_of_a_device(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sriov, "_DEVICES", str(tmp_path))
    for number in (1, 2, 3):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    for number in (0, 1, 10):
        function = tmp_path / f"0000:01:10.{number}"
        function.mkdir()
        (function / "physfn").symlink_to("../0000:01:00.0")
        (tmp_path / "0000:01:00.0" / f"virtfn{number}").symlink_to(f"../0000:01:10.{number}")
    links = {
        name: Link(name, pci=f"0000:{pci}")
        for name, pci in (("eth2", "01:00.0"), ("vf1", "01:10.1"), ("eth3", "02:00.0"), ("eth4", "09:00.0"))
    }
    links["br0"] = BRIDGE
    assert sriov.functions(links) == {"eth2": ("0000:01:10.0", "vf1", "0000:01:10.10"), "eth3": (), "vf1": ()}
    assert sriov.non_vfs(links) == {"eth2", "eth3"}


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ((), "eth2, the pf of network lan, has no virtual functions: libvirt does not start it"),
        (("vf0",), "network lan in mode passthrough has 1 virtual function for 2 NICs, each of which takes one"),
        (("vf0", "0000:01:10.1"), None),
        (None, None),
    ],
)
def test_preflight_counts_the_functions(functions: tuple[str, ...] | None, message: str | None) -> None:
    nics = [nic(f"web{number}", mac=mac(number)) for number in (1, 2)]
    networks = [{"name": "lan", "pf": "eth2"}]
    variables = variables_of(*nics, networks_networks=networks, domains_network="lan")
    del variables["macvtap_domains_source"]
    pf = replace(uplink(4, "eth2"), pci="0000:01:00.0")
    there = found(pf, functions={"eth2": functions} if functions is not None else {})
    if message is None:
        assert conflicts((variables, there)) == []
    else:
        assert only((variables, there)).message == message
