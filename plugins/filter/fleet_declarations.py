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

from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import names


def fleet_declarations(hostvars: t.Any, hosts: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """Return this collection's variables of ``hosts``, but for those that preflight leaves out."""
    try:
        read = {host: hostvars[host] for host in hosts}
        return {host: _of(own) for host, own in read.items() if boolean(own.get("macvtap_preflight", True))}
    except (AttributeError, KeyError, TypeError) as exc:
        message = f"the input must be hostvars, with {', '.join(map(str, hosts))}"
        raise AnsibleFilterError(f"fleet_declarations: {message}") from exc


def _of(variables: t.Any) -> dict[str, t.Any]:
    known = [name for name in variables if names.is_known(name)]
    try:
        return {"declared": {name: _plain(variables[name]) for name in known}, "outside": True}
    except AnsibleError as exc:
        return {"declared": {}, "outside": True, "unreadable": str(exc)}


def _plain(value: t.Any) -> t.Any:
    """Return ``value`` with all templates resolved. Reading a value resolves it.

    :raises AnsibleError: a template cannot be resolved.
    """
    if isinstance(value, t.Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if type(value).__name__ in {"AnsibleUndefined", "StrictUndefined", "UndefinedMarker"}:
        raise AnsibleError("it uses a variable that is not defined")
    return value


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"fleet_declarations": fleet_declarations}
