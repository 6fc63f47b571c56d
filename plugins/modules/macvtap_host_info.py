#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_host_info
short_description: Gather information about a host for macvtap
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Returns whether the kernel supports macvtap, all links and which of them can be parents of macvtap links, all
    libvirt networks, and the interfaces of all libvirt domains, stored and live.
  - The playbook C(linuxvirt.macvtap.preflight) compares these results for a whole fleet, by the filter
    P(linuxvirt.macvtap.fleet_conflicts#filter).
  - Changes nothing. Does not fail on a host without libvirt, or whose libvirt daemon does not run.
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.libvirt
  - linuxvirt.macvtap.libvirt_options
attributes:
  check_mode:
    support: full
    details: Never changes anything.
  diff_mode:
    support: none
    details: Never changes anything.
  idempotent:
    support: full
options:
  uri:
    description: The libvirt connection URI.
    type: str
    default: qemu:///system
  relay:
    description:
      - Links whose switch is probed for reflective relay, like M(linuxvirt.macvtap.reflective_relay_info) does by
        default. That sends two frames on each.
      - By name, alternative name, MAC address or PCI address. Links that do not exist or are ambiguous are skipped.
    type: list
    elements: str
    default: []
  relay_vepa:
    description:
      - Also probe the switch of each link that has macvtap links in mode V(vepa), or is the source of a domain's
        stored or live interface in this mode.
    type: bool
    default: false
  guests:
    description:
      - Whether to find the IP addresses of the guests too, as M(linuxvirt.macvtap.macvtap_guest_addresses_info) does,
        and to return what their guards have dropped or counted.
    type: bool
    default: false
  probe_networks:
    description:
      - With O(guests=true), also ask on the LAN, as with O(linuxvirt.macvtap.macvtap_guest_addresses_info#module:probe)
        and O(linuxvirt.macvtap.macvtap_guest_addresses_info#module:probe_networks). Takes 2 seconds, and requires root.
      - If one is not valid, only the addresses are not known, and RV(addresses.reason) has the error.
    type: list
    elements: str
    default: []
  probe_rate:
    description:
      - How many of these questions to send each second, on each uplink. A switch that inspects ARP disables a port
        above its limit.
    type: int
    default: 200
    version_added: 1.0.0
seealso:
  - module: linuxvirt.macvtap.kernel_macvtap_check
  - module: linuxvirt.macvtap.macvtap_link_info
  - module: linuxvirt.macvtap.libvirt_direct_iface_info
  - module: linuxvirt.macvtap.reflective_relay_info
  - module: linuxvirt.macvtap.macvtap_guard_info
  - module: linuxvirt.macvtap.macvtap_guest_addresses_info
"""

EXAMPLES = r"""
- name: Gather information about the host
  linuxvirt.macvtap.macvtap_host_info:
  register: host

- name: Show which links can be parents of macvtap links
  ansible.builtin.debug:
    msg: "{{ host.links | selectattr('unfit', 'none') | map(attribute='name') }}"
"""

RETURN = r"""
kernel:
  description: Whether the running kernel has macvtap, as M(linuxvirt.macvtap.kernel_macvtap_check) returns it.
  returned: success
  type: dict
  contains:
    supported:
      description: Whether the kernel has macvtap.
      type: bool
      returned: always
    provided_by:
      description: V(builtin), V(module), V(missing) or V(unknown).
      type: str
      returned: always
    loaded:
      description: Whether it is loaded or built in.
      type: bool
      returned: always
    kernel:
      description: The kernel's release.
      type: str
      returned: always
    source:
      description: The file that shows it.
      type: str
      returned: always
    sources_tried:
      description: Each file that was checked, and its result.
      type: list
      elements: dict
      returned: always
    config:
      description: The kernel options that macvtap needs or is often used with.
      type: dict
      returned: always
    obstacles:
      description: What prevents loading macvtap.
      type: list
      elements: dict
      returned: always
    probe:
      description: Always V(null). This module does not probe.
      type: dict
      returned: always
    reason:
      description: Why macvtap is not supported.
      type: str
      returned: if not RV(kernel.supported)
    remedy:
      description: How to fix it.
      type: str
      returned: if not RV(kernel.supported)
  sample: {supported: true, provided_by: module, loaded: true, kernel: 6.1.0-40-amd64}
links:
  description: All links of the host, in the order of their interface indexes.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
      returned: always
    altnames:
      description: Alternative names.
      type: list
      elements: str
      returned: always
    ifindex:
      description: Interface index.
      type: int
      returned: always
    kind:
      description: Kind, such as V(macvtap), V(bond) or V(vlan). Empty for physical links and the loopback link.
      type: str
      returned: always
    parent:
      description: Name of the parent, V(null) if there is none or it is in another network namespace.
      type: str
      returned: always
    parent_ifindex:
      description: Interface index of the parent, or V(null).
      type: int
      returned: always
    master:
      description: Name of the bridge, bond or other link that it is a port of, or V(null).
      type: str
      returned: always
    mode:
      description: Mode of a macvtap or macvlan link, V(null) for others.
      type: str
      returned: always
    mac:
      description: MAC address.
      type: str
      returned: always
    permanent_mac:
      description: The device's own MAC address, V(null) if it has none or the kernel does not report it.
      version_added: 0.2.0
      type: str
      returned: always
    mtu:
      description: MTU in bytes.
      type: int
      returned: always
    group:
      description: Link group.
      type: int
      returned: always
    alias:
      description: Alias, or V(null).
      type: str
      returned: always
    vlan_id:
      description: VLAN ID of a VLAN link, V(null) for others.
      type: int
      returned: always
    vlan_protocol:
      description: Protocol of a VLAN link, V(802.1Q) or V(802.1ad), V(null) for others.
      type: str
      returned: always
    pci:
      description: PCI address of its device, or V(null).
      type: str
      returned: always
    state:
      description: Administrative state, V(up) or V(down).
      type: str
      returned: always
    carrier:
      description: Whether it has carrier.
      type: bool
      returned: always
    speed:
      description: Speed in Mbit/s. V(null) if it is not known, without carrier, and of macvtap and macvlan links.
      version_added: 0.2.0
      type: int
      returned: always
    unfit:
      description: Why it cannot be the parent of a macvtap link, V(null) if it can.
      type: str
      returned: always
    unfit_vlan:
      description: Why it cannot be the parent of a VLAN link, V(null) if it can.
      type: str
      returned: always
    reflective_relay:
      description:
        - Whether its switch port reflects frames (reflective relay, hairpin), which mode vepa needs.
        - V(null) if that is not known, and for links that are not in O(relay).
      type: bool
      returned: always
    virtual_functions:
      description:
        - The SR-IOV virtual functions of its device, by the names of their links, or by PCI address if they have none
          here.
        - V(null) for links that are not those of a PCI device.
      version_added: 0.2.0
      type: list
      elements: str
      returned: always
    addresses:
      description: The host's IP addresses on it with prefix lengths, without link-local ones.
      type: list
      elements: str
      returned: always
    routes:
      description: Destinations of the host's routes over it, without those that the kernel adds for addresses.
      type: list
      elements: str
      returned: always
  sample:
    - name: eth0
      altnames: [enp1s0]
      ifindex: 2
      kind: ""
      parent:
      parent_ifindex:
      master:
      mode:
      mac: "52:54:00:aa:00:01"
      permanent_mac: "52:54:00:aa:00:01"
      mtu: 1500
      group: 0
      alias:
      vlan_id:
      vlan_protocol:
      pci: "0000:01:00.0"
      state: up
      carrier: true
      speed: 10000
      unfit:
      unfit_vlan:
      reflective_relay:
      virtual_functions: []
connections:
  description: The connections that Ansible uses.
  returned: success
  type: list
  elements: dict
  contains:
    local:
      description: The host's address.
      type: str
      returned: always
    peer:
      description: The peer's address.
      type: str
      returned: always
    link:
      description: Name of the link over which the kernel sends to the peer, V(null) if that is not known.
      type: str
      returned: always
  sample: [{local: 192.0.2.1, peer: 192.0.2.9, link: eth0}]
libvirt:
  description: Whether libvirt answered, and its version.
  returned: success
  type: dict
  contains:
    uri:
      description: The connection URI.
      type: str
      returned: always
    available:
      description: Whether it answered.
      type: bool
      returned: always
    version:
      description: Its version, V(null) if it did not answer.
      type: str
      returned: always
    memory_free:
      description: The MiB of memory that the host could give to guests, V(null) if unknown.
      type: int
      returned: always
    reason:
      description: Why it did not, V(null) if it did.
      type: str
      returned: always
  sample: {uri: "qemu:///system", available: true, version: 9.0.0, memory_free: 8192, reason: null}
networks:
  description: All libvirt networks, sorted by name. V(null) if libvirt did not list them.
  returned: success
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
    mode:
      description: Mode of the macvtap links of its guests. V(null) if it is not a direct network.
      type: str
      returned: always
    forward:
      description: Its forward mode, such as V(nat), or V(isolated) without one.
      type: str
      returned: always
    interfaces:
      description: The uplinks of a direct network.
      type: list
      elements: str
      returned: always
    pf:
      description: The physical function whose virtual functions are the uplinks, V(null) if there is none.
      type: str
      returned: always
    portgroups:
      description:
        - Each portgroup's C(name), whether it is the C(default), and its C(trust_guest_rx_filters), V(null) if that is
          left to the network.
      type: list
      elements: dict
      returned: always
    trust_guest_rx_filters:
      description: Whether the network itself trusts its guests, V(null) if it does not say.
      type: bool
      returned: always
    active:
      description: Whether it is active. Guests start only on active networks.
      type: bool
      returned: always
    persistent:
      description: Whether its configuration is stored.
      type: bool
      returned: always
    autostart:
      description: Whether libvirt starts it at boot.
      type: bool
      returned: always
  sample:
    - name: lan
      uuid: 8a0c1a8e-4a43-4d6b-a4b8-5f5d1c0d4a11
      mode: bridge
      forward: bridge
      interfaces: [eth0]
      pf: null
      portgroups: [{name: slow, default: false, trust_guest_rx_filters: null}]
      trust_guest_rx_filters: null
      active: true
      persistent: true
      autostart: true
pending:
  description:
    - NICs that any run of M(linuxvirt.macvtap.libvirt_direct_iface) has asked guests to release, and that are neither
      removed nor attached again yet, as M(linuxvirt.macvtap.libvirt_direct_iface_info) returns them.
    - V(null) if libvirt did not answer, or this user may not read them.
  version_added: 0.2.0
  returned: success
  type: list
  elements: dict
  sample: []
domains:
  description: All domains, sorted by name. Empty if RV(libvirt.available) is V(false).
  returned: success
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
    running:
      description: Whether it runs.
      type: bool
      returned: always
    persistent:
      description: Whether its configuration is stored.
      type: bool
      returned: always
    saved:
      description: Whether it has a managed save. Its next start restores the saved NICs.
      type: bool
      returned: always
    memory:
      description: Its memory in MiB, V(null) if its configuration is not stored.
      type: int
      returned: always
    saved_interfaces:
      description: The interfaces in its managed save, each with its C(mac), in the form of C(stored).
      type: list
      elements: dict
      returned: always
    interfaces:
      description: Its interfaces, of every type.
      type: list
      elements: dict
      returned: always
      contains:
        mac:
          description: MAC address.
          type: str
          returned: always
        stored:
          description:
            - The stored interface, with the option names of M(linuxvirt.macvtap.libvirt_direct_iface), its C(type), and
              C(origin), which is what an interface of another type is connected to. V(null) if it is not stored.
          type: dict
          returned: always
        live:
          description: The running guest's interface, in the same form. The mode is that of the link itself.
          type: dict
          returned: always
  sample:
    - name: web1
      uuid: 1b5ab0b2-3a9b-5e3c-9b1d-5d1f4f2f2a11
      running: false
      persistent: true
      saved: false
      memory: 2048
      saved_interfaces: []
      interfaces:
        - mac: "52:54:00:10:00:01"
          stored: {type: direct, origin: null, source: eth0, mode: bridge, model: virtio}
          live:
written:
  description: The links that M(linuxvirt.macvtap.macvtap_persistence) has written to be created at boot.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
      returned: always
    kind:
      description: V(macvtap), V(macvlan) or V(vlan). V(null) if it was written by an earlier version.
      type: str
      returned: always
  sample:
    - {name: host0, kind: macvlan}
guards:
  description:
    - The guards, as C(guards) of M(linuxvirt.macvtap.macvtap_guard). V(null) if they cannot be read, because
      python3-nftables is missing, or because this is not root.
    - With O(guests=true) each has its C(counters), as those of M(linuxvirt.macvtap.macvtap_guard_info).
  returned: success
  type: list
  elements: dict
  sample:
    - mac: "52:54:00:00:0a:01"
      links: [macvtap0]
      policy: drop
guards_reason:
  description: Why the guards cannot be read, V(null) if they can.
  returned: success
  type: str
  sample:
addresses:
  description: The IP addresses of the guests.
  returned: with O(guests=true)
  type: dict
  contains:
    guests:
      description:
        - The guests, as M(linuxvirt.macvtap.macvtap_guest_addresses_info) returns them. V(null) if that is not known.
      type: list
      elements: dict
      returned: always
    reason:
      description: Why they are not known, V(null) if they are.
      type: str
      returned: always
  sample:
    guests:
      - name: web1
        interfaces:
          - mac: "52:54:00:10:00:01"
            addresses:
              - {address: 192.0.2.151, state: claimed}
    reason:
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.macvtap_host_info import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
