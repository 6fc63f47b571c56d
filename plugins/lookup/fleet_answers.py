# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup fleet_answers: what hosts have answered, with the variables to connect to them."""

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
  _terms:
    description: The names of the hosts.
    type: list
    elements: str
    required: true
  registered:
    description: The variable in which the task has registered its result.
    type: str
    required: true
  names:
    description: The names of the variables to return.
    type: list
    elements: str
    default: []
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Write down what the hosts have answered
  ansible.builtin.copy:
    content: "{{ lookup('linuxvirt.macvtap.fleet_answers', 'hv1', 'hv2', registered='found', names=['ansible_host']) }}"
    dest: /tmp/answers.json
    mode: "0600"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
_raw:
  description:
    - JSON text of a dictionary. Each host has C(result), C(connection) with the variables that are set, and
      C(unreadable) with the reasons of those that cannot be read, by name.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import host_variables, untrusted


class LookupModule(LookupBase):
    """The entry point for Ansible. A filter would have it import all filters of the collection."""

    def run(self, terms: t.Any, variables: t.Mapping[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """Return what the hosts ``terms`` have answered, and their variables."""
        self.set_options(var_options=variables, direct=kwargs)
        registered, names = self.get_option("registered"), self.get_option("names")
        try:
            found = host_variables.answers((variables or {})["hostvars"], list(map(str, terms)), registered, names)
        except (AttributeError, KeyError, TypeError) as exc:
            message = f"the terms must be names of hosts ({type(exc).__name__}: {exc})"
            raise AnsibleError(f"fleet_answers: {message}") from exc
        return [untrusted.json_text(found)]
