#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make the direct (macvtap) interfaces of libvirt domains what they should be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_direct_iface
short_description: Make the direct (macvtap) interfaces of libvirt domains what they should be
version_added: 0.1.0
description:
  - Adds, changes and removes network interfaces of the type C(direct) in libvirt domains, those for which libvirt
    makes a macvtap link.
  - One interface by O(domain) and O(mac), or those of any number of domains in one task by O(interfaces).
  - An interface is found by its MAC address. Only the options that are given are changed in it; the rest of its
    element, and the rest of the domain's configuration, stay as they are.
  - The stored configuration is always made right. A running guest gets a new interface plugged in, and one that is
    removed plugged out. What can only change with a restart of the domain is listed in RV(restart_required); the
    module does not restart anything.
  - If anything fails, the domains that this run has changed already are put back.
options:
  domain:
    description:
      - Name of the domain whose interface this is.
      - Either this or O(interfaces) is required.
    type: str
  mac:
    description:
      - MAC address of the interface, by which it is found. With colons, dashes, dots (C(5254.00ab.cdef)) or nothing
        between the digits, in upper or lower case.
      - Write it in quotes, since YAML reads some addresses as numbers.
      - Required with O(domain).
    type: str
    aliases: [address]
  interfaces:
    description:
      - Many interfaces, of one or of many domains. What an entry leaves out is taken from the option of the same name
        beside O(interfaces).
    type: list
    elements: dict
    suboptions:
      domain:
        description: Name of the domain whose interface this is.
        type: str
        required: true
      mac:
        description: MAC address of the interface. See O(mac).
        type: str
        required: true
        aliases: [address]
      source:
        description: Link of the host that the interface uses. See O(source).
        type: str
        aliases: [parent, dev]
      mode:
        description: Mode of the macvtap link. See O(mode).
        type: str
        choices: [vepa, bridge, private, passthrough, passthru]
      model:
        description: Model of the network card that the guest sees. See O(model).
        type: str
      state:
        description: Whether the domain has the interface. See O(state).
        type: str
        choices: [present, absent]
  source:
    description:
      - Link of the host that the interface uses, such as V(eth0).
      - Required for an interface that does not exist yet.
    type: str
    aliases: [parent, dev]
  mode:
    description:
      - Mode of the macvtap link.
      - V(bridge) works with every switch. V(vepa) needs a switch port that reflects frames (reflective relay, hairpin)
        for guests of one host to reach each other. V(private) keeps them apart. V(passthrough) gives the whole source
        to this one interface; V(passthru) is another word for it.
      - An interface that does not exist yet gets libvirt's default V(vepa), with a warning, if this is left out.
    type: str
    choices: [vepa, bridge, private, passthrough, passthru]
  model:
    description:
      - Model of the network card that the guest sees, such as V(virtio) or V(e1000e).
      - An interface that does not exist yet gets V(virtio) if this is left out.
    type: str
  state:
    description:
      - V(present) adds the interface or makes it as declared, V(absent) removes it.
      - A domain that does not exist is an error with V(present) and a warning with V(absent).
    type: str
    choices: [present, absent]
    default: present
  uri:
    description: Where libvirt is reached.
    type: str
    default: qemu:///system
  timeout:
    description:
      - How many seconds to wait until running guests have let go of the interfaces that are removed.
      - An interface that a guest still holds then is listed in RV(pending).
    type: int
    default: 20
notes:
  - An interface with this MAC address and another type than C(direct) is an error. It is not converted.
  - Where libvirt finds no free PCI slot for an interface that is added, it adds a controller to the stored
    configuration as well.
  - The diff shows the interface's element before and after. Passwords of the domain are not in it.
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
    details:
      - An interface that a running guest does not let go of is asked for again by every run, which says changed.
requirements:
  - lxml
  - libvirt (its Python bindings)
seealso:
  - module: linuxvirt.macvtap.macvtap_link
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Give the guest web1 an interface on the LAN behind eth0
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web1
    mac: "52:54:00:10:00:01"
    source: eth0
    mode: bridge

- name: The interfaces of many guests, in one task
  linuxvirt.macvtap.libvirt_direct_iface:
    source: eth0
    mode: bridge
    interfaces:
      - {domain: web1, mac: "52:54:00:10:00:01"}
      - {domain: web2, mac: "52:54:00:10:00:02"}
      - {domain: db1, mac: "52:54:00:10:00:03", source: eth1, mode: private}
      - {domain: old1, mac: "52:54:00:10:00:04", state: absent}
  register: direct

- name: Say which guests have to be restarted
  ansible.builtin.debug:
    msg: "{{ item.domain }}: {{ item.fields | join(', ') }} of {{ item.mac }} will change at its next start"
  loop: "{{ direct.restart_required }}"
  loop_control:
    label: "{{ item.domain }}"
"""

RETURN = r"""
changes:
  description: Each field that changes, or in check mode would change, and what that costs the guest.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: The domain and the interface's MAC address.
      type: str
    field:
      description:
        - V(source), V(mode) or V(model); V(state) where the interface is added to the stored configuration or removed
          from it; V(live) where a running guest gets or loses an interface whose stored configuration is right already.
      type: str
    before:
      description: The value before.
      type: str
    after:
      description: The value after.
      type: str
    impact:
      description:
        - V(config) changes the stored configuration only.
        - V(live) plugs an interface of a running guest in or out.
        - V(restart) changes the stored configuration, and the running guest goes on with what it has until it is
          stopped and started.
      type: str
  sample:
    - {target: "web1 52:54:00:10:00:01", field: mode, before: vepa, after: bridge, impact: restart}
interfaces:
  description: Each declared interface as it is stored, in check mode as it would be stored.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the domain.
      type: str
    mac:
      description: MAC address, in lower case with colons.
      type: str
    state:
      description: V(present) or V(absent).
      type: str
    source:
      description: Link of the host; null where the interface is absent.
      type: str
    mode:
      description: Mode of the macvtap link, in libvirt's words; null where the interface is absent.
      type: str
    model:
      description: Model of the network card; null where the interface is absent.
      type: str
    live:
      description: The interface as the running guest has it; null where there is none.
      type: dict
      contains:
        source:
          description: Link of the host.
          type: str
        mode:
          description: Mode of the macvtap link.
          type: str
        model:
          description: Model of the network card.
          type: str
        target:
          description: Name of the macvtap link on the host.
          type: str
  sample:
    - domain: web1
      mac: "52:54:00:10:00:01"
      state: present
      source: eth0
      mode: bridge
      model: virtio
      live: {source: eth0, mode: vepa, model: virtio, target: macvtap0}
restart_required:
  description:
    - Interfaces that a running guest has otherwise than they are stored, and in which fields. They become what is
      stored when the domain is stopped and started; a reboot from inside the guest is not enough.
    - Also returned by a run that changes nothing, until the domain was restarted.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the domain.
      type: str
    mac:
      description: MAC address of the interface.
      type: str
    fields:
      description: What differs.
      type: list
      elements: str
  sample:
    - {domain: web1, mac: "52:54:00:10:00:01", fields: [mode]}
pending:
  description:
    - Interfaces that were removed from the stored configuration, and that the running guest was asked to let go of
      and still holds.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the domain.
      type: str
    mac:
      description: MAC address of the interface.
      type: str
    target:
      description: Name of the macvtap link on the host.
      type: str
  sample:
    - {domain: old1, mac: "52:54:00:10:00:04", target: macvtap3}
"""

import typing as t
from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _plan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import declare, hypervisor, planner, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Nic

_MODES = ["vepa", "bridge", "private", "passthrough", "passthru"]
_STATES = ["present", "absent"]
_OPTIONS = ("domain", "mac", "source", "mode", "model", "state")


def execute(module: AnsibleModule) -> dict[str, t.Any]:
    declared = declare.declare(_glue.entries(module.params, "interfaces", _OPTIONS))
    with hypervisor.connect(module.params["uri"], timeout=module.params["timeout"]) as hv:
        outcome = _plan.converge(
            lambda: hv.observe(desired.domain for desired in declared),
            lambda host: _with_views(planner.plan(declared, host, hv.unanswered)),
            hv.apply,
            planner.undo,
            check_mode=module.check_mode,
        )
        resolved = planner.resolve(declared, outcome.host, hv.unanswered)
    pending = [r for r in resolved if r.before.live and (r.desired.domain, r.desired.mac) in hv.unanswered]
    return {
        **outcome.plan.result(diff=module._diff),
        "interfaces": [_returned(r) for r in resolved],
        "restart_required": [
            {"domain": r.desired.domain, "mac": r.desired.mac, "fields": list(fields)}
            for r, fields in ((r, r.restart_fields()) for r in resolved)
            if fields
        ],
        "pending": [
            {"domain": r.desired.domain, "mac": r.desired.mac, "target": r.before.live and r.before.live.target}
            for r in pending
        ],
        "warnings": [
            *outcome.plan.warnings,
            *hv.warnings,
            *(_pending_warning(r, module.params["timeout"]) for r in pending),
        ],
    }


def _with_views(plan: _plan.Plan[Nic]) -> _plan.Plan[Nic]:
    """Give the plan's steps what a diff shows of them: the element as stored or, where that stays, as it runs."""
    steps = []
    for step in plan.steps:
        before, after = step.before, step.after
        if before is None or after is None:
            continue
        shown = (before.stored, after.stored) if before.stored != after.stored else (before.live, after.live)
        steps.append(replace(step, before_view=xml.view(shown[0]), after_view=xml.view(shown[1])))
    return replace(plan, steps=tuple(steps))


def _returned(resolved: planner.Resolved) -> dict[str, t.Any]:
    stored, live = resolved.after.stored, resolved.before.live
    return {
        "domain": resolved.desired.domain,
        "mac": resolved.desired.mac,
        "state": "present" if stored else "absent",
        "source": stored and stored.source,
        "mode": stored and stored.mode,
        "model": stored and stored.model,
        "live": live and {**live.given(), "target": live.target},
    }


def _pending_warning(resolved: planner.Resolved, timeout: int) -> str:
    return (
        f"{planner.target(resolved.before)}: the guest was asked to let go of this interface and still holds it after "
        f"{timeout} s. It is gone from the stored configuration, and so from the guest at the latest when the domain "
        "is stopped and started. Another run asks again"
    )


def main() -> None:
    what: dict[str, t.Any] = {
        "source": {"type": "str", "aliases": ["parent", "dev"]},
        "mode": {"type": "str", "choices": _MODES},
        "model": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "domain": {"type": "str"},
            "mac": {"type": "str", "aliases": ["address"]},
            "interfaces": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "domain": {"type": "str", "required": True},
                    "mac": {"type": "str", "required": True, "aliases": ["address"]},
                    "state": {"type": "str", "choices": _STATES},
                    **what,
                },
            },
            "state": {"type": "str", "choices": _STATES, "default": "present"},
            "uri": {"type": "str", "default": "qemu:///system"},
            "timeout": {"type": "int", "default": 20},
            **what,
        },
        required_one_of=[("domain", "interfaces")],
        mutually_exclusive=[("domain", "interfaces"), ("mac", "interfaces")],
        required_by={"domain": ("mac",)},
        supports_check_mode=True,
    )
    _glue.run(module, execute)


if __name__ == "__main__":
    main()
