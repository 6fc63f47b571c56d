#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell whether the switch ports behind links reflect frames."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reflective_relay_info
short_description: Tell whether the switch ports behind links reflect frames
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Finds out whether the switch port that a link of the host is plugged into sends frames back to where they came from
    (reflective relay of IEEE 802.1Qbg, often called hairpin). Guests in mode C(vepa) reach each other through nothing
    else.
  - It sends frames that only such a port sends back, and waits for them. They have the ethertype 0x88B5, which IEEE 802
    leaves to local experiments, and a random number, by which two that ask at once tell their frames apart.
  - Running guests go on undisturbed, whatever modes their links have. Nothing is left behind, also if the module is
    killed.
  - All parents are asked at once. Where a port reflects this takes less than a millisecond; a V(false) takes O(timeout)
    times O(count).
requirements:
  - pyroute2 (0.5.14 or newer), for O(method=endpoints)
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details: It never changes anything, and sends its frames in check mode as well.
  diff_mode:
    support: none
    details: It never changes anything.
  idempotent:
    support: full
options:
  parent:
    description:
      - The link, by its name, alternative name, MAC address, or the PCI address of its device.
      - Give either this or O(parents).
    type: str
    aliases: [link, lower, base_iface]
  parents:
    description: Many links.
    type: list
    elements: str
  method:
    description:
      - V(lower) sends from the parent's own MAC address to the same, so that no switch learns a new one. A link in mode
        C(passthru) on the parent, which has that address too, gets the frame as well if it comes back.
      - V(endpoints) sends from one temporary macvlan link in mode C(vepa) on the parent to another, which is the way of
        guests' frames, and the one way on a bridge. Their two random MAC addresses are new to the switch and may be too
        many for one with port security. Impossible beside a link in mode C(passthru).
    type: str
    choices: [lower, endpoints]
    default: lower
  timeout:
    description: How many milliseconds to wait for each frame.
    type: int
    default: 25
  count:
    description: How many frames to send on each parent. One that comes back makes it V(true).
    type: int
    default: 2
notes:
  - It needs root, in check mode too.
  - V(false) says that nothing came back in time. A switch port that is plugged in but passes nothing yet (spanning
    tree, 802.1X), and a network card that drops received frames with an address of its own, look the same from here.
  - The port is asked without a VLAN tag, unless the parent is a VLAN link.
seealso:
  - module: linuxvirt.macvtap.macvtap_link
  - module: linuxvirt.macvtap.libvirt_direct_iface
"""

EXAMPLES = r"""
- name: Does the switch reflect?
  linuxvirt.macvtap.reflective_relay_info:
    parent: eth0
  register: relay

- name: Guests in mode vepa need it
  ansible.builtin.assert:
    that: relay.reflective_relay is true
    fail_msg: "{{ relay.reason }}"

- name: Ask behind several links, more patiently
  linuxvirt.macvtap.reflective_relay_info:
    parents: [eth0, eth1, bond0.10]
    timeout: 100
    count: 5
"""

RETURN = r"""
parents:
  description: What was found out of each link, in the order in which they were given.
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
        V(true) where a frame came back, V(false) where none did, V(null) where that could not be found out, as on a
        link that is down.
      type: bool
      returned: always
    reason:
      description: Why it is V(false) or V(null); V(null) where it is V(true).
      type: str
      returned: always
    round_trips:
      description: How many milliseconds each frame was on its way that came back.
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
          description: How many frames.
          type: int
          returned: always
        ethertype:
          description: Their ethertype.
          type: str
          returned: always
        source:
          description: Their source address, V(null) where nothing could be sent.
          type: str
          returned: always
        destination:
          description: Their destination address, V(null) where nothing could be sent.
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
  description: That of the one link.
  returned: with O(parent)
  type: bool
  sample: true
reason:
  description: That of the one link.
  returned: with O(parent)
  type: str
  sample: eth0 has no carrier
"""

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import netlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import find, spellings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay.ask import verdicts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay.model import COUNT, METHODS, TIMEOUT, report

# What a user may wait for each frame, in ms, and how many there may be.
_RANGES = {"timeout": (1, 10_000), "count": (1, 100)}


def reflective_relay_info(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    for option, (least, most) in _RANGES.items():
        _values.check_range(params[option], least, most, option)
    one = params["parent"] is not None
    asked = {"parent": params["parent"]} if one else {f"parents[{n}]": name for n, name in enumerate(params["parents"])}
    with netlink.session() as session:
        links = session.observe((), parents={said for name in asked.values() for said in spellings(name)})
    parents = [find(name, links, path=path) for path, name in asked.items()]
    told = verdicts(parents, method=params["method"], timeout=params["timeout"], count=params["count"])
    reports = [report(told[link.name]) for link in parents]
    top = {name: reports[0][name] for name in ("reflective_relay", "reason")} if one else {}
    return {"changed": False, "parents": reports, **top}


def main() -> None:
    module = _glue.Module(
        argument_spec={
            "parent": {"type": "str", "aliases": ["link", "lower", "base_iface"]},
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
