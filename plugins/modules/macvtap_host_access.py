#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Manage host interfaces (macvlan shims) that connect a host with its macvtap guests."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_host_access
short_description: Manage host interfaces (macvlan shims) that connect a host with its macvtap guests
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - On the uplink of macvtap links, host and guests cannot reach each other, unless the switch reflects frames. This
    module creates a host interface for that, also known as a macvlan shim. It is a macvlan link in mode bridge on the
    same uplink, with its own addresses, and the host reaches the guests over it. Manage one by O(name), or many in one
    task by O(shims).
  - Only O(guests) are routed over the host interface. Other routes of the host stay, and the uplink is not changed.
  - Ansible's connection is never cut off, unless O(allow_host_disconnect=true). An interface, address or route that the
    connection uses is not removed or changed, and no route may redirect it. The module checks the kernel's route before
    and after the changes, and rolls back if it differs.
  - The connection is found by the parent processes of the module, their sockets, and C(SSH_CONNECTION). If none of the
    processes is an SSH server, all SSH sessions of the host count. If there are none, all inbound connections count.
  - Undeclared addresses and routes of a host interface are removed. Exceptions are those of the kernel, such as the
    IPv6 link-local address, and with O(dhcp4=true) those of a DHCP lease.
  - Host interfaces of this module have the alias C(linuxvirt.macvtap host access). Links without it are never changed
    or removed.
  - A host interface that has other links on it, is the port of a bridge or bond, or has routes in other tables than
    C(main), is not removed or recreated. Remove these first.
  - Before the interface comes up, C(arp_filter) is set to 1 and C(arp_announce) to 2. So the LAN gets one ARP answer
    for each host address, and never learns the host's other addresses at this MAC address. C(accept_ra) and C(autoconf)
    are set to 0, so that no router adds a default route.
  - New addresses are checked for duplicates, by ARP (IPv4) or by the kernel (IPv6). This takes one to three seconds.
    The task fails if an address is in use.
  - A task makes all changes or none. It is validated before any change, and rolled back if a step fails. At the end the
    configuration is read back, and the task fails if it is not as declared.
  - The host interfaces do not survive a reboot, unless M(linuxvirt.macvtap.macvtap_persistence) makes them persistent.
requirements:
  - pyroute2 (0.5.14 or newer), to change anything
  - a kernel with C(CONFIG_MACVLAN), as every kernel with macvtap
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.link_options.lock
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  shims:
    description:
      - The host interfaces, each with the options of the module itself.
      - The module's own options are the defaults of the entries.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
      state:
        description: See O(state).
        type: str
        choices: [present, absent]
      parent:
        description: See O(parent).
        type: str
        aliases: [source, link, lower, base_iface]
      mac:
        description: See O(mac).
        type: str
      mtu:
        description: See O(mtu).
        type: int
      addresses:
        description: See O(addresses).
        type: list
        elements: str
      guests:
        description: See O(guests).
        type: list
        elements: str
      dhcp4:
        description: See O(dhcp4).
        type: bool
  name:
    description:
      - Name of the host interface, at most 15 bytes.
      - Set either this or O(shims).
    type: str
  state:
    description:
      - V(present), the host interface exists, is up, and has exactly the declared addresses and routes.
      - V(absent), there is no host interface with this name.
    type: str
    choices: [present, absent]
    default: present
  parent:
    description:
      - The uplink of the guests' macvtap links, by its name, alternative name, MAC address, or the PCI address of its
        device (V(0000:03:00.0)).
      - Required for a host interface that does not exist yet. Another parent recreates the interface.
    type: str
    aliases: [source, link, lower, base_iface]
  mac:
    description: Unicast MAC address. If not set, an existing interface keeps its address, and a new one gets a random
      one.
    type: str
  mtu:
    description:
      - MTU in bytes, at most the parent's. If not set, an existing interface keeps its MTU, and a new one has the
        parent's.
      - Below 1280 the kernel disables IPv6 on the interface, so such values are refused if the host has IPv6. An
        interface that got a lower MTU from its parent has no IPv6 until a larger one is set.
    type: int
  addresses:
    description:
      - IP addresses by which the guests reach the host, such as V(192.0.2.250) and V(2001:db8::250). They must be
        unused addresses of the LAN, also on other links of the host.
      - Only without a prefix length, or with V(/32) or V(/128). Otherwise the host would send to the whole LAN over
        this interface.
    type: list
    elements: str
  guests:
    description:
      - Guests that the host reaches over the interface, as addresses or networks such as V(192.0.2.77),
        V(192.0.2.16/28) and V(2001:db8::77).
      - The first IPv4 address in O(addresses) is the source address of the routes to IPv4 guests.
      - Networks are refused if they contain another address of the host, one of its routers, or the Ansible controller.
        Networks with an existing route over another link are refused too.
    type: list
    elements: str
  dhcp4:
    description:
      - The host's network manager gets an IPv4 address by DHCP. This module leaves leased addresses and their routes
        alone, and requests no lease itself.
      - Leased addresses are recognised by their lifetime or by the manager's lease records. Other undeclared addresses
        are removed.
    type: bool
    default: false
  purge:
    description:
      - Remove host interfaces of this module that are not declared in this task. An empty list of O(shims) removes
        all.
    type: bool
    default: false
    version_added: 0.2.0
  allow_host_disconnect:
    description:
      - Allow changes that cut off Ansible's connection. Each is shown as a warning.
      - Changes that are refused for other reasons stay refused.
    type: bool
    default: false
    version_added: 0.2.0
seealso:
  - module: linuxvirt.macvtap.macvtap_link
"""

EXAMPLES = r"""
- name: Connect the host with two guests on eth0
  linuxvirt.macvtap.macvtap_host_access:
    name: host0
    parent: eth0
    addresses: [192.0.2.250, "2001:db8::250"]
    guests: [192.0.2.77, 192.0.2.78, "2001:db8::77"]

- name: Connect the host with all guests of an address range
  linuxvirt.macvtap.macvtap_host_access:
    name: host0
    parent: eth0
    addresses: [192.0.2.250]
    guests: [192.0.2.16/28]

- name: Manage host interfaces on two uplinks
  linuxvirt.macvtap.macvtap_host_access:
    shims:
      - name: host0
        parent: eth0
        addresses: [192.0.2.250]
        guests: [192.0.2.77]
      - name: host1
        parent: eth1
        addresses: [198.51.100.250]
        guests: [198.51.100.77]

- name: Remove a host interface
  linuxvirt.macvtap.macvtap_host_access:
    name: host0
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
      description: Name of the host interface.
      type: str
      returned: always
    field:
      description: The changed field, V(state) for an interface that is created or removed.
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
      description: V(in_place), V(recreate), or V(none) for an interface that is created or removed.
      type: str
      returned: always
  sample:
    - target: host0
      field: guests
      before: [192.0.2.77/32 src 192.0.2.250]
      after: [192.0.2.77/32 src 192.0.2.250, 192.0.2.78/32 src 192.0.2.250]
      impact: in_place
shims:
  description:
    - The declared host interfaces that exist, after the changes. In check mode, the predicted ones, with V(null) for
      values that the kernel would choose.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
      returned: always
    ifindex:
      description: Interface index.
      type: int
      returned: always
    parent:
      description: Name of the parent.
      type: str
      returned: always
    mac:
      description: MAC address.
      type: str
      returned: always
    mtu:
      description: MTU in bytes.
      type: int
      returned: always
    state:
      description: V(up) or V(down), as the administrator set it.
      type: str
      returned: always
    addresses:
      description: IP addresses, without those of the kernel and, with O(dhcp4=true), of the lease.
      type: list
      elements: str
      returned: always
    guests:
      description: Networks routed over the interface, without routes of the kernel and the lease.
      type: list
      elements: str
      returned: always
  sample:
    - name: host0
      ifindex: 12
      parent: eth0
      mac: "52:54:00:00:00:fa"
      mtu: 1500
      state: up
      addresses: [192.0.2.250]
      guests: [192.0.2.77/32]
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.macvtap_host_access import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
