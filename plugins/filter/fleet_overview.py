# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_overview: what a fleet has and declares, as data."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_overview
short_description: Return what a fleet has and declares
version_added: 0.2.0
description:
  - Returns the hosts with their uplinks, direct networks, and the NICs of their guests. Each NIC has its differences
    from the declaration, and what it gets only when its guest is stopped and started.
  - The playbooks C(linuxvirt.macvtap.show) and C(linuxvirt.macvtap.report) show the result.
options:
  _input:
    description:
      - The fleet, as for P(linuxvirt.macvtap.fleet_conflicts#filter).
      - Addresses of guests and counters of guards are shown if they were found, with
        O(linuxvirt.macvtap.macvtap_host_info#module:guests=true).
    type: dict
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
seealso:
  - plugin: linuxvirt.macvtap.overview_text
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the NICs that are not as declared
  ansible.builtin.debug:
    msg: "{{ overview.hosts | map(attribute='nics') | flatten | selectattr('drift') }}"
  vars:
    overview: "{{ fleet | linuxvirt.macvtap.fleet_overview }}"
"""

RETURN = r"""
_value:
  description: The overview. It can be written as JSON, and compared with a later one.
  type: dict
  contains:
    version:
      description: Version of this form.
      type: int
    summary:
      description:
        - Numbers of C(hosts), C(guests), C(running) guests, C(nics), and C(conflicts) that are not allowed. Of hosts
          that are C(not_inspected), and of NICs with C(drift), with C(restart_required), and that are C(undeclared).
      type: dict
    hosts:
      description:
        - The hosts, with C(name), C(segment), C(inspected), C(notes), C(kernel), C(libvirt), C(uplinks), C(networks),
          C(undeclared), and the number of their C(conflicts).
        - Each of C(nics) has C(host), C(guest), C(mac), C(kind), C(state), C(link), C(uplink), C(network),
          C(portgroup), C(mode), C(addresses), C(guard), C(guard_packets), C(multicast) and C(declared). Links without a
          guest are among them.
        - It also has C(drift), a list of C(field), C(declared) and C(current); C(restart), a list of C(field),
          C(stored) and C(live); and C(pending), V(null) or a request that the guest has not answered, with C(state),
          C(since), C(error) and C(returns).
      type: list
      elements: dict
    conflicts:
      description: The conflicts, as P(linuxvirt.macvtap.fleet_conflicts#filter) returns them.
      type: list
      elements: dict
    gaps:
      description: What could not be checked, as P(linuxvirt.macvtap.fleet_gaps#filter) returns it.
      type: list
      elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import overview
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def fleet_overview(fleet: t.Any) -> dict[str, t.Any]:
    """Return what ``fleet`` has and declares."""
    try:
        return overview.overview(fleet)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"fleet_overview: {exc}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_overview)
