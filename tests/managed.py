# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A hypervisor of the lab with a network manager of which there is only what it would leave in /run and /etc."""

from __future__ import annotations

import contextlib
import typing as t

from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

ETC = "/etc/systemd/network"
PROGRAM = "/etc/linuxvirt-macvtap/make-links"
LINKS = "/etc/linuxvirt-macvtap/links"
FILES = "find /etc -newer /run/mark '(' -path '*macvtap*' ')' ! -type d -printf '%p %m\n' | sort"

# All that a test may have made of links, files and managers.
TAKE_AWAY = (
    "umount -q /etc/udev/rules.d || true; "
    "for l in host-0 mt0 mt-0 mt1 svlan eth0.20; do ip link del $l 2>/dev/null || true; done; "
    f"rm -rf /run/systemd /run/NetworkManager /run/network /run/fake {ETC} /etc/NetworkManager /etc/network "
    "/etc/udev/rules.d/*macvtap* /etc/sysctl.d/*macvtap* /etc/linuxvirt-macvtap /etc/systemd/system/*macvtap* "
    "/etc/systemd/system/*/macvtap-links* /etc/systemd/system/*.device.wants"
)


class Host:
    """``run`` runs macvtap_persistence on it; ``files`` are those of ours that it has written."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv

    def sh(self, script: str) -> str:
        return self.hv.run("sh", "-ec", script)

    def run(self, *, check: bool = False, diff: bool = False, **params: t.Any) -> dict[str, t.Any]:
        done = run_module("macvtap_persistence", params, prefix=self.hv.prefix, check=check, diff=diff)
        assert done["rc"] == 0, done
        return done

    def files(self) -> dict[str, str]:
        return dict(line.rsplit(" ", 1) for line in self.sh(FILES).splitlines())

    def systemd(self) -> None:
        self.sh("mkdir -p /run/systemd/system")

    def boot(self, uplink: str = "eth0") -> str:
        """Do what the unit of the uplink does, and return what it says."""
        return self.sh(f"sh {PROGRAM} {uplink}")

    def networkd(self) -> None:
        self.sh(f"printf '[Match]\nName=eth0\n' > {ETC}/20-eth0.network; mkdir -p /run/systemd/netif/links")
        self.sh(
            f"printf 'ADMIN_STATE=configured\nNETWORK_FILE={ETC}/20-eth0.network\n'"
            " > /run/systemd/netif/links/$(cat /sys/class/net/eth0/ifindex)"
        )

    def ifupdown(self) -> None:
        self.sh("mkdir -p /etc/network; echo 'source /etc/network/interfaces.d/*' > /etc/network/interfaces")


@contextlib.contextmanager
def lent(hv: Hypervisor) -> t.Iterator[Host]:
    """Lend the hypervisor to one test, and take away what that has made of links, files and managers."""
    made = Host(hv)
    made.sh(f"mkdir -p {ETC}; touch -d '1 second ago' /run/mark")
    try:
        yield made
    finally:
        made.sh(TAKE_AWAY)
