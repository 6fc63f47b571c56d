# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs of libvirt_direct_network with others at work between any two requests: the short version of make torture."""

from __future__ import annotations

from torture.examples import run_short
from torture.networks import DirectNetworks


def test_whatever_others_do_between_two_requests_what_is_promised_holds() -> None:
    run_short(DirectNetworks, examples=40, steps=4)
