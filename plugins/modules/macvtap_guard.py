#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Manage what guests on macvtap links may send."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_guard
short_description: Manage what guests on macvtap links may send
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Filters what a guest sends, on its macvtap link, by nftables. A guarded guest cannot pose as another machine of the
    LAN, not even for other guests of the same host. libvirt has no filter for direct interfaces.
  - One NIC by O(mac) or O(link), or many in one task by O(guards). Their rules are loaded in one transaction. All rules
    are in one table, C(netdev linuxvirt_macvtap). Other tables are never changed.
  - By default a guest may send ARP, IPv4 and IPv6 with its own MAC address, and is neither a DHCP server nor a router.
    Set O(addresses) to also check its IP addresses.
  - An option that is not set has its default, also if the guard has another value.
  - What a guest receives is not filtered.
  - Frames that are already queued, and those of QEMU itself when a guest has migrated, are not affected.
requirements:
  - python3-nftables, nftables 1.0.1 or newer (Debian 12 has 1.0.6)
  - Linux 5.16 or newer, and Linux 6.6 or newer to check where guests have checksums written
  - libvirt's Python bindings, for O(domain)
  - where SELinux is enforced, a policy that lets libvirt and udev load nftables (C(docs/guard.md) has rules)
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.link_options.rollback
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  guards:
    description:
      - The guards, each with the options of the module itself.
      - The module's own options are the defaults of the entries.
    type: list
    elements: dict
    suboptions:
      domain:
        description: See O(domain).
        type: str
      mac:
        description: See O(mac).
        type: str
      link:
        description: See O(link).
        type: str
        aliases: [name]
      state:
        description: See O(state).
        type: str
        choices: [present, absent]
      policy:
        description: See O(policy).
        type: str
        choices: [drop, count]
      other_macs:
        description: See O(other_macs).
        type: bool
      addresses:
        description: See O(addresses).
        type: list
        elements: str
      ethertypes:
        description: See O(ethertypes).
        type: list
        elements: str
      peers:
        description: See O(peers).
        type: list
        elements: str
      dhcp_server:
        description: See O(dhcp_server).
        type: bool
      router_advertisements:
        description: See O(router_advertisements).
        type: bool
      rate:
        description: See O(rate).
        type: int
      mirror_to:
        description: See O(mirror_to).
        type: str
  mac:
    description:
      - MAC address of the guest's NIC. The guard is on each macvtap link that has it, now and, with O(persistent=true),
        whenever one appears.
      - Set this or O(link).
    type: str
  link:
    description:
      - Name of an existing macvtap link. Its MAC address is that of the guest.
      - Set this or O(mac).
    type: str
    aliases: [name]
  domain:
    description:
      - Name of the libvirt domain that has the NIC O(mac). The task fails if it has none, unless
        O(nic_required=false).
      - A running guest's link is then the one that libvirt reports, also if the guest has given it another MAC address.
    type: str
  state:
    description: Whether the NIC has a guard.
    type: str
    choices: [present, absent]
    default: present
  policy:
    description:
      - V(drop), what the guest may not send is dropped and counted.
      - V(count), it is only counted. A frame can count for several kinds then.
    type: str
    choices: [drop, count]
    default: drop
  other_macs:
    description:
      - Whether the guest may send from other MAC addresses than its own, and claim others in ARP and neighbour
        discovery. A guest that bridges, or runs guests itself, needs it.
    type: bool
    default: false
  addresses:
    description:
      - IP addresses and prefixes that the guest may send from, and claim in ARP and neighbour discovery. By default,
        any.
      - With addresses, the guest also has the link-local IPv6 address that follows from its MAC address, unless the
        list has link-local addresses of its own. V(fe80::/10) allows all of them, which systems with private link-local
        addresses need.
      - Give a prefix for addresses that change within it, such as IPv6 privacy addresses.
      - V(learned) allows what the guest uses first, one IPv4 address and up to 16 IPv6 addresses at a time. An address
        that the guest has not used for an hour is forgotten. This limits how many addresses a guest can have, not
        which. A guest that takes the address of another machine from the start is not stopped.
      - A DHCP client, duplicate address detection and multicast listener reports are always allowed.
    type: list
    elements: str
  ethertypes:
    description:
      - The protocols that the guest may send, by the words V(ip), V(arp), V(ip6), V(8021q), V(8021ad), or numbers such
        as V(0x88cc). V(any) allows all.
      - Within VLAN tags nothing but the MAC address is checked, so they cannot be combined with O(addresses).
      - Frames without an EtherType (LLC, spanning tree) are only allowed with V(any).
    type: list
    elements: str
    default: [ip, arp, ip6]
  peers:
    description:
      - MAC addresses, IP addresses and prefixes that the guest may send to. By default, all.
      - If there are MAC addresses, all other unicast frames are forbidden. If there are IP addresses, all other IP
        packets are forbidden, except for broadcast, IPv6 link-scope multicast, and neighbour discovery.
    type: list
    elements: str
  dhcp_server:
    description: Whether the guest may answer as a DHCP or DHCPv6 server.
    type: bool
    default: false
  router_advertisements:
    description: Whether the guest may send IPv6 router advertisements and redirects, and authenticated ICMPv6 (AH).
    type: bool
    default: false
  rate:
    description:
      - How many frames per second the guest may send. V(0) is no limit. A large frame that the guest leaves to its NIC
        to segment counts once.
    type: int
    default: 0
  mirror_to:
    description:
      - Name of a link that gets a copy of each frame that the guest sends, also of those that are dropped. By default,
        none. It cannot be a macvtap link.
      - The link must exist when the task runs. If it does not exist at a later start, the guard is loaded without it.
        If it is removed, the guard stays on, and the copies end.
    type: str
  persistent:
    description:
      - Whether the guards are stored, in C(/etc/linuxvirt-macvtap/guards.json), and loaded at each boot, at each start
        of a guest, and when C(nftables.service) is reloaded.
      - Whatever loads them is restored if it was removed or changed. The result is then changed, without a change of a
        guard.
      - With V(false) they last until the link is removed or renamed, or the table is removed.
    type: bool
    default: true
  nic_required:
    description:
      - Whether the task fails if an O(domain) does not exist, or has no NIC O(mac). With V(false), its guard is stored
        for a NIC that is attached later.
    type: bool
    default: true
  uri:
    description: URI of libvirt's daemon on this host, for O(domain). One that leads to another host is refused.
    type: str
    default: qemu:///system
  lock_timeout:
    description: How many seconds to wait for another task on the host that changes guards.
    type: int
    default: 60
seealso:
  - module: linuxvirt.macvtap.macvtap_guard_info
  - module: linuxvirt.macvtap.macvtap_link
  - module: linuxvirt.macvtap.libvirt_direct_iface
"""

EXAMPLES = r"""
- name: See what web1 would be kept from, without keeping it from anything
  linuxvirt.macvtap.macvtap_guard:
    domain: web1
    mac: "52:54:00:00:0a:01"
    addresses: [192.0.2.10, "2001:db8:1::/64"]
    policy: count

- name: Keep two guests to their own addresses
  linuxvirt.macvtap.macvtap_guard:
    guards:
      - mac: "52:54:00:00:0a:01"
        addresses: [192.0.2.10, "2001:db8:1::/64"]
      - mac: "52:54:00:00:0a:02"
        addresses: [192.0.2.11]
        peers: ["52:54:00:00:00:01"]

- name: Guard a link without libvirt, until it is removed
  linuxvirt.macvtap.macvtap_guard:
    link: macvtap0
    persistent: false

- name: Remove a guard
  linuxvirt.macvtap.macvtap_guard:
    mac: "52:54:00:00:0a:01"
    state: absent
"""

RETURN = r"""
changes:
  description: The changes, field by field. In check mode, the changes that would be made.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: The guard, by the MAC address of its NIC.
      type: str
      returned: always
    field:
      description:
        - The option that changes, V(state) for a guard that is new or removed, V(links) for the links that it is on,
          V(persistent) for what is stored, which is C(outdated) if the next boot would load another guard.
        - V(rules), if the kernel has no rules of the guard, or others than this module writes.
      type: str
      returned: always
    before:
      description: The value before.
      type: raw
      returned: always
    after:
      description: The value after.
      type: raw
      returned: always
    impact:
      description: Always V(in_place). The guest's NIC is not touched.
      type: str
      returned: always
  sample:
    - target: "guard of 52:54:00:00:0a:01"
      field: state
      before: absent
      after: present
      impact: in_place
guards:
  description: The declared guards that exist, after the changes. In check mode, the predicted ones.
  returned: success
  type: list
  elements: dict
  contains:
    mac:
      description: MAC address of the NIC.
      type: str
      returned: always
    links:
      description: The macvtap links that the guard is on, an empty list if the guest does not run.
      type: list
      elements: str
      returned: always
    policy:
      description: V(drop) or V(count).
      type: str
      returned: always
    other_macs:
      description: Whether other MAC addresses are allowed.
      type: bool
      returned: always
    addresses:
      description: The allowed addresses and prefixes, an empty list for any.
      type: list
      elements: str
      returned: always
    ethertypes:
      description: The allowed EtherTypes.
      type: list
      elements: str
      returned: always
    peers:
      description: The allowed peers, an empty list for all.
      type: list
      elements: str
      returned: always
    dhcp_server:
      description: Whether answers of a DHCP server are allowed.
      type: bool
      returned: always
    router_advertisements:
      description: Whether router advertisements are allowed.
      type: bool
      returned: always
    rate:
      description: Frames per second, V(0) for no limit.
      type: int
      returned: always
    mirror_to:
      description:
        - The link that gets copies, an empty text for none. If that link was removed, its former index.
      type: str
      returned: always
    persistent:
      description: Whether the guard is stored.
      type: bool
      returned: always
    rules:
      description:
        - V(loaded), V(missing) if the kernel has no rules of it, V(modified) if these are not this module's,
          or the table is dormant, so that the kernel carries out none.
          V(outdated), if an earlier version has loaded them. They work, and the next task replaces them.
      type: str
      returned: always
  sample:
    - mac: "52:54:00:00:0a:01"
      links: [macvtap0]
      policy: drop
      other_macs: false
      addresses: [192.0.2.10, "2001:db8:1::/64", "fe80::5054:ff:fe00:a01"]
      ethertypes: [arp, ip, ip6]
      peers: []
      dhcp_server: false
      router_advertisements: false
      rate: 0
      mirror_to: ""
      persistent: true
      rules: loaded
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.macvtap_guard import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
