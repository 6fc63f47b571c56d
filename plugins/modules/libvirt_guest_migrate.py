#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Migrate a libvirt guest to another host, with its NICs on what they are connected to there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_guest_migrate
short_description: Migrate a libvirt guest to a host whose uplinks have other names
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Moves a guest to another host while it runs, and connects its NICs there to the uplinks and networks of that host.
    libvirt itself refuses a guest whose uplink has another name on the destination.
  - Runs on the host that has the guest. A guest that is on the destination already is left alone.
  - Everything that would refuse the migration is looked for on both hosts first. Until the guest runs on the
    destination, it runs on here. If anything fails before that, the guest stays. The message says where it is.
  - A guest that does not run is moved as well. Only its configuration is sent then.
  - Once the guest is on the destination, its configuration is stored there, and not here any more. See O(persistent).
options:
  domain:
    description: Name of the domain.
    type: str
    required: true
    aliases: [name, guest]
  destination:
    description:
      - The destination as a host of the inventory. From its variables come O(destination_uri), O(interfaces) and
        O(uplinks), unless they are set.
      - O(destination_uri) is the variable C(macvtap_migration_uri). If that is not set, it is
        C(qemu+ssh://HOST/system), with C(ansible_host) or the inventory's name as HOST.
      - O(interfaces) are those of the domain in C(macvtap_domains_interfaces), with the defaults of the role
        C(macvtap_domains). O(uplinks) has C(macvtap_uplink) of this host and of the destination, if both are set.
        O(segment) and O(destination_segment) are C(macvtap_segment) of the two hosts, if one of them has it.
      - Either this or O(destination_uri) is required.
    type: str
  destination_uri:
    description:
      - URI of the destination's libvirt daemon, such as V(qemu+ssh://hv2/system). This host's libvirt daemon connects
        to it, so root of this host must be able to, without a prompt.
    type: str
  interfaces:
    description:
      - What NICs are connected to on the destination. A NIC that is not listed stays on the uplink or network of the
        same name, or see O(uplinks).
      - A NIC of another type, such as on a bridge, becomes a macvtap link. Its guest does not notice.
      - If a NIC would be in another mode on the destination than here, such as by a network that has another one there,
        the task is refused unless O(interfaces[].mode) or O(interfaces[].network) is set for it.
    type: list
    elements: dict
    default: []
    suboptions:
      mac:
        description: MAC address of the NIC.
        type: str
        required: true
      source:
        description:
          - The uplink on the destination, by its name or an alternative name. With O(destination_host), a longer
            alternative name, a MAC address or a PCI address will do.
        type: str
        aliases: [parent, dev]
      mode:
        description:
          - Mode of the macvtap link. If it is not set, or V(auto), it stays, and is V(bridge) for a NIC of another
            type. V(passthru) is an alias of V(passthrough).
        type: str
        choices: [bridge, vepa, private, passthrough, passthru, auto]
      network:
        description: The libvirt network on the destination. Excludes O(interfaces[].source) and O(interfaces[].mode).
        type: str
      portgroup:
        description: The portgroup of O(interfaces[].network).
        type: str
  uplinks:
    description:
      - The names that uplinks have on the destination, by their names here. For NICs that are not in O(interfaces), and
        on no network.
      - An uplink of this host can also be given by an alternative name, its MAC address or its PCI address, and one of
        the destination as in O(interfaces[].source).
    type: dict
    default: {}
  destination_host:
    description:
      - What M(linuxvirt.macvtap.macvtap_host_info) returns of the destination. With it the task is refused if an uplink
        there is missing, down, without a carrier, unfit for macvtap links, or has a smaller MTU than the guest's link.
      - The task is also refused if a NIC in mode V(passthrough) would take an uplink that the destination itself or
        another macvtap or macvlan link there uses, or if a NIC's link has the name (C(target)) of another link there.
      - Without it, only libvirt of the destination is asked, which does not know that. A NIC in mode V(passthrough) is
        refused then.
    type: dict
  segment:
    description:
      - What C(macvtap_segment) is for this host, if O(destination) is not set. With that, it comes from the inventory.
        It is the name of a layer-2 segment, or a dictionary of such names by link, bridge or libvirt network, in which
        C(default) is for all others.
      - If this or O(destination_segment) is set, a guest with a NIC that would be in another segment on the destination
        is refused. A host without one is in the segment C(all).
    type: raw
  destination_segment:
    description: The same of the destination.
    type: raw
  apply_stored:
    description:
      - Whether a running guest gets on the destination what is stored for its NICs here. By default, they stay on what
        they run with, until the guest is stopped and started.
      - So a change that RV(linuxvirt.macvtap.libvirt_direct_iface#module:restart_required) lists takes effect while
        the guest runs, if it is of what a NIC is connected to. What the guest itself sees, such as the model, waits on.
    type: bool
    default: false
  prepared:
    description:
      - Whether the destination has what this host keeps for the guest's NICs already, as RV(rules) has it. If there is
        such a thing and this is V(false), the task is refused.
      - The role C(macvtap_migration) puts it there first, by M(linuxvirt.macvtap.libvirt_guest_rules).
    type: bool
    default: false
  rules:
    description:
      - What the destination has been given for the guest's NICs, as RV(rules) had it. If this host keeps something else
        for them right before the migration, such as a guard that was set meanwhile, the task is refused.
    type: list
    elements: dict
  live:
    description:
      - Whether the guest runs on while its memory is sent. With V(false) it is paused until it is there, which sends
        each page once.
    type: bool
    default: true
  persistent:
    description:
      - Whether the destination stores the domain. By default, it does if this host does.
      - With V(false), nothing is stored of it any more, and it is gone when its guest stops.
    type: bool
  transport:
    description:
      - How the guest's memory reaches the destination.
      - V(tunnel) sends it through the connection of the two libvirt daemons, encrypted as O(destination_uri) is.
      - V(tls) sends it from QEMU to QEMU, encrypted. Both hosts need QEMU's certificates. It takes less of the
        processors than V(tunnel), and is required to copy disks and for O(on_timeout=post_copy).
      - V(tcp) sends it from QEMU to QEMU, and everybody on the way can read and change the guest's memory.
    type: str
    choices: [tunnel, tls, tcp]
    default: tunnel
  storage:
    description:
      - V(shared), both hosts see the guest's disks. V(copy) copies them whole, and V(incremental) what they have over
        their backing files. Neither is for disks that both hosts see, nor for a guest that does not run.
      - For V(copy) the destination needs a storage pool of the same directory, or the files, of the same virtual size.
        For V(incremental) it needs the files, over the same backing files.
      - With V(shared) the task is refused if a running guest has a file on a file system of this host alone.
    type: str
    choices: [shared, copy, incremental]
    default: shared
  bandwidth:
    description: How many MiB are sent in a second, at most. By default there is no limit, or QEMU's own.
    type: int
  downtime:
    description: For how many milliseconds the guest may stand still at the end. By default QEMU's own, 300.
    type: int
  timeout:
    description:
      - After how many seconds O(on_timeout) is done. A guest that changes its memory faster than it is sent never gets
        there. V(0) waits without a limit.
    type: int
    default: 0
  on_timeout:
    description:
      - V(abort), the guest stays here, and the task fails. V(suspend), it is paused until it is there. V(post_copy), it
        runs there at once, and fetches the rest of its memory from here. If a host or the network fails meanwhile, the
        guest is lost.
    type: str
    choices: [abort, suspend, post_copy]
    default: abort
  uri:
    description: URI of the libvirt daemon that has the guest.
    type: str
    default: qemu:///system
  lock_timeout:
    description:
      - How many seconds to wait for another task that migrates this guest from this host.
      - In check mode the module does not wait, and ignores the other task.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    details: Says what would move, and everything that would refuse it. Nothing is sent.
  diff_mode:
    support: full
  idempotent:
    support: full
  action:
    description: Has a part that runs on the controller.
    support: full
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
notes:
  - If a task is killed, libvirt goes on, and completes the migration or undoes it. Run the task again. It completes
    what is left to do.
  - If the network to the destination goes silent, libvirt gives up after half a minute. C(keepalive_interval) and
    C(keepalive_count) of its C(qemu.conf) decide that. The module's message then says which host cannot be asked.
  - libvirt and QEMU promise only that a guest can move to versions that are not older. The module warns of older ones.
requirements:
  - libvirt (its Python bindings), on the host that has the guest
seealso:
  - module: linuxvirt.macvtap.libvirt_guest_announce
  - module: linuxvirt.macvtap.libvirt_guest_rules
  - module: linuxvirt.macvtap.libvirt_direct_iface
  - module: linuxvirt.macvtap.libvirt_direct_network
"""

EXAMPLES = r"""
- name: Move a guest to another hypervisor of the inventory
  linuxvirt.macvtap.libvirt_guest_migrate:
    domain: web1
    destination: hv2

- name: Move a guest to an uplink of another name
  linuxvirt.macvtap.libvirt_guest_migrate:
    domain: web1
    destination_uri: qemu+ssh://hv2.example.com/system
    interfaces:
      - mac: "52:54:00:00:01:01"
        source: enp3s0

- name: Give up if it is not there after five minutes
  linuxvirt.macvtap.libvirt_guest_migrate:
    domain: web1
    destination: hv2
    timeout: 300
"""

RETURN = r"""
changes:
  description: What changed, or in check mode would change.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: The domain, and the MAC address of the NIC.
      type: str
      returned: always
    field:
      description: V(host), or what the NIC is connected to (V(type), V(source), V(mode), V(network), V(portgroup)).
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
      description:
        - V(migrate), or V(config) if the guest was there already, and only what was left of it here is removed.
      type: str
      returned: always
  sample:
    - {target: web1, field: host, before: hv1, after: hv2, impact: migrate}
    - {target: "web1 52:54:00:00:01:01", field: source, before: eth0, after: enp3s0, impact: migrate}
domain:
  description: Name of the domain.
  returned: success
  type: str
  sample: web1
source:
  description: What this host's libvirt says its host name is.
  returned: success
  type: str
  sample: hv1
destination:
  description: The same of the destination.
  returned: success
  type: str
  sample: hv2
forecast_seconds:
  description:
    - How long the memory takes that is in use, with O(bandwidth). V(null) without that, and if nothing is to be moved.
    - A guest that changes its memory meanwhile takes longer.
  returned: success
  type: float
  sample: 12.5
interfaces:
  description: What the NICs are connected to on the destination, of those for which that changes.
  returned: success
  type: list
  elements: dict
  contains:
    mac:
      description: MAC address of the NIC.
      type: str
      returned: always
    type:
      description: libvirt's type, V(direct) also of a NIC on a direct network.
      type: str
      returned: always
    source:
      description: The uplink, or the bridge.
      type: str
      returned: always
    mode:
      description: Mode of the macvtap link, V(null) if a network has it.
      type: str
      returned: always
    network:
      description: The libvirt network, V(null) if it is on none.
      type: str
      returned: always
    portgroup:
      description: The portgroup of the network.
      type: str
      returned: always
  sample:
    - {mac: "52:54:00:00:01:01", type: direct, source: enp3s0, mode: bridge, network: null, portgroup: null}
rules:
  description:
    - What this host keeps for the guest's NICs, and libvirt does not take along.
    - Of a guest that this run has moved, with what has changed of that meanwhile.
    - Of a guest that was on the destination already, it is what this host still keeps.
  returned: success
  type: list
  elements: dict
  contains: &rule
    mac:
      description: MAC address of the NIC.
      type: str
      returned: always
    allmulticast:
      description: Whether its link receives all multicast.
      type: bool
      returned: always
    guard:
      description: The options of its guard, V(null) if it has none.
      type: dict
      returned: always
  sample:
    - {mac: "52:54:00:00:01:01", allmulticast: true, guard: null}
rules_there:
  description:
    - What M(linuxvirt.macvtap.libvirt_guest_rules) gets on the destination of RV(rules).
    - With O(destination), a guard that the inventory declares there has C(keep_guard). What it declares to receive no
      more than its own multicast does not get all.
  returned: success
  type: list
  elements: dict
  contains:
    mac:
      description: MAC address of the NIC.
      type: str
      returned: always
    allmulticast:
      description: Whether its link receives all multicast.
      type: bool
      returned: always
    guard:
      description: The options of its guard, V(null) if it has none.
      type: dict
      returned: always
    keep_guard:
      description: Whether a guard that the destination has already stays.
      type: bool
      returned: always
  sample:
    - {mac: "52:54:00:00:01:01", allmulticast: true, guard: null, keep_guard: false}
left:
  description:
    - What this host still keeps for the NICs of a guest that is on the destination, moved by this run or before.
      M(linuxvirt.macvtap.libvirt_guest_rules) removes it.
    - With O(destination), what the inventory declares on this host is left out, whatever the tags of the run are.
  returned: success
  type: list
  elements: dict
  contains: *rule
  sample: []
measured:
  description: What libvirt has measured. V(null) if it has not, such as of a guest that did not run, or in post-copy.
  returned: success
  type: dict
  contains:
    seconds:
      description: How long the migration took.
      type: float
      returned: always
    downtime_seconds:
      description: For how long the guest stood still.
      type: float
      returned: always
    bytes:
      description: How much was sent.
      type: int
      returned: always
  sample: {seconds: 0.9, downtime_seconds: 0.1, bytes: 84000000}
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.libvirt_guest_migrate import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
