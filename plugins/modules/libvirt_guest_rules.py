#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Manage what a host keeps for NICs of guests that come to it, or have left it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_guest_rules
short_description: Manage guards and multicast rules of guests that migrate to a host
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - A host keeps two things for the NICs of its guests that libvirt does not take along when a guest migrates. These are
    guards, and udev rules by which a link receives all multicast (C(allmulticast)). This module puts them on the
    destination before the guest comes, and removes them from the host that it has left.
  - Both are for MAC addresses, so the guest need not be there.
  - A udev rule that was edited by hand is left alone, with a warning.
options:
  nics:
    description: The NICs, as RV(linuxvirt.macvtap.libvirt_guest_migrate#module:rules) has them.
    type: list
    elements: dict
    required: true
    suboptions:
      mac:
        description: MAC address of the NIC.
        type: str
        required: true
      allmulticast:
        description: Whether its link receives all multicast. V(false) leaves the rule of a NIC as it is.
        type: bool
        default: false
      guard:
        description: The options of its guard. If it is not set, its guard is left alone.
        type: dict
        suboptions:
          state:
            description: See O(linuxvirt.macvtap.macvtap_guard#module:state).
            type: str
            choices: [present, absent]
          policy:
            description: See O(linuxvirt.macvtap.macvtap_guard#module:policy).
            type: str
            choices: [drop, count]
          other_macs:
            description: See O(linuxvirt.macvtap.macvtap_guard#module:other_macs).
            type: bool
          addresses:
            description: See O(linuxvirt.macvtap.macvtap_guard#module:addresses).
            type: list
            elements: str
          ethertypes:
            description: See O(linuxvirt.macvtap.macvtap_guard#module:ethertypes).
            type: list
            elements: str
          peers:
            description: See O(linuxvirt.macvtap.macvtap_guard#module:peers).
            type: list
            elements: str
          dhcp_server:
            description: See O(linuxvirt.macvtap.macvtap_guard#module:dhcp_server).
            type: bool
          router_advertisements:
            description: See O(linuxvirt.macvtap.macvtap_guard#module:router_advertisements).
            type: bool
          rate:
            description: See O(linuxvirt.macvtap.macvtap_guard#module:rate).
            type: int
          mirror_to:
            description: See O(linuxvirt.macvtap.macvtap_guard#module:mirror_to).
            type: str
      keep_guard:
        description: Whether a guard that the host stores for the NIC already stays as it is, and is on its link.
        type: bool
        default: false
  state:
    description:
      - V(present), the host has the rules and guards.
      - V(absent), it has none of those that the entries name. Those of a NIC that a domain of this host has are left
        alone, with a warning.
    type: str
    choices: [present, absent]
    default: present
  uri:
    description: URI of the libvirt daemon of this host.
    type: str
    default: qemu:///system
  lock_timeout:
    description:
      - How many seconds to wait for another task that changes domains or guards on this host.
      - In check mode the module does not wait, and ignores the other task.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
requirements:
  - libvirt (its Python bindings)
  - python3-nftables, nftables 1.0.1 or newer, for guards
seealso:
  - module: linuxvirt.macvtap.libvirt_guest_migrate
  - module: linuxvirt.macvtap.macvtap_guard
"""

EXAMPLES = r"""
- name: Look what goes with a guest
  linuxvirt.macvtap.libvirt_guest_migrate:
    domain: web1
    destination: hv2
    prepared: true
  check_mode: true
  register: planned

- name: Put it on the destination
  linuxvirt.macvtap.libvirt_guest_rules:
    nics: "{{ planned.rules_there }}"
  delegate_to: hv2

- name: Move the guest
  linuxvirt.macvtap.libvirt_guest_migrate:
    domain: web1
    destination: hv2
    prepared: true
  register: moved

- name: Remove what it leaves
  linuxvirt.macvtap.libvirt_guest_rules:
    nics: "{{ moved.left }}"
    state: absent
"""

RETURN = r"""
changes:
  description: What changed, or in check mode would change.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: MAC address of the NIC. For a guard, as in C(guard of 52:54:00:00:0a:01).
      type: str
      returned: always
    field:
      description: V(allmulticast), or as in M(linuxvirt.macvtap.macvtap_guard).
      type: str
      returned: always
    before:
      description: Value before.
      type: raw
      returned: always
    after:
      description: Value after.
      type: raw
      returned: always
    impact:
      description: V(config), or as in M(linuxvirt.macvtap.macvtap_guard).
      type: str
      returned: always
  sample:
    - {target: "52:54:00:00:01:01", field: allmulticast, before: false, after: true, impact: config}
guards:
  description: The guards, as C(guards) of M(linuxvirt.macvtap.macvtap_guard).
  returned: if there are any
  type: list
  elements: dict
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.libvirt_guest_rules import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
