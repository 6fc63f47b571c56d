# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the controller makes of a stage that the user has not written."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.action import macvtap_host_plan


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (None, None),
        ("the table is in use", "the table is in use"),
        ("stages[2].options.links[0].mtu: 'yes' is not a whole number", "links[0].mtu: 'yes' is not a whole number"),
        ("stages[2].options: Unsupported parameters: x", "Unsupported parameters: x"),
        # Of another stage it is part of a message.
        ("no stages[2].options: x", "no stages[2].options: x"),
    ],
)
def test_an_error_has_the_path_in_the_tasks_of_the_role(error: str | None, shown: str | None) -> None:
    assert macvtap_host_plan._with_own_paths(2, {"name": "links", "error": error}) == {"name": "links", "error": shown}


def test_a_look_without_stages_is_returned_as_a_plan_of_none() -> None:
    own = {"changed": False, "warnings": ["w"], "invocation": {}, "_ansible_parsed": True, "ansible_facts": {"x": 1}}
    found = macvtap_host_plan._as_planned({**own, "links": [], "guards": None})
    assert found == {**own, "stages": [], "to_do": [], "host": {"links": [], "guards": None}}
    failed = {"failed": True, "msg": "no python"}
    assert macvtap_host_plan._as_planned(failed) == failed
