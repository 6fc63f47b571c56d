# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a file of tests leaves on a hypervisor that the next one finds as well."""

from __future__ import annotations

import typing as t

# Printed a line each: what a test may make that no removal of domains, networks and links takes away. The kernel adds
# addresses and routes of its own, by what the LAN's router says. libvirt keeps its chains, and other_user.py its user.
_NFT = "/usr/bin/python3 -c 'import nftables, sys; print(nftables.Nftables().cmd(sys.argv[1])[1])'"
# $uplink is the name of the LAN's link.
_SHOW = rf"""
set -e
ip -o address show scope global | grep -v ' dynamic ' | sed 's/^[0-9]*: /address /'
ip -o link show dev $uplink | sed 's/.* mtu \([0-9]*\) .*/mtu of the uplink \1/'
cat /sys/class/net/$uplink/flags | sed 's/^/flags of the uplink /'
tc qdisc show dev $uplink | sed 's/^/on the uplink: /'
for family in -4 -6; do
    ip $family rule show | sed 's/^/rule /'
    ip $family route show table all | grep -Ev ' proto (kernel|ra)|^(fe80|ff00)|dev up1' | sed 's/^/route /'
done
{_NFT} 'list tables' >/run/tables
grep -Ev '^$|^table ip6? (filter|nat|mangle|libvirt_network)$' /run/tables || true
find /etc -xdev -not -type d -printf 'file %p of %s bytes\n' | grep -Ev '/etc/(passwd|group|g?shadow|sub[ug]id)-? '
"""
_RESTORE = f"""
ip -o -4 address show dev $uplink | awk '{{print $4}}' | while read -r one; do ip address del "$one" dev $uplink; done
ip -6 address flush dev $uplink scope global permanent
{_NFT} "delete table netdev linuxvirt_macvtap"
"""
_FIRST, _NOW = "/run/left-at-first", "/run/left-now"

Run = t.Callable[..., str]


def note(run: Run, uplink: str) -> None:
    """Note on a new hypervisor what is there."""
    _write(run, uplink, _FIRST)


def clear(run: Run, uplink: str) -> None:
    """Take away what was not there at first; what this does not know, the tests are to take away themselves."""
    run("sh", "-c", f"uplink={uplink}\n{_RESTORE}")
    _write(run, uplink, _NOW)
    found = run("sh", "-c", f"diff {_FIRST} {_NOW} | grep '^[<>]' || true")
    # One failure is to stay one.
    note(run, uplink)
    assert not found, f"these tests leave behind (>) or lack (<):\n{found}"


def _write(run: Run, uplink: str, path: str) -> None:
    run("sh", "-c", f"uplink={uplink}; ({_SHOW}) >{path} && sort -o {path} {path}")
