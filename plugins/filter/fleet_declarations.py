# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_declarations: reads the declarations of hosts outside of a play."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_declarations
short_description: Read the declarations of hosts outside of a play
version_added: 0.2.0
description:
  - Reads this collection's variables of hosts that C(--limit) excludes, so that
    P(linuxvirt.macvtap.fleet_conflicts#filter) can compare them with the other hosts.
  - Hosts with C(macvtap_preflight=false) are left out.
  - Includes variables of the inventory and the command line, but not of plays.
options:
  _input:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  hosts:
    description: The hosts to read.
    type: list
    elements: str
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Compare all hosts regardless of --limit
  ansible.builtin.debug:
    msg: "{{ fleet | combine(hostvars | linuxvirt.macvtap.fleet_declarations(others))
      | linuxvirt.macvtap.fleet_conflicts }}"
  vars:
    others: "{{ groups.hypervisors | difference(ansible_play_hosts_all) }}"
"""

RETURN = r"""
_value:
  description: The hosts by name, as input of P(linuxvirt.macvtap.fleet_conflicts#filter).
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import host_variables, untrusted


def fleet_declarations(hostvars: t.Any, hosts: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """Return this collection's variables of ``hosts``, but for those that preflight leaves out."""
    try:
        read = host_variables.declarations(hostvars, hosts)
    except (AttributeError, KeyError, TypeError) as exc:
        message = f"the input must be hostvars, with {', '.join(map(str, hosts))}"
        raise AnsibleFilterError(f"fleet_declarations: {message}") from exc
    return {host: {**one, "outside": True} for host, one in read.items()}


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_declarations)
