# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files as earlier versions wrote them for systemd-networkd, for the links that earlier.py names."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File

FILES = (
    File(
        "/etc/sysctl.d/90-macvtap.conf",
        f"""{HEADER}

# macvlan host0
-net/ipv4/conf/host0/arp_filter = 1
-net/ipv4/conf/host0/arp_announce = 2
-net/ipv6/conf/host0/accept_ra = 0
-net/ipv6/conf/host0/autoconf = 0
""",
    ),
    File(
        "/etc/systemd/network/05-macvtap-eth0.20.network",
        f"""{HEADER}
[Match]
Name=eth0.20

[Link]
RequiredForOnline=no

[Network]
DHCP=no
LinkLocalAddressing=no
IPv6AcceptRA=no
""",
    ),
    File(
        "/etc/systemd/network/05-macvtap-eth0.20.network.d/50-macvtap.conf",
        f"""{HEADER}

# macvtap mt0
[Network]
MACVTAP=mt0
""",
    ),
    File(
        "/etc/systemd/network/05-macvtap-host0.network",
        f"""{HEADER}
# macvlan host0
[Match]
Name=host0

[Link]
RequiredForOnline=no

[Network]
DHCP=no
LinkLocalAddressing=ipv6
IPv6AcceptRA=no
Address=192.0.2.250/32
Address=2001:db8::250/128

[Route]
Destination=192.0.2.16/28
Protocol=static
PreferredSource=192.0.2.250
Scope=link

[Route]
Destination=192.0.2.77/32
Protocol=static
PreferredSource=192.0.2.250
Scope=link

[Route]
Destination=2001:db8::77/128
Protocol=static
""",
    ),
    File(
        "/etc/systemd/network/05-macvtap-mt0.network",
        f"""{HEADER}
[Match]
Name=mt0

[Link]
RequiredForOnline=no

[Network]
DHCP=no
LinkLocalAddressing=no
IPv6AcceptRA=no
""",
    ),
    File(
        "/etc/systemd/network/05-macvtap-mt1.network",
        f"""{HEADER}
[Match]
Name=mt1

[Link]
RequiredForOnline=no

[Network]
DHCP=no
LinkLocalAddressing=no
IPv6AcceptRA=no
""",
    ),
    File(
        "/etc/systemd/network/20-eth0.network.d/50-macvtap.conf",
        f"""{HEADER}

# vlan eth0.20
[Network]
VLAN=eth0.20

# macvtap mt1
[Network]
MACVTAP=mt1

# macvlan host0
[Network]
MACVLAN=host0
""",
    ),
    File(
        "/etc/systemd/network/50-macvtap-eth0.20.netdev",
        f"""{HEADER}
[NetDev]
Name=eth0.20
Kind=vlan

[VLAN]
Id=20
""",
    ),
    File(
        "/etc/systemd/network/50-macvtap-mt0.netdev",
        f"""{HEADER}
[NetDev]
Name=mt0
Kind=macvtap
MACAddress=52:54:00:00:00:01

[MACVTAP]
Mode=bridge
""",
    ),
    File(
        "/etc/systemd/network/50-macvtap-mt1.netdev",
        f"""{HEADER}
[NetDev]
Name=mt1
Kind=macvtap

[MACVTAP]
Mode=bridge
""",
    ),
    File(
        "/etc/udev/rules.d/90-macvtap.rules",
        f"""{HEADER}

# vlan eth0.20
ACTION=="add", SUBSYSTEM=="net", KERNEL=="eth0.20", ATTR{{ifalias}}="linuxvirt.macvtap"

# macvtap mt0
ACTION=="add", SUBSYSTEM=="net", KERNEL=="mt0", ATTR{{ifalias}}="a"
SUBSYSTEM=="macvtap", KERNELS=="mt0", SUBSYSTEMS=="net", GROUP="kvm"
""",
    ),
    File(
        "/etc/systemd/network/50-macvtap-host0.netdev",
        f"""{HEADER}
# macvlan host0
[NetDev]
Name=host0
Kind=macvlan
MACAddress=52:54:00:00:00:07

[MACVLAN]
Mode=bridge
""",
    ),
    File(
        "/etc/systemd/network/70-macvtap-parent-eth3.network",
        f"""{HEADER}

[Match]
Name=eth3

[Network]
DHCP=no

# macvtap mt2
[Network]
MACVTAP=mt2
""",
    ),
    File(
        "/etc/systemd/system/macvtap-links.service",
        f"""{HEADER}

[Unit]
Description=x

# macvtap mt2
[Service]
ExecStart=-/sbin/ip link set dev mt2 up
""",
    ),
    File(
        "/etc/systemd/system/multi-user.target.wants/macvtap-links.service",
        target="/etc/systemd/system/macvtap-links.service",
    ),
)
