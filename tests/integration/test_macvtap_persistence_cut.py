# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A link with an address of the host that networkd has set: networkd itself, which a run may reload."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import typing as t

import pytest
from managed import ETC, Host
from support import ROOT_ONLY

PROGRAM = "/lib/systemd/systemd-networkd"
pytestmark = [*ROOT_ONLY, pytest.mark.skipif(not shutil.which(PROGRAM), reason="there is no systemd-networkd")]

LINK: dict[str, t.Any] = {"name": "mt0", "parent": "eth0", "mode": "bridge", "arp": True}
MATCH, ADDRESS = "[Match]\\nName=mt0\\n", "[Network]\\nAddress=192.0.2.1/24\\nGateway=192.0.2.254\\n"
DROP_IN = f"{ETC}/05-macvtap-mt0.network.d"
LOG = "/run/networkd.log"
# With a read-only /sys it does not wait for udev.
START = f"""
mkdir -p /run/dbus
install -d -o systemd-network -g systemd-network /run/systemd/netif
dbus-daemon --system --fork --nopidfile --print-pid >/run/networkd.pids
unshare --mount sh -ec 'mount -o remount,bind,ro /sys; exec {PROGRAM}' >{LOG} 2>&1 &
echo $! >>/run/networkd.pids
"""
# As sent with the address.
REACHED = ["192.0.2.1", "192.0.2.254"]


@pytest.fixture
def networkd(host: Host) -> t.Iterator[Host]:
    """The host with networkd, which has read all files that the test has not written yet."""
    host.systemd()
    # No unit runs it.
    host.tool("systemctl", 'echo "@$(( $(date +%s) + 1000 ))"')
    host.done("macvtap_link", **LINK)
    try:
        yield host
    finally:
        with contextlib.suppress(AssertionError):
            host.sh("kill $(cat /run/networkd.pids); rm -rf /run/networkd.* /run/dbus")


def start(host: Host) -> None:
    host.sh(START)
    # It has read its files and looked at the links: newer ones do not log that.
    wait(host, "test -s /run/systemd/netif/links/$(cat /sys/class/net/mt0/ifindex)")


def wait(host: Host, condition: str) -> None:
    host.sh(f"for try in $(seq 200); do {condition} && exit; sleep 0.05; done; cat {LOG} >&2; exit 1")


def reached(host: Host) -> list[str]:
    """Return the address of the link, and the router that is reached over it."""
    # What a reload does, it does soon after.
    time.sleep(0.5)
    addresses = json.loads(host.sh("ip -j -4 address show dev mt0"))[0]["addr_info"]
    routes = json.loads(host.sh("ip -j -4 route show default dev mt0"))
    return [*(one["local"] for one in addresses), *(one["gateway"] for one in routes)]


def test_networkd_keeps_a_link_that_the_host_needs(networkd: Host) -> None:
    networkd.sh(f"printf '{MATCH}{ADDRESS}' > {ETC}/50-mt0.network")
    start(networkd)
    wait(networkd, "ip route show default | grep -q 'dev mt0'")
    before = networkd.files()
    for check in (True, False):
        refused = networkd.run(**LINK, check=check)["msg"]
        assert refused.startswith(
            "mt0 has addresses of the host (192.0.2.1/24), and taking it from its network manager"
        )
    assert (networkd.files(), reached(networkd)) == (before, REACHED)
    # If that is allowed, it does so at the next boot, and not because of another link either.
    done = networkd.done(**LINK, allow_host_disconnect=True)
    assert "From the next boot or networkctl reload on, it leaves mt0 alone" in json.dumps(done["warnings"])
    again = networkd.done(**LINK)
    assert not again["changed"]
    networkd.done(**{**LINK, "name": "mt1"})
    assert reached(networkd) == REACHED
    assert "Unmanaging" not in networkd.sh(f"cat {LOG}")
    # Without an address of the host on it.
    networkd.sh("ip address flush dev mt0")
    networkd.done(name="mt1", state="absent")
    wait(networkd, f"grep -q 'mt0: Unmanaging interface' {LOG}")


def test_a_link_with_a_drop_in_keeps_what_that_sets(networkd: Host) -> None:
    start(networkd)
    networkd.sh(f"mkdir {DROP_IN}; printf '{ADDRESS}' > {DROP_IN}/address.conf; touch -d '2 seconds ago' {DROP_IN}/*")
    networkd.done(**LINK)
    wait(networkd, "ip route show default | grep -q 'dev mt0'")
    before = networkd.files()
    for gone in ({"state": "absent"}, {"persistence": "none"}):
        refused = networkd.run(**{**LINK, **gone})["msg"]
        assert refused.startswith(
            "mt0 has addresses of the host (192.0.2.1/24), and removing its configuration for the"
        )
    assert networkd.run(purge=True)["msg"].startswith(
        "purge: mt0 has addresses of the host (192.0.2.1/24), and removing"
    )
    networkd.sh(f"rm -r {DROP_IN}")
    refused = networkd.run(**LINK)["msg"]
    assert f"or have networkd set them by {DROP_IN}/address.conf, or set" in refused
    before.pop(f"{DROP_IN}/address.conf", None)
    assert (networkd.files(), reached(networkd)) == (before, REACHED)
    assert networkd.done(**LINK, state="absent", allow_host_disconnect=True)["changed"]
    assert reached(networkd) == REACHED


def test_networkd_does_not_begin_with_a_link_that_the_host_needs(networkd: Host) -> None:
    """By a drop-in that leaves out the address which something else has set."""
    start(networkd)
    networkd.sh("ip address add 192.0.2.1/24 dev mt0; ip route add default via 192.0.2.254 dev mt0")
    networkd.sh(f"mkdir {DROP_IN}; printf '[Link]\\nRequiredForOnline=no\\n' > {DROP_IN}/more.conf")
    done = networkd.done(**LINK)
    assert "From the next boot or networkctl reload on, it configures mt0 by" in json.dumps(done["warnings"])
    assert reached(networkd) == REACHED
