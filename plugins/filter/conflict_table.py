# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter conflict_table: conflicts for people to read."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conflict_table
short_description: The conflicts of a fleet as one table
version_added: 0.2.0
description:
  - Writes what P(linuxvirt.macvtap.fleet_conflicts#filter) returns as text. Each conflict has a line for each host,
    domain and NIC or link that it concerns, then what it is, then what to do about it. One that concerns more than
    twelve of them has a line for each host, and for no more than twelve hosts.
options:
  _input:
    description: The conflicts.
    type: list
    elements: dict
    required: true
  gaps:
    description: What P(linuxvirt.macvtap.fleet_gaps#filter) returns, to be named below the table.
    type: list
    elements: dict
    default: []
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the table, a line each
  ansible.builtin.debug:
    msg: "{{ (fleet | linuxvirt.macvtap.fleet_conflicts | linuxvirt.macvtap.conflict_table).splitlines() }}"
"""

RETURN = r"""
_value:
  description: The table, lines of text; empty if there is neither a conflict nor a gap.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import table


def conflict_table(conflicts: t.Any, gaps: t.Sequence[t.Any] = ()) -> str:
    """Return ``conflicts`` as text."""
    try:
        return table.table(conflicts, gaps)
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError("conflict_table: conflicts are needed as fleet_conflicts returns them") from exc


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., str]]:
        return {"conflict_table": conflict_table}
