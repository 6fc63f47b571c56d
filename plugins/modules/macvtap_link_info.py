#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gather information about macvtap links and the processes that use them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_link_info
short_description: Gather information about macvtap links and the processes that use them
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Returns the macvtap links of the host with their attributes, character devices and counters. It also returns the
    processes that hold the devices open, with their libvirt domains.
  - Changes nothing and opens no tap. Root is required to see other users' processes.
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
attributes:
  check_mode:
    support: full
    details: It never changes anything.
  diff_mode:
    support: none
    details: It never changes anything.
  idempotent:
    support: full
options:
  name:
    description: Return only the links with these names.
    type: list
    elements: str
  parent:
    description: Return only the links on this parent, by its name.
    type: str
    aliases: [source, link, lower, base_iface]
  group:
    description: Return only the links of this link group.
    type: int
seealso:
  - module: linuxvirt.macvtap.macvtap_link
"""

EXAMPLES = r"""
- name: Gather the links of eth0
  linuxvirt.macvtap.macvtap_link_info:
    parent: eth0
  register: taps

- name: Show unused links
  ansible.builtin.debug:
    msg: "{{ taps.links | selectattr('holders', 'equalto', []) | map(attribute='name') }}"
"""

RETURN = r"""
links:
  description: The links, sorted by index.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
      returned: always
    netns:
      description: Always V(null). Only links of the module's own network namespace are returned.
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
    carrier:
      description: Whether frames can pass. This requires that the parent is up and connected.
      type: bool
      returned: always
    attributes:
      description: All other settings of M(linuxvirt.macvtap.macvtap_link), by option name.
      type: dict
      returned: always
    tap:
      description: The character device, as M(linuxvirt.macvtap.macvtap_link) returns it.
      type: dict
      returned: always
    holders:
      description:
        - The processes that hold the tap open. V(null) if none was found but there may be some, for example as another
          user than root, or in a container.
      type: list
      elements: dict
      returned: always
      contains:
        pid:
          description: Process ID.
          type: int
          returned: always
        command:
          description: Name of the program.
          type: str
          returned: always
        domain:
          description: Name of its libvirt domain, V(null) if it runs none.
          type: str
          returned: always
    counters:
      description: Packets, bytes, errors and drops, received (C(rx_)) and sent (C(tx_)).
      type: dict
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
      carrier: true
      attributes:
        accept_ra: false
        addrgenmode: eui64
        alias: ""
        allmulticast: false
        altnames: []
        arp: false
        bclim: 1
        bcqueuelen: 1000
        group: 0
        nodst: false
        promiscuous: true
        queues:
          rx: 1
          tx: 1
        source_macs: []
        txqueuelen: 500
      tap:
        path: /dev/tap12
        major: 245
        minor: 1
        own: true
        owner: root
        group: kvm
        mode: "0660"
      holders:
        - pid: 4711
          command: qemu-system-x86_64
          domain: web1
      counters:
        rx_packets: 10
        tx_packets: 10
"""

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import holders, netlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    Holders,
    Link,
    attributes,
    report,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import specification


def macvtap_link_info(module: _glue.Module) -> dict[str, t.Any]:
    with netlink.session() as session:
        links = [link for link in session.observe().values() if _asked_for(link, module.params)]
        counters = session.observe_counters()
    held = holders.of({link.key: link for link in links})
    return {
        "changed": False,
        "links": [
            {
                **report(link),
                "carrier": link.carrier,
                "attributes": attributes(link),
                "holders": _held(held[link.key]) if link.tap else [],
                "counters": counters.get(link.index, {}),
            }
            for link in sorted(links, key=lambda link: link.index)
        ],
    }


def _held(held: Holders) -> list[dict[str, t.Any]] | None:
    # An empty list would claim that there is no holder.
    return [vars(one) for one in held.by] or (None if held.doubt else [])


def _asked_for(link: Link, params: t.Mapping[str, t.Any]) -> bool:
    if link.kind != "macvtap" or (params["name"] is not None and link.name not in params["name"]):
        return False
    return params["parent"] in (None, link.parent) and params["group"] in (None, link.group)


def main() -> None:
    module = _glue.Module(
        argument_spec={
            "name": {"type": "list", "elements": "str"},
            **specification("parent"),
            "group": {"type": "int"},
        },
        supports_check_mode=True,
    )
    _glue.run(module, macvtap_link_info)


if __name__ == "__main__":
    main()
