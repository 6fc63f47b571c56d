# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_undeclared: lists undeclared links and NICs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_undeclared
short_description: List undeclared links and NICs
version_added: 0.2.0
description:
  - Lists direct interfaces of domains, macvtap links that do not belong to a running guest, and VLAN links and host
    interfaces created by this collection, if the host does not declare them. That includes entries that were deleted
    from the variables.
  - If C(found) has C(written), as M(linuxvirt.macvtap.macvtap_persistence) returns it, also lists what does not exist
    now and is created at the next boot.
  - The playbook C(linuxvirt.macvtap.verify) shows the result.
options:
  _input:
    description: The fleet, as for P(linuxvirt.macvtap.fleet_conflicts#filter).
    type: dict
    required: true
  by_host:
    description: Return a list for each host, in a dictionary of all hosts.
    type: bool
    default: false
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show undeclared links and NICs
  ansible.builtin.debug:
    msg: "{{ fleet | linuxvirt.macvtap.fleet_undeclared }}"
  # ["hv1: NIC 52:54:00:00:00:01 of web1 on eth0, link spare0 on eth0"]
"""

RETURN = r"""
_value:
  description: A line for each host with undeclared links or NICs, or with O(by_host) a dictionary.
  type: raw
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import undeclared
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def fleet_undeclared(fleet: t.Any, by_host: bool = False) -> list[str] | dict[str, list[str]]:
    """Return the undeclared links and NICs of ``fleet``."""
    try:
        return undeclared.by_host(fleet) if by_host else undeclared.lines(fleet)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"fleet_undeclared: {exc}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_undeclared)
