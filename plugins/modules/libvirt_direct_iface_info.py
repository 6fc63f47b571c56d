#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell which direct (macvtap) interfaces libvirt domains have, stored and live, and what is behind them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_direct_iface_info
short_description: Tell which direct (macvtap) interfaces libvirt domains have
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Returns the network interfaces of the type C(direct) of all domains of a host or of some of them, as they are stored
    and as the running guests have them, with the differences between the two.
  - Behind each interface of a running guest, the macvtap link that the host has for it, its character device, and
    whether it is the guest's QEMU that holds this open.
  - Changes nothing, and connects to libvirt for reading only.
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
  domains:
    description:
      - Names of the domains to tell about, in this order. One that does not exist is an error.
      - If this is left out, all domains that have a direct interface, by their names.
    type: list
    elements: str
  uri:
    description:
      - Where libvirt is reached.
      - Links and character devices are looked at only if the guests are on this host, which they are taken to be if
        libvirt is reached over a socket file, as with V(qemu:///system).
    type: str
    default: qemu:///system
notes:
  - It needs no root where libvirt lets everybody read, as it does unless it is set up otherwise. Without root, other
    users' processes cannot be looked into, nor can the QEMU of V(qemu:///system) be. RV(domains[].pid),
    RV(domains[].interfaces[].holders) and RV(domains[].interfaces[].held_by_domain) are V(null) then.
requirements:
  - libvirt (its Python bindings)
seealso:
  - module: linuxvirt.macvtap.libvirt_direct_iface
  - module: linuxvirt.macvtap.macvtap_link_info
"""

EXAMPLES = r"""
- name: What all guests have
  linuxvirt.macvtap.libvirt_direct_iface_info:
  register: direct

- name: Say which guests will have something else when they are stopped and started
  ansible.builtin.debug:
    msg: "{{ item.0.name }} {{ item.1.mac }}: {{ item.1.differences | map(attribute='field') | join(', ') }}"
  loop: "{{ direct.domains | subelements('interfaces') | selectattr('1.differences') }}"
  loop_control:
    label: "{{ item.0.name }}"

- name: Every running guest has the taps of its own links
  ansible.builtin.assert:
    that: item.1.tap.own and item.1.held_by_domain
    fail_msg: "{{ item.0.name }} {{ item.1.mac }}: {{ item.1.tap }} is held by {{ item.1.holders }}"
    quiet: true
  loop: "{{ direct.domains | subelements('interfaces') | selectattr('1.link') }}"
  loop_control:
    label: "{{ item.1.link.name }}"

- name: One guest
  linuxvirt.macvtap.libvirt_direct_iface_info:
    domains: [web1]
  register: web1

- name: Its link on the host
  ansible.builtin.debug:
    var: web1.domains[0].interfaces[0].link.name
"""

RETURN = r"""
libvirt_version:
  description: Version of the libvirt that was asked.
  returned: success
  type: str
  sample: 9.0.0
domains:
  description: The domains of O(domains), with or without direct interfaces; else all those with one.
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
      description: Whether it runs, or is paused.
      type: bool
      returned: always
    persistent:
      description: Whether libvirt stores its configuration. A transient domain is gone when it stops.
      type: bool
      returned: always
    pid:
      description:
        - Process id of its QEMU, found as what holds the tap of one of its links open.
        - V(null) if there is none, if it cannot be seen without root, or if the guests are on another host.
      type: int
      returned: always
    interfaces:
      description: Its interfaces that are direct ones, stored or live.
      type: list
      elements: dict
      returned: always
      contains:
        mac:
          description: MAC address, in lower case with colons.
          type: str
          returned: always
        stored:
          description:
            - The interface's fields in the stored configuration, as the options of
              M(linuxvirt.macvtap.libvirt_direct_iface) have them; V(null) if it is not stored. C(allmulticast) is
              whether udev gives it to the link when the guest starts.
          type: dict
          returned: always
        live:
          description:
            - The same of the running guest, with the name of its link as C(target), and the mode and C(allmulticast)
              that the link really has; V(null) if the guest does not run or has not got the interface.
          type: dict
          returned: always
        differences:
          description:
            - In what the running guest's interface is not as it is stored. Names that libvirt makes up for what runs
              are no difference.
          type: list
          elements: dict
          returned: always
          contains:
            field:
              description:
                - The option of M(linuxvirt.macvtap.libvirt_direct_iface), such as V(mode) or V(driver.queues); V(type)
                  where one of the two is of another type; V(state) where one of the two is missing.
              type: str
              returned: always
            stored:
              description: The value that is stored; for V(state), V(present) or V(absent).
              type: raw
              returned: always
            live:
              description: The value that the running guest has.
              type: raw
              returned: always
        stale_mode:
          description:
            - The mode that libvirt goes on showing for the running guest, where the mode of its link was changed and
              is another one. V(null) where libvirt is right, and where that cannot be known.
          type: str
          returned: always
        link:
          description:
            - The macvtap link on the host. V(null) if the guest does not run, if there is no such link, or if the
              guests are on another host.
          type: dict
          returned: always
          contains:
            name:
              description: Name.
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
              description: Mode, in the kernel's words, in which C(passthrough) is V(passthru).
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
              description: V(up) or V(down).
              type: str
              returned: always
        tap:
          description: The link's character device; V(null) where RV(domains[].interfaces[].link) is.
          type: dict
          returned: always
          contains:
            path:
              description: Its path.
              type: str
              returned: always
            major:
              description: Major device number of the link's own tap.
              type: int
              returned: always
            minor:
              description: Minor device number of the link's own tap.
              type: int
              returned: always
            own:
              description:
                - Whether what lies at RV(domains[].interfaces[].tap.path) is this device. If not, it is missing or the
                  tap of a link in another network namespace.
              type: bool
              returned: always
            owner:
              description: Owner of what lies there, V(null) if there is nothing.
              type: str
              returned: always
            group:
              description: Group of what lies there.
              type: str
              returned: always
            mode:
              description: Permission bits of what lies there, such as V(0600).
              type: str
              returned: always
        held_by_domain:
          description:
            - Whether this domain's QEMU holds the link's tap open, without which the guest has no network.
            - V(null) if the guest does not run, if it cannot be told without root, or if the guests are on another
              host.
          type: bool
          returned: always
        holders:
          description:
            - The processes that hold the link's tap open, as M(linuxvirt.macvtap.macvtap_link_info) returns them.
            - V(null) in the same cases.
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
  sample:
    - name: web1
      uuid: 1b5ab0b2-3a9b-5e3c-9b1d-5d1f4f2f2a11
      running: true
      persistent: true
      pid: 4711
      interfaces:
        - mac: "52:54:00:10:00:01"
          stored:
            source: eth0
            mode: bridge
            model: virtio
            link_state: up
            trust_guest_rx_filters: false
            allmulticast: true
          live:
            source: eth0
            mode: private
            model: virtio
            link_state: up
            trust_guest_rx_filters: false
            allmulticast: true
            target: macvtap0
            alias: net0
          differences:
            - {field: mode, stored: bridge, live: private}
          stale_mode: bridge
          link:
            name: macvtap0
            ifindex: 12
            parent: eth0
            mode: private
            mac: "52:54:00:10:00:01"
            mtu: 1500
            state: up
          tap: {path: /dev/tap12, major: 245, minor: 1, own: true, owner: libvirt-qemu, group: kvm, mode: "0600"}
          held_by_domain: true
          holders:
            - {pid: 4711, command: qemu-system-x86_64, domain: web1}
pending:
  description:
    - NICs that guests were asked to release, by whichever run of M(linuxvirt.macvtap.libvirt_direct_iface), and that
      have neither gone for good nor come back. A guest may release one at any time, at the latest when it is reset. A
      process of this collection's, the keeper, then attaches it again as it is stored. A warning says so if it cannot,
      or does not run.
    - V(null) if this user may not see it. Root's requests are noted in C(/var/lib/linuxvirt.macvtap) where systemd
      runs, else in C(/run/linuxvirt.macvtap), on the host where the module ran.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the domain.
      type: str
      returned: always
    mac:
      description: MAC address of the NIC.
      type: str
      returned: always
    target:
      description: Name of the macvtap link on the host.
      type: str
      returned: always
    state:
      description:
        - V(held) if the guest has it still; V(saved) if the guest was saved, and may release it when it is restored;
          V(released) if the guest has released it, and it could not be attached again yet.
      type: str
      returned: always
    error:
      description: Why a NIC that was released is not attached again yet. The keeper goes on trying.
      type: str
      returned: always
    since:
      description: When it was first asked for.
      type: str
      returned: always
    pid:
      description: Process ID of the keeper; V(null) if it does not run, as the next run of the module starts it again.
      type: int
      returned: always
    returns:
      description: The NIC that is attached then, as it is stored; V(null) where it is removed.
      type: dict
      returned: always
  sample:
    - domain: old1
      mac: "52:54:00:10:00:04"
      target: macvtap3
      state: held
      error: null
      since: "2026-11-22T10:00:00+00:00"
      pid: 4242
      returns: {source: eth1, mode: bridge, model: virtio, link_state: up, trust_guest_rx_filters: false}
"""

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hypervisor, inspection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import unknown_domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError


def libvirt_direct_iface_info(module: _glue.Module) -> dict[str, t.Any]:
    asked: list[str] | None = module.params["domains"]
    with hypervisor.connect(module.params["uri"], read_only=True) as hv:
        host = hv.observe(asked)
        outstanding = hv.outstanding(host)
        pending = inspection.pending(outstanding) if hv.sees_requests else None
    for index, name in enumerate(asked or ()):
        if name not in host.domains:
            raise MacvtapError(unknown_domain(name, host), path=f"domains[{index}]")
    return {
        "changed": False,
        "libvirt_version": inspection.version_text(host.version),
        "domains": inspection.domains(host, all_of_them=asked is not None),
        "pending": pending,
        "warnings": inspection.keeper_warnings(outstanding, host),
    }


def main() -> None:
    module = _glue.Module(
        argument_spec={
            "domains": {"type": "list", "elements": "str"},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )
    _glue.run(module, libvirt_direct_iface_info)


if __name__ == "__main__":
    main()
