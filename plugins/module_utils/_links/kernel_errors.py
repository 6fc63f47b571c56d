# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the kernel's refusals of a step mean to users."""

from __future__ import annotations

import errno
import os
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import IPV6_MTU, WHY_NO_IPV6, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rows import Row
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, Step

# What the kernel needs for each kind of link: configuration option and module.
_KERNEL_OPTIONS = {
    "macvtap": ("CONFIG_MACVTAP", "macvtap"),
    "macvlan": ("CONFIG_MACVLAN", "macvlan"),
    "vlan": ("CONFIG_VLAN_8021Q", "8021q"),
}


def refusal_of(step: Step[Link], answer: rtnetlink.Refusal, request: bytes = b"") -> MacvtapError:
    """Return the error for a ``request`` of ``step`` that the kernel refused; b"" is the link's removal."""
    return MacvtapError(f"the kernel refused {_action(step)}: {answer}{_hint(step, answer, request)}", path=step.path)


def check_ignored(remaining: Plan[Link]) -> None:
    """Explain what remains to be done after a run by what older kernels ignore.

    :raises MacvtapError: there is such an option.
    """
    for step in remaining.steps:
        changed = {change.field for change in step.changes}
        for row in newer_options(step, os.uname().release):
            if row.option in changed and not row.refused:
                raise MacvtapError(
                    f"the link is without it after the change, as older kernels ignore it: {_since(row)}",
                    path=join_path(step.path, row.option),
                )


def newer_options(step: Step[Link], release: str) -> t.Iterator[Row]:
    """Yield the options that a step sets and upstream Linux has only since a version after ``release``."""
    changed = {change.field for change in step.changes}
    for row in ROWS.values():
        value = getattr(step.after, row.field, None)
        if step.before is None or step.recreates:
            sets = value is not None and not (row.wire and value == row.wire.absent)
        else:
            sets = row.option in changed
        if sets and row.since and _version(release) < _version(row.since):
            yield row


def _since(row: Row) -> str:
    return f"upstream Linux has it since {row.since}, and this is {os.uname().release}"


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


def _action(step: Step[Link]) -> str:
    if step.after is None:
        return f"to remove {step.target}"
    if step.before is None or step.recreates:
        return f"to create {step.target} on {step.after.parent}"
    return f"to change {step.target} ({', '.join(change.field for change in step.changes)})"


def _hint(step: Step[Link], answer: rtnetlink.Refusal, request: bytes) -> str:
    if answer.code == errno.EAFNOSUPPORT:
        return f". The link has no IPv6: its MTU is below {IPV6_MTU}, or this kernel has no IPv6 ({WHY_NO_IPV6})"
    # Where the kernel says what it refuses, that is it.
    newer = [] if answer.text else newer_options(step, os.uname().release)
    start = rtnetlink.IFINFO_END
    attributes = request[start:]
    named = [row for row in newer if row.refused == answer.code and row.wire and row.wire.is_in(attributes)]
    return "".join(f". {row.option}: {_since(row)}" for row in named) or _missing_kind(step, answer)


def _missing_kind(step: Step[Link], answer: rtnetlink.Refusal) -> str:
    # rtnl_newlink(), after it has tried to load a module.
    if step.after is None or answer.text != "Unknown device type":
        return ""
    option, module = _KERNEL_OPTIONS[step.after.kind]
    return (
        f". It does not support {step.after.kind} links: {option} is not built in, and the module {module} cannot be "
        f"loaded. `modprobe {module}` shows why. The module may be in a separate package, or the kernel was upgraded "
        "and the host not rebooted since"
    )
