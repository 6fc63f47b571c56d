# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The option guard of libvirt_direct_iface and macvtap_link: the guard comes before its NIC, and goes after it."""

from __future__ import annotations

import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Module, ok
from support import PYTHON, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
_NFT = "import nftables, sys; sys.exit(nftables.Nftables().cmd(sys.argv[1])[0])"
STORE = "/etc/linuxvirt-macvtap/guards.json"


@pytest.fixture(autouse=True)
def _without_guards(hv: Hypervisor) -> t.Iterator[None]:
    yield
    # Also one that a test has damaged.
    hv.run("rm", "-f", STORE)
    ok(run_module("macvtap_guard", {"guards": [{"mac": m, "state": "absent"} for m in (A, B)]}, prefix=hv.prefix))


def guards(hv: Hypervisor) -> dict[str, t.Any]:
    found = ok(run_module("macvtap_guard_info", {}, prefix=hv.prefix))["guards"]
    return {one["mac"]: one for one in found}


def fields(result: dict[str, t.Any]) -> list[tuple[str, str, t.Any]]:
    return [(one["target"], one["field"], one["after"]) for one in result["changes"]]


def test_a_nic_comes_and_goes_with_its_guard(started: Hypervisor, module: Module) -> None:
    new: dict[str, t.Any] = {"domain": "web1", "mac": B, "source": "eth0", "guard": {"addresses": ["192.0.2.11"]}}
    predicted = ok(module(check=True, **new))
    assert guards(started) == {}
    done = ok(module(**new))
    assert predicted["changes"] == done["changes"]
    assert fields(done)[0] == (f"guard of {B}", "state", "present")
    (link,) = guards(started)[B]["links"]
    assert link == done["interfaces"][0]["live"]["target"]
    assert ok(module(**new))["changed"] is False
    # The guest may keep the NIC for a while, and the guard stays as long.
    gone = ok(module(**new, state="absent", timeout=0))
    if gone["pending"]:
        assert guards(started)[B]["links"] == [link]
        assert "the guard of" in str(gone["warnings"])


def test_a_nic_is_not_attached_without_its_guard(started: Hypervisor, module: Module) -> None:
    ok(module(domain="web1", mac=A, guard={"policy": "count"}))
    started.run("sed", "-i", "s/[{]/nonsense/", STORE)
    failed = module(domain="web1", mac=B, source="eth0", guard={"policy": "drop"})
    assert failed["failed"]
    assert "guards.json" in failed["msg"]
    assert B not in started.dump("web1", live=True)


def test_a_guard_is_as_it_was_if_the_nic_cannot_be_attached(started: Hypervisor, module: Module) -> None:
    ok(module(domain="web1", mac=A, guard={"addresses": ["192.0.2.10"]}))
    before = guards(started)
    failed = module(
        interfaces=[
            {"domain": "web1", "mac": A, "guard": {"addresses": ["192.0.2.99"]}},
            {"domain": "web1", "mac": B, "source": "nosuch0", "guard": {}},
        ]
    )
    assert failed["failed"]
    assert "nosuch0" in failed["msg"]
    assert "The host is as it was before" in failed["msg"]
    assert guards(started) == before


def test_a_new_link_has_its_guard(hv: Hypervisor) -> None:
    def link(**params: t.Any) -> dict[str, t.Any]:
        return ok(
            run_module("macvtap_link", {"name": "guarded0", "parent": "eth0", "mac": A, **params}, prefix=hv.prefix)
        )

    assert fields(link(guard={}))[0] == (f"guard of {A}", "state", "present")
    assert guards(hv)[A]["links"] == ["guarded0"]
    assert link(guard={})["changed"] is False
    # Whatever others have removed of it, it is there again with a new link.
    link(guard={"addresses": ["learned"]})
    for what in ("link_guarded0", f"guard_{A.replace(':', '')}"):
        hv.run(PYTHON, "-c", _NFT, f"delete chain netdev linuxvirt_macvtap {what}")
    link(state="absent")
    link()
    assert guards(hv)[A]["rules"] == "loaded"
    assert guards(hv)[A]["links"] == ["guarded0"]
    # Its guard goes when its address does, and comes with it.
    link(mac=B)
    assert guards(hv)[A]["links"] == []
    link()
    assert guards(hv)[A]["links"] == ["guarded0"]
    link(guard={}, state="absent")
    assert guards(hv) == {}
