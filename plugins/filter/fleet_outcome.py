# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_outcome: the outcome of verify or preflight for jobs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_outcome
short_description: Return the outcome of a check of a fleet, for jobs
version_added: 0.2.0
description:
  - Returns a state for each host and for the fleet, the differences between hosts and inventory, and the numbers.
  - The playbook C(linuxvirt.macvtap.verify) uses it.
options:
  _input:
    description: The names of all hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description:
      - The variable C(hostvars), in which C(macvtap_plan) is the result of M(linuxvirt.macvtap.macvtap_host_plan).
      - Without it, no differences are looked for.
    type: dict
  undeclared:
    description: What is there and not declared, as P(linuxvirt.macvtap.fleet_undeclared#filter) returns it by host.
    type: dict
  conflicts:
    description: The conflicts, as P(linuxvirt.macvtap.fleet_conflicts#filter) returns them.
    type: list
    elements: dict
    default: []
  gaps:
    description: What could not be checked, as P(linuxvirt.macvtap.fleet_gaps#filter) returns it.
    type: list
    elements: dict
    default: []
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
seealso:
  - plugin: linuxvirt.macvtap.outcome_table
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the state of the fleet
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts_all | linuxvirt.macvtap.fleet_outcome(hostvars)).state }}"
  # drift
"""

RETURN = r"""
_value:
  description: The outcome.
  type: dict
  contains:
    version:
      description: Version of this form.
      type: int
    state:
      description:
        - The worst state of a host. From the best to the worst, V(ok), V(drift), V(conflict), V(unreachable),
          V(failed).
        - V(failed) is a host about which nothing is known although it could be reached.
      type: str
    counts:
      description:
        - Number of C(hosts), of hosts in each state, such as C(hosts_drift), of differences as C(drift), of NICs as
          C(restart_required), of things that are C(undeclared), and of C(conflicts).
      type: dict
    by_host:
      description: By name of the host, its C(state), and its own numbers as in C(counts).
      type: dict
    notes:
      description: What is to be known beside that, such as packages that a host lacks, each with C(host) and C(note).
      type: list
      elements: dict
    drift:
      description: The differences, each with C(host), C(what), C(field), C(declared) and C(found).
      type: list
      elements: dict
    restart_required:
      description: NICs of running guests that are stored as declared and get it when the guest is stopped and started,
        each with C(host), C(domain), C(mac) and C(fields).
      type: list
      elements: dict
    undeclared:
      description: What is there and not declared, each with C(host) and C(what). It is no drift.
      type: list
      elements: dict
    unreachable:
      description: The hosts in this state, each with C(host) and C(reason).
      type: list
      elements: dict
    failed:
      description: The hosts in this state, each with C(host) and C(reason).
      type: list
      elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import outcome
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def fleet_outcome(
    hosts: t.Any, hostvars: t.Any = None, undeclared: t.Any = None, conflicts: t.Any = (), gaps: t.Any = ()
) -> dict[str, t.Any]:
    """Return the outcome of a playbook that has run on ``hosts``."""
    try:
        runs = {}
        for host in hosts:
            plan = None if hostvars is None else hostvars[host].get("macvtap_plan", {})
            runs[host] = outcome.Run(plan, tuple((undeclared or {}).get(host, ())))
        return outcome.outcome(runs, conflicts, gaps)
    except (AttributeError, KeyError, TypeError) as exc:
        message = f"the input must be names of hosts that hostvars has ({type(exc).__name__}: {exc})"
        raise AnsibleFilterError(f"fleet_outcome: {message}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_outcome)
