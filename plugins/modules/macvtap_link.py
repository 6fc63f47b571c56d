#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make macvtap links what they should be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_link
short_description: Make macvtap links what they should be
version_added: 0.1.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Makes, changes and removes macvtap links over netlink, one by O(name) or many in one task by O(links).
  - What the kernel can change on a link that exists is changed in place. Another parent, and a mode to or from
    V(passthru), need the link to be made anew; RV(changes) says so for each field before it happens, in check mode.
  - The whole task is done or nothing of it is. What the kernel would refuse is refused before anything is done, and
    when a step fails nevertheless, what was there before is put back.
  - A link whose tap a process holds open (a running guest) is neither removed nor made anew, unless O(force=true).
  - The links are read back in the end, and the task fails if they are not as declared.
  - What this module makes does not outlast a reboot.
requirements:
  - pyroute2 (0.7.2 or newer)
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.actiongroup
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the link, 15 bytes at most.
      - Give either this or O(links).
    type: str
  links:
    description:
      - The links, each with the options of the module itself.
      - What an entry leaves out is taken from the module's own option of that name, so that these are the entries'
        defaults.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      state:
        description: See O(state).
        type: str
        choices: [up, present, down, absent]
      parent:
        description: See O(parent).
        type: str
        aliases: [link, lower, base_iface]
      mode:
        description: See O(mode).
        type: str
        choices: [vepa, bridge, private, passthru]
      mac:
        description: See O(mac).
        type: str
        aliases: [address]
      mtu:
        description: See O(mtu).
        type: int
      tap:
        description: See O(tap).
        type: dict
        suboptions:
          owner:
            description: See O(tap.owner).
            type: str
          group:
            description: See O(tap.group).
            type: str
          mode:
            description: See O(tap.mode).
            type: raw
  state:
    description:
      - V(up), the link exists and is up; V(down), it exists and is down.
      - V(present), it exists; whether it is up is left as it is, and a new one is down.
      - V(absent), it does not exist.
      - An up link whose tap no process holds open feeds the host's own stack, which answers ARP with the address of
        the link. Keep links that wait for their guest V(down) where that matters.
    type: str
    choices: [up, present, down, absent]
    default: up
  parent:
    description:
      - Name of the link below, through which the frames reach the network. It must be an Ethernet link that is neither
        a port of a bridge or bond nor itself a macvlan or macvtap link.
      - Needed for a link that does not exist yet.
    type: str
    aliases: [link, lower, base_iface]
  mode:
    description:
      - Who can talk to whom on one parent. V(bridge), links of the parent reach each other directly; V(vepa), through
        the switch, which must have reflective relay; V(private), not at all; V(passthru), the link is the only one on
        the parent and has its address.
      - Left out, a link that exists keeps its mode, and a new one gets the kernel's default, V(vepa), with a warning.
    type: str
    choices: [vepa, bridge, private, passthru]
  mac:
    description:
      - MAC address of the link, unicast. Left out, a link that exists keeps its address, and the kernel chooses one for
        a new link.
    type: str
    aliases: [address]
  mtu:
    description: MTU of the link in bytes, from 68 up to its parent's.
    type: int
  tap:
    description: Owner, group and permissions of the link's character device C(/dev/tapN), N being the link's index.
    type: dict
    suboptions:
      owner:
        description: User, by name or number.
        type: str
      group:
        description: Group, by name or number.
        type: str
      mode:
        description: Permissions in octal digits, in quotes, such as V("0660").
        type: raw
  force:
    description: Remove links, or make them anew, even where a process holds their tap open and will be cut off.
    type: bool
    default: false
seealso:
  - module: linuxvirt.macvtap.kernel_macvtap_check
  - module: linuxvirt.macvtap.libvirt_direct_iface
"""

EXAMPLES = r"""
- name: A link for a guest
  linuxvirt.macvtap.macvtap_link:
    name: macvtap0
    parent: eth0
    mode: bridge

- name: Many links, opened by an unprivileged QEMU
  linuxvirt.macvtap.macvtap_link:
    parent: eth0
    mode: bridge
    tap:
      group: kvm
      mode: "0660"
    links:
      - name: web1
        mac: 52:54:00:00:00:01
      - name: web2
        mac: 52:54:00:00:00:02
      - name: db1
        mac: 52:54:00:00:00:03
        mtu: 1400

- name: No such link
  linuxvirt.macvtap.macvtap_link:
    name: macvtap0
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
      description: Name of the link.
      type: str
      returned: always
    field:
      description: What changes, V(state) for a link that comes or goes.
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
      description: V(in_place), V(recreate), or V(none) where a link comes or goes.
      type: str
      returned: always
  sample:
    - target: macvtap0
      field: mode
      before: vepa
      after: bridge
      impact: in_place
links:
  description:
    - The declared links that exist, as they are now. In check mode, as they would be, with V(null) for what the kernel
      would choose.
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
      description: Name of the link below, V(null) if it is in another network namespace.
      type: str
      returned: always
    mode:
      description: Mode.
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
    tap:
      description: The link's character device.
      type: dict
      returned: always
      contains:
        path:
          description: Where it should be.
          type: str
          returned: always
        major:
          description: Major device number that sysfs gives for this link.
          type: int
          returned: always
        minor:
          description: Minor device number that sysfs gives for this link.
          type: int
          returned: always
        own:
          description: >-
            Whether what is at RV(links[].tap.path) is really this link's device. If not, it is missing, or belongs to a
            link with the same index in another network namespace.
          type: bool
          returned: always
        owner:
          description: User, V(null) if there is nothing at RV(links[].tap.path).
          type: str
          returned: always
        group:
          description: Group.
          type: str
          returned: always
        mode:
          description: Permissions.
          type: str
          returned: always
  sample:
    - name: macvtap0
      ifindex: 12
      parent: eth0
      mode: bridge
      mac: 52:54:00:00:00:01
      mtu: 1500
      state: up
      tap:
        path: /dev/tap12
        major: 245
        minor: 1
        own: true
        owner: root
        group: kvm
        mode: "0660"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import holders, netlink, options, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links, report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, converge


def macvtap_link(module: AnsibleModule) -> dict[str, t.Any]:
    wanted = [
        options.wanted(path, given)
        for path, given in _glue.entries(module.params, "links", ("name", *options.LINK_OPTIONS))
    ]
    names = [want.name for want in wanted]

    def plan(links: Links) -> Plan[Link]:
        planned = planner.plan(wanted, links)
        endangered = {link.name: link.tap.device for link in planner.cut_off(planned) if link.tap and link.tap.device}
        held = holders.find(set(endangered.values()))
        planner.check_holders(
            planned, {name: held.get(device, []) for name, device in endangered.items()}, force=module.params["force"]
        )
        return planned

    with netlink.session() as ipr:
        outcome = converge(
            observe=lambda: netlink.observe(ipr, set(names)),
            plan=plan,
            apply=lambda steps: netlink.apply(ipr, steps),
            undo=planner.undo,
            check_mode=module.check_mode,
        )
    links = planner.foreseen(outcome.plan, outcome.host) if module.check_mode else outcome.host
    return {
        **outcome.plan.result(diff=module._diff),
        "links": [report(links[name]) for name in names if name in links],
        "warnings": outcome.plan.warnings,
    }


def main() -> None:
    entry = {"name": {"type": "str", "required": True}, **options.LINK_OPTIONS}
    own = {**options.LINK_OPTIONS, "state": {**options.LINK_OPTIONS["state"], "default": "up"}}
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "links": {"type": "list", "elements": "dict", "options": entry},
            **own,
            "force": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("name", "links")],
        required_one_of=[("name", "links")],
        supports_check_mode=True,
    )
    _glue.run(module, macvtap_link)


if __name__ == "__main__":
    main()
