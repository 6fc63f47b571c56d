#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell which macvtap links there are, and who holds their taps open."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_link_info
short_description: Tell which macvtap links there are, and who holds their taps open
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Returns the macvtap links of the host with all their attributes, their character devices, the processes that hold
    these open (with the libvirt domain, if it is one's), and their counters.
  - Changes nothing and opens no tap. It needs root to see other users' processes.
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.actiongroup
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
    description: Only the links of these names.
    type: list
    elements: str
  parent:
    description: Only the links on this parent, given by its name.
    type: str
    aliases: [link, lower, base_iface]
  group:
    description: Only the links of this link group.
    type: int
seealso:
  - module: linuxvirt.macvtap.macvtap_link
"""

EXAMPLES = r"""
- name: Who holds which tap
  linuxvirt.macvtap.macvtap_link_info:
    parent: eth0
  register: taps

- name: Say the links that nobody uses
  ansible.builtin.debug:
    msg: "{{ taps.links | selectattr('holders', 'equalto', []) | map(attribute='name') }}"
"""

RETURN = r"""
links:
  description: The links, by their index.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
      returned: always
    netns:
      description: Always V(null); only links of the module's own network namespace are returned.
      type: str
      returned: always
    ifindex:
      description: Interface index.
      type: int
      returned: always
    parent:
      description: Name of the link below, V(null) if it is in another network namespace.
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
      description: Whether frames can pass, which takes the parent to be up and connected.
      type: bool
      returned: always
    attributes:
      description: All else that M(linuxvirt.macvtap.macvtap_link) can set, by the names of its options.
      type: dict
      returned: always
    tap:
      description: The character device, as M(linuxvirt.macvtap.macvtap_link) returns it.
      type: dict
      returned: always
    holders:
      description:
        - The processes that hold the tap open. V(null) where none was found and there may be some all the same, as for
          another user than root or in a container.
      type: list
      elements: dict
      returned: always
      contains:
        pid:
          description: Process id.
          type: int
          returned: always
        command:
          description: Name of its program.
          type: str
          returned: always
        domain:
          description: Name of the libvirt domain that it runs, V(null) if it is none.
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
        addrgenmode: eui64
        alias: ""
        allmulticast: false
        altnames: []
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
    Held,
    Link,
    attributes,
    report,
)


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


def _held(held: Held) -> list[dict[str, t.Any]] | None:
    # Where not all were seen, nobody found is nobody known.
    return [vars(one) for one in held.by] or (None if held.doubt else [])


def _asked_for(link: Link, params: t.Mapping[str, t.Any]) -> bool:
    return (
        link.kind == "macvtap"
        and (params["name"] is None or link.name in params["name"])
        and params["parent"] in (None, link.parent)
        and params["group"] in (None, link.group)
    )


def main() -> None:
    module = _glue.Module(
        argument_spec={
            "name": {"type": "list", "elements": "str"},
            "parent": {"type": "str", "aliases": ["link", "lower", "base_iface"]},
            "group": {"type": "int"},
        },
        supports_check_mode=True,
    )
    _glue.run(module, macvtap_link_info)


if __name__ == "__main__":
    main()
