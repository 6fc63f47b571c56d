# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_summary: summarizes what the hosts of a fleet declare."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_summary
short_description: Summarize what each host of a fleet declares
version_added: 0.2.0
description:
  - Returns how many NICs, links, VLAN links, networks, guards and host interfaces each host declares. Hosts with the
    same numbers share a line. Hosts that declare nothing are included.
  - Lists variables that have this collection's prefix but are unknown.
  - The last line is the number of conflicts.
options:
  _input:
    description: The fleet, as for P(linuxvirt.macvtap.fleet_conflicts#filter).
    type: dict
    required: true
  conflicts:
    description: The result of P(linuxvirt.macvtap.fleet_conflicts#filter).
    type: list
    elements: dict
    default: []
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the declarations
  ansible.builtin.debug:
    msg: "{{ fleet | linuxvirt.macvtap.fleet_summary }}"
  # ["hv1, hv2: 2 NICs, 1 link", "hv3: declares nothing", "No conflicts on 3 hosts"]
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import fleet as fleets
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import summary
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def fleet_summary(fleet: t.Any, conflicts: t.Sequence[t.Any] = ()) -> list[str]:
    """Return the declarations of ``fleet`` as lines."""
    try:
        return summary.lines(fleets.plain(fleet), conflicts)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"fleet_summary: {exc}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_summary)
