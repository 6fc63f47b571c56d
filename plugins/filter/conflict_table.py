# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter conflict_table: formats conflicts as a table."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conflict_table
short_description: Format the conflicts of a fleet as a table
version_added: 0.2.0
description:
  - Formats the result of P(linuxvirt.macvtap.fleet_conflicts#filter) as text. Each conflict has a row for each place,
    that is host, domain, and NIC or link. Then follow its message and its remedy.
  - A conflict with more than twelve places has one row for each host, and at most twelve rows.
options:
  _input:
    description: The conflicts.
    type: list
    elements: dict
    required: true
  gaps:
    description: The result of P(linuxvirt.macvtap.fleet_gaps#filter), shown below the table.
    type: list
    elements: dict
    default: []
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the table line by line
  ansible.builtin.debug:
    msg: "{{ (fleet | linuxvirt.macvtap.fleet_conflicts | linuxvirt.macvtap.conflict_table).splitlines() }}"
"""

RETURN = r"""
_value:
  description: The table as lines of text. Empty without conflicts and gaps.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import table
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def conflict_table(conflicts: t.Any, gaps: t.Sequence[t.Any] = ()) -> str:
    """Return ``conflicts`` as text."""
    try:
        return table.table(conflicts, gaps)
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError("conflict_table: the input must be the result of fleet_conflicts") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(conflict_table)
