#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let a host and the guests on its macvtap links reach each other."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_host_access
short_description: Let a host and the guests on its macvtap links reach each other
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - By design, what a host sends over the parent of macvtap links never reaches the guests on these, nor the other way
    round, unless the switch reflects frames. This module makes a companion, a macvlan link in mode bridge on that
    parent, which is another machine on the LAN as far as the guests are concerned, gives it addresses, and routes the
    guests over it. One by O(name), or many in one task by O(companions).
  - Only what O(guests) says is routed over it. The host's way to everybody else stays as it is, and nothing is set on
    the parent.
  - It never takes away what Ansible runs over. A companion, an address or a route that the connection of this very run
    needs is neither removed nor changed, and no route is made that would lead that connection elsewhere; there is no
    option to force that. The kernel is asked which way it goes, before and after, and all is put back where that
    differs.
  - The connection is known by the processes that the module comes from, their sockets and C(SSH_CONNECTION). Where none
    of these is an SSH server, all SSH sessions of the host are taken for it, and where there is none to be seen, all
    connections that others have made to the host.
  - Addresses and routes of a companion that are not declared are removed, except what the kernel makes by itself, such
    as the link-local address that IPv6 needs, and with O(dhcp4=true) what the lease brought.
  - What this module makes has the alias C(linuxvirt.macvtap host access), and only what has it is ever changed or
    removed.
  - On the companion, and before it comes up, C(arp_filter) is set to 1 and C(arp_announce) to 2, so that nobody on the
    LAN gets two answers for an address of the host, or learns its ordinary address at the companion's MAC address; and
    C(accept_ra) and C(autoconf) to 0, so that no router gives it a default route.
  - Whether somebody else has an address is asked before it is used (IPv4, by ARP) or while it is made (IPv6, by the
    kernel), which takes one second to three where there are new ones. Then the task fails.
  - The whole task is done or nothing of it is. What the kernel would refuse is refused before anything is done, and
    when a step fails nevertheless, what was there before is put back. In the end all is read back, and the task fails
    if it is not as declared.
  - What this module makes does not outlast a reboot; M(linuxvirt.macvtap.macvtap_persistence) writes it down.
requirements:
  - pyroute2 (0.5.14 or newer), where something is to be changed
  - a kernel with macvlan links (C(CONFIG_MACVLAN)), which every kernel with macvtap has
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.actiongroup
  - linuxvirt.macvtap.link_options.lock
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  companions:
    description:
      - The companions, each with the options of the module itself.
      - What an entry leaves out is taken from the module's own option of that name, so that these are the entries'
        defaults.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
      state:
        description: See O(state).
        type: str
        choices: [present, absent]
      parent:
        description: See O(parent).
        type: str
        aliases: [link, lower, base_iface]
      mac:
        description: See O(mac).
        type: str
      mtu:
        description: See O(mtu).
        type: int
      addresses:
        description: See O(addresses).
        type: list
        elements: str
      guests:
        description: See O(guests).
        type: list
        elements: str
      dhcp4:
        description: See O(dhcp4).
        type: bool
  name:
    description:
      - Name of the companion, 15 bytes at most.
      - Give this or O(companions).
    type: str
  state:
    description:
      - V(present), the companion exists, is up, and has the addresses and routes that are declared and no others.
      - V(absent), there is none of this name.
    type: str
    choices: [present, absent]
    default: present
  parent:
    description:
      - The link that the guests' macvtap links are on, by its name, alternative name, MAC address, or the PCI address
        of its device (V(0000:03:00.0)). It is needed where the companion does not exist yet; on another one it is made
        anew.
    type: str
    aliases: [link, lower, base_iface]
  mac:
    description: MAC address, unicast. Left out, a companion keeps its own, and the kernel chooses that of a new one.
    type: str
  mtu:
    description:
      - MTU in bytes, up to the parent's. Left out, a companion keeps its own, and a new one has the parent's.
      - Less than 1280 is refused where the host has IPv6, which the kernel would take from the companion. One that has
        less since its parent had has no IPv6 until a greater MTU is said.
    type: int
  addresses:
    description:
      - Its IP addresses, which the guests reach the host by, such as V(192.0.2.250) and V(2001:db8::250). They must be
        free on the LAN and in the range of it, and none that the host has on another link.
      - Without a prefix length, or with V(/32) or V(/128), since the host would else send to the whole LAN over the
        companion.
    type: list
    elements: str
  guests:
    description:
      - Whom the host is to reach over it, addresses or networks such as V(192.0.2.77), V(192.0.2.16/28) and
        V(2001:db8::77).
      - The first of O(addresses) is what the host sends from to guests with IPv4, unless a program says otherwise.
      - Refused are networks that contain an address of the host on another link, a router of its, or whoever Ansible
        connects from, and what is routed over another link already.
    type: list
    elements: str
  dhcp4:
    description:
      - Leave the IPv4 addresses that the companion has by DHCP, and the routes that come with a lease, to what manages
        the host's network. This module asks for no lease by itself.
      - They are told from others, which go, by their time, or by what the manager has noted of the lease.
    type: bool
    default: false
  purge:
    description:
      - Remove the companions that this module has made on the host and that are not declared in this task. An empty
        list of O(companions) declares none.
    type: bool
    default: false
    version_added: 0.2.0
  allow_host_disconnect:
    description:
      - Do it even if it cuts off the connection that Ansible runs over. What is cut off is then a warning.
      - What is refused for another reason stays refused.
    type: bool
    default: false
    version_added: 0.2.0
seealso:
  - module: linuxvirt.macvtap.macvtap_link
"""

EXAMPLES = r"""
- name: The host and two guests on eth0 reach each other
  linuxvirt.macvtap.macvtap_host_access:
    name: host0
    parent: eth0
    addresses: [192.0.2.250, "2001:db8::250"]
    guests: [192.0.2.77, 192.0.2.78, "2001:db8::77"]

- name: All guests have addresses of one range
  linuxvirt.macvtap.macvtap_host_access:
    name: host0
    parent: eth0
    addresses: [192.0.2.250]
    guests: [192.0.2.16/28]

- name: On two uplinks
  linuxvirt.macvtap.macvtap_host_access:
    companions:
      - name: host0
        parent: eth0
        addresses: [192.0.2.250]
        guests: [192.0.2.77]
      - name: host1
        parent: eth1
        addresses: [198.51.100.250]
        guests: [198.51.100.77]

- name: No companion
  linuxvirt.macvtap.macvtap_host_access:
    name: host0
    state: absent
"""

RETURN = r"""
changes:
  description: What was changed, or in check mode would be, field by field.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: Name of the companion.
      type: str
      returned: always
    field:
      description: What changes, V(state) for a companion that comes or goes.
      type: str
      returned: always
    before:
      description: The value before.
      type: raw
      returned: always
    after:
      description: The value after.
      type: raw
      returned: always
    impact:
      description: V(in_place), V(recreate), or V(none) where a companion comes or goes.
      type: str
      returned: always
  sample:
    - target: host0
      field: guests
      before: [192.0.2.77/32 src 192.0.2.250]
      after: [192.0.2.77/32 src 192.0.2.250, 192.0.2.78/32 src 192.0.2.250]
      impact: in_place
companions:
  description:
    - The declared companions that exist, as they are now. In check mode, as they would be, with V(null) for what the
      kernel would choose.
  returned: success
  type: list
  elements: dict
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
      description: Name of the link below.
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
    addresses:
      description: IP addresses, without what is left to the kernel or, with O(dhcp4=true), to the lease.
      type: list
      elements: str
      returned: always
    guests:
      description: What is routed over it, without the same.
      type: list
      elements: str
      returned: always
  sample:
    - name: host0
      ifindex: 12
      parent: eth0
      mac: "52:54:00:00:00:fa"
      mtu: 1500
      state: up
      addresses: [192.0.2.250]
      guests: [192.0.2.77/32]
"""

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import options, planner, undo
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.host import Access
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Companion, Host, report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import netlink, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import spellings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, converge


def macvtap_host_access(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    wanted = [
        options.wanted(path, given) for path, given in _glue.entries(params, "companions", options.COMPANION_OPTIONS)
    ]
    parents = {said for want in wanted if want.parent for said in spellings(want.parent)}

    def plan(host: Host, _answers: None) -> Plan[Companion]:
        others = planner.purged(wanted, host) if params["purge"] else []
        return planner.plan([*wanted, *others], host, allowed=params[ALLOW])

    lock = contextlib.nullcontext() if module.check_mode else _lock.held("links", timeout=params["lock_timeout"])
    with lock, netlink.session() as session, rtnetlink.open_socket() as sock:
        access = Access(session, sock, parents, allowed=params[ALLOW])
        outcome = converge(
            observe=access.observe,
            plan=plan,
            apply=access.apply,
            undo=undo.undo,
            revert=access.revert,
            check_mode=module.check_mode,
        )
    planned = {step.target: step.after for step in outcome.plan.steps} if module.check_mode else {}
    companions: list[Companion | None] = [
        planned[want.name] if want.name in planned else planner.found(want.name, outcome.host, dhcp4=want.dhcp4)
        for want in wanted
    ]
    return {
        **outcome.plan.result(diff=module._diff),
        "companions": [report(companion) for companion in companions if companion is not None],
        "warnings": outcome.plan.warnings,
    }


def main() -> None:
    defaults = {"state": "present", "dhcp4": False}
    module = _glue.Module(
        argument_spec={
            "companions": {"type": "list", "elements": "dict", "options": options.COMPANION_OPTIONS},
            **{
                name: {**spec, "default": defaults[name]} if name in defaults else spec
                for name, spec in options.COMPANION_OPTIONS.items()
            },
            "purge": {"type": "bool", "default": False},
            ALLOW: {"type": "bool", "default": False},
            "lock_timeout": {"type": "int", "default": 60},
        },
        mutually_exclusive=[("name", "companions")],
        required_one_of=[("name", "companions")],
        supports_check_mode=True,
    )
    _glue.run(module, macvtap_host_access)


if __name__ == "__main__":
    main()
