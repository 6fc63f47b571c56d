#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gather information about direct (macvtap) interfaces of libvirt domains."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_direct_iface_info
short_description: Gather information about direct (macvtap) interfaces of libvirt domains
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Returns the network interfaces of the type C(direct) of all domains of a host, or of some of them. Each is returned
    as stored and as in the running guest, with the differences. Interfaces on direct networks of libvirt belong to
    them.
  - For each interface of a running guest it also returns the macvtap link on the host, its character device, and
    whether the guest's QEMU holds that open.
  - Changes nothing, and connects to libvirt read-only.
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.libvirt
  - linuxvirt.macvtap.libvirt_options
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
      - If this is not set, all domains with a direct interface are returned, sorted by name.
    type: list
    elements: str
  uri:
    description:
      - URI of the libvirt daemon.
      - Links and character devices are returned only if the guests run on this host. That is assumed if libvirt is
        reached over a socket file, as with V(qemu:///system).
    type: str
    default: qemu:///system
notes:
  - Root is not required if libvirt allows everybody to read, which is its default. Without root, processes of other
    users cannot be inspected, and so not the QEMU of V(qemu:///system). RV(domains[].pid),
    RV(domains[].interfaces[].holders) and RV(domains[].interfaces[].held_by_domain) are V(null) then.
requirements:
  - libvirt (its Python bindings)
seealso:
  - module: linuxvirt.macvtap.libvirt_direct_iface
  - module: linuxvirt.macvtap.macvtap_link_info
"""

EXAMPLES = r"""
- name: Gather information about all guests
  linuxvirt.macvtap.libvirt_direct_iface_info:
  register: direct

- name: Show what will change when guests are stopped and started
  ansible.builtin.debug:
    msg: "{{ item.0.name }} {{ item.1.mac }}: {{ item.1.differences | map(attribute='field') | join(', ') }}"
  loop: "{{ direct.domains | subelements('interfaces') | selectattr('1.differences') }}"
  loop_control:
    label: "{{ item.0.name }}"

- name: Check that every running guest holds the taps of its own links
  ansible.builtin.assert:
    that: item.1.tap.own and item.1.held_by_domain
    fail_msg: "{{ item.0.name }} {{ item.1.mac }}: {{ item.1.tap }} is held by {{ item.1.holders }}"
    quiet: true
  loop: "{{ direct.domains | subelements('interfaces') | selectattr('1.link') }}"
  loop_control:
    label: "{{ item.1.link.name }}"

- name: Gather information about one guest
  linuxvirt.macvtap.libvirt_direct_iface_info:
    domains: [web1]
  register: web1

- name: Show its link on the host
  ansible.builtin.debug:
    var: web1.domains[0].interfaces[0].link.name
"""

RETURN = r"""
libvirt_version:
  description: Version of libvirt.
  returned: success
  type: str
  sample: 9.0.0
domains:
  description: The domains of O(domains), with or without direct interfaces. If that is not set, all domains with one.
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
        - Process ID of its QEMU, which is found by the tap that it holds open.
        - V(null) if there is none, if root is required to see it, or if the guests run on another host.
      type: int
      returned: always
    interfaces:
      description: Its direct interfaces, stored or live.
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
            - The interface's fields in the stored configuration, named like the options of
              M(linuxvirt.macvtap.libvirt_direct_iface); V(null) if it is not stored. C(allmulticast) is whether a udev
              rule sets it on the link when the guest starts.
          type: dict
          returned: always
        live:
          description:
            - The same for the running guest, with the name of its link as C(target), and with the link's real mode and
              C(allmulticast); V(null) if the guest does not run or does not have the interface. On a direct network it
              has the C(source) and C(mode) that the network gave it.
          type: dict
          returned: always
        differences:
          description:
            - How the running guest's interface differs from the stored one. Names that libvirt generates for a running
              guest are no difference. An interface on a direct network is compared with what its network gives it.
          type: list
          elements: dict
          returned: always
          contains:
            field:
              description:
                - The option of M(linuxvirt.macvtap.libvirt_direct_iface), such as V(mode) or V(driver.queues). V(type)
                  if one of the two is of another type. V(state) if one of the two is missing.
              type: str
              returned: always
            stored:
              description: The stored value; for V(state), V(present) or V(absent).
              type: raw
              returned: always
            live:
              description: The value of the running guest.
              type: raw
              returned: always
        stale_mode:
          description:
            - The outdated mode that libvirt shows for the running guest, if the mode of its link was changed. V(null)
              if libvirt is right, and if the link's mode is unknown.
          type: str
          returned: always
        link:
          description:
            - The macvtap link on the host. V(null) if the guest does not run, if there is no such link, or if the
              guests run on another host.
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
              description: Name of the uplink, V(null) if it is in another network namespace.
              type: str
              returned: always
            mode:
              description: Mode as in the kernel, where C(passthrough) is V(passthru).
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
                - Whether RV(domains[].interfaces[].tap.path) is this device. If not, it is missing, or it is the tap of
                  a link in another network namespace.
              type: bool
              returned: always
            owner:
              description: Owner of that path, V(null) if it does not exist.
              type: str
              returned: always
            group:
              description: Group of that path.
              type: str
              returned: always
            mode:
              description: Permission bits of that path, such as V(0600).
              type: str
              returned: always
        held_by_domain:
          description:
            - Whether this domain's QEMU holds the link's tap open. Otherwise the guest has no network.
            - V(null) if the guest does not run, if root is required to determine it, or if the guests run on another
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
              description: Process ID.
              type: int
              returned: always
            command:
              description: Name of its program.
              type: str
              returned: always
            domain:
              description: Name of the libvirt domain that it runs, V(null) if it runs none.
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
    - NICs that any run of M(linuxvirt.macvtap.libvirt_direct_iface) has asked guests to release, and that are neither
      removed nor attached again yet. A guest may release them at any time, at the latest when it is reset. The keeper,
      a process of this collection, then attaches them again as they are stored. If it fails or does not run, there is a
      warning.
    - V(null) if this user may not read it. Root's requests are stored in C(/var/lib/linuxvirt.macvtap) with systemd,
      else in C(/run/linuxvirt.macvtap), on the host where the module ran.
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
        - V(held) if the guest still has it. V(saved) if the guest was saved, and may release it when it is restored.
          V(released) if the guest has released it, and it could not be attached again yet. V(unguarded) if it is
          attached, and its guard could not be put on its link yet.
      type: str
      returned: always
    unguarded:
      description:
        - Whether the guest runs with it, and its guard could not be put on its link yet. It is always V(true) if the
          state is V(unguarded), and can be V(true) if the state is V(held).
      type: bool
      returned: always
    error:
      description:
        - Why a released NIC is not attached again yet, or why a NIC has no guard yet. The keeper keeps trying.
        - Of a NIC without its guard, it also says until when nothing gets out that the guest sends. Without a time,
          the guest may send anything.
      type: str
      returned: always
    since:
      description: Time of the first request.
      type: str
      returned: always
    pid:
      description: Process ID of the keeper; V(null) if it does not run. The next run of the module starts it again.
      type: int
      returned: always
    returns:
      description: The NIC that is then attached, as it is stored or, if it is not, as it was; V(null) if it is removed.
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
pauses:
  description:
    - Domains whose guest a run of M(linuxvirt.macvtap.libvirt_direct_iface) pauses at the moment, or was pausing when
      it was killed. The keeper, a process of this collection, restores the guest then. A warning says so if it cannot.
    - V(null) if this user may not read it, as with RV(pending).
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the domain.
      type: str
      returned: always
    state:
      description:
        - V(under_way) as long as the run lives. V(interrupted) if it was killed. The keeper then watches the guest for
          about half a minute, because libvirt may still save it.
      type: str
      returned: always
    saved:
      description: Whether the guest is saved at the moment. Otherwise it runs, or is just being saved or restored.
      type: bool
      returned: always
    since:
      description: Time of the beginning.
      type: str
      returned: always
    error:
      description: Why the guest of an interrupted run is not restored yet. The keeper keeps trying.
      type: str
      returned: always
    pid:
      description: Process ID of the keeper; V(null) if it does not run.
      type: int
      returned: always
  sample:
    - domain: web1
      state: interrupted
      saved: true
      since: "2026-11-22T10:00:00+00:00"
      error: "Cannot get interface MTU on 'eth1': No such device"
      pid: 4242
"""

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import after_release, hypervisor, inspection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import unknown_domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError


def libvirt_direct_iface_info(module: _glue.Module) -> dict[str, t.Any]:
    asked: list[str] | None = module.params["domains"]
    with hypervisor.connect(module.params["uri"], read_only=True) as hv:
        host, outstanding = after_release.observe(hv, asked, module.params["timeout"])
        pending = inspection.pending(outstanding) if hv.sees_requests else None
        pauses = hv.paused(host)
    for index, name in enumerate(asked or ()):
        if name not in host.domains:
            raise MacvtapError(unknown_domain(name, host), path=f"domains[{index}]")
    return {
        "changed": False,
        "libvirt_version": inspection.version_text(host.version),
        "domains": inspection.domains(host, all_of_them=asked is not None),
        "pending": pending,
        "pauses": pauses if hv.sees_requests else None,
        "warnings": [*inspection.keeper_warnings(outstanding, host), *inspection.pause_warnings(pauses)],
    }


def main() -> None:
    module = _glue.Module(
        argument_spec={
            "domains": {"type": "list", "elements": "str"},
            **_glue.shared("uri"),
            "timeout": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    _glue.run(module, libvirt_direct_iface_info)


if __name__ == "__main__":
    main()
