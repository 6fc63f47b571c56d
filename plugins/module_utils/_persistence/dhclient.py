# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Debian's DHCP client for a companion of ifupdown's, and what of its lease is taken. Pure.

Measured with dhclient 4.4.3. Its script is Debian's, with a hook, and its files have their usual names: AppArmor's
profile for it allows no others.
"""

from __future__ import annotations

import shlex

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import family
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import commands
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import HOOK_FILE, Kept, Piece

# It exits, so that nothing of what follows in the script, and of others' hooks, is run for a companion. The new address
# before the old one goes: with the last of a link the kernel drops its routes. One of an old lease with nobody to ask
# is not used.
_HEAD = """\
# Of its lease a companion has the address, and nothing else.
macvtap_companion() {
    case "$reason" in
        PREINIT)
            ip link set dev "$interface" up
            ;;
        BOUND | RENEW | REBIND | REBOOT)
            ip -4 address replace "$new_ip_address/32" dev "$interface" \\
                valid_lft "$new_dhcp_lease_time" preferred_lft "$new_dhcp_lease_time"
            if [ -n "$old_ip_address" ] && [ "$old_ip_address" != "$new_ip_address" ]; then
                ip -4 address delete "$old_ip_address/32" dev "$interface"
            fi
            ;;
        EXPIRE | FAIL | RELEASE | STOP)
            if [ -n "$old_ip_address" ]; then
                ip -4 address delete "$old_ip_address/32" dev "$interface"
            fi
            ;;
        TIMEOUT)
            exit 1
            ;;
    esac
}"""


def start(kept: Kept) -> str:
    """Return what starts it, and waits for no lease: a boot is not to wait for a server."""
    return f"dhclient -4 -nw {_files(kept.name)}"


def stop(kept: Kept) -> str:
    return f"{shlex.join(release(kept.name))} || true"


def release(name: str) -> tuple[str, ...]:
    """Return the words of the command that ends it, and takes away the address of the lease and nothing else."""
    return ("dhclient", "-4", "-r", *_files(name).split())


def _files(name: str) -> str:
    # With no configuration it does not say the host's name, which on the LAN is to stay that of its ordinary address.
    return f"-cf /dev/null -pf /run/dhclient.{name}.pid -lf /var/lib/dhcp/dhclient.{name}.leases {name}"


def hook(kept: Kept) -> Piece:
    routes = [route for route in kept.routes if family(route.destination) == 4]
    lines = [
        f'if [ "$interface" = {shlex.quote(kept.name)} ]; then',
        "    macvtap_companion",
        # They may have gone with an address that has expired.
        *(f"    ip {shlex.join(commands.route(kept, route))}" for route in routes),
        "    exit 0",
        "fi",
    ]
    return Piece(HOOK_FILE, "".join(f"{line}\n" for line in lines), shared=True, head=_HEAD)
