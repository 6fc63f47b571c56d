# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs of macvtap_host_access with others at work between any two requests: the short version of make torture."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from torture.access import HostAccess


def test_whatever_others_do_between_two_requests_what_is_promised_holds() -> None:
    run_state_machine_as_test(
        HostAccess,
        settings=settings(
            max_examples=40,
            stateful_step_count=4,
            derandomize=True,
            deadline=None,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
