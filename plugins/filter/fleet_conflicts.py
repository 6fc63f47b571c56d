# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_conflicts: finds conflicts in a fleet's declarations before anything is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_conflicts
short_description: Find conflicts in a fleet's declarations
version_added: 0.2.0
description:
  - Compares the declarations and current states of all hosts, on the controller. Returns each conflict with the hosts,
    domains and NICs that it concerns.
  - The playbook C(linuxvirt.macvtap.preflight) uses P(linuxvirt.macvtap.fleet_comparison#filter), which has them too.
  - Unset variables have the defaults of the roles.
  - Domains with the same UUID on several hosts count as one domain that can migrate. So do domains of the same name on
    hosts that share a segment, unless several UUIDs are known. Their NICs may have the same addresses on these hosts.
options:
  _input:
    description:
      - The fleet, a dictionary by host name. The value of a host may also be JSON text, as returned by
        P(ansible.builtin.to_json#filter), which is faster with many hosts.
    type: dict
    required: true
    suboptions:
      declared:
        description:
          - The host's variables of the roles P(linuxvirt.macvtap.macvtap_kernel#role),
            P(linuxvirt.macvtap.macvtap_links#role), P(linuxvirt.macvtap.macvtap_domains#role) and
            P(linuxvirt.macvtap.macvtap_host_access#role). V(null) means unset.
          - C(macvtap_preflight_allow) lists allowed conflicts of the host. Each entry is a kind of conflict, or a kind
            and the domain, address or link that it concerns.
          - C(macvtap_segment) is the layer-2 segment of the host. Hosts without it share one segment. A dictionary
            assigns segments to the host's links by name, and to all others by C(default).
        type: dict
      outside:
        description:
          - Whether the host is outside of C(--limit) or C(macvtap_hosts). Only its declarations are compared. Conflicts
            that concern only such hosts are not returned.
        type: bool
      names:
        description: The names of all variables of the host, to find misspelt ones. Optional.
        type: list
        elements: str
      found:
        description: The result of M(linuxvirt.macvtap.macvtap_host_info) on the host. If the module failed, only the
          host's declarations are compared.
        type: dict
      invalid:
        description: Why roles would refuse variables of the host, by their names. Optional.
        type: dict
        version_added: 1.0.0
      unreadable:
        description: Why the host's variables could not be read. It is reported as a conflict.
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
- name: Show duplicate MAC addresses
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
  description: The conflicts, sorted by kind and host.
  type: list
  elements: dict
  contains:
    kind:
      description:
        - V(kernel), no macvtap support.
        - V(libvirt), too old for a declared option.
        - V(declaration), invalid or impossible.
        - V(disconnect), would cut off the host itself or Ansible's connection to it.
        - V(parent), missing or unsuitable for macvtap links.
        - V(mtu), larger than the parent's.
        - V(vepa), this mode on a switch that does not reflect frames.
        - V(migration), a domain of several hosts with different or missing NICs on some of them.
        - V(mac), a MAC address used twice in a segment.
        - V(address), an IP address of two host interfaces in a segment.
      type: str
    message:
      description: What was declared, and what is wrong with it.
      type: str
    remedy:
      description: How to fix it.
      type: str
    allowed:
      description: Whether all its hosts allow it by C(macvtap_preflight_allow).
      type: bool
    segment:
      description: The layer-2 segment of the host, or of the hosts.
      type: str
    where:
      description: All places of the conflict.
      type: list
      elements: dict
      contains:
        host:
          description: Name of the host in the inventory.
          type: str
        domain:
          description: Name of the libvirt domain, or V(null).
          type: str
        nic:
          description: MAC address of the domain's NIC, V(null) if there is none or it is not known yet.
          type: str
        link:
          description: Name of the link, or V(null).
          type: str
        seen:
          description: In which way it is there, one or several of V(declared), V(stored), V(live), V(saved), V(found)
            and V(parent).
          type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def fleet_conflicts(fleet: t.Any) -> list[dict[str, t.Any]]:
    """Return the conflicts of ``fleet`` as plain values."""
    try:
        return [conflict.as_dict() for conflict in compare.conflicts(fleet)]
    except MacvtapError as exc:
        raise AnsibleFilterError(f"fleet_conflicts: {exc}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_conflicts)
