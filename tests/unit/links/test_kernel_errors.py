# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Options that the kernel is too old for: some it refuses, and others it ignores."""

from __future__ import annotations

import errno
import os
import types
import typing as t

import pytest
import yaml

from ansible_collections.linuxvirt.macvtap.plugins.doc_fragments.link_options import ModuleDocFragment
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import kernel_errors, planner, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS

from .planned import MT0, host, mt0, new

BULLSEYE, TRIXIE = "5.10.0-32-cloud-amd64", "6.12.117+deb13-cloud-amd64"


@pytest.mark.parametrize(
    ("option", "value", "since"),
    [("nodst", True, "5.13"), ("bcqueuelen", 2000, "5.11"), ("bclim", 5, "6.4")],
)
@pytest.mark.parametrize("declared", [new, mt0])
def test_an_option_needs_its_kernel(option: str, value: t.Any, since: str, declared: t.Any) -> None:
    (step,) = planner.plan([declared(**{option: value})], host(MT0)).steps
    message = f"{option} needs Linux {since} or newer, and this is {BULLSEYE}"
    assert list(kernel_errors.newer_options(step, BULLSEYE)) == [(option, message)]
    assert not list(kernel_errors.newer_options(step, TRIXIE))


def test_what_others_have_set_is_not_named() -> None:
    for declared in (new(nodst=False, mtu=1400), mt0(mtu=1400)):
        (step,) = planner.plan([declared], host(MT0)).steps
        assert not list(kernel_errors.newer_options(step, BULLSEYE))


@pytest.mark.parametrize(("release", "named"), [(BULLSEYE, True), (TRIXIE, False)])
def test_users_read_which_kernel_it_needs(release: str, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(release=release))
    plan = planner.plan([mt0(nodst=True)], host(MT0))
    refused = kernel_errors.refusal_of(plan.steps[0], rtnetlink.Refusal(errno.EINVAL, ""))
    assert ("nodst needs Linux 5.13 or newer" in str(refused)) is named
    if named:
        with pytest.raises(MacvtapError, match=r"^links\[3\]\.nodst: the kernel ignored it: nodst needs Linux 5.13"):
            kernel_errors.check_ignored(plan)
    else:
        kernel_errors.check_ignored(plan)


def test_the_documentation_says_which_kernel_an_option_needs() -> None:
    described = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    for row in ROWS.values():
        if row.since:
            assert f"Needs Linux {row.since} or newer." in described[row.option]["description"]


def test_a_kernel_without_ipv6_is_not_said_to_have_it_disabled() -> None:
    # The module may as well be missing, or not built.
    (step,) = planner.plan([mt0(addrgenmode="random")], host(MT0)).steps
    text = str(kernel_errors.refusal_of(step, rtnetlink.Refusal(errno.EAFNOSUPPORT, "")))
    assert text.endswith(
        "The link has no IPv6: its MTU is below 1280, or this kernel has no IPv6 (ipv6.disable=1, or the module ipv6 "
        "is not loaded)"
    )
