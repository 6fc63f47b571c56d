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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, Step

# What the kernel needs for each kind of link: configuration option and module.
_KERNEL_OPTIONS = {
    "macvtap": ("CONFIG_MACVTAP", "macvtap"),
    "macvlan": ("CONFIG_MACVLAN", "macvlan"),
    "vlan": ("CONFIG_VLAN_8021Q", "8021q"),
}


def refusal_of(step: Step[Link], answer: rtnetlink.Refusal) -> MacvtapError:
    """Return the error for a request of ``step`` that the kernel refused."""
    return MacvtapError(f"the kernel refused {_action(step)}: {answer}{_hint(step, answer)}", path=step.path)


def check_ignored(remaining: Plan[Link]) -> None:
    """Explain what remains to be done after a run by what the kernel ignores: options that a newer one has.

    :raises MacvtapError: there is such an option.
    """
    for step in remaining.steps:
        for option, message in newer_options(step, os.uname().release):
            raise MacvtapError(f"the kernel ignored it: {message}", path=join_path(step.path, option))


def newer_options(step: Step[Link], release: str) -> t.Iterator[tuple[str, str]]:
    """Yield the options that a step sets and Linux has only since a version after ``release``, and what each needs."""
    changed = {change.field for change in step.changes}
    for row in ROWS.values():
        value = getattr(step.after, row.field, None)
        if step.before is None or step.recreates:
            sets = value is not None and not (row.wire and value == row.wire.absent)
        else:
            sets = row.option in changed
        if sets and row.since and _version(release) < _version(row.since):
            yield row.option, f"{row.option} needs Linux {row.since} or newer, and this is {release}"


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


def _action(step: Step[Link]) -> str:
    if step.after is None:
        return f"to remove {step.target}"
    if step.before is None or step.recreates:
        return f"to create {step.target} on {step.after.parent}"
    return f"to change {step.target} ({', '.join(change.field for change in step.changes)})"


def _hint(step: Step[Link], answer: rtnetlink.Refusal) -> str:
    if answer.code == errno.EAFNOSUPPORT:
        return f". The link has no IPv6: its MTU is below {IPV6_MTU}, or this kernel has no IPv6 ({WHY_NO_IPV6})"
    if answer.code in (errno.EINVAL, errno.EOPNOTSUPP):
        newer = [message for _option, message in newer_options(step, os.uname().release)]
        return "".join(f". {message}" for message in newer) or _missing_kind(step, answer)
    return _missing_kind(step, answer)


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
