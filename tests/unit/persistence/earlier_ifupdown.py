# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files as earlier versions wrote them for ifupdown, for the links that earlier.py names."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File

FILES = (
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
)
