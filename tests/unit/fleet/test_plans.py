# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to be done in a fleet, as text, and which switches are probed for it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import plans, probes

DOWN = {"target": "spare0", "field": "state", "before": "up", "after": "down", "impact": "in_place"}


def plan(**stage: t.Any) -> dict[str, t.Any]:
    return {"stages": [{"name": "links", "changes": [], "error": None, **stage}]}


def test_hosts_with_the_same_to_do_share_a_line() -> None:
    fleet = {"hv1": plan(), "hv2": plan(changes=[DOWN]), "hv3": plan(), "hv4": plan(changes=[DOWN])}
    assert plans.lines(fleet) == ["hv1, hv3: as declared", "hv2, hv4: spare0 state: up → down"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (plan(), ""),
        (plan(changes=[DOWN], error="links[0]: no parent"), "spare0 state: up → down. links[0]: no parent"),
        (plan(changes=[DOWN] * 7), ", ".join(["spare0 state: up → down"] * 5) + ", and 2 more"),
        (plan(changed=True), "links: files of the module itself are outdated or missing"),
        (plan(changed=True, changes=[DOWN]), "spare0 state: up → down"),
        ({"unreachable": True, "msg": "no route"}, "it could not be looked at: no route"),
        ({"failed": True}, "it could not be looked at: no reason is known"),
        ({**plan(), "differences": "said before"}, "said before"),
    ],
)
def test_what_differs_on_a_host(found: dict[str, t.Any], text: str) -> None:
    assert plans.differences(found) == text


def test_what_is_missing_and_who_waits_is_shown_beside() -> None:
    waiting = {"domain": "web1", "mac": "52:54:00:00:01:01", "fields": ["model", "source"]}
    lost = {**waiting, "domain": "db1", "fields": ["link"]}
    held = {"domain": "web2", "mac": "52:54:00:00:01:02"}
    found = plan(restart_required=[waiting, lost], pending=[held], missing_packages=["python3-pyroute2"])
    assert plans.lines({"hv1": found}) == [
        "hv1: as declared",
        "hv1: lacks the packages python3-pyroute2",
        "hv1: web1 52:54:00:00:01:01 has its former model, source until the guest is stopped and started",
        "hv1: db1 52:54:00:00:01:01 has lost its link, and has no network until the guest is stopped and started",
        "hv1: web2 52:54:00:00:01:02 has not been released by its guest yet",
    ]


@pytest.mark.parametrize(
    ("declared", "relay", "vepa"),
    [
        ({}, [], False),
        ({"macvtap_uplink": "eth0", "macvtap_links_links": [{"name": "mt0"}]}, [], True),
        ({"macvtap_uplink": "eth0", "macvtap_links_mode": "vepa"}, ["eth0"], False),
        (
            {
                "macvtap_uplink": "eth0",
                "macvtap_domains_interfaces": [{"source": "eth1", "mode": "vepa"}, {"source": "eth0"}],
                "macvtap_networks_networks": [{"interfaces": ["eth2", "eth1"]}],
            },
            ["eth0", "eth2", "eth1"],
            True,
        ),
        # The comparison of the fleet reports these.
        ({"macvtap_links_links": "mt0", "macvtap_domains_interfaces": [None, 3], "macvtap_links_mode": []}, [], False),
        ({"macvtap_uplink": {"a": 1}, "macvtap_links_links": [{"mode": "vepa", "parent": 5}]}, [], True),
    ],
)
def test_a_switch_is_probed_only_if_the_answer_matters(
    declared: dict[str, t.Any], relay: list[str], vepa: bool
) -> None:
    assert probes.wanted(declared) == {"relay": relay, "relay_vepa": vepa}


@pytest.mark.parametrize(
    ("stage", "is_shown"),
    [
        ({}, True),
        ({"error": "links[0]: no parent"}, True),
        ({"missing_packages": ["python3-lxml"]}, True),
        # What is said of the host in any case.
        ({"error": "uri: cannot connect"}, False),
        ({"missing_packages": ["python3-libvirt-python"]}, False),
    ],
)
def test_that_its_guests_are_not_known_is_said_of_a_host_once(stage: dict[str, t.Any], is_shown: bool) -> None:
    found = {**plan(**stage), "guests_unknown": "cannot connect"}
    assert ("its guests are not known: cannot connect" in plans.notes(found)) == is_shown


def test_a_host_of_which_no_part_was_selected_is_not_as_declared() -> None:
    assert plans.lines({"hv1": {"stages": [], "msg": "tags: 'web' selects nothing"}}) == [
        "hv1: tags: 'web' selects nothing"
    ]
