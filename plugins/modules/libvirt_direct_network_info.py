#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gather information about direct (macvtap) networks of libvirt."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_direct_network_info
short_description: Gather information about direct (macvtap) networks of libvirt
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Returns the direct networks of a host, or some of them, with their uplinks, portgroups, and the NICs that are on
    them. Networks of other kinds are not returned.
  - Changes nothing, and connects to libvirt read-only.
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.libvirt
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
  networks:
    description:
      - Names of the networks to return, in this order. A network that does not exist, or is not direct, is an error.
      - If this is not set, all direct networks are returned, sorted by name.
    type: list
    elements: str
  uri:
    description: URI of the libvirt daemon.
    type: str
    default: qemu:///system
  timeout:
    description: Has no effect. It is there so that all modules of the action group have it.
    type: int
    default: 0
requirements:
  - libvirt (its Python bindings)
seealso:
  - module: linuxvirt.macvtap.libvirt_direct_network
  - module: linuxvirt.macvtap.libvirt_direct_iface_info
"""

EXAMPLES = r"""
- name: Gather information about all direct networks
  linuxvirt.macvtap.libvirt_direct_network_info:
  register: direct

- name: Show which guest is on which uplink
  ansible.builtin.debug:
    msg: "{{ item.domain }} {{ item.mac }} is on {{ item.uplink }} of {{ item.network }}"
  loop: "{{ direct.networks | map(attribute='used_by') | flatten | selectattr('live') }}"
  loop_control:
    label: "{{ item.domain }}"
"""

RETURN = r"""
networks:
  description: The direct networks.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
    uuid:
      description: UUID.
      type: str
    mode:
      description: Mode of its macvtap links, as stored. If the network is transient, that of the active network.
      type: str
    interfaces:
      description: The uplinks. Those of an active pool of virtual functions are in RV(networks[].live).
      type: list
      elements: str
    pf:
      description: The physical function whose virtual functions are the uplinks, V(null) if there is none.
      type: str
    virtualport:
      description: The virtual port, V(null) if there is none.
      type: dict
    trust_guest_rx_filters:
      description:
        - Whether the network itself trusts its guests, V(null) if it does not say. Portgroups have their own.
        - No option sets it.
      type: bool
    vlan:
      description:
        - VLAN ID of the network itself, V(null) if there is none. Portgroups have their own.
        - No option sets it.
      type: raw
    portgroups:
      description: The portgroups, each with its name, whether it is the default, and its settings.
      type: list
      elements: dict
    active:
      description: Whether it is active.
      type: bool
    persistent:
      description: Whether it is stored.
      type: bool
    autostart:
      description: Whether libvirt starts it at boot.
      type: bool
    live:
      description:
        - C(mode), C(interfaces), C(pf), C(virtualport), C(trust_guest_rx_filters), C(vlan) and C(portgroups) of the
          active network, which differ from the stored ones until it is stopped and started.
        - V(null) if it is not active.
      type: dict
    used_by:
      description: The NICs on it, as M(linuxvirt.macvtap.libvirt_direct_network) returns them.
      type: list
      elements: dict
    restart_required:
      description: What still has former values, as M(linuxvirt.macvtap.libvirt_direct_network) returns it.
      type: list
      elements: dict
  sample:
    - name: lan
      uuid: 943a62d5-1ad9-41a2-9e25-ec36790e979d
      mode: bridge
      interfaces: [eth0]
      pf: null
      virtualport: null
      trust_guest_rx_filters: null
      vlan: null
      portgroups: []
      active: true
      persistent: true
      autostart: true
      live:
        mode: bridge
        interfaces: [eth0]
        pf: null
        virtualport: null
        trust_guest_rx_filters: null
        vlan: null
        portgroups: []
      used_by:
        - network: lan
          domain: web1
          mac: "52:54:00:10:00:01"
          stored: true
          live: true
          saved: false
          portgroup: null
          uplink: eth0
      restart_required: []
"""

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection, opened
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.adapter import Networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, join_names, suggest


def libvirt_direct_network_info(module: _glue.Module) -> dict[str, t.Any]:
    asked: list[str] | None = module.params["networks"]
    with opened(module.params["uri"], Connection, read_only=True) as connection:
        host = Networks(connection).observe(None)
    direct = {name: host.networks[name] for name in sorted(host.networks) if host.networks[name].direct}
    for index, name in enumerate(asked or ()):
        if name not in direct:
            found = host.networks.get(name)
            what = f"exists and is not a direct network (it is {found.forward})" if found else "does not exist"
            hint = did_you_mean(suggest(name, direct)) if found is None else ""
            raise MacvtapError(f"network {name!r} {what}{hint}", path=f"networks[{index}]")
    warnings = []
    if host.unreadable:
        warnings.append(f"this user may not read {join_names(host.unreadable)}, which may use these networks as well")
    return {
        "changed": False,
        "networks": [
            {
                **report.network(direct[name]),
                "live": report.live(direct[name]),
                "used_by": [report.user(one) for one in host.users_of(name)],
                "restart_required": report.due(direct[name], host.users_of(name)),
            }
            for name in (direct if asked is None else asked)
        ],
        "warnings": warnings,
    }


def main() -> None:
    module = _glue.Module(
        argument_spec={
            "networks": {"type": "list", "elements": "str"},
            **_glue.shared("uri"),
            "timeout": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    _glue.run(module, libvirt_direct_network_info)


if __name__ == "__main__":
    main()
