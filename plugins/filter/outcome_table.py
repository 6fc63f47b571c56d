# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter outcome_table: the outcome of verify or preflight as a table."""

from __future__ import annotations

DOCUMENTATION = r"""
name: outcome_table
short_description: Format the outcome of a check of a fleet as a table
version_added: 0.2.0
description:
  - Formats the result of P(linuxvirt.macvtap.fleet_outcome#filter). Control characters in what hosts report are
    replaced. The table has at most 200 differences.
options:
  _input:
    description: The outcome.
    type: dict
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
seealso:
  - plugin: linuxvirt.macvtap.fleet_outcome
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what differs
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | linuxvirt.macvtap.fleet_outcome(hostvars)
      | linuxvirt.macvtap.outcome_table }}"
"""

RETURN = r"""
_value:
  description: The lines of the table. The last one has the numbers.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import outcome
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def outcome_table(result: t.Any) -> list[str]:
    """Return the lines of an outcome."""
    try:
        return outcome.table(result)
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError("outcome_table: the input must be the result of fleet_outcome") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(outcome_table)
