# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What else to try when libvirt refuses to attach a NIC to a running guest."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import message_of


class Attempt(t.NamedTuple):
    """A NIC to attach, and the warning if that succeeds. Without its ``address`` libvirt chooses the slot."""

    iface: Iface
    warning: str = ""
    address: bool = True


def after(connection: Connection, iface: Iface, exc: t.Any) -> list[Attempt]:
    """Return what else to try after libvirt has refused to attach a NIC with the error ``exc``."""
    found = []
    if iface.get("pci_address") is not None and connection.may_be_the_slot(exc):
        # The running guest uses that slot, or lacks the controller that the stored configuration has now.
        message = (
            f"the running guest did not accept it in its stored slot ({message_of(exc)}). It is in another slot "
            "until the domain is stopped and started, when the guest may name it differently"
        )
        found.append(Attempt(iface, message, address=False))
    unknown = exc.get_error_code() == connection.libvirt.VIR_ERR_OPERATION_TIMEOUT
    if networks.any_of([iface]) and iface.get("source") is not None and not unknown:
        # A running guest had it. Without its network it is better off than without its NIC.
        message = (
            f"libvirt did not attach it to its network again ({message_of(exc)}). It is on {iface.get('source')} "
            "without the network until the domain is stopped and started"
        )
        found.append(Attempt(networks.off(iface), message))
    return found


def take(connection: Connection, attach: t.Callable[[Attempt], None], attempts: t.Sequence[Attempt]) -> str:
    """Attach the first of the attempts that libvirt accepts, and return its warning."""
    for one in attempts[:-1]:
        with contextlib.suppress(connection.libvirt.libvirtError):
            attach(one)
            return one.warning
    attach(attempts[-1])
    return attempts[-1].warning
