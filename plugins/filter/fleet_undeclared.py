# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_undeclared: what hosts have and nobody declares."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_undeclared
short_description: What hosts have that they do not declare
version_added: 0.2.0
description:
  - Lists direct interfaces of domains, macvtap links that are no running guest's, and VLAN links and host interfaces
    that this collection has made, where the host does not declare them. What was declared once and is deleted from the
    variables is among them.
  - The playbook C(linuxvirt.macvtap.verify) shows it.
options:
  _input:
    description: The fleet, as P(linuxvirt.macvtap.fleet_conflicts#filter) takes it.
    type: dict
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show what is left over
  ansible.builtin.debug:
    msg: "{{ fleet | linuxvirt.macvtap.fleet_undeclared }}"
  # ["hv1: NIC 52:54:00:00:00:01 of web1 on eth0, link spare0 on eth0"]
"""

RETURN = r"""
_value:
  description: A line for each host that has something of it.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import undeclared


def fleet_undeclared(fleet: t.Any) -> list[str]:
    """Return what the hosts of ``fleet`` have and do not declare."""
    try:
        return undeclared.lines(fleet)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"fleet_undeclared: {exc}") from exc


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"fleet_undeclared": fleet_undeclared}
