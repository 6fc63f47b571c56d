# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a run over domains shows and returns."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

A = "52:54:00:00:00:01"
STORED = Iface(A, values={"source": "eth0", "mode": "bridge", "model": "virtio"})
LIVE = Iface(A, values={**STORED.values, "target": "macvtap0"})


def step(before: Nic, after: Nic, *changes: tuple[str, t.Any, t.Any]) -> Step[Nic]:
    name = f"web1 {A}"
    return Step(name, before, after, tuple(Change(name, *change, Impact.LIVE) for change in changes))


def views(one: Step[Nic]) -> tuple[str, str]:
    (shown,) = report.with_views(Plan((one,))).steps
    assert isinstance(shown.before_view, str)
    assert isinstance(shown.after_view, str)
    return shown.before_view, shown.after_view


def test_a_diff_shows_the_stored_element() -> None:
    before, after = views(step(Nic("web1", A), Nic("web1", A, STORED, LIVE), ("state", "absent", "present")))
    assert before == ""
    assert after == element.view(STORED)


def test_a_diff_shows_the_live_element_where_the_stored_one_stays() -> None:
    before, after = views(step(Nic("web1", A, STORED), Nic("web1", A, STORED, LIVE), ("live", "absent", "present")))
    assert (before, after) == ("", element.view(LIVE))


def test_a_diff_shows_what_libvirt_does_not_store() -> None:
    nic = Nic("web1", A, STORED)
    before, after = views(step(nic, nic, ("allmulticast", None, True)))
    assert "allmulticast" not in before
    assert after.endswith("\nallmulticast: yes")


def test_what_is_returned_of_an_interface() -> None:
    desired = Desired("", "web1", key=A, mac=A)
    one = Resolved(desired, Nic("web1", A, None, LIVE), Nic("web1", A, STORED, LIVE), True, {})
    assert report.interface(one) == {
        "domain": "web1",
        "mac": A,
        "state": "present",
        "stored": {"source": "eth0", "mode": "bridge", "model": "virtio"},
        "live": {"source": "eth0", "mode": "bridge", "model": "virtio", "target": "macvtap0"},
    }
    transient = Resolved(desired, Nic("web1", A), Nic("web1", A, None, LIVE), True, {}, transient=True)
    assert (report.interface(transient)["state"], report.interface(transient)["stored"]) == ("present", None)
    gone = Resolved(desired, Nic("web1", A, STORED), Nic("web1", A), False, {})
    assert report.interface(gone)["state"] == "absent"


def test_a_request_is_returned_without_what_the_keeper_attaches() -> None:
    assert report.requests([{"mac": A, "returns": LIVE}]) == [{"mac": A}]


def test_a_conversion_names_what_it_loses() -> None:
    bridge = element.read(
        f"<interface type='bridge'><mac address='{A}'/><source bridge='br0'/><mtu size='1400'/></interface>"
    )
    converted = step(Nic("web1", A, bridge), Nic("web1", A, STORED), ("type", "bridge", "direct"))
    (warning,) = report.conversion_warnings(Plan((converted,)))
    assert warning.startswith(f"web1 {A}: a macvtap link has no mtu; the conversion removes it")
    changed = step(Nic("web1", A, STORED), Nic("web1", A, LIVE), ("target", None, "macvtap0"))
    assert list(report.conversion_warnings(Plan((changed,)))) == []
