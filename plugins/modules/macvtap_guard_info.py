#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gather information about guards, and about what they have dropped."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_guard_info
short_description: Gather information about guards, and about what they have dropped
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Returns the guards of M(linuxvirt.macvtap.macvtap_guard) on a host, the links that they are on, how many frames of
    each kind they have dropped or counted, and when the last.
  - Counters begin at zero when the options of a guard change, and at boot.
requirements:
  - python3-nftables, nftables 1.0.1 or newer (Debian 12 has 1.0.6)
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
  idempotent:
    support: full
options:
  macs:
    description: MAC addresses of the NICs. By default, all guards are returned.
    type: list
    elements: str
seealso:
  - module: linuxvirt.macvtap.macvtap_guard
"""

EXAMPLES = r"""
- name: Gather guards
  linuxvirt.macvtap.macvtap_guard_info:
  register: found

- name: Show the NICs that something was dropped of
  ansible.builtin.debug:
    msg: "{{ item.mac }}: {{ item.counters }}"
  loop: "{{ found.guards }}"
  loop_control:
    label: "{{ item.mac }}"
  when: item.counters.values() | map(attribute='packets') | sum > 0
"""

RETURN = r"""
guards:
  description: The guards, sorted by MAC address.
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
      description: V(drop) or V(count). V(unknown) of a stored guard that this version did not write.
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
    counters:
      description:
        - Frames and bytes by kind, C(mac), C(ethertype), C(arp), C(nd), C(address), C(dhcp_server),
          C(router_advertisement), C(peer), C(rate), C(malformed) and C(checksum). Kinds that the guard does not check
          are missing.
        - Each has C(packets), C(bytes) and C(last_age), which is how many seconds ago the last such frame was sent.
          V(null) if there was none on the links that the guard is on now, or none for 30 days. After a restart of the
          guest it is V(null), while the counters go on.
        - C(checksum) is counted for the links that the guard is on, since it was put on them. It is missing without
          such a link, and if this host cannot check where guests have checksums written.
      type: dict
      returned: always
    learned:
      description: The addresses that a guard with O(linuxvirt.macvtap.macvtap_guard#module:addresses=learned) knows.
      type: list
      elements: str
      returned: always
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
      counters:
        mac: {packets: 3, bytes: 180, last_age: 12.4}
      learned: []
"""

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.host import Guards
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.install import Installer
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.known import Known
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table


def macvtap_guard_info(module: _glue.Module) -> dict[str, t.Any]:
    given = module.params["macs"]
    macs = {_mac.require(text, path=f"macs[{index}]") for index, text in enumerate(given or ())}
    with contextlib.closing(Table()) as table:
        guards = Guards(table, Installer(), known=Known(keeps=False))
        guards.asked = macs if given is not None else None
        host = guards.observe()
        found = [
            {**planner.report(state), "counters": guards.counters(mac), "learned": guards.learned(mac)}
            for mac, state in sorted(host.guards.items())
            if given is None or mac in macs
        ]
    return {"changed": False, "guards": found}


def main() -> None:
    module = _glue.Module(
        argument_spec={"macs": {"type": "list", "elements": "str"}},
        supports_check_mode=True,
    )
    _glue.run(module, macvtap_guard_info)


if __name__ == "__main__":
    main()
