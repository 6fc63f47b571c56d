# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which mode auto stands for on a hypervisor of the lab, whose switch port reflects frames or not."""

from __future__ import annotations

import contextlib
import os
import pathlib
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, C, Module, Result, domain, element, nic, ok
from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

D = "52:54:00:00:00:0d"


@pytest.fixture
def hairpin(hv: Hypervisor) -> t.Iterator[t.Callable[[bool], None]]:
    yield hv.hairpin
    hv.hairpin(False)


def modes(result: Result) -> list[str]:
    return [interface["stored"]["mode"] for interface in result["interfaces"]]


def asked(result: Result) -> list[bool | None]:
    return [one["reflective_relay"] for one in result.get("reflective_relay", [])]


@pytest.mark.parametrize("count", [0, 1, 20])
def test_the_answer_is_right_beside_guests(started: Hypervisor, hairpin: t.Callable[[bool], None], count: int) -> None:
    """Beside the running guest, links with open taps as of ``count`` more of them."""
    names = [f"more{number}" for number in range(count)]
    prefix = started.prefix
    with contextlib.ExitStack() as stack:
        if names:
            wanted = {"parent": "eth0", "mode": "bridge", "links": [{"name": name} for name in names]}
            for link in ok(run_module("macvtap_link", wanted, prefix=prefix))["links"]:
                assert link["tap"]["own"]
                stack.callback(os.close, os.open(link["tap"]["path"], os.O_RDWR))
            stack.callback(run_module, "macvtap_link", {**wanted, "state": "absent", "force": True}, prefix=prefix)
        for on in (False, True):
            hairpin(on)
            for method in ("lower", "endpoints"):
                params = {"parent": "eth0", "method": method}
                returned = ok(run_module("reflective_relay_info", params, prefix=prefix))
                assert returned["reflective_relay"] is on


def test_auto_decides_for_what_is_new(started: Hypervisor, module: Module, hairpin: t.Callable[[bool], None]) -> None:
    for on, mac, mode in ((False, B, "bridge"), (True, C, "vepa")):
        hairpin(on)
        wanted: Result = {
            "source": "eth0",
            "mode": "auto",
            "interfaces": [{"domain": "web1", "mac": A}, {"domain": "web1", "mac": mac}],
        }
        predicted = ok(module(check=True, **wanted))
        done = ok(module(**wanted))
        assert modes(predicted) == modes(done) == ["bridge", mode]
        assert asked(predicted) == asked(done) == [on]
        assert f"mode='{mode}'" in element(started.dump("web1"), mac)
        assert f"mode='{mode}'" in element(started.dump("web1", live=True), mac)
        assert "does not reflect" not in str(done.get("warnings", ""))
        # What exists keeps its mode, and no switch is asked.
        again = ok(module(**wanted))
        assert (again["changed"], asked(again), modes(again)) == (False, [], ["bridge", mode])
    # Unless it is to follow the switch.
    hairpin(False)
    follow: Result = {"mode": "auto", "auto": "always", "interfaces": [{"domain": "web1", "mac": m} for m in (A, B, C)]}
    done = ok(module(**follow))
    assert [(change["target"], change["after"], change["impact"]) for change in done["changes"]] == [
        (f"web1 {C}", "bridge", "live")
    ]
    assert not ok(module(**follow))["changed"]


def test_vepa_behind_a_switch_that_does_not_reflect(
    hv: Hypervisor, module: Module, hairpin: t.Callable[[bool], None]
) -> None:
    hv.define(domain("web1", nic(A, mode="vepa"), nic(B, source="up1", mode="vepa")))
    params: Result = {"interfaces": [{"domain": "web1", "mac": A}, {"domain": "web1", "mac": B}]}
    assert "warnings" not in ok(module(**params))
    for on in (False, True):
        hairpin(on)
        returned = str(ok(module(check_relay=True, **params)).get("warnings", ""))
        assert ("eth0: its switch port does not reflect frames (reflective relay" in returned) == (not on)
        assert (f"on it cannot reach each other: web1 {A}." in returned) == (not on)
        assert f"on it cannot reach each other: web1 {B}." in returned


def test_where_no_switch_can_be_asked(hv: Hypervisor, module: Module, tmp_path: pathlib.Path) -> None:
    hv.define(domain("web1"))
    hv.run("ip", "link", "set", "far1", "down")
    try:
        done = ok(module(domain="web1", mac=A, source="up1", mode="auto"))
    finally:
        hv.run("ip", "link", "set", "far1", "up")
    assert (modes(done), asked(done)) == (["bridge"], [None])
    assert "up1 has no carrier" in str(done["warnings"])
    assert f"every switch: web1 {A}" in str(done["warnings"])
    file = tmp_path / "web2.xml"
    file.write_text(domain("web2", nic(C, mode="private")))
    many: Result = {"mode": "auto", "source": "eth0", "interfaces": [{"domain": "web2", "mac": mac} for mac in (C, D)]}
    done = ok(run_module("libvirt_direct_iface", {"xml_file": str(file), **many}))
    assert modes(done) == ["private", "bridge"]
    assert f"cannot be read from here). Mode auto becomes bridge, which works with every switch: web2 {D}" in str(
        done["warnings"]
    )
