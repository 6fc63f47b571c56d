#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the IP addresses of libvirt guests."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_guest_addresses_info
short_description: Find the IP addresses of libvirt guests
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Returns the addresses of each NIC of each guest, each with where it is known from, how sure it is and how old.
  - By default asks the guest agents that are connected, and reads the host's neighbour table and what guards with
    C(addresses=learned) have learned. With O(probe) it also
    asks on the LAN, and with O(wait_for) it waits until guests have addresses, and receives what they send meanwhile.
  - Nothing on the host stays changed. O(probe) uses a temporary link in a network namespace of its own, which ends with
    the module, however it ends.
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
  domains:
    description:
      - Names of the domains to return, in this order. A domain that does not exist is an error.
      - By default all domains are returned, sorted by name.
    type: list
    elements: str
  macs:
    description:
      - Only NICs with these MAC addresses, and only guests that have one.
      - MAC addresses that no guest of this host has are returned in RV(others), with the addresses that this host finds
        for them. So another host of the same LAN can find guests that their own host cannot ask. O(probe) then asks on
        the uplinks of all its running guests.
    type: list
    elements: str
  agent:
    description:
      - Ask the guest agents. An agent is asked only if libvirt reports it as connected.
      - Requires permission to manage the guests. Without it there is a warning.
    type: bool
    default: true
  agent_timeout:
    description: How many seconds to wait for all guest agents together.
    type: int
    default: 5
  listen:
    description:
      - For how many seconds to receive what the guests send on their own links, before anything else. ARP and neighbour
        discovery say who has which address. This works in every mode, and sends nothing.
      - Frames before that are not known, and an idle guest may be silent for minutes.
      - Requires root.
    type: int
    default: 0
  probe:
    description:
      - Ask on the uplinks of running guests, and take the answers that come from guests' MAC addresses.
      - Asks for all addresses that any other source knows, for the IPv6 addresses that follow from MAC addresses, all
        IPv6 nodes, and O(probe_networks). Takes 2 seconds.
      - Guests in mode V(private) or V(passthrough) do not receive questions of their own host, and those in V(vepa)
        only if the switch port reflects them. RV(guests[].interfaces[].not_asked) has the reason. O(listen),
        O(wait_for) or another host with O(macs) find them.
      - The addresses of the questions are random, or reserved ones that nobody has. So no neighbour learns a wrong one.
      - Requires root.
    type: bool
    default: false
  probe_networks:
    description:
      - IPv4 networks or addresses in which each address is asked for, at most 4,096 in all. No question finds IPv4
        addresses without this.
      - IPv6 networks of V(/64) in which all nodes are asked, besides those that a router advertises, and single IPv6
        addresses.
      - A switch that inspects ARP may count these questions against the port of the host. Dynamic ARP inspection
        disables a port above its limit, often 15 a second. Set O(probe_rate) below it.
    type: list
    elements: str
    default: []
  probe_uplinks:
    description:
      - Ask on these links of the host instead of the uplinks of its running guests. By name, alternative name, MAC
        address or PCI address.
    type: list
    elements: str
    default: []
  probe_rate:
    description: How many questions to send each second, on each uplink.
    type: int
    default: 200
  stale_after:
    description: After how many seconds an address that was only claimed counts as V(stale).
    type: int
    default: 600
  wait_for:
    description:
      - Wait until each selected NIC has its addresses, and fail if it does not get them in time. Select guests with
        O(domains) or O(macs), neither of which may be empty then.
      - A guest that does not run yet is waited for as well. So is a guest in O(domains) that has no NIC yet, and a MAC
        address in O(macs) that no guest has, for which the addresses in RV(others) count.
      - What guests send is received all the time, which requires root. Agents, and the LAN with O(probe), are asked
        every three seconds.
      - Link-local addresses do not count.
    type: dict
    suboptions:
      count:
        description: How many addresses each NIC must have.
        type: int
        default: 1
      family:
        description: The family of these addresses.
        type: str
        choices: [any, ipv4, ipv6]
        default: any
      state:
        description: How sure they must be; V(confirmed) addresses are claimed as well.
        type: str
        choices: [claimed, confirmed]
        default: claimed
      timeout:
        description: How many seconds to wait.
        type: int
        default: 60
  uri:
    description:
      - URI of the libvirt daemon.
      - Only guest agents are asked if the guests may run on another host. That they run on this one is assumed if
        libvirt is reached over a socket file, as with V(qemu:///system).
    type: str
    default: qemu:///system
notes:
  - An address that answers is not an address that the guest is entitled to. A guest can answer for any.
requirements:
  - libvirt (its Python bindings)
  - pyroute2 (for O(probe))
  - nftables (its Python bindings, for what guards have learned)
seealso:
  - module: linuxvirt.macvtap.libvirt_direct_iface_info
  - module: linuxvirt.macvtap.macvtap_host_access
  - module: linuxvirt.macvtap.macvtap_guard
"""

EXAMPLES = r"""
- name: Find the addresses of all guests
  linuxvirt.macvtap.macvtap_guest_addresses_info:
  register: found

- name: Show them
  ansible.builtin.debug:
    msg: "{{ item.0.name }} {{ item.1.mac }}: {{ item.1.addresses | map(attribute='address') | join(', ') }}"
  loop: "{{ found.guests | subelements('interfaces') }}"
  loop_control:
    label: "{{ item.0.name }}"

- name: Wait until a new guest has an IPv4 address
  linuxvirt.macvtap.macvtap_guest_addresses_info:
    domains: [web1]
    wait_for:
      family: ipv4
      timeout: 120
  register: web1

- name: Ask on the LAN which of the addresses of a network are guests'
  linuxvirt.macvtap.macvtap_guest_addresses_info:
    probe: true
    probe_networks: [192.0.2.0/24]

- name: Let another host of the LAN ask for a guest in mode private
  linuxvirt.macvtap.macvtap_guest_addresses_info:
    macs: ["52:54:00:10:00:01"]
    probe: true
    probe_networks: [192.0.2.0/24]
    probe_uplinks: [eth0]
  delegate_to: hv2
"""

RETURN = r"""
guests:
  description: The selected guests, running or not.
  returned: success, and if the time of O(wait_for) is over
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
      returned: always
    uuid:
      description: UUID.
      type: str
      returned: always
    state:
      description: V(running), V(paused), V(saved) if it does not run and has a managed save, else V(shut_off).
      type: str
      returned: always
    interfaces:
      description: Its selected NICs; those of the running guest, or the stored ones if it does not run.
      type: list
      elements: dict
      returned: always
      contains:
        mac:
          description: MAC address, in lower case with colons.
          type: str
          returned: always
        type:
          description: Type in libvirt; V(direct) also for one on a direct network.
          type: str
          returned: always
        link:
          description: Name of its link on the host; V(null) if the guest does not run.
          type: str
          returned: always
        uplink:
          description: Name of the uplink; V(null) if it is not known, as of a NIC that its network has yet to give one.
          type: str
          returned: always
        vlan:
          description: VLAN ID of the uplink or of the NIC itself, V(null) without a VLAN.
          type: int
          returned: always
        mode:
          description: Mode, as libvirt spells it.
          type: str
          returned: always
        network:
          description: Name of its libvirt network, V(null) without one.
          type: str
          returned: always
        portgroup:
          description: Name of its portgroup, V(null) without one.
          type: str
          returned: always
        not_asked:
          description:
            - Why the guest's silence on O(probe) means nothing. V(null) if it was asked, has answered, or O(probe) is
              not set.
          type: str
          returned: always
        addresses:
          description:
            - Its addresses, the surest first, and at most 256 of them. Empty if the guest does not run.
            - Of equally sure IPv6 addresses, the one that follows from the MAC address is first. It is no temporary
              address, while others may be, which cannot be seen from outside.
          type: list
          elements: dict
          returned: always
          contains:
            address:
              description: The address, without the length of its network.
              type: str
              returned: always
            family:
              description: V(ipv4) or V(ipv6).
              type: str
              returned: always
            scope:
              description: V(link) for a link-local address, else V(global).
              type: str
              returned: always
            prefix:
              description: Length of its network, V(null) if unknown. Only guest agents tell it.
              type: int
              returned: always
            state:
              description:
                - V(confirmed) if the guest's MAC address has answered for it in this run, its agent lists it, or the
                  host's kernel has exchanged frames with it within its last half minute or so.
                - V(claimed) if the guest has said so by itself, and nobody has asked. Also if its agent lists it, and
                  it does not answer on the LAN.
                - V(stale) if it was so once. The claim is older than O(stale_after) or than the guest's start, the
                  host's kernel has not used it for a while, or the guest did not answer although it was asked.
              type: str
              returned: always
            source:
              description: The source that decides RV(guests[].interfaces[].addresses[].state).
              type: str
              returned: always
            sources:
              description:
                - All sources that know it. V(agent) is the guest agent, V(neighbour) the host's neighbour table,
                  V(learned) a frame that the guest sent by itself,
                  seen by this run or by its guard, and V(probe) an answer.
              type: list
              elements: str
              returned: always
            age:
              description: How many seconds ago that was; V(null) if unknown.
              type: float
              returned: always
            shim:
              description:
                - The macvlan shim by which this host reaches the address at this NIC, V(null) if it does not.
                - Its route leads there without a gateway, and shim and NIC are in mode V(bridge) on one uplink.
              type: str
              returned: always
  sample:
    - name: web1
      uuid: 1b5ab0b2-3a9b-5e3c-9b1d-5d1f4f2f2a11
      state: running
      interfaces:
        - mac: "52:54:00:10:00:01"
          type: direct
          link: macvtap0
          uplink: eth0
          vlan: null
          mode: bridge
          network: null
          portgroup: null
          not_asked: null
          addresses:
            - address: 192.0.2.151
              family: ipv4
              scope: global
              prefix: null
              state: confirmed
              source: probe
              sources: [learned, probe]
              age: 0.6
              shim: null
others:
  description: MAC addresses in O(macs) that no selected guest has.
  returned: success, and if the time of O(wait_for) is over
  type: list
  elements: dict
  contains:
    mac:
      description: MAC address, in lower case with colons.
      type: str
      returned: always
    addresses:
      description: As RV(guests[].interfaces[].addresses).
      type: list
      elements: dict
      returned: always
  sample: []
"""

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import options, run

_RANGES = {"agent_timeout": (1, 300), "listen": (0, 3600), "probe_rate": options.RATES, "stale_after": (1, 86_400)}


def macvtap_guest_addresses_info(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    for option, (least, most) in _RANGES.items():
        _values.check_range(params[option], least, most, option)
    domains = params["domains"]
    request = run.Request(
        uri=params["uri"],
        domains=None if domains is None else tuple(domains),
        macs=options.macs(params["macs"], "macs"),
        probe_for=options.questions(params["probe_networks"], "probe_networks"),
        probe_uplinks=tuple(params["probe_uplinks"]),
        wait_for=options.awaited(params["wait_for"], {name: params[name] for name in ("domains", "macs")}),
        **{name: params[name] for name in ("agent", "probe", *_RANGES)},
    )
    return run.Search(request).run()


def main() -> None:
    module = _glue.Module(
        argument_spec={
            "domains": {"type": "list", "elements": "str"},
            "macs": {"type": "list", "elements": "str"},
            "agent": {"type": "bool", "default": True},
            "agent_timeout": {"type": "int", "default": 5},
            "listen": {"type": "int", "default": 0},
            "probe": {"type": "bool", "default": False},
            "probe_networks": {"type": "list", "elements": "str", "default": []},
            "probe_uplinks": {"type": "list", "elements": "str", "default": []},
            "probe_rate": {"type": "int", "default": 200},
            "stale_after": {"type": "int", "default": 600},
            "wait_for": {
                "type": "dict",
                "options": {
                    "count": {"type": "int", "default": 1},
                    "family": {"type": "str", "choices": ["any", "ipv4", "ipv6"], "default": "any"},
                    "state": {"type": "str", "choices": ["claimed", "confirmed"], "default": "claimed"},
                    "timeout": {"type": "int", "default": 60},
                },
            },
            **_glue.shared("uri"),
        },
        supports_check_mode=True,
    )
    _glue.run(module, macvtap_guest_addresses_info)


if __name__ == "__main__":
    main()
