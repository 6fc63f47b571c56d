# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Something else flushes nftables while a task changes what has a guard, between its guard and its end."""

from __future__ import annotations

import typing as t

import direct_iface
import pytest
from direct_iface import A, B, ok
from support import meanwhile, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
_CODE = "import nftables; nftables.Nftables().cmd('flush ruleset')"
FLUSHED = meanwhile("after", "_runs.macvtap_link._run", ["/usr/bin/python3", "-c", _CODE])
# And then the kernel takes no rules any more.
REFUSING = """
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import macvtap_link
flushed = macvtap_link._run
def refuse(*what):
    raise MacvtapError("the kernel refused the rules: test")
def run(*what):
    result = flushed(*what)
    Table.replace = refuse
    return result
macvtap_link._run = run
"""


class Links:
    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv

    def run(self, *, patch: str = "", check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        given = {"name": "guarded0", "parent": "eth0", "mac": A, "guard": {}, **params}
        return run_module("macvtap_link", given, prefix=self.hv.prefix, patch=patch, check=check)

    def guard(self) -> tuple[str, list[str]]:
        (found,) = ok(run_module("macvtap_guard_info", {}, prefix=self.hv.prefix))["guards"]
        return found["rules"], found["links"]


@pytest.fixture
def links(hv: Hypervisor) -> t.Iterator[Links]:
    hv.flushed()
    yield Links(hv)
    ok(run_module("macvtap_link", {"name": "guarded0", "state": "absent"}, prefix=hv.prefix))
    ok(run_module("macvtap_guard", {"guards": [{"mac": m, "state": "absent"} for m in (A, B)]}, prefix=hv.prefix))


@pytest.mark.parametrize("there", [[], ["guard"], ["guard", "link"]])
def test_a_guard_that_is_flushed_meanwhile_is_loaded_once_more(links: Links, there: list[str]) -> None:
    if "guard" in there:
        ok(run_module("macvtap_guard", {"mac": A}, prefix=links.hv.prefix))
    if "link" in there:
        ok(links.run())
    done = ok(links.run(patch=FLUSHED, mtu=1400))
    assert done["changed"]
    assert f"the guard of {A}: changed by something else while this task ran, and loaded once more" in str(
        done["warnings"]
    )
    assert [(one["mac"], one["rules"], one["links"]) for one in done["guards"]] == [(A, "loaded", ["guarded0"])]
    assert links.guard() == ("loaded", ["guarded0"])
    again = ok(links.run(mtu=1400))
    assert not again["changed"]
    assert "changed by something else" not in str(again.get("warnings"))
    # Also where nothing else changes, and not in check mode.
    assert ok(links.run(patch=FLUSHED, mtu=1400))["changed"]
    assert links.guard() == ("loaded", ["guarded0"])
    ok(links.run(patch=FLUSHED, mtu=1400, check=True))
    assert links.guard() == ("missing", [])


@pytest.mark.parametrize("there", [False, True])
def test_one_that_cannot_be_loaded_once_more_is_told_as_it_is(links: Links, there: bool) -> None:
    if there:
        ok(links.run())
    failed = links.run(patch=FLUSHED + REFUSING, mtu=1400)
    assert failed["failed"]
    assert f"the guard of {A}: changed by something else while this task ran, and could not be loaded" in failed["msg"]
    assert "the kernel refused the rules: test. Without it the guest may send what it likes" in failed["msg"]
    assert "These changes were completed before that, and stay: " in failed["msg"]
    assert "as it was before" not in failed["msg"]
    assert failed["changed"]
    assert links.guard() == ("missing", [])
    ok(links.run(mtu=1400))
    assert links.guard() == ("loaded", ["guarded0"])


def test_what_was_completed_is_not_told_as_it_was_before(links: Links) -> None:
    """When the guards cannot be read any more, after the link is made."""
    damaged = meanwhile("after", "_runs.macvtap_link._run", ["sh", "-c", "echo x >/etc/linuxvirt-macvtap/guards.json"])
    failed = links.run(patch=damaged)
    try:
        assert "guards.json is not a file of this collection" in failed["msg"]
        assert "as it was before" not in failed["msg"]
        assert "guarded0 state: absent" in failed["msg"]
        assert "guarded0" in links.hv.run("ip", "link")
    finally:
        links.hv.run("rm", "/etc/linuxvirt-macvtap/guards.json")
