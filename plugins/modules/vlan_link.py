#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Manage VLAN links for macvtap links and guests."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vlan_link
short_description: Manage VLAN links for macvtap links and guests
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Creates, changes and removes VLAN links (sub-interfaces such as C(eth0.20)) over netlink, one by O(id), or many in
    one task by O(vlans). They can be the parent of links of M(linuxvirt.macvtap.macvtap_link), and the source of
    interfaces of M(linuxvirt.macvtap.libvirt_direct_iface).
  - Links of this module have the alias C(linuxvirt.macvtap). Links without it are never changed or removed. If the
    desired VLAN already exists without this alias, it is used unchanged, with RV(vlans[].ours=false).
  - A change of parent, O(id) or O(protocol) recreates the link. In check mode, RV(changes) shows this for each field in
    advance. Other changes are made in place.
  - A link that has links on it, or is the port of a bridge or bond, is not removed or recreated unless O(force=true).
    It is not set down either if processes hold the taps of macvtap links on it, or a bridge uses it. Links in other
    network namespaces are not considered. A declared VLAN on the link is recreated together with it. One without the
    alias is recreated only with O(force=true), and has the alias from then on.
  - Addresses and routes of the host are not removed, and Ansible's connection is not cut off, unless
    O(allow_host_disconnect=true).
  - A task makes all changes or none, unless O(on_error=keep). It is validated before any change, and rolled back if a
    step fails.
  - At the end the links are read back, and the task fails if they are not as declared.
  - The links do not survive a reboot, unless M(linuxvirt.macvtap.macvtap_persistence) makes them persistent.
requirements:
  - pyroute2 (0.5.14 or newer), to change anything
  - a kernel with C(CONFIG_VLAN_8021Q); it loads the module C(8021q) automatically
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.link_options.lock
  - linuxvirt.macvtap.link_options.rollback
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  vlans:
    description:
      - The VLAN links, each with the options of the module itself.
      - The module's own options are the defaults of the entries.
    type: list
    elements: dict
    suboptions:
      parent:
        description: See O(parent).
        type: str
        aliases: [source, link, lower, base_iface, vlandev]
      id:
        description: See O(id).
        type: int
        aliases: [vlan_id, vlanid]
      name:
        description: See O(name).
        type: str
      protocol:
        description: See O(protocol).
        type: str
        choices: [802.1Q, 802.1ad]
      mac:
        description: See O(mac).
        type: str
      mtu:
        description: See O(mtu).
        type: int
      state:
        description: See O(state).
        type: str
        choices: [up, present, down, absent]
  parent:
    description:
      - The uplink that carries the VLAN (a trunk), by its name, alternative name, MAC address, or the PCI address of
        its device (V(0000:03:00.0)).
      - It must be a wired Ethernet link that is not the port of a bond. It can be a bridge or bond, or another VLAN
        link that exists before the task.
    type: str
    aliases: [source, link, lower, base_iface, vlandev]
  id:
    description:
      - VLAN ID, from 1 to 4094.
      - Set this or O(vlans). With both, it is the default of the entries.
    type: int
    aliases: [vlan_id, vlanid]
  name:
    description:
      - Name of the link, at most 15 bytes.
      - If not set, it is the parent's name, a dot and O(id), such as C(eth0.20). If something else created this VLAN,
        it is the name of that link.
    type: str
  protocol:
    description: Protocol of the tag, V(802.1Q), or V(802.1ad) for the outer one of two tags. V(802.1Q) is the default.
    type: str
    choices: [802.1Q, 802.1ad]
  mac:
    description:
      - Unicast MAC address of the link. If not set, an existing link keeps its address. A new one has the address of
        its parent, and follows its changes.
    type: str
  mtu:
    description:
      - MTU of the link in bytes, from 68 to the MTU of its parent. If not set, an existing link keeps its MTU, and a
        new one has that of its parent.
      - Lowering it also lowers the MTU of the macvtap links on it. The kernel does not raise that again.
    type: int
  state:
    description:
      - V(up), the link exists and is up. This requires that its parent is up.
      - V(down), the link exists and is down.
      - V(present), the link exists; an existing link keeps its state, and a new one is down.
      - V(absent), no link with this O(parent), O(id) and O(protocol) (and O(name), if set) exists with the alias
        C(linuxvirt.macvtap). A link without the alias stays, with a warning.
    type: str
    choices: [up, present, down, absent]
    default: up
  force:
    description:
      - Remove or recreate links even if other links are on them. This also removes those links, and disconnects guests
        on macvtap links. A rollback does not restore them.
      - Set links down even if they are ports of a bridge, or processes hold the taps of macvtap links on them.
    type: bool
    default: false
  allow_host_disconnect:
    description:
      - Allow changes that remove IP addresses or routes of the host, or may cut off Ansible's connection. Each is shown
        as a warning. A rollback does not restore them.
      - Without it, a link that has such addresses or routes, or carries the connection, is not removed, recreated or
        set down, and keeps its MAC address and MTU. Addresses, routes and connections on a bridge or VLAN link that
        depends on the link count too.
      - Without it, no VLAN link is created on a port of a bridge if it would receive the frames by which the host is
        reached. These are frames of a VLAN link with the same ID on the bridge, or of the bridge itself in this VLAN.
        The same applies to links on a macvlan link of the parent.
      - After the changes the module checks that the kernel still routes Ansible's connection as before. If not, all
        changes are rolled back.
    type: bool
    default: false
    version_added: 0.2.0
seealso:
  - module: linuxvirt.macvtap.macvtap_link
  - module: linuxvirt.macvtap.libvirt_direct_iface
"""

EXAMPLES = r"""
- name: Create VLAN 20 of the trunk eth0, as eth0.20
  linuxvirt.macvtap.vlan_link:
    parent: eth0
    id: 20

- name: Create a link for a guest in this VLAN
  linuxvirt.macvtap.macvtap_link:
    name: macvtap0
    parent: eth0.20
    mode: bridge

- name: Create several VLANs on an uplink whose name differs between hosts
  linuxvirt.macvtap.vlan_link:
    parent: "52:54:00:00:00:01"
    vlans:
      - id: 20
        name: office
      - id: 30
        name: lab
        mtu: 1400

- name: Remove VLAN 20, unless something else created it
  linuxvirt.macvtap.vlan_link:
    parent: eth0
    id: 20
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
      description: Name of the link. With O(force=true) also the names of links that are removed because they are on it.
      type: str
      returned: always
    field:
      description: The changed field, V(state) for a link that is created or removed.
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
      description: V(in_place), V(recreate), or V(none) for a link that is created or removed.
      type: str
      returned: always
  sample:
    - target: eth0.20
      field: state
      before: absent
      after: up
      impact: none
vlans:
  description:
    - The declared links that exist, after the changes. In check mode, the predicted links, with V(null) for values that
      the kernel would choose.
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
    id:
      description: VLAN ID.
      type: int
      returned: always
    protocol:
      description: V(802.1Q) or V(802.1ad).
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
    ours:
      description: Whether this module created it. If not, it is left unchanged.
      type: bool
      returned: always
  sample:
    - name: eth0.20
      ifindex: 12
      parent: eth0
      id: 20
      protocol: 802.1Q
      mac: "52:54:00:00:00:01"
      mtu: 1500
      state: up
      ours: true
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.vlan_link import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
