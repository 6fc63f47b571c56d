# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Companions whose address a manager gets by DHCP: what is told when, and what dhclient's hook does with a lease.

There is no manager here but what it would leave in /run, and in place of its tool a script that gives the companion an
address; the real ones are in the virtual machine (extensions/molecule/vm).
"""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from managed import ETC, Host, lent
from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

COMPANION: dict[str, t.Any] = {"name": "host-0", "parent": "eth0", "dhcp4": True, "guests": ["192.0.2.20/31"]}
OWN = f"{ETC}/05-macvtap-host-0.network"
DROP_IN = f"{ETC}/20-eth0.network.d/50-macvtap.conf"
HOOK = "/etc/dhcp/dhclient-enter-hooks.d/macvtap"
# What has been told, and which files were there then.
TOLD = "/run/fake/told"
LEASE = "ip address add 192.0.2.130/32 dev host-0 valid_lft 600 preferred_lft 600"


@pytest.fixture
def host(hv: Hypervisor) -> t.Iterator[Host]:
    with lent(hv) as made:
        yield made


def make_companion(host: Host) -> None:
    host.sh(
        "ip link add host-0 link eth0 address 52:54:00:00:00:07 type macvlan mode bridge; "
        "ip link set host-0 alias 'linuxvirt.macvtap host access' up"
    )


def tool(host: Host, name: str, script: str) -> None:
    host.sh(f"mkdir -p /run/fake; cat > /run/fake/{name} <<'END'\n#!/bin/sh\n{script}\nEND\nchmod +x /run/fake/{name}")


def networkctl(host: Host, *, started: str, script: str = LEASE) -> None:
    host.sh(f"rm -rf /run/fake {ETC}/*macvtap*")
    tool(host, "systemctl", f'echo "{started}"')
    tool(host, "networkctl", f'(echo "$@"; find {ETC} -type f) >> {TOLD}; {script}')


def persist(host: Host, *, check: bool = False, **params: t.Any) -> dict[str, t.Any]:
    prefix = [*host.hv.prefix, "env", f"PATH=/run/fake:{os.environ['PATH']}"]
    return run_module("macvtap_persistence", {"companions": [{**COMPANION, **params}]}, prefix=prefix, check=check)


def told(host: Host) -> list[str]:
    return host.sh(f"cat {TOLD} 2>/dev/null || true").split()


def test_networkd_is_told_of_the_companions_file_before_there_is_any_other(host: Host) -> None:
    host.networkd()
    make_companion(host)
    networkctl(host, started="@$(( $(date +%s) + 1000 ))")
    foreseen = persist(host, check=True)
    assert (foreseen["changed"], told(host)) == (True, [])
    done = persist(host)
    assert done["changes"] == foreseen["changes"]
    assert done["changes"][-1] == {
        "target": "host-0",
        "field": "address",
        "before": None,
        "after": "by DHCP",
        "impact": "in_place",
    }
    assert done["leases"] == [{"name": "host-0", "address": "192.0.2.130", "unread": [], "disturbed": []}]
    assert sorted(told(host)) == [OWN, f"{ETC}/20-eth0.network", "reload"]
    assert {OWN, DROP_IN} <= set(host.files())
    # It has its address now, and is left alone.
    again = persist(host)
    assert (again["changed"], again["leases"], told(host).count("reload")) == (False, done["leases"], 1)


@pytest.mark.parametrize("started", ["@1", "Mon 2026-11-23 08:41:14 UTC", ""])
def test_networkd_is_not_told_where_it_may_not_have_read_anothers_file(host: Host, started: str) -> None:
    host.networkd()
    make_companion(host)
    networkctl(host, started=started)
    done = persist(host)
    assert (done["rc"], told(host)) == (0, [])
    (lease,) = done["leases"]
    assert (lease["address"], lease["disturbed"]) == (None, ["eth0"])
    assert {ETC, f"{ETC}/20-eth0.network"} <= set(lease["unread"])
    assert "The address comes with the next boot, or when you run networkctl reload" in json.dumps(done["warnings"])
    assert {OWN, DROP_IN} <= set(host.files())
    assert persist(host)["changed"] is False


def test_where_networkd_cannot_be_told_nothing_is_left(host: Host) -> None:
    host.networkd()
    make_companion(host)
    networkctl(host, started="@$(( $(date +%s) + 1000 ))", script="echo no bus >&2; exit 1")
    failed = persist(host)
    assert "networkctl reload failed" in failed["msg"]
    assert failed["msg"].endswith("no bus. The host is as it was before")
    assert host.files() == {}
    assert told(host).count("reload") == 1


def test_where_a_manager_fails_its_words_are_said_and_the_files_stay(host: Host) -> None:
    host.sh("mkdir -p /run/NetworkManager/devices")
    host.sh("printf '[device]\nmanaged=true\n' > /run/NetworkManager/devices/$(cat /sys/class/net/eth0/ifindex)")
    make_companion(host)
    tool(host, "nmcli", 'case "$*" in *" up "*) echo "No suitable device found" >&2; exit 4;; esac')
    failed = persist(host)
    assert "nmcli --wait 60 connection up id macvtap-host-0 failed, and host-0 gets no address for it" in failed["msg"]
    assert failed["msg"].endswith("What has been written stays: No suitable device found")
    assert failed["changed"] is True
    assert "/etc/NetworkManager/system-connections/macvtap-host-0.nmconnection" in host.files()


ABSENT: dict[str, t.Any] = {"state": "absent", "dhcp4": None, "guests": None}
STATIC: dict[str, t.Any] = {"dhcp4": False, "addresses": ["192.0.2.140"]}


@pytest.fixture
def client(host: Host) -> t.Iterator[None]:
    """Give the host ifupdown and a client, where the module looks for it whatever is in PATH."""
    host.ifupdown()
    try:
        host.sh(
            "mkdir -p /run/sbin/upper /run/sbin/work; install -m 755 /dev/null /run/sbin/upper/dhclient; "
            "mount -t overlay -o lowerdir=/usr/sbin,upperdir=/run/sbin/upper,workdir=/run/sbin/work overlay /usr/sbin"
        )
        yield
    finally:
        host.sh("umount /usr/sbin; rm -rf /run/sbin /etc/dhcp")


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("later", [ABSENT, STATIC], ids=["absent", "static"])
def test_ifupdown_s_client_is_ended_while_the_companion_is_there(host: Host, later: dict[str, t.Any]) -> None:
    make_companion(host)
    # Both while its hook is there.
    for name in ("ifdown", "dhclient"):
        tool(host, name, f'echo {name} "$@" >> {TOLD}; ls {HOOK} >> {TOLD}')
    tool(host, "ifup", f"{LEASE}; echo host-0=host-0 >> /run/network/ifstate")
    host.sh("mkdir -p /run/network")
    assert persist(host, backend="ifupdown")["leases"][0]["address"] == "192.0.2.130"
    release = "-cf /dev/null -pf /run/dhclient.host-0.pid -lf /var/lib/dhcp/dhclient.host-0.leases host-0"
    said = "ifdown host-0" if later is ABSENT else f"dhclient -4 -r {release}"
    for changed in (True, False):
        done = persist(host, backend="ifupdown", **later)
        assert (done["rc"], done["changed"], told(host)) == (0, changed, [*said.split(), HOOK])
        assert HOOK not in host.sh("find /etc/dhcp || true")


def test_ifupdown_is_refused_without_its_client(host: Host) -> None:
    host.ifupdown()
    make_companion(host)
    before = host.files()
    assert persist(host, backend="ifupdown")["msg"].startswith("companions[0].dhcp4: ifupdown gets an address by dhc")
    assert host.files() == before


@pytest.fixture
def hook(host: Host, client: None) -> t.Callable[..., str]:  # noqa: ARG001
    """Return what runs the hook that is written, as Debian's script of dhclient does."""
    made = persist(host, backend="ifupdown", mac="52:54:00:00:00:07")
    assert made["rc"] == 0, made
    make_companion(host)

    def run(reason: str, **said: str) -> str:
        return host.sh(
            "".join(f"export {name}='{value}'; " for name, value in {"interface": "host-0", **said}.items())
            + f"reason={reason}; . {HOOK}; echo goes on"
        )

    return run


def test_of_a_lease_dhclient_takes_the_address_alone(host: Host, hook: t.Callable[..., str]) -> None:
    more = {"new_subnet_mask": "255.255.255.0", "new_routers": "192.0.2.1", "new_interface_mtu": "1400"}
    lease = {"new_ip_address": "192.0.2.130", "new_dhcp_lease_time": "3600", **more}

    def there() -> tuple[list[str], list[str]]:
        (link,) = json.loads(host.sh("ip -4 -j address show dev host-0")) or [{}]
        assert link.get("mtu", 1500) == 1500
        addresses = [f"{one['local']}/{one['prefixlen']}" for one in link.get("addr_info", ())]
        return addresses, [one["dst"] for one in json.loads(host.sh("ip -4 -j route show dev host-0"))]

    # Nothing of the rest of the script comes after it.
    assert hook("PREINIT") + hook("BOUND", **lease) == ""
    assert there() == (["192.0.2.130/32"], ["192.0.2.20/31"])
    assert hook("RENEW", **lease, old_ip_address="192.0.2.130") == ""
    assert there() == (["192.0.2.130/32"], ["192.0.2.20/31"])
    # With another address, the routes are there all the same.
    assert hook("REBIND", **{**lease, "new_ip_address": "192.0.2.131"}, old_ip_address="192.0.2.130") == ""
    assert there() == (["192.0.2.131/32"], ["192.0.2.20/31"])
    hook("EXPIRE", old_ip_address="192.0.2.131")
    assert there()[0] == []
    hook("BOUND", **lease)
    assert there() == (["192.0.2.130/32"], ["192.0.2.20/31"])


def test_dhclient_of_another_link_does_not_notice_the_hook(host: Host, hook: t.Callable[..., str]) -> None:
    for interface in ("eth0", "host-00", "host"):
        assert hook("BOUND", interface=interface, new_ip_address="192.0.2.130") == "goes on\n"
    assert json.loads(host.sh("ip -4 -j address show dev host-0")) == []
