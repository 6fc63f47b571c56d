# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A hypervisor whose boot configuration macvtap_persistence writes, and a link with all that can be written of it."""

from __future__ import annotations

import contextlib
import os
import typing as t

from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

MAC = "52:54:00:00:00:01"
ETC = "/etc/systemd/network"
PROGRAM = "/etc/linuxvirt-macvtap/make-links"
LINKS = "/etc/linuxvirt-macvtap/links"
# Scripts instead of programs.
FAKE = "/run/fake"
# What macvtap_persistence writes of a link in mode bridge, as far as these tests need it.
LINK: dict[str, t.Any] = {
    "name": "mt-0",
    "parent": "eth0",
    "mode": "bridge",
    "mac": MAC,
    "mtu": 1400,
    "txqueuelen": 77,
    "bcqueuelen": 500,
    "group": 7,
    "alias": "50% of $x; 'a' \"b\" `c` \\d #e",
    "altnames": ["web-1", "other"],
    "gso_max_size": 30000,
    "addrgenmode": "none",
    "allmulticast": True,
    "tap": {"mode": "0660"},
}
FILES = (
    "find /etc/systemd/network /etc/systemd/system /etc/NetworkManager /etc/network /etc/udev /etc/sysctl.d "
    "/etc/linuxvirt-macvtap -newer /run/mark ! -type d -printf '%p %m\n' 2>/dev/null | sort"
)

# All that a test may have made of links, files and managers.
TAKE_AWAY = (
    "umount -q /etc/udev/rules.d || true; "
    "for l in host-0 mt0 mt-0 mt1 svlan eth0.20; do ip link del $l 2>/dev/null || true; done; "
    f"rm -rf /run/systemd /run/NetworkManager /run/network /run/fake {ETC} /etc/NetworkManager /etc/network "
    "/etc/udev/rules.d/*macvtap* /etc/sysctl.d/*macvtap* /etc/linuxvirt-macvtap /etc/systemd/system/*macvtap* "
    "/etc/systemd/system/*/macvtap-links* /etc/systemd/system/*.device.wants"
)


class Host:
    """The hypervisor, with a network manager of which there is only what it would leave in /run and /etc."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv

    def sh(self, script: str) -> str:
        return self.hv.run("sh", "-ec", script)

    def run(self, module: str = "macvtap_persistence", **params: t.Any) -> dict[str, t.Any]:
        how = {key: params.pop(key) for key in ("check", "diff", "python") if key in params}
        return run_module(module, params, prefix=[*self.hv.prefix, "env", f"PATH={FAKE}:{os.environ['PATH']}"], **how)

    def done(self, module: str = "macvtap_persistence", **params: t.Any) -> dict[str, t.Any]:
        result = self.run(module, **params)
        assert result["rc"] == 0, result
        return result

    def tool(self, name: str, script: str) -> None:
        """Have modules run this script instead of the program of this name."""
        text = f"#!/bin/sh\n{script}\n"
        self.hv.run("install", "-D", "-m", "755", "/dev/stdin", f"{FAKE}/{name}", stdin=text)

    def files(self) -> dict[str, str]:
        """Return the modes of the files that tests have made, by their paths."""
        return dict(line.rsplit(" ", 1) for line in self.sh(FILES).splitlines())

    def systemd(self) -> None:
        self.sh("mkdir -p /run/systemd/system")

    def boot(self, uplink: str = "eth0") -> str:
        """Do what the unit of the uplink does, and return what it says."""
        return self.sh(f"sh {PROGRAM} {uplink}")

    def networkd(self) -> None:
        self.sh(f"printf '[Match]\nName=eth0\n' > {ETC}/20-eth0.network")
        self.sh("mkdir -p /run/systemd/netif/links")
        self.sh(
            f"printf 'ADMIN_STATE=configured\nNETWORK_FILE={ETC}/20-eth0.network\n'"
            " > /run/systemd/netif/links/$(cat /sys/class/net/eth0/ifindex)"
        )

    def ifupdown(self) -> None:
        self.sh(
            "mkdir -p /etc/network /run/network; echo 'source /etc/network/interfaces.d/*' > /etc/network/interfaces"
        )
        self.sh("echo eth0=eth0 > /run/network/ifstate")


def as_declared(host: Host, **more: t.Any) -> None:
    """Assert that macvtap_link finds nothing to do for ``LINK``."""
    assert host.done("macvtap_link", check=True, **{**LINK, "tap": None, **more})["changes"] == []


@contextlib.contextmanager
def lent(hv: Hypervisor) -> t.Iterator[Host]:
    """Lend the hypervisor to one test, and take away what that has made of links, files and managers."""
    made = Host(hv)
    made.sh(f"mkdir -p {ETC} /etc/udev/rules.d; touch -d '1 second ago' /run/mark")
    try:
        yield made
    finally:
        made.sh(TAKE_AWAY)
