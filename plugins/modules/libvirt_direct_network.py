#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Manage direct (macvtap) networks of libvirt."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_direct_network
short_description: Manage direct (macvtap) networks of libvirt
version_added: 0.2.0
description:
  - Creates, changes, starts, stops and removes libvirt networks that give each guest a macvtap link on an uplink of the
    host, with C(<forward mode='bridge'>), C(vepa), C(private) or C(passthrough). Guests are connected to the LAN by a
    name that is the same on every host, whatever the uplinks are called there.
  - Use O(name) for one network, or O(networks) for many.
  - Only the options that are set are changed. The rest of the network's XML, such as its metadata, stays as it is.
  - Running guests keep their links. A changed network reaches a guest at its next start, or when its NIC is attached
    again. Guests and networks that still have the former values are listed in RV(restart_required).
  - A network that is not direct (NAT, routed, isolated, open, hostdev, or on an existing bridge) is never changed.
  - If anything fails, the module rolls back the changes of this run, unless O(on_error=keep).
options:
  name:
    description:
      - Name of the network.
      - Either this or O(networks) is required.
    type: str
  networks:
    description:
      - The networks, each with the options of the module itself.
      - The module's own options are the defaults of the entries. O(virtualport) is merged part by part. An entry with
        its own O(pf) takes no default of O(interfaces), and the reverse.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the network.
        type: str
        required: true
      state:
        description: See O(state).
        type: str
        choices: [active, inactive, absent]
      mode:
        description: See O(mode).
        type: str
        choices: [bridge, vepa, private, passthrough, passthru, auto]
      interfaces:
        description: See O(interfaces).
        type: list
        elements: str
      pf:
        description: See O(pf).
        type: str
      virtualport: &virtualport
        description:
          - The virtual port, by which guests are associated with the switch (802.1Qbg or 802.1Qbh).
          - Refused on a veth link, on which libvirtd 9.0 hangs.
        type: dict
        suboptions:
          type:
            description: The protocol. V(none) removes the virtual port.
            type: str
            choices: ['802.1Qbg', '802.1Qbh', none]
          managerid:
            description: 802.1Qbg, identifies the database of types, 0 to 255.
            type: int
          typeid:
            description: 802.1Qbg, identifies the type, 0 to 16777215.
            type: int
          typeidversion:
            description: 802.1Qbg, version of the type, 0 to 255.
            type: int
          instanceid:
            description: 802.1Qbg, a UUID of this instance.
            type: str
          profileid:
            description: 802.1Qbh, the name of the port profile.
            type: str
      portgroups: &portgroups
        description:
          - Groups of settings that NICs can choose, by name. Portgroups that are not listed stay as they are.
          - libvirt starts a guest whose portgroup does not exist, without its settings. So one that guests use,
            stored, live or saved, is not removed unless O(force=true). Nor is the default one, while NICs without a
            portgroup have it and no other becomes the default.
          - If others have removed such a one from the stored network, the active network keeps it, and is not restarted
            as long. RV(restart_required) names it.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the portgroup.
            type: str
            required: true
          state:
            description: Whether the network has it.
            type: str
            choices: [present, absent]
            default: present
          default:
            description: Whether NICs that choose no portgroup have this one. V(true) takes it from another portgroup.
            type: bool
          trust_guest_rx_filters:
            description:
              - Whether the filters that a guest sets on its NIC, such as for multicast, also apply to its macvtap link.
            type: bool
          virtualport: *virtualport
          vlan:
            description:
              - VLAN ID of the guests' frames. libvirt accepts one only in mode V(passthrough), and only SR-IOV virtual
                functions can have one. Otherwise it is refused. Use a network of its own with a VLAN interface of the
                host as uplink.
              - V(0) removes it.
            type: int
          bandwidth:
            description:
              - libvirt refuses bandwidth in the portgroups of a direct network, and so does this module. Set it on the
                interfaces.
            type: dict
            suboptions:
              inbound: &direction
                description: Limits in one direction.
                type: dict
                suboptions:
                  average:
                    description: KiB per second.
                    type: int
                  peak:
                    description: KiB per second at most.
                    type: int
                  burst:
                    description: KiB that may be sent at the peak's speed.
                    type: int
              outbound: *direction
      autostart:
        description: See O(autostart).
        type: bool
  state:
    description:
      - V(active), the network exists and is active. A transient network becomes persistent.
      - V(inactive), the network exists and is stopped.
      - V(absent), there is no network of this name.
      - A network that guests use is not stopped or removed unless O(force=true). Guests use it if a NIC is on it in
        their stored configuration, while they run, or in their managed save. Domains that cannot be read may use it.
    type: str
    choices: [active, inactive, absent]
    default: active
  mode:
    description:
      - Mode of the macvtap links.
      - V(bridge) works with every switch. With V(vepa), guests of one host reach each other only through a switch port
        with reflective relay (hairpin). V(private) isolates them. V(passthrough) gives each guest an uplink of its own,
        and a guest fails to start if none is free; V(passthru) is an alias.
      - V(auto) gives a new network V(vepa) if the switches behind all its uplinks have reflective relay, else
        V(bridge). See O(auto) for existing networks.
      - If this is not set, an existing network keeps its mode, and a new one is in mode V(bridge).
    type: str
    choices: [bridge, vepa, private, passthrough, passthru, auto]
  interfaces:
    description:
      - The uplinks, all of them, by name such as V(eth0), alternative name, MAC address, or the PCI address of the
        device. Of several, libvirt gives a guest the one with the fewest guests.
      - libvirt knows an uplink only by its name, or by an alternative name of up to 15 bytes, and these are stored as
        they are set. In all other cases the link's current name is stored.
      - The order of an active network's uplinks changes at its next start.
      - With a remote O(uri) the links are unknown, so only names are accepted.
      - Either this or O(pf) is required for a network that does not exist yet.
    type: list
    elements: str
  pf:
    description:
      - An SR-IOV physical function whose virtual functions are the uplinks. Implies O(mode=passthrough).
      - libvirt starts no network without virtual functions. So it is refused if it is known to have none, unless
        O(state=inactive).
      - Mutually exclusive with O(interfaces).
    type: str
  virtualport: *virtualport
  portgroups: *portgroups
  autostart:
    description:
      - Whether libvirt starts the network at boot.
      - If this is not set, an existing network keeps it. A new one has it with O(state=active).
    type: bool
  auto:
    description:
      - The networks to which O(mode=auto) applies. V(new) means those that are new or get another uplink. Others keep
        their mode, and their switches are not probed. V(always) means existing networks too. If a probe is impossible,
        they keep their mode.
      - Existing networks in another mode than V(vepa) and V(bridge) always keep it.
    type: str
    choices: [new, always]
    default: new
  check_relay:
    description:
      - Probe the switch behind every uplink of declared networks in mode V(vepa). If it has no reflective relay, warn
        that guests of this host will not reach each other.
    type: bool
    default: false
  force:
    description:
      - Stop and remove networks, and remove portgroups, even if guests use them. Running guests keep their links and
        stay connected. They cannot start again while the network is missing or inactive.
      - Restart networks that running guests are on, if a change needs it. The guests keep what they have. libvirt
        forgets which uplinks they use. In mode V(passthrough) other guests may then fail to start until these guests
        have stopped.
    type: bool
    default: false
  allow_host_disconnect:
    description:
      - Store mode V(passthrough) even if an uplink has IP addresses or routes of the host, or carries Ansible's
        connection. The next guest that starts gets all frames of the uplink. A warning names what the host loses.
      - Otherwise it is refused, also to activate such a network that others have stored. With a O(uri) of another host,
        what it has on its links is not known. A warning says so.
    type: bool
    default: false
  on_error:
    description:
      - V(rollback) undoes the changes of this run if any of them fails. V(keep) keeps them.
    type: str
    choices: [rollback, keep]
    default: rollback
  uri:
    description: URI of the libvirt daemon.
    type: str
    default: qemu:///system
  timeout:
    description:
      - How many seconds to wait until running guests have left a network that is stopped or removed. A guest that is on
        it in its stored configuration or managed save is not waited for.
    type: int
    default: 0
  lock_timeout:
    description:
      - How many seconds to wait for another run of this module, or of M(linuxvirt.macvtap.libvirt_direct_iface), on the
        same host.
    type: int
    default: 60
notes:
  - Uplinks and portgroups of an active network change at once. Its mode, O(pf) and O(virtualport) need a restart of the
    network, a few milliseconds in which no guest can start on it. Without guests on it the module does that. With
    guests on it the change is only stored, unless O(force=true), and is listed in RV(restart_required). The next run
    after they have left restarts it.
  - If the module is killed after it has stopped a network to restart it, a process that it has started beforehand
    starts the network again.
  - If another editor changes a network, or a guest starts on it, between the module's last look and its change, the
    module undoes what it has done and starts over, up to twice.
  - In mode V(passthrough) nothing of an active network is changed while guests are on it, unless O(force=true). libvirt
    would forget which uplinks are in use.
  - If another editor defines the network at the moment when the module stores it, the run fails, because it counts
    libvirt's events. Edits without an event, such as C(virsh net-update), go unnoticed then.
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.libvirt
attributes:
  check_mode:
    support: full
    details:
      - With O(mode=auto) or O(check_relay=true) the switches are probed in check mode as well. That sends two frames on
        each uplink, changes nothing, and needs root.
  diff_mode:
    support: full
  idempotent:
    support: full
requirements:
  - libvirt (its Python bindings)
seealso:
  - module: linuxvirt.macvtap.libvirt_direct_network_info
  - module: linuxvirt.macvtap.libvirt_direct_iface
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Call the LAN of eth0 lan
  linuxvirt.macvtap.libvirt_direct_network:
    name: lan
    interfaces: [eth0]

- name: Give several LANs a name
  linuxvirt.macvtap.libvirt_direct_network:
    mode: bridge
    networks:
      - name: office
        interfaces: [eth0.20]
      - name: storage
        interfaces: [eth1, eth2]
        mode: private

- name: Let the guests of one group receive what they ask for, and make another group the default
  linuxvirt.macvtap.libvirt_direct_network:
    name: lan
    interfaces: [eth0]
    portgroups:
      - name: routers
        trust_guest_rx_filters: true
      - name: servers
        default: true

- name: Remove a network that no guest uses
  linuxvirt.macvtap.libvirt_direct_network:
    name: office
    state: absent
"""

RETURN = r"""
changes:
  description: Each field that changes, or would change in check mode, and the impact on guests.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: Name of the network.
      type: str
    field:
      description:
        - The option that changes, such as V(mode) or V(portgroups.servers.default). V(portgroups.servers) if the
          portgroup is added or removed. V(persistent) if a transient network is stored.
      type: str
    before:
      description: The value before.
      type: raw
    after:
      description: The value after.
      type: raw
    impact:
      description:
        - V(config) changes only what is stored.
        - V(live) changes the active network. No running guest has the former value.
        - V(recreate) stops the network and starts it again. Running guests keep their links.
        - V(restart) means that running guests keep the former value until they are stopped and started, or until their
          NIC is attached again.
      type: str
  sample:
    - {target: lan, field: mode, before: bridge, after: vepa, impact: recreate}
networks:
  description: The declared networks that exist, as they are stored, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
    uuid:
      description: UUID, V(null) in check mode if the network does not exist yet.
      type: str
    mode:
      description: Mode of its macvtap links.
      type: str
    interfaces:
      description: The uplinks.
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
  sample:
    - name: lan
      uuid: 943a62d5-1ad9-41a2-9e25-ec36790e979d
      mode: bridge
      interfaces: [eth0]
      pf: null
      virtualport: null
      trust_guest_rx_filters: null
      vlan: null
      portgroups:
        - {name: servers, default: true}
      active: true
      persistent: true
      autostart: true
used_by:
  description: The NICs on the declared networks.
  returned: success
  type: list
  elements: dict
  contains:
    network:
      description: Name of the network.
      type: str
    domain:
      description: Name of the domain.
      type: str
    mac:
      description: MAC address.
      type: str
    stored:
      description: Whether the domain's stored configuration has it.
      type: bool
    live:
      description: Whether the running guest has it.
      type: bool
    saved:
      description: Whether the domain's managed save has it.
      type: bool
    portgroup:
      description: The portgroup that it chooses, V(null) for the default one.
      type: str
    uplink:
      description: The uplink of the running guest's link, V(null) if it does not run.
      type: str
  sample:
    - network: lan
      domain: web1
      mac: "52:54:00:10:00:01"
      stored: true
      live: true
      saved: false
      portgroup: servers
      uplink: eth0
restart_required:
  description:
    - What still has former values. Runs that change nothing return it too.
    - With a C(domain), the NIC of a running guest that differs from what it would get at its next start. Without one,
      the active network itself, until it is stopped and started. The next run does that if no running guest is on it.
  returned: success
  type: list
  elements: dict
  contains:
    network:
      description: Name of the network.
      type: str
    domain:
      description: Name of the domain, V(null) for the network itself.
      type: str
    mac:
      description: MAC address of the NIC, V(null) for the network itself.
      type: str
    fields:
      description: What differs.
      type: list
      elements: str
  sample:
    - {network: lan, domain: web1, mac: "52:54:00:10:00:01", fields: [mode]}
reflective_relay:
  description: The probed switches, as C(parents) of M(linuxvirt.macvtap.reflective_relay_info).
  returned: with O(mode=auto) or O(check_relay=true), if a switch was probed
  type: list
  elements: dict
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.libvirt_direct_network import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
