# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Kernels and libvirt versions that do not support the declarations."""

from __future__ import annotations

import typing as t

import pytest
from compared import H1, NOTHING, U1, A, conflicts, nic, only, places, web
from fleet import Values, declared, found, iface


def test_a_kernel_without_macvtap() -> None:
    there = {**H1, "kernel": {"supported": False, "reason": "it has none", "remedy": "Rebuild it"}}
    conflict = only((NOTHING, there))
    assert (conflict.kind, conflict.message, conflict.remedy) == ("kernel", "it has none", "Rebuild it")
    assert places(conflict) == ["hv1"]
    assert conflicts((declared(kernel_required=False), there)) == []
    assert only((declared(nic(mac=A), kernel_required="no"), there)).kind == "kernel"


@pytest.mark.parametrize(
    ("version", "options", "message"),
    [
        ("8.2.0", {"driver": {"rss": True}}, "libvirt 8.2.0 does not support driver.rss, which requires 8.3.0"),
        ("8.3.0", {"driver": {"rss": True}}, None),
        ("8.2.0", {"driver": {"queues": 2}}, None),
        ("7.2.0", {"acpi_index": 5}, "libvirt 7.2.0 does not support acpi_index, which requires 7.3.0"),
        ("7.3.0", {"acpi_index": 5}, None),
        ("7.2.0", {"acpi_index": 0}, None),
        (None, {"driver": {"rss": True}}, None),
    ],
)
def test_a_libvirt_too_old_for_what_is_declared(version: str | None, options: Values, message: str | None) -> None:
    got = conflicts((declared(nic(mac=A, **options)), found(version=version)))
    assert [one.message for one in got] == ([message] if message else [])


def test_a_change_that_waits_for_a_guests_restart_is_not_a_conflict() -> None:
    card = iface(A, model="virtio")
    there = found(web("web1", U1, card, live=[iface(A, trust_guest_rx_filters="no")]), version="9.0.0")
    assert conflicts((declared(nic(mac=A, trust_guest_rx_filters=True)), there)) == []


TRUSTED = {"model": "virtio", "trust_guest_rx_filters": "yes"}


@pytest.mark.parametrize(
    ("options", "variables", "stored", "message"),
    [
        (
            {"allmulticast": True, "trust_guest_rx_filters": True},
            {},
            None,
            "and so removes allmulticast when these change",
        ),
        # As the default it gives way.
        ({"trust_guest_rx_filters": True}, {"domains_allmulticast": True}, None, None),
        ({"mode": "passthrough"}, {}, None, None),
        ({}, {}, TRUSTED, None),
        ({}, {}, {"mode": "passthrough"}, None),
        (
            {"allmulticast": True},
            {"domains_trust_guest_rx_filters": True},
            None,
            "and so removes allmulticast when these change",
        ),
        ({"allmulticast": True}, {}, TRUSTED, "it has trust_guest_rx_filters already"),
        ({"allmulticast": True, "trust_guest_rx_filters": False}, {}, TRUSTED, None),
        ({"model": "e1000e"}, {}, TRUSTED, "model: QEMU does not report the filters of NIC model e1000e"),
        ({"trust_guest_rx_filters": True}, {"domains_model": "e1000e"}, None, "trust_guest_rx_filters: QEMU does not"),
        ({"trust_guest_rx_filters": True}, {}, {"model": "e1000e"}, "trust_guest_rx_filters: QEMU does not report"),
        ({"trust_guest_rx_filters": True}, {}, None, None),
        (
            {"allmulticast": True, "mode": "passthrough"},
            {},
            None,
            "allmulticast: allmulticast has no effect in mode passthrough",
        ),
        ({"allmulticast": True, "state": "absent"}, {"domains_trust_guest_rx_filters": True}, TRUSTED, None),
        ({}, {}, {**TRUSTED, "allmulticast": "yes"}, None),
    ],
)
def test_multicast_options_that_the_module_would_refuse(
    options: Values, variables: Values, stored: t.Mapping[str, str] | None, message: str | None
) -> None:
    there = found(web("web1", U1, *(() if stored is None else (iface(A, **stored),))))
    got = conflicts((declared(nic(mac=A, **options), **variables), there))
    if message is None:
        assert got == []
    else:
        (one,) = got
        assert (one.kind, places(one)) == ("declaration", [f"hv1 web1 {A} declared"])
        assert message in one.message
