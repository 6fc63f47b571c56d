# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the kernel's refusals of a step mean to users."""

from __future__ import annotations

import errno

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

# What the kernel needs for each kind of link: configuration option and module.
_KERNEL_OPTIONS = {
    "macvtap": ("CONFIG_MACVTAP", "macvtap"),
    "macvlan": ("CONFIG_MACVLAN", "macvlan"),
    "vlan": ("CONFIG_VLAN_8021Q", "8021q"),
}


def refusal_of(step: Step[Link], answer: rtnetlink.Refusal) -> MacvtapError:
    """Return the error for a request of ``step`` that the kernel refused."""
    return MacvtapError(f"the kernel refused {_action(step)}: {answer}{_hint(step, answer)}", path=step.path)


def _action(step: Step[Link]) -> str:
    if step.after is None:
        return f"to remove {step.target}"
    if step.before is None or step.recreates:
        return f"to create {step.target} on {step.after.parent}"
    return f"to change {step.target} ({', '.join(change.field for change in step.changes)})"


def _hint(step: Step[Link], answer: rtnetlink.Refusal) -> str:
    if answer.code == errno.EAFNOSUPPORT:
        return ". The link has no IPv6: its MTU is below 1280, or IPv6 is disabled in the kernel (ipv6.disable=1)"
    # rtnl_newlink(), after it has tried to load a module.
    if step.after is None or answer.text != "Unknown device type":
        return ""
    option, module = _KERNEL_OPTIONS[step.after.kind]
    return (
        f". It does not support {step.after.kind} links: {option} is not built in, and the module {module} cannot be "
        f"loaded. `modprobe {module}` shows why. The module may be in a separate package, or the kernel was upgraded "
        "and the host not rebooted since"
    )
