# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files as earlier versions wrote them for NetworkManager, for the links that earlier.py names."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File

FILES = (
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
)
