# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_plan: what is to be done on the hosts of a fleet, as text."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_plan
short_description: Describe what is to be done on the hosts of a fleet
version_added: 0.2.0
description:
  - Describes the results of M(linuxvirt.macvtap.macvtap_host_plan) in lines. Hosts with the same line share one.
  - The playbooks C(linuxvirt.macvtap.site) and C(linuxvirt.macvtap.verify) use it.
options:
  _input:
    description: The module's result on each host, by host name. V(none) for a host that was not looked at.
    type: dict
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
seealso:
  - module: linuxvirt.macvtap.macvtap_host_plan
"""

EXAMPLES = r"""
- name: Show what is to be done
  ansible.builtin.debug:
    msg: "{{ {inventory_hostname: plan} | linuxvirt.macvtap.fleet_plan }}"
  # ["hv1: spare0 state: up → down"]
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import plans
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def fleet_plan(fleet: t.Any) -> list[str]:
    """Return what is to be done on the hosts of ``fleet``."""
    try:
        return plans.lines({host: plan for host, plan in fleet.items() if plan})
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError("fleet_plan: the input must be results of macvtap_host_plan by host name") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_plan)
