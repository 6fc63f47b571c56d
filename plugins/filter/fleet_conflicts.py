# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_conflicts: what is wrong with a fleet's declarations, told before anything is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_conflicts
short_description: What cannot be as a fleet declares it
version_added: 0.2.0
description:
  - Holds what is declared and what was found of all hosts against each other, on the controller, and returns each
    conflict with the hosts, domains and NICs that it concerns.
  - The playbook C(linuxvirt.macvtap.preflight) is made of it.
  - What is declared goes by the defaults of the roles where a variable is left out.
  - A domain of one UUID on several hosts is one that can live on each of them, and so are those of one name, on hosts
    that share a segment, as long as not more than one UUID is known of it. Its NICs may have the same addresses on all
    of these hosts.
options:
  _input:
    description:
      - The fleet, a dictionary of the hosts by their names. What is said of a host may also be JSON text, as
        P(ansible.builtin.to_json#filter) makes it, which is faster with many hosts.
    type: dict
    required: true
    suboptions:
      declared:
        description:
          - The host's variables of the roles P(linuxvirt.macvtap.macvtap_kernel#role),
            P(linuxvirt.macvtap.macvtap_links#role), P(linuxvirt.macvtap.macvtap_domains#role) and
            P(linuxvirt.macvtap.macvtap_host_access#role). V(null) is as good as left out.
          - C(macvtap_preflight_allow) lists what is allowed on the host. Each entry is a kind of conflict, or a kind
            and the domain, address or link that it is about.
          - C(macvtap_segment) names the layer-2 segment that the host is in. All hosts that have none are in one. A
            dictionary names the segments behind the host's links, by their names, and C(default) that of all others.
        type: dict
      outside:
        description:
          - Whether the host is outside of C(--limit). It is compared by its declarations, and what concerns only such
            hosts is no conflict.
        type: bool
      names:
        description: The names of the host's variables, for misspelt ones to be found. May be left out.
        type: list
        elements: str
      found:
        description: What M(linuxvirt.macvtap.macvtap_host_info) has returned there. What is declared of a host that it
          could not run on is compared all the same.
        type: dict
      unreadable:
        description: Why the host's variables could not be read, which is a conflict of it. Left out where they could.
        type: str
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
seealso:
  - plugin: linuxvirt.macvtap.conflict_table
    plugin_type: filter
  - plugin: linuxvirt.macvtap.fleet_gaps
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say which addresses are used twice
  ansible.builtin.debug:
    msg: "{{ found | selectattr('kind', 'equalto', 'mac') | map(attribute='message') }}"
  vars:
    found: "{{ fleet | linuxvirt.macvtap.fleet_conflicts }}"
    fleet:
      hv1:
        declared: {macvtap_domains_source: eth0, macvtap_domains_interfaces: [{domain: web1, mac: "52:54:00:00:00:01"}]}
        found: "{{ hostvars.hv1.host_info }}"
      hv2:
        declared: {macvtap_domains_source: eth0, macvtap_domains_interfaces: [{domain: web2, mac: "52:54:00:00:00:01"}]}
        found: "{{ hostvars.hv2.host_info }}"
  # ["52:54:00:00:00:01 is used twice on one network"]
"""

RETURN = r"""
_value:
  description: The conflicts, by kind and host; none if everything can be as it is declared.
  type: list
  elements: dict
  contains:
    kind:
      description:
        - V(kernel) without macvtap; V(libvirt) too old for a declared option; a V(declaration) that cannot be read or
          carried out; what would cut off the host itself or Ansible's connection to it (V(disconnect)); a V(parent)
          that is missing or that no macvtap link can be on; an V(mtu) above the parent's; mode V(vepa) on a switch that
          does not reflect; a domain that can live on several hosts and is connected otherwise there, or not with all of
          its declared NICs (V(migration)); the same V(mac) address, or the same IP V(address) of companions, twice in
          one segment.
      type: str
    message:
      description: What was declared or found.
      type: str
    remedy:
      description: What to do about it.
      type: str
    allowed:
      description: Whether all hosts that it concerns allow it by C(macvtap_preflight_allow).
      type: bool
    segment:
      description: The layer-2 segment of the host, or of the hosts.
      type: str
    where:
      description: All places that it concerns.
      type: list
      elements: dict
      contains:
        host:
          description: Name of the host in the inventory.
          type: str
        domain:
          description: Name of the libvirt domain, V(null) if it is none's.
          type: str
        nic:
          description: MAC address of the domain's NIC, V(null) if it is none or not known yet.
          type: str
        link:
          description: Name of the link, V(null) if it is none.
          type: str
        seen:
          description: As what it is there. V(declared), V(stored), V(live), V(saved), V(found) or V(parent),
            or several of them.
          type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import compare


def fleet_conflicts(fleet: t.Any) -> list[dict[str, t.Any]]:
    """Return the conflicts of ``fleet`` as plain values."""
    try:
        return [conflict.as_dict() for conflict in compare.conflicts(fleet)]
    except MacvtapError as exc:
        raise AnsibleFilterError(f"fleet_conflicts: {exc}") from exc


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"fleet_conflicts": fleet_conflicts}
