#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Manage macvtap links."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_link
short_description: Manage macvtap links
version_added: 0.1.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Creates, changes and removes macvtap links over netlink, one by O(name), or many in one task by O(links).
  - Existing links are changed in place where the kernel can do that. A change of parent, of queues, or of mode to or
    from V(passthru) recreates the link. In check mode, RV(changes) shows this for each field in advance. A recreated
    link keeps its MAC address, alias, group and all other undeclared settings, but gets another C(/dev/tapN).
  - A task makes all changes or none, unless O(on_error=keep). It is validated before any change, and rolled back if a
    step fails.
  - A running guest is not disconnected unless O(force=true). A link whose tap a process holds open is not removed,
    recreated, or set down. It does not get another MAC address either, and does not stay in mode V(source) without
    O(source_macs). The same applies if the holder is unknown; the error then shows why. The module checks the
    holders again right before each change.
  - The module identifies links by index, kind and parent. If something else renames, removes or recreates a link
    meanwhile, it is left alone and the task fails. A link whose parent is in another network namespace, such as a
    pod's, is never recreated.
  - A rollback only reverts what this task has done. A link that it recreates has another index, and lacks its former
    addresses, routes and links on it; the message shows this.
  - At the end the links are read back, and the task fails if they are not as declared.
  - The links do not survive a reboot, unless M(linuxvirt.macvtap.macvtap_persistence) makes them persistent.
requirements:
  - pyroute2 (0.5.14 or newer), to change anything
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.links
  - linuxvirt.macvtap.link_options.lock
  - linuxvirt.macvtap.link_options.rollback
  - linuxvirt.macvtap.link_options.guarded
  - linuxvirt.macvtap.guard_options
attributes:
  check_mode:
    support: full
    details:
      - With O(mode=auto) or O(check_relay=true) the switch is probed in check mode too. This sends two frames on the
        parent, changes nothing, and requires root.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the link, at most 15 bytes.
      - Set either this or O(links).
    type: str
  auto:
    description:
      - The links whose mode O(mode=auto) decides.
      - V(new), links that do not exist yet or move to another parent. Others keep their mode, and no switch is probed
        for them.
      - V(always), existing links too, so their mode follows the switch. They keep it if the result is unknown.
      - Existing links always keep modes other than V(vepa) and V(bridge), which do not depend on the switch.
    type: str
    choices: [new, always]
    default: new
    version_added: 0.2.0
  check_relay:
    description:
      - Probe the switch behind each parent of declared links in mode V(vepa). Warn if it has no reflective relay,
        because guests of this host then cannot reach each other. A switch without it takes 50 ms per run.
      - If the switch is probed for O(mode=auto) anyway, you get the warning without this option.
    type: bool
    default: false
    version_added: 0.2.0
  purge:
    description:
      - Remove all macvtap links in O(group) that are not declared in this task, and no others.
      - Requires a O(group) other than 0.
    version_added: 0.2.0
    type: bool
    default: false
  force:
    description:
      - Remove or recreate links, set them down, or change their MAC address, even if a process that holds their tap
        open is disconnected, or if the holder is unknown.
      - The holder is unknown to users other than root, with a C(/proc) that hides processes (C(hidepid)), and in a
        container with its own PID namespace. For the latter, mount the host's C(/proc), for example at
        C(/run/host/proc).
    type: bool
    default: false
  allow_host_disconnect:
    description:
      - Allow changes that remove IP addresses or routes of the host, or may cut off Ansible's connection. Each is shown
        as a warning. A rollback does not restore them.
      - Without it, a link that has such addresses or routes, or carries the connection, is not removed, recreated or
        set down, and keeps its MAC address, MTU and O(arp). No link in mode V(passthru) is created on such a parent,
        because it receives all of the parent's frames. No link in mode V(source) with O(nodst=true) may receive the
        frames of the host's router or of the Ansible controller. Addresses, routes and connections on a bridge or VLAN
        link that depends on the link count too.
      - After the changes the module checks that the kernel still routes Ansible's connection as before. If not, all
        changes are rolled back.
    type: bool
    default: false
    version_added: 0.2.0
seealso:
  - module: linuxvirt.macvtap.macvtap_link_info
  - module: linuxvirt.macvtap.macvtap_persistence
  - module: linuxvirt.macvtap.kernel_macvtap_check
  - module: linuxvirt.macvtap.reflective_relay_info
  - module: linuxvirt.macvtap.libvirt_direct_iface
"""

EXAMPLES = r"""
- name: Create a link for a guest
  linuxvirt.macvtap.macvtap_link:
    name: macvtap0
    parent: eth0
    mode: bridge

- name: Create links for an unprivileged QEMU
  linuxvirt.macvtap.macvtap_link:
    parent: eth0
    mode: bridge
    tap:
      group: kvm
      mode: "0660"
    links:
      - name: web1
        mac: "52:54:00:00:00:01"
      - name: web2
        mac: "52:54:00:00:00:02"
      - name: db1
        mac: "52:54:00:00:00:03"
        mtu: 1400

- name: Create a link with all multicast for its guest, and without an IPv6 address of the host
  linuxvirt.macvtap.macvtap_link:
    name: macvtap1
    parent: eth0
    mode: bridge
    addrgenmode: none
    allmulticast: true

- name: Create a link that only receives frames from two addresses
  linuxvirt.macvtap.macvtap_link:
    name: macvtap2
    parent: eth0
    mode: source
    source_macs:
      - "52:54:00:00:00:01"
      - "52:54:00:00:00:02"

- name: Create links in the mode that suits the switch
  linuxvirt.macvtap.macvtap_link:
    parent: eth0
    mode: auto
    links:
      - name: web1
      - name: web2

- name: Manage all links of group 7, and remove others in it
  linuxvirt.macvtap.macvtap_link:
    group: 7
    purge: true
    parent: eth0
    mode: bridge
    links:
      - name: web1
      - name: web2

- name: Remove a link
  linuxvirt.macvtap.macvtap_link:
    name: macvtap0
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
      description: Name of the link. For a guard, its MAC address, as in C(guard of 52:54:00:00:0a:01).
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
    - target: macvtap0
      field: mode
      before: vepa
      after: bridge
      impact: in_place
links:
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
    netns:
      description: Network namespace as set in O(netns), V(null) for the module's own.
      type: str
      returned: always
    ifindex:
      description: Interface index.
      type: int
      returned: always
    parent:
      description: Name of the parent, V(null) if it is in another network namespace.
      type: str
      returned: always
    mode:
      description: Mode.
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
    tap:
      description: The link's character device.
      type: dict
      returned: always
      contains:
        path:
          description: Path of the device node.
          type: str
          returned: always
        major:
          description: Major device number of this link's tap in sysfs.
          type: int
          returned: always
        minor:
          description: Minor device number of this link's tap in sysfs.
          type: int
          returned: always
        own:
          description: >-
            Whether RV(links[].tap.path) is this link's device. If not, it is missing, or belongs to a link with the
            same index in another network namespace.
          type: bool
          returned: always
        owner:
          description: User, V(null) if RV(links[].tap.path) is missing.
          type: str
          returned: always
        group:
          description: Group.
          type: str
          returned: always
        mode:
          description: Permissions.
          type: str
          returned: always
  sample:
    - name: macvtap0
      netns:
      ifindex: 12
      parent: eth0
      mode: bridge
      mac: "52:54:00:00:00:01"
      mtu: 1500
      state: up
      tap:
        path: /dev/tap12
        major: 245
        minor: 1
        own: true
        owner: root
        group: kvm
        mode: "0660"
guards:
  description: The guards that O(guard) declares, after the changes, as C(guards) of M(linuxvirt.macvtap.macvtap_guard).
  returned: with O(guard)
  type: list
  elements: dict
  sample:
    - mac: "52:54:00:00:0a:01"
      links: [macvtap0]
      policy: drop
      other_macs: false
      addresses: []
      ethertypes: [arp, ip, ip6]
      peers: []
      dhcp_server: false
      router_advertisements: false
      rate: 0
      mirror_to: ""
      persistent: true
      rules: loaded
reflective_relay:
  description: The results of probing switches, as C(parents) of M(linuxvirt.macvtap.reflective_relay_info).
  returned: with O(mode=auto) or O(check_relay=true), if a switch was probed
  type: list
  elements: dict
  sample:
    - parent: eth0
      reflective_relay: false
      reason: none of 2 frames came back within 25 ms
      round_trips: []
      sent:
        method: lower
        frames: 2
        ethertype: "0x88b5"
        source: "52:54:00:ab:cd:ef"
        destination: "52:54:00:ab:cd:ef"
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.macvtap_link import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
