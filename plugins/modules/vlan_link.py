#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make VLAN links what they should be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vlan_link
short_description: Make VLAN links what they should be, for macvtap links to be on
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Makes, changes and removes VLAN links (sub-interfaces such as C(eth0.20)) over netlink, one by O(id) or many in one
    task by O(vlans). They can be the parent of links of M(linuxvirt.macvtap.macvtap_link) and the source of interfaces
    of M(linuxvirt.macvtap.libvirt_direct_iface).
  - What this module makes has the alias C(linuxvirt.macvtap), and only what has it is ever changed or removed. A link
    that is the wanted VLAN and has been made by something else is used as it is, with RV(vlans[].ours=false).
  - Another parent, O(id) or O(protocol) needs the link to be made anew; RV(changes) says so for each field before it
    happens, in check mode. What else is declared is changed in place.
  - A link that has links on it, or is the port of a bridge or bond, is neither removed nor recreated, unless
    O(force=true); nor is it set down where processes hold the taps of macvtap links on it, or a bridge needs it. Links
    that are in another network namespace are not seen. A declared VLAN on it that stays as it is
    is recreated along with it.
  - Nothing is done that would take away addresses or routes of the host, or cut off the connection that Ansible runs
    over, unless O(allow_host_disconnect=true).
  - The whole task is done or nothing of it is, unless O(on_error=keep). What the kernel would refuse is refused before
    anything is done, and when a step fails nevertheless, what was there before is put back.
  - The links are read back in the end, and the task fails if they are not as declared.
  - What this module makes does not outlast a reboot, unless M(linuxvirt.macvtap.macvtap_persistence) writes it down.
requirements:
  - pyroute2 (0.5.14 or newer), where something is to be changed
  - a kernel with VLAN links (C(CONFIG_VLAN_8021Q)); it loads the module C(8021q) by itself
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.actiongroup
  - linuxvirt.macvtap.link_options.lock
  - linuxvirt.macvtap.link_options.rollback
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  vlans:
    description:
      - The VLAN links, each with the options of the module itself.
      - What an entry leaves out is taken from the module's own option of that name, so that these are the entries'
        defaults.
    type: list
    elements: dict
    suboptions:
      parent:
        description: See O(parent).
        type: str
        aliases: [link, lower, base_iface]
      id:
        description: See O(id).
        type: int
      name:
        description: See O(name).
        type: str
      protocol:
        description: See O(protocol).
        type: str
        choices: [802.1Q, 802.1ad]
      mac:
        description: See O(mac).
        type: str
        aliases: [address]
      mtu:
        description: See O(mtu).
        type: int
      state:
        description: See O(state).
        type: str
        choices: [up, present, down, absent]
  parent:
    description:
      - The link below, a trunk that has the VLAN, by its name, alternative name, MAC address, or the PCI address of its
        device (V(0000:03:00.0)).
      - It must be a wired Ethernet link that is not the port of a bond; a bridge or bond itself is fine, and
        so is another VLAN link, if it exists before the task.
    type: str
    aliases: [link, lower, base_iface]
  id:
    description:
      - Number of the VLAN, from 1 to 4094.
      - Give this or O(vlans), for whose entries it is the default then.
    type: int
  name:
    description:
      - Name of the link, 15 bytes at most.
      - Left out, it is the parent's name, a dot and O(id), as in C(eth0.20); or, where something else has made a link
        that is this VLAN, the name that it has.
    type: str
  protocol:
    description: The tag, V(802.1Q), or V(802.1ad) for the outer one of two. V(802.1Q) is the default.
    type: str
    choices: [802.1Q, 802.1ad]
  mac:
    description:
      - MAC address of the link, unicast. Left out, a link that exists keeps its address, and a new one has that of its
        parent and follows it.
    type: str
    aliases: [address]
  mtu:
    description:
      - MTU of the link in bytes, from 68 up to its parent's. Left out, a link that exists keeps its MTU, and a new one
        has that of its parent.
      - To lower it lowers that of the macvtap links on it, which the kernel does not raise again.
    type: int
  state:
    description:
      - V(up), the link exists and is up, for which its parent must be up; V(down), it exists and is down.
      - V(present), it exists; whether it is up is left as it is, and a new one is down.
      - V(absent), there is no link of this O(parent), O(id) and O(protocol) (and O(name), if given) with the alias
        C(linuxvirt.macvtap). One without it stays, with a warning.
    type: str
    choices: [up, present, down, absent]
    default: up
  force:
    description:
      - Remove or recreate links even where others are on them. Those go with them, macvtap links and the connections of
        guests among it, and are not put back when a later step fails.
      - Set links down that are ports of a bridge, or that have macvtap links on them whose taps processes hold open.
    type: bool
    default: false
  allow_host_disconnect:
    description:
      - Do what takes away IP addresses or routes of the host, or may cut off the connection that Ansible runs over.
        What that is, is shown as a warning. It is not put back when a later step fails.
      - Otherwise a link that has such addresses or routes, or that carries the connection, is not removed, recreated or
        set down, and does not get another MAC address or MTU. What the host has on a bridge or VLAN link that needs the
        link counts as well.
      - On a port of a bridge no VLAN link is made that takes the frames of a VLAN link of the same ID on the bridge, or
        of the bridge itself where that is in this VLAN, if the host is reached by those. The same holds for what is on
        a macvlan link of the parent.
      - After a change the kernel is asked whether Ansible's connection still takes the same way. If it does not,
        everything is put back.
    type: bool
    default: false
    version_added: 0.2.0
seealso:
  - module: linuxvirt.macvtap.macvtap_link
  - module: linuxvirt.macvtap.libvirt_direct_iface
"""

EXAMPLES = r"""
- name: VLAN 20 of the trunk eth0, as eth0.20
  linuxvirt.macvtap.vlan_link:
    parent: eth0
    id: 20

- name: A link for a guest in it
  linuxvirt.macvtap.macvtap_link:
    name: macvtap0
    parent: eth0.20
    mode: bridge

- name: Several, on an uplink that has another name on each host
  linuxvirt.macvtap.vlan_link:
    parent: "52:54:00:00:00:01"
    vlans:
      - id: 20
        name: office
      - id: 30
        name: lab
        mtu: 1400

- name: No such link, unless something else has made it
  linuxvirt.macvtap.vlan_link:
    parent: eth0
    id: 20
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
      description: Name of the link. With O(force=true) also those of links that go because they are on it.
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
    - target: eth0.20
      field: state
      before: absent
      after: up
      impact: none
vlans:
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
      description: Name of the link below.
      type: str
      returned: always
    id:
      description: Number of the VLAN.
      type: int
      returned: always
    protocol:
      description: V(802.1Q) or V(802.1ad).
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
    ours:
      description: Whether this module has made it. If not, it is left as it is, whatever is declared.
      type: bool
      returned: always
  sample:
    - name: eth0.20
      ifindex: 12
      parent: eth0
      id: 20
      protocol: 802.1Q
      mac: "52:54:00:00:00:01"
      mtu: 1500
      state: up
      ours: true
"""

import contextlib
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reach import Ways
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    holders,
    netlink,
    rtnetlink,
    steps,
    vlan_options,
    vlan_refusals,
    vlans,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Held, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import spellings, standing_on
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Plan, Step, converge


class _Answers(t.NamedTuple):
    """What was asked before the plan: the host's ways, and who holds the taps on the VLAN links that are to be down."""

    reach: Reach
    holders: dict[str, Held]


def vlan_link(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    wanted = [
        vlan_options.wanted(path, given) for path, given in _glue.entries(params, "vlans", vlan_options.VLAN_OPTIONS)
    ]
    parents = {said for want in wanted for said in spellings(want.parent)}

    def inquire(links: Links) -> _Answers:
        down = []
        for want in wanted:
            # What is wrong with its parent, the plan says.
            with contextlib.suppress(MacvtapError):
                down += [vlans.found(want, links)] if want.state == "down" else []
        return _Answers(ways.observe(), held_on([link for link in down if link is not None], links))

    def held_on(below: t.Sequence[Link], links: Links) -> dict[str, Held]:
        """Return who holds the taps of the links that are on those ``below``."""
        on_it = {one.key: one for link in below for one in standing_on(link, links) if one.kind == "macvtap"}
        taps = session.taps(list(on_it.values())) if on_it else {}
        return holders.of({key: replace(link, tap=taps.get(key)) for key, link in on_it.items()})

    def plan(links: Links, told: _Answers) -> Plan[Link]:
        planned = vlans.plan(wanted, links, force=params["force"])
        vlan_refusals.check_guests(planned, links, told.holders, force=params["force"])
        return reachability.checked(planned, told.reach, links, allowed=params[ALLOW])

    def verify(planned: Plan[Link], links: Links, told: _Answers) -> Plan[Link]:
        steps.check_there(planned, links)
        return plan(links, told)

    def cut(some: t.Sequence[Step[Link]], *, back: bool = False) -> dict[str, MacvtapError]:
        """Look once more, right before it is done: a guest may have been started, or an address given, since then.

        On the way ``back`` what a guest has taken up since then stays, whatever the task says.
        """
        links = session.observe(())
        first = ways.first if back else None
        refused = {} if params[ALLOW] else reachability.cuts(some, ways.observe(), links, since=first)
        if back or not params["force"]:
            falling = [step.before for step in some if step.before and step.after and not step.after.up]
            refused.update(vlan_refusals.cuts(some, links, held_on(falling, links)))
        return {**refused, **vlan_refusals.arrived(some, links)}

    lock = contextlib.nullcontext() if module.check_mode else _lock.held("links", timeout=params["lock_timeout"])
    with lock, netlink.session() as session, rtnetlink.open_socket() as sock:
        ways = Ways(sock)

        def apply(steps: t.Sequence[Step[Link]], journal: Journal[Link]) -> None:
            session.apply(steps, journal, cut)

        outcome = converge(
            observe=lambda: session.observe((), parents=parents),
            inquire=inquire,
            plan=plan,
            apply=apply if params[ALLOW] else ways.kept(apply),
            verify=verify,
            undo=lambda journal, links: vlans.undo(journal, links, session.lost, session.brought),
            revert=lambda steps: session.revert(steps, lambda some: cut(some, back=True)),
            check_mode=module.check_mode,
            roll_back=params["on_error"] == "rollback",
        )
    links = steps.foreseen(outcome.plan, outcome.host) if module.check_mode else outcome.host
    found = [vlans.found(want, links) for want in wanted]
    return {
        **outcome.plan.result(diff=module._diff),
        "vlans": [report(link) for link in found if link is not None],
        "warnings": outcome.plan.warnings,
    }


def main() -> None:
    own = {**vlan_options.VLAN_OPTIONS, "state": {**vlan_options.VLAN_OPTIONS["state"], "default": "up"}}
    module = _glue.Module(
        argument_spec={
            "vlans": {"type": "list", "elements": "dict", "options": vlan_options.VLAN_OPTIONS},
            **own,
            "force": {"type": "bool", "default": False},
            ALLOW: {"type": "bool", "default": False},
            "on_error": {"type": "str", "choices": ["rollback", "keep"], "default": "rollback"},
            "lock_timeout": {"type": "int", "default": 60},
        },
        mutually_exclusive=[("name", "vlans")],
        required_one_of=[("id", "vlans")],
        supports_check_mode=True,
    )
    _glue.run(module, vlan_link)


if __name__ == "__main__":
    main()
