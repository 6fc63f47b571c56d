# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_looks: a fleet as the other filters take it, from the results of macvtap_host_plan."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_looks
short_description: Collect what the hosts of a fleet have returned
version_added: 1.0.0
description:
  - Returns for each host the state and the declarations that M(linuxvirt.macvtap.macvtap_host_plan) has returned with
    C(host).
  - A host whose task failed before the module could answer, for example because its password is not defined, is
    included, with what it declares and the reason.
  - A host is left out if the task was skipped on it, or was not to look at the host.
  - The playbooks C(linuxvirt.macvtap.preflight), C(linuxvirt.macvtap.show) and C(linuxvirt.macvtap.report) use it.
options:
  _input:
    description: The names of the hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts.
    type: dict
    required: true
  variable:
    description: The variable in which the task has registered its result.
    type: str
    default: macvtap_plan
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
seealso:
  - plugin: linuxvirt.macvtap.fleet_conflicts
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the declarations
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | linuxvirt.macvtap.fleet_looks(hostvars) | linuxvirt.macvtap.fleet_summary }}"
"""

RETURN = r"""
_value:
  description: The fleet, as P(linuxvirt.macvtap.fleet_conflicts#filter) takes it.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import host_variables, untrusted


def fleet_looks(hosts: t.Any, hostvars: t.Any, variable: str = "macvtap_plan") -> dict[str, t.Any]:
    """Return what looking at ``hosts`` has found."""
    try:
        return host_variables.looks(hostvars, [str(host) for host in hosts], variable)
    except (AttributeError, KeyError, TypeError) as exc:
        message = f"the input must be names of hosts that hostvars has ({type(exc).__name__}: {exc})"
        raise AnsibleFilterError(f"fleet_looks: {message}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_looks)
