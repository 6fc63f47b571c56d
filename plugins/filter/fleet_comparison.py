# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_comparison: all that preflight finds and shows, in one look at the fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_comparison
short_description: Compare the hosts of a fleet and describe the result
version_added: 1.0.0
description:
  - Returns what P(linuxvirt.macvtap.fleet_conflicts#filter), P(linuxvirt.macvtap.fleet_gaps#filter),
    P(linuxvirt.macvtap.fleet_outcome#filter) and P(linuxvirt.macvtap.fleet_summary#filter) return, and the lines of
    text that show it. The data of each host is read once.
  - The playbook C(linuxvirt.macvtap.preflight) uses it.
options:
  _input:
    description: The fleet, as for P(linuxvirt.macvtap.fleet_conflicts#filter).
    type: dict
    required: true
  outside:
    description:
      - Further hosts, as P(linuxvirt.macvtap.fleet_declarations#filter) returns them. They are not checked, but their
        declarations count.
    type: dict
    default: {}
  hosts:
    description: The names of all hosts of the play. Those that are not in the fleet are listed as not compared.
    type: list
    elements: str
    default: []
  time:
    description: When the fleet was looked at, in UTC, as C(2026-01-31T12:00:00Z).
    type: str
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
seealso:
  - plugin: linuxvirt.macvtap.fleet_conflicts
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what differs between hosts
  ansible.builtin.debug:
    msg: "{{ (fleet | linuxvirt.macvtap.fleet_comparison).lines }}"
  # ["hv1, hv2: 2 NICs, 1 link", "2 of 2 hosts ok", "No conflicts on 2 hosts"]
"""

RETURN = r"""
_value:
  description: The comparison.
  type: dict
  contains:
    hosts:
      description: The names of the hosts in the fleet.
      type: list
      elements: str
    conflicts:
      description: The conflicts, as P(linuxvirt.macvtap.fleet_conflicts#filter) returns them.
      type: list
      elements: dict
    gaps:
      description: What could not be checked, as P(linuxvirt.macvtap.fleet_gaps#filter) returns it.
      type: list
      elements: dict
    outcome:
      description: The outcome, as P(linuxvirt.macvtap.fleet_outcome#filter) returns it, with the playbook and the time.
      type: dict
    lines:
      description: The text to show. The last line is the number of conflicts.
      type: list
      elements: str
    stop:
      description: Which C(hosts) are to stop, and the C(reason). None if nothing is to stop.
      type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import comparison
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def fleet_comparison(
    fleet: t.Any, outside: t.Any = None, hosts: t.Sequence[str] = (), time: str | None = None
) -> dict[str, t.Any]:
    """Return the comparison of ``fleet`` as plain values."""
    try:
        return comparison.comparison(fleet, outside or {}, hosts, time)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"fleet_comparison: {exc}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_comparison)
