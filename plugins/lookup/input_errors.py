# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup input_errors: why roles of this collection would refuse a host's variables, or the tags of the run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: input_errors
short_description: Return why this collection's roles would refuse a host's variables
version_added: 1.0.0
description:
  - Checks the variables of the host against the argument specifications of all roles of the playbook C(site), before
    any of them has changed something. Ansible checks those of each role right before its tasks, whatever the tags.
  - If the tags of the run select no role, returns that too.
  - The playbooks C(site) and C(teardown) use it in the role P(linuxvirt.macvtap.macvtap_preflight#role).
options:
  _terms:
    description: None are needed.
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Refuse what a role would refuse
  ansible.builtin.assert:
    that: query('linuxvirt.macvtap.input_errors') | length == 0
    fail_msg: "{{ query('linuxvirt.macvtap.input_errors') | join('. ') }}"
"""

RETURN = r"""
_raw:
  description: The errors, none if there is nothing wrong.
  type: list
  elements: str
"""

import typing as t

from ansible.plugins.lookup import LookupBase

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import role_stages


class LookupModule(LookupBase):
    """The entry point for Ansible."""

    def run(self, terms: t.Any, variables: t.Mapping[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """Return the errors of the host whose ``variables`` these are."""
        del terms
        self.set_options(var_options=variables, direct=kwargs)
        reader = role_stages.Reader(self._templar, variables or {})
        unselected = "" if reader.is_for_others() else reader.unselected()
        # Ansible checks the variables of a role with any tags.
        return [error for error in (unselected, *reader.invalid(of_run=False).values()) if error]
