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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    kernel_errors,
    planner,
    requests,
    rtnetlink,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

from .planned import MT0, host, mt0, new

BULLSEYE, TRIXIE = "5.10.0-32-cloud-amd64", "6.12.117+deb13-cloud-amd64"


@pytest.fixture(params=[BULLSEYE, TRIXIE])
def release(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(release=request.param))
    return str(request.param)


def step_of(declared: t.Any, **options: t.Any) -> Step[Link]:
    (step,) = planner.plan([declared(**options)], host(MT0)).steps
    return step


def refusal(step: Step[Link], request: bytes, code: int, text: str = "") -> str:
    return str(kernel_errors.refusal_of(step, rtnetlink.Refusal(code, text), request))


def asked(step: Step[Link]) -> list[bytes]:
    return [requests.create(step, None)] if step.before is None else list(requests.change(step))


@pytest.mark.parametrize("declared", [new, mt0])
def test_a_refused_flag_is_named_where_the_kernel_says_nothing_else(declared: t.Any, release: str) -> None:
    step = step_of(declared, nodst=True, mtu=1400)
    answers = [refusal(step, request, errno.EINVAL) for request in asked(step)]
    named = f"(EINVAL). nodst: upstream Linux has it since 5.13, and this is {BULLSEYE}"
    assert [answer.endswith(named) for answer in answers].count(True) == (release == BULLSEYE)
    for request in asked(step):
        for code, text in (
            (errno.EINVAL, "mtu greater than device maximum"),
            (errno.EBUSY, ""),
            (errno.EOPNOTSUPP, ""),
        ):
            assert "upstream" not in refusal(step, request, code, text)


@pytest.mark.parametrize("declared", [new, mt0])
@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_what_older_kernels_ignore_is_never_why_they_refuse(declared: t.Any, code: int, release: str) -> None:
    step = step_of(declared, bcqueuelen=2000, bclim=5, mtu=1400)
    assert not any("upstream" in refusal(step, request, code) for request in asked(step)), release


def test_alternative_names_are_refused_in_a_request_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(release="5.4.0-216-generic"))
    step = step_of(new, altnames=frozenset({"web"}), nodst=True)
    sent = requests.post_create(step, 7)
    (names,) = (one for one in sent if rtnetlink.HEADER.unpack_from(one)[1] == rtnetlink.RTM_NEWLINKPROP)
    assert refusal(step, names, errno.EOPNOTSUPP).endswith(
        "altnames: upstream Linux has it since 5.5, and this is 5.4.0-216-generic"
    )
    assert "upstream" not in refusal(step, names, errno.EINVAL)
    assert "upstream" not in refusal(step, requests.create(step, None), errno.EOPNOTSUPP)


@pytest.mark.parametrize(("option", "value", "since"), [("bcqueuelen", 2000, "5.11"), ("bclim", 5, "6.4")])
def test_users_read_what_the_kernel_ignored(option: str, value: t.Any, since: str, release: str) -> None:
    plan = planner.plan([mt0(**{option: value})], host(MT0))
    if release == BULLSEYE:
        message = (
            rf"^links\[3\]\.{option}: the link is without it .*: upstream Linux has it since {since}, and this is 5\.10"
        )
        with pytest.raises(MacvtapError, match=message):
            kernel_errors.check_ignored(plan)
    else:
        kernel_errors.check_ignored(plan)


@pytest.mark.usefixtures("release")
def test_what_is_not_ignored_is_not_named_at_the_end() -> None:
    for remaining in (
        [mt0(nodst=True)],
        # Others have removed it.
        [new(bcqueuelen=2000)],
    ):
        kernel_errors.check_ignored(planner.plan(remaining, host(MT0)))


def test_the_documentation_says_since_when_linux_has_an_option() -> None:
    described = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    for row in ROWS.values():
        if row.since:
            assert f"Upstream Linux has it since {row.since}." in described[row.option]["description"]


def test_a_kernel_without_ipv6_is_not_said_to_have_it_disabled() -> None:
    # The module may as well be missing, or not built.
    (step,) = planner.plan([mt0(addrgenmode="random")], host(MT0)).steps
    text = str(kernel_errors.refusal_of(step, rtnetlink.Refusal(errno.EAFNOSUPPORT, "")))
    assert text.endswith(
        "The link has no IPv6: its MTU is below 1280, or this kernel has no IPv6 (ipv6.disable=1, or the module ipv6 "
        "is not loaded)"
    )
