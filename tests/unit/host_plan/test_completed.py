# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the controller makes of a host's answer: all that was asked is answered, or the host has failed."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.action.macvtap_host_plan import completed
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils.role_stages import Stage

STAGES = [Stage("links", "links", "macvtap_link", {}), Stage("domains", "domains", "libvirt_direct_iface", {})]


def answer(*names: str, **more: t.Any) -> dict[str, t.Any]:
    stages: list[dict[str, t.Any]] = [{"name": name, "changes": [], "warnings": [], "error": None} for name in names]
    return {"changed": False, "stages": stages, "to_do": [], **more}


def test_a_host_that_answers_all_is_as_declared() -> None:
    found = completed(answer("links", "domains"), STAGES, {})
    assert (found["differences"], found["roles"], "failed" in found) == ("", [], False)


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"changed": False},
        answer(),
        answer("links"),
        answer("domains", "links"),
        answer("links", "domains", to_do="links"),
        answer("links", "domains", stages=None),
    ],
)
def test_a_host_that_leaves_something_out_has_failed(damaged: dict[str, t.Any]) -> None:
    found = completed({**damaged, "differences": ""}, STAGES, {})
    assert found["failed"]
    assert found["differences"].startswith("it could not be looked at: its data is not what macvtap_host_plan returns")
    assert {"links", "domains"} <= {*found["roles"]}


def test_what_a_host_calls_its_differences_does_not_count() -> None:
    assert completed(answer("links", "domains", differences="none of your business"), STAGES, {})["differences"] == ""


def test_a_host_that_has_failed_or_is_unreachable_stays_so() -> None:
    for reason in ("failed", "unreachable"):
        found = completed({reason: True, "msg": "no route"}, STAGES, {})
        assert found[reason]
        assert found["differences"] == "it could not be looked at: no route"


def test_what_follows_from_an_invalid_variable_is_not_said_again() -> None:
    stages = [*STAGES, Stage("host_access", "host_access", "macvtap_host_access", {}, "no len()")]
    stages.append(Stage("networks", "networks", "libvirt_direct_network", {}, "'nowhere' is undefined"))
    there = answer("links", "domains", to_do=["links", "domains"])
    there["stages"][0]["error"] = "value of state must be one of: up, got: upp"
    there["stages"][1]["error"] = "no such uplink"
    invalid = {"links": "macvtap_links_state: 'upp' is not one of up", "host_access": ""}
    found = completed(there, stages, invalid)
    assert found["differences"] == f"no such uplink. 'nowhere' is undefined. {invalid['links']}"
    # They refuse it themselves.
    assert {"links", "host_access"} <= {*found["roles"]}


@pytest.mark.parametrize(
    ("libvirt", "unknown"),
    [({"available": True}, None), ({"available": False, "reason": "cannot connect\nat all"}, "cannot connect")],
)
def test_a_host_whose_guests_are_not_known_says_so(libvirt: dict[str, t.Any], unknown: str | None) -> None:
    there = answer("links", "domains", host={"links": [], "libvirt": libvirt})
    assert completed(there, STAGES, {}).get("guests_unknown") == unknown
    assert "guests_unknown" not in completed(answer("links", "domains"), STAGES, {})
