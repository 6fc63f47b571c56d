# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files as earlier versions wrote them, by which network managers made the links themselves.

They are for the VLAN 20 of the uplink (PARENT.20), the macvtap link mt0 on it, mt1 on the uplink and the shim
host0 on it.
"""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File

# By the manager, and the uplink that it has in the tests.
UPLINKS = {"networkd": "eth0", "networkmanager": "eth1", "ifupdown": "eth2"}
FILES = {
    "networkd": (
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
    ),
    "networkmanager": (
        File(
            "/etc/NetworkManager/system-connections/macvtap-eth1.20.nmconnection",
            f"""{HEADER}
[connection]
id=macvtap-eth1.20
uuid=1221848f-97ef-5b93-8771-6ed02a66a6a1
type=vlan
interface-name=eth1.20

[vlan]
parent=eth1
id=20
flags=1

[ipv4]
method=disabled

[ipv6]
method=disabled
""",
            0o600,
        ),
        File(
            "/etc/NetworkManager/system-connections/macvtap-host0.nmconnection",
            f"""{HEADER}
# macvlan host0
[connection]
id=macvtap-host0
uuid=f0551581-d974-5a35-a31b-b8b456ef80eb
type=macvlan
interface-name=host0

[ethernet]
cloned-mac-address=52:54:00:00:00:07

[macvlan]
parent=eth1
mode=2

[ipv4]
method=manual
address1=192.0.2.250/32
route1=192.0.2.16/28,0.0.0.0,0
route1_options=src=192.0.2.250
route2=192.0.2.77/32,0.0.0.0,0
route2_options=src=192.0.2.250
never-default=true

[ipv6]
method=manual
addr-gen-mode=0
address1=2001:db8::250/128
route1=2001:db8::77/128,::,1024
never-default=true
""",
            0o600,
        ),
        File(
            "/etc/NetworkManager/system-connections/macvtap-mt0.nmconnection",
            f"""{HEADER}
[connection]
id=macvtap-mt0
uuid=bac6fb8c-7d0e-56f8-a321-b944a9e61348
type=macvlan
interface-name=mt0

[ethernet]
cloned-mac-address=52:54:00:00:00:01

[macvlan]
parent=eth1.20
mode=2
tap=true

[ipv4]
method=disabled

[ipv6]
method=disabled
""",
            0o600,
        ),
        File(
            "/etc/NetworkManager/system-connections/macvtap-mt1.nmconnection",
            f"""{HEADER}
[connection]
id=macvtap-mt1
uuid=fd956023-9169-5fc1-a6fc-46e0a117b712
type=macvlan
interface-name=mt1

[macvlan]
parent=eth1
mode=2
tap=true

[ipv4]
method=disabled

[ipv6]
method=disabled
""",
            0o600,
        ),
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
            "/etc/systemd/network/00-macvtap-host0.network",
            f"""{HEADER}
# macvlan host0
[Match]
Name=host0

[Link]
Unmanaged=yes
""",
        ),
        File(
            "/etc/udev/rules.d/90-macvtap.rules",
            f"""{HEADER}

# vlan eth1.20
ACTION=="add", SUBSYSTEM=="net", KERNEL=="eth1.20", ATTR{{ifalias}}="linuxvirt.macvtap"

# macvtap mt0
ACTION=="add", SUBSYSTEM=="net", KERNEL=="mt0", ATTR{{ifalias}}="a"
SUBSYSTEM=="macvtap", KERNELS=="mt0", SUBSYSTEMS=="net", GROUP="kvm"

# macvlan host0
ACTION=="add", SUBSYSTEM=="net", KERNEL=="host0", ATTR{{ifalias}}="linuxvirt.macvtap host access"
ACTION!="remove", SUBSYSTEM=="net", KERNEL=="host0", ENV{{NM_UNMANAGED}}="0"
""",
        ),
    ),
    "ifupdown": (
        File(
            "/etc/network/interfaces.d/macvtap",
            f"""{HEADER}

# vlan eth2.20
auto eth2.20
iface eth2.20 inet manual
    pre-up ip link set dev eth2 up
    pre-up test -e /sys/class/net/eth2.20 || ip link add link eth2 name eth2.20 type vlan protocol 802.1Q id 20
    pre-up ip link set dev eth2.20 alias linuxvirt.macvtap || true
    post-up ip link set dev eth2.20 up

# macvtap mt1
auto mt1
iface mt1 inet manual
    pre-up ip link set dev eth2 up
    pre-up test -e /sys/class/net/mt1 || {{ ip link add link eth2 name mt1 type macvtap mode bridge && {{ true; }}; }}
    post-up ip link set dev mt1 up

# macvlan host0
auto host0
iface host0 inet manual
    pre-up ip link set dev eth2 up
    pre-up test -e /sys/class/net/host0 || \
{{ ip link add link eth2 name host0 address 52:54:00:00:00:07 type macvlan mode bridge \
&& {{ ip link set dev host0 alias 'linuxvirt.macvtap host access'; true; }}; }}
    pre-up test ! -e /proc/sys/net/ipv4/conf/host0/arp_filter || echo 1 > /proc/sys/net/ipv4/conf/host0/arp_filter
    pre-up test ! -e /proc/sys/net/ipv4/conf/host0/arp_announce || echo 2 > /proc/sys/net/ipv4/conf/host0/arp_announce
    pre-up test ! -e /proc/sys/net/ipv6/conf/host0/accept_ra || echo 0 > /proc/sys/net/ipv6/conf/host0/accept_ra
    pre-up test ! -e /proc/sys/net/ipv6/conf/host0/autoconf || echo 0 > /proc/sys/net/ipv6/conf/host0/autoconf
    post-up ip link set dev host0 up
    post-up ip address replace 192.0.2.250/32 dev host0
    post-up ip address replace 2001:db8::250/128 dev host0
    post-up ip route replace 192.0.2.16/28 dev host0 proto static src 192.0.2.250
    post-up ip route replace 192.0.2.77/32 dev host0 proto static src 192.0.2.250
    post-up ip route replace 2001:db8::77/128 dev host0 proto static

# macvtap mt0
auto mt0
iface mt0 inet manual
    pre-up ip link set dev eth2.20 up
    pre-up test -e /sys/class/net/mt0 || \
{{ ip link add link eth2.20 name mt0 address 52:54:00:00:00:01 type macvtap mode bridge \
&& {{ ip link set dev mt0 alias a; true; }}; }}
    post-up ip link set dev mt0 up
""",
        ),
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
            "/etc/udev/rules.d/90-macvtap.rules",
            f"""{HEADER}

# macvtap mt0
SUBSYSTEM=="macvtap", KERNELS=="mt0", SUBSYSTEMS=="net", GROUP="kvm"
""",
        ),
    ),
}
