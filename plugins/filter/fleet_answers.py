# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_answers: what hosts have answered, with the variables to connect to them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_answers
short_description: Return what hosts have answered, as JSON text
version_added: 1.0.0
description:
  - Returns the result that each host has registered, with variables of the host.
  - A variable that cannot be read of one host hides none of the others.
  - The inventory plugin P(linuxvirt.macvtap.guests#inventory) uses it.
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
  registered:
    description: The variable in which the task has registered its result.
    type: str
    required: true
  variables:
    description: The names of the variables to return.
    type: list
    elements: str
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Write down what the hosts have answered
  ansible.builtin.copy:
    content: "{{ ansible_play_hosts_all | linuxvirt.macvtap.fleet_answers(hostvars, 'found', ['ansible_host']) }}"
    dest: /tmp/answers.json
    mode: "0600"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - JSON text of a dictionary. Each host has C(result), C(connection) with the variables that are set, and
      C(unreadable) with the reasons of those that cannot be read, by name.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import host_variables, untrusted


def fleet_answers(hosts: t.Any, hostvars: t.Any, registered: str, variables: t.Sequence[str]) -> str:
    """Return what ``hosts`` have answered, and their ``variables``."""
    try:
        names = [str(host) for host in hosts]
        return untrusted.json_text(host_variables.answers(hostvars, names, registered, variables))
    except (AttributeError, KeyError, TypeError) as exc:
        message = f"the input must be names of hosts that hostvars has ({type(exc).__name__}: {exc})"
        raise AnsibleFilterError(f"fleet_answers: {message}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_answers)
