# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_declarations: what hosts declare that a play does not run on."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_declarations
short_description: What hosts outside of a play declare
version_added: 0.2.0
description:
  - Reads the variables of this collection of hosts that C(--limit) leaves out, for
    P(linuxvirt.macvtap.fleet_conflicts#filter) to compare them with the other hosts'. Variables of plays are not among
    them, those of the inventory and of the command line are.
options:
  _input:
    description: The variables of all hosts, C(hostvars). Hosts with C(macvtap_preflight=false) are left
      out.
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
- name: Compare all hosts, whatever --limit says
  ansible.builtin.debug:
    msg: "{{ fleet | combine(hostvars | linuxvirt.macvtap.fleet_declarations(others))
      | linuxvirt.macvtap.fleet_conflicts }}"
  vars:
    others: "{{ groups.hypervisors | difference(ansible_play_hosts_all) }}"
"""

RETURN = r"""
_value:
  description: The hosts by their names, as P(linuxvirt.macvtap.fleet_conflicts#filter) takes them.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import names


def fleet_declarations(hostvars: t.Any, hosts: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """Return the variables of ``hosts`` that are this collection's."""
    try:
        read = {host: hostvars[host] for host in hosts}
        return {host: _of(said) for host, said in read.items() if boolean(said.get("macvtap_preflight", True))}
    except (KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"fleet_declarations: hostvars of {', '.join(map(str, hosts))} are needed") from exc


def _of(variables: t.Any) -> dict[str, t.Any]:
    there = [name for name in variables if names.is_known(name)]
    try:
        return {"declared": {name: _plain(variables[name]) for name in there}, "outside": True}
    except AnsibleError as exc:
        return {"declared": {}, "outside": True, "unreadable": str(exc)}


def _plain(value: t.Any) -> t.Any:
    """Return ``value`` with every template in it resolved, which reading it does.

    :raises AnsibleError: one cannot be.
    """
    if isinstance(value, t.Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if type(value).__name__ in {"AnsibleUndefined", "StrictUndefined", "UndefinedMarker"}:
        raise AnsibleError("it uses a variable that is not defined")
    return value


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"fleet_declarations": fleet_declarations}
