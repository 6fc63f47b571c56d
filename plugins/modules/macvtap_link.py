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
  - What the kernel can change on a link that exists is changed in place. Another parent, another number of queues, and
    a mode to or from V(passthru) need the link to be recreated; RV(changes) says so for each field before it happens,
    in check mode. A recreated link keeps its MAC address, alias, group and all else that is not declared, but
    the number of its tap is another one.
  - The whole task is done or nothing of it is, unless O(on_error=keep). What the kernel would refuse is refused before
    anything is done, and when a step fails nevertheless, what was there before is put back.
  - A link whose tap a process holds open (a running guest) is neither removed nor recreated, nor set down, nor given
    another MAC address, nor left in mode V(source) with no O(source_macs), unless O(force=true). The same where nobody
    can tell who holds it, and the error then says why. Who holds it is looked up once more right before it is done.
  - Links are known by their index, kind and parent. One that was renamed, removed or recreated by something else since
    the run looked at it is left alone, and the task fails. A link whose parent is in another network namespace, as one
    that was made for a pod, is never recreated.
  - What is put back after a failure is what this run has done, and nothing else. A link that was recreated on the way
    back has another index, and lacks the addresses, routes and links that were on it; the message says so.
  - The links are read back in the end, and the task fails if they are not as declared.
  - What this module makes does not outlast a reboot, unless M(linuxvirt.macvtap.macvtap_persistence) writes it down.
requirements:
  - pyroute2 (0.5.14 or newer), where something is to be changed
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.actiongroup
  - linuxvirt.macvtap.link_options.lock
  - linuxvirt.macvtap.link_options.rollback
  - linuxvirt.macvtap.link_options
attributes:
  check_mode:
    support: full
    details:
      - With O(mode=auto) or O(check_relay=true) the switch is asked in check mode as well. That sends two frames on the
        parent and changes nothing, and needs root.
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
  auto:
    description:
      - The links whose mode O(mode=auto) decides. V(new), those that do not exist yet or move to another parent, while
        others keep theirs, and no switch is asked for them. V(always), also those that exist, in which the mode then
        follows the switch; where nothing can be found out they keep theirs.
      - Links that exist keep a mode other than V(vepa) and V(bridge) in any case, as these do not depend on the switch.
    type: str
    choices: [new, always]
    default: new
    version_added: 0.2.0
  check_relay:
    description:
      - Ask the switch behind every parent of declared links in mode V(vepa), and warn where it has no reflective relay,
        so that guests of this host will not reach each other. Each run waits 50 ms then where it has none.
      - Where the switch is asked for O(mode=auto) the warning comes in any case.
    type: bool
    default: false
    version_added: 0.2.0
  purge:
    description:
      - Remove every macvtap link that is in O(group) and not declared in this task, and no other.
      - Needs a O(group) other than 0.
    version_added: 0.2.0
    type: bool
    default: false
  force:
    description:
      - Remove or recreate links, set them down or give them another MAC address, even where a process holds their tap
        open and will be cut off, or where nobody can tell whether one does.
      - Nobody can tell as another user than root, with C(/proc) hiding processes (C(hidepid)), and in a PID namespace
        of its own, as in a container. There it helps to mount the host's C(/proc) somewhere, as at C(/run/host/proc).
    type: bool
    default: false
  allow_host_disconnect:
    description:
      - Do what takes away IP addresses or routes of the host, or may cut off the connection that Ansible runs over.
        What that is, is shown as a warning. It is not put back when a later step fails.
      - Otherwise a link that has such addresses or routes, or that carries the connection, is not removed, recreated or
        set down, and does not get another MAC address or MTU. No link in mode V(passthru) is made on such a parent,
        since it takes all of the parent's frames. No link in mode V(source) with O(nodst=true) takes the frames of the
        host's router, or of where Ansible connects from. What the host has on a bridge or VLAN link that needs the link
        counts as well.
      - After a change the kernel is asked whether Ansible's connection still takes the same way. If it does not,
        everything is put back.
    type: bool
    default: false
    version_added: 0.2.0
seealso:
  - module: linuxvirt.macvtap.macvtap_link_info
  - module: linuxvirt.macvtap.macvtap_persistence
  - module: linuxvirt.macvtap.kernel_macvtap_check
  - module: linuxvirt.macvtap.reflective_relay_info
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
        mac: "52:54:00:00:00:01"
      - name: web2
        mac: "52:54:00:00:00:02"
      - name: db1
        mac: "52:54:00:00:00:03"
        mtu: 1400

- name: A link that passes all multicast to its guest, and that the host's own stack does not use
  linuxvirt.macvtap.macvtap_link:
    name: macvtap1
    parent: eth0
    mode: bridge
    addrgenmode: none
    allmulticast: true

- name: A link that takes frames from two addresses only
  linuxvirt.macvtap.macvtap_link:
    name: macvtap2
    parent: eth0
    mode: source
    source_macs:
      - "52:54:00:00:00:01"
      - "52:54:00:00:00:02"

- name: New links in the mode that suits the switch
  linuxvirt.macvtap.macvtap_link:
    parent: eth0
    mode: auto
    links:
      - name: web1
      - name: web2

- name: These links and no others in group 7
  linuxvirt.macvtap.macvtap_link:
    group: 7
    purge: true
    parent: eth0
    mode: bridge
    links:
      - name: web1
      - name: web2

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
    netns:
      description: The network namespace that it is in as given in O(netns), V(null) for the module's own.
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
      netns:
      ifindex: 12
      parent: eth0
      mode: bridge
      mac: "52:54:00:00:00:01"
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
reflective_relay:
  description: What the switches said that were asked, as C(parents) of M(linuxvirt.macvtap.reflective_relay_info).
  returned: with O(mode=auto) or O(check_relay=true), if a switch was asked
  type: list
  elements: dict
  sample:
    - parent: eth0
      reflective_relay: false
      reason: none of 2 frames came back within 25 ms
      round_trips: []
      sent:
        method: lower
        frames: 2
        ethertype: "0x88b5"
        source: "52:54:00:ab:cd:ef"
        destination: "52:54:00:ab:cd:ef"
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
    caveats,
    holders,
    netlink,
    netns,
    options,
    planner,
    rtnetlink,
    steps,
    tap,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Held, Link, Links, report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import spellings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Plan, Step, converge
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay import ask, choice, link_modes
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay import model as relay


class _Answers(t.NamedTuple):
    """What was asked before the plan: the modes that auto stands for, by path, who holds which tap, the host's ways."""

    modes: dict[str, str | None]
    warnings: tuple[str, ...]
    holders: dict[str, Held]
    reach: Reach


def macvtap_link(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    purge_group = options.purge_group(params)
    wanted, files = netns.located(
        [
            options.wanted(path, given, tap.ACCOUNTS)
            for path, given in _glue.entries(params, "links", ("name", *LINK_OPTIONS))
        ]
    )
    names = {want.name for want in wanted}
    parents = {said for want in wanted if want.parent for said in spellings(want.parent)}

    answers: dict[str, relay.Verdict] = {}
    how = {"always": params["auto"] == "always", "check": params["check_relay"]}

    def inquire(links: Links) -> _Answers:
        modes, told = ask.settle(link_modes.cases(wanted, links, check=params["check_relay"]), links, answers, **how)
        # Of all that may go, before it is known which do: one look at the processes whatever their number.
        return _Answers(modes, told, holders.of(links), ways.observe())

    def plan(links: Links, told: _Answers) -> Plan[Link]:
        planned = planner.plan(link_modes.settled(wanted, told.modes), links, purge_group=purge_group)
        planner.check_holders(planned, told.holders, force=params["force"])
        planned = reachability.checked(planned, told.reach, links, allowed=params[ALLOW])
        return replace(planned, warnings=(*planned.warnings, *told.warnings))

    def verify(planned: Plan[Link], links: Links, told: _Answers) -> Plan[Link]:
        steps.check_there(planned, links)
        return plan(links, told)

    def cut(some: t.Sequence[Step[Link]], *, back: bool = False) -> dict[str, MacvtapError]:
        """Look once more, right before it is done: a guest may have been started, or an address given, since then.

        On the way ``back`` what this run has made and a guest has taken up since then stays, whatever the task says.
        """
        first = ways.first if back else None
        now = session.observe(())
        refused = {} if params[ALLOW] else reachability.cuts(some, ways.observe(), now, since=first)
        if back or not params["force"]:
            held = holders.of({step.target: step.before for step in some if step.before})
            refused.update(planner.cuts(some, held, doubts=not back))
        return refused

    lock = contextlib.nullcontext() if module.check_mode else _lock.held("links", timeout=params["lock_timeout"])
    with lock, netlink.session(files) as session, rtnetlink.open_socket() as sock:
        ways = Ways(sock)

        def apply(steps: t.Sequence[Step[Link]], journal: Journal[Link]) -> None:
            session.apply(steps, journal, cut)

        outcome = converge(
            # What is to be purged is not known by its name yet.
            observe=lambda: session.observe(None if purge_group else names, parents=parents),
            inquire=inquire,
            plan=plan,
            apply=apply if params[ALLOW] else ways.kept(apply),
            verify=verify,
            undo=lambda journal, links: planner.undo(journal, links, session.lost, session.brought),
            revert=lambda steps: session.revert(steps, lambda some: cut(some, back=True)),
            check_mode=module.check_mode,
            roll_back=params["on_error"] == "rollback",
        )
    links = steps.foreseen(outcome.plan, outcome.host) if module.check_mode else outcome.host
    return {
        **outcome.plan.result(diff=module._diff),
        "links": [report(links[want.key]) for want in wanted if want.key in links],
        **({"reflective_relay": [relay.report(answer) for answer in answers.values()]} if answers else {}),
        "warnings": (
            *outcome.plan.warnings,
            *caveats.of_taps(wanted, links),
            *caveats.of_parents((want.key for want in wanted if want.state == "up"), links),
        ),
    }


def main() -> None:
    entry = {"name": {"type": "str", "required": True}, **LINK_OPTIONS}
    own = {**LINK_OPTIONS, "state": {**LINK_OPTIONS["state"], "default": "up"}}
    module = _glue.Module(
        argument_spec={
            "name": {"type": "str"},
            "links": {"type": "list", "elements": "dict", "options": entry},
            **own,
            "auto": {"type": "str", "choices": list(choice.SCOPES), "default": "new"},
            "check_relay": {"type": "bool", "default": False},
            "purge": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            ALLOW: {"type": "bool", "default": False},
            "on_error": {"type": "str", "choices": ["rollback", "keep"], "default": "rollback"},
            "lock_timeout": {"type": "int", "default": 60},
        },
        mutually_exclusive=[("name", "links")],
        required_one_of=[("name", "links")],
        supports_check_mode=True,
    )
    _glue.run(module, macvtap_link)


if __name__ == "__main__":
    main()
