#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gather information about reflective relay of the switch ports behind links."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reflective_relay_info
short_description: Gather information about reflective relay of the switch ports behind links
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Probes whether the switch port of a link sends frames back to the port that they came from. This is called
    reflective relay (IEEE 802.1Qbg) or hairpin. Guests in mode C(vepa) can only reach each other through it.
  - The module sends frames that only such a port reflects, and waits for them. The frames have the ethertype 0x88B5,
    reserved by IEEE 802 for local experiments. A random number separates the frames of concurrent runs.
  - Running guests are not disturbed, in any mode. Nothing is left behind, even if the module is killed.
  - All parents are probed at the same time. This takes less than a millisecond if the ports reflect, and O(timeout)
    times O(count) otherwise.
requirements:
  - pyroute2 (0.5.14 or newer), for O(method=endpoints)
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
attributes:
  check_mode:
    support: full
    details: It never changes anything, and sends its frames in check mode too.
  diff_mode:
    support: none
    details: It never changes anything.
  idempotent:
    support: full
options:
  parent:
    description:
      - The link, by its name, alternative name, MAC address, or the PCI address of its device.
      - Set either this or O(parents).
    type: str
    aliases: [source, link, lower, base_iface]
  parents:
    description: Several links.
    type: list
    elements: str
  method:
    description:
      - V(lower) sends from the parent's MAC address to itself, so that no switch learns a new address. A link in mode
        C(passthru) on the parent has the same address, and also receives a reflected frame.
      - V(endpoints) sends from one temporary macvlan link in mode C(vepa) on the parent to another, as guests' frames
        do. It is the only method on a bridge. The switch learns two random MAC addresses, which port security may not
        allow. Not possible beside a link in mode C(passthru).
    type: str
    choices: [lower, endpoints]
    default: lower
  timeout:
    description: How many milliseconds to wait for each frame.
    type: int
    default: 25
  count:
    description: How many frames to send on each parent. One reflected frame is enough for V(true).
    type: int
    default: 2
notes:
  - Requires root, in check mode too.
  - V(false) means that no frame came back in time. Other possible causes are a switch port that does not forward yet
    (spanning tree, 802.1X), and a NIC that drops received frames with its own address.
  - The frames have no VLAN tag, unless the parent is a VLAN link.
seealso:
  - module: linuxvirt.macvtap.macvtap_link
  - module: linuxvirt.macvtap.libvirt_direct_iface
"""

EXAMPLES = r"""
- name: Probe the switch behind eth0
  linuxvirt.macvtap.reflective_relay_info:
    parent: eth0
  register: relay

- name: Assert that guests in mode vepa can reach each other
  ansible.builtin.assert:
    that: relay.reflective_relay is true
    fail_msg: "{{ relay.reason }}"

- name: Probe several links with a longer timeout
  linuxvirt.macvtap.reflective_relay_info:
    parents: [eth0, eth1, bond0.10]
    timeout: 100
    count: 5
"""

RETURN = r"""
parents:
  description: The result for each link, in the order of the option.
  returned: success
  type: list
  elements: dict
  contains:
    parent:
      description: Name of the link.
      type: str
      returned: always
    reflective_relay:
      description: >-
        V(true) if a frame came back, V(false) if none did, V(null) if this is unknown, for example on a link that is
        down.
      type: bool
      returned: always
    reason:
      description: Why the result is V(false) or V(null). V(null) if it is V(true).
      type: str
      returned: always
    round_trips:
      description: Round-trip time of each reflected frame in milliseconds.
      type: list
      elements: float
      returned: always
    sent:
      description: What was sent, and how.
      type: dict
      returned: always
      contains:
        method:
          description: The O(method).
          type: str
          returned: always
        frames:
          description: Number of frames.
          type: int
          returned: always
        ethertype:
          description: Their ethertype.
          type: str
          returned: always
        source:
          description: Their source address, V(null) if nothing could be sent.
          type: str
          returned: always
        destination:
          description: Their destination address, V(null) if nothing could be sent.
          type: str
          returned: always
  sample:
    - parent: eth0
      reflective_relay: true
      reason:
      round_trips: [0.11, 0.07]
      sent:
        method: lower
        frames: 2
        ethertype: "0x88b5"
        source: "52:54:00:ab:cd:ef"
        destination: "52:54:00:ab:cd:ef"
reflective_relay:
  description: The result for the one link.
  returned: with O(parent)
  type: bool
  sample: true
reason:
  description: The reason for the one link.
  returned: with O(parent)
  type: str
  sample: eth0 has no carrier
"""

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import netlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import find, spellings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import specification
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.ask import verdicts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.model import (
    COUNT,
    METHODS,
    TIMEOUT,
    report,
)

# Limits of the timeout in ms, and of the number of frames.
_RANGES = {"timeout": (1, 10_000), "count": (1, 100)}


def reflective_relay_info(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    for option, (least, most) in _RANGES.items():
        _values.check_range(params[option], least, most, option)
    one = params["parent"] is not None
    asked = {"parent": params["parent"]} if one else {f"parents[{n}]": name for n, name in enumerate(params["parents"])}
    with netlink.session() as session:
        links = session.observe((), parents={spelling for name in asked.values() for spelling in spellings(name)})
    parents = [find(name, links, path=path) for path, name in asked.items()]
    results = verdicts(parents, method=params["method"], timeout=params["timeout"], count=params["count"])
    reports = [report(results[link.name]) for link in parents]
    top = {name: reports[0][name] for name in ("reflective_relay", "reason")} if one else {}
    return {"changed": False, "parents": reports, **top}


def main() -> None:
    module = _glue.Module(
        argument_spec={
            **specification("parent"),
            "parents": {"type": "list", "elements": "str"},
            "method": {"type": "str", "choices": list(METHODS), "default": METHODS[0]},
            "timeout": {"type": "int", "default": TIMEOUT},
            "count": {"type": "int", "default": COUNT},
        },
        mutually_exclusive=[("parent", "parents")],
        required_one_of=[("parent", "parents")],
        supports_check_mode=True,
    )
    _glue.run(module, reflective_relay_info)


if __name__ == "__main__":
    main()
