# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Shims with an address by DHCP: which manager is reloaded, and when.

Managers exist only as their state in /run, with a script for their tool that gives the shim an address. The scenario
vm has real ones.
"""

from __future__ import annotations

import json
import typing as t

import pytest
from managed import ETC, FAKE, Host
from support import ROOT_ONLY

pytestmark = ROOT_ONLY

SHIM: dict[str, t.Any] = {"name": "host-0", "parent": "eth0", "dhcp4": True, "guests": ["192.0.2.20/31"]}
OWN = f"{ETC}/05-macvtap-host-0.network"
# What has been told, and which files were there then.
TOLD = f"{FAKE}/told"
LEASE = "ip address add 192.0.2.130/32 dev host-0 valid_lft 600 preferred_lft 600"


@pytest.fixture
def host(host: Host) -> Host:
    host.systemd()
    return host


def make_shim(host: Host) -> None:
    host.sh(
        "ip link add host-0 link eth0 address 52:54:00:00:00:07 type macvlan mode bridge; "
        "ip link set host-0 alias 'linuxvirt.macvtap host access' up"
    )


def networkctl(host: Host, *, started: str, script: str = LEASE) -> None:
    host.sh(f"rm -rf {FAKE} {ETC}/*macvtap*")
    host.tool("systemctl", f'echo "{started}"')
    host.tool("networkctl", f'(echo "$@"; find {ETC} -type f) >> {TOLD}; {script}')


def persist(host: Host, *, check: bool = False, **params: t.Any) -> dict[str, t.Any]:
    return host.run(shims=[{**SHIM, **params}], check=check)


def told(host: Host) -> list[str]:
    return host.sh(f"cat {TOLD} 2>/dev/null || true").split()


def test_networkd_is_reloaded_if_it_has_read_all_other_files(host: Host) -> None:
    host.networkd()
    make_shim(host)
    networkctl(host, started="@$(( $(date +%s) + 1000 ))")
    predicted = persist(host, check=True)
    assert (predicted["changed"], told(host)) == (True, [])
    done = persist(host)
    assert done["changes"] == predicted["changes"]
    assert done["changes"][-1] == {
        "target": "host-0",
        "field": "address",
        "before": None,
        "after": "by DHCP",
        "impact": "in_place",
    }
    assert done["leases"] == [{"name": "host-0", "address": "192.0.2.130", "unread": []}]
    assert sorted(told(host)) == [OWN, f"{ETC}/20-eth0.network", "reload"]
    assert OWN in host.files()
    # It has its address now, and is left alone.
    again = persist(host)
    assert (again["changed"], again["leases"], told(host).count("reload")) == (False, done["leases"], 1)


@pytest.mark.parametrize("started", ["@1", "Mon 2026-11-23 08:41:14 UTC", ""])
def test_networkd_is_not_reloaded_if_it_may_not_have_read_another_file(host: Host, started: str) -> None:
    host.networkd()
    make_shim(host)
    networkctl(host, started=started)
    done = persist(host)
    assert (done["rc"], told(host)) == (0, [])
    (lease,) = done["leases"]
    assert lease["address"] is None
    assert {ETC, f"{ETC}/20-eth0.network"} <= set(lease["unread"])
    assert "Run networkctl reload when that is acceptable, or wait for the next boot" in json.dumps(done["warnings"])
    assert OWN in host.files()
    assert persist(host)["changed"] is False


def test_a_managers_error_is_shown_and_the_files_stay(host: Host) -> None:
    host.sh("mkdir -p /run/NetworkManager/devices")
    host.sh("printf '[device]\nmanaged=true\n' > /run/NetworkManager/devices/$(cat /sys/class/net/eth0/ifindex)")
    make_shim(host)
    host.tool("nmcli", 'case "$*" in *" up "*) echo "No suitable device found" >&2; exit 4;; esac')
    failed = persist(host)
    message = (
        "host-0 gets no address: nmcli --wait 60 connection up id macvtap-host-0 failed: No suitable device found. "
    )
    assert failed["msg"].startswith(f"shims[0]: {message}These changes were completed before that, and stay")
    assert failed["changed"] is True
    assert "/etc/NetworkManager/system-connections/macvtap-host-0.nmconnection" in host.files()
