# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter isc_hosts: DHCP reservations for ISC's dhcpd."""

from __future__ import annotations

DOCUMENTATION = r"""
name: isc_hosts
short_description: DHCP reservations for ISC's dhcpd
version_added: 0.2.0
description:
  - Returns a declaration C(host) for each NIC, to be included in C(dhcpd.conf) or C(dhcpd6.conf).
  - The declarations are named after the MAC addresses.
extends_documentation_fragment:
  - linuxvirt.macvtap.reservations
  - linuxvirt.macvtap.reservations.family
positional: _input, family
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Reserve the guests' addresses
  ansible.builtin.copy:
    content: "{{ [{'mac': '52:54:00:10:00:01', 'address': '192.0.2.10'}] | linuxvirt.macvtap.isc_hosts }}"
    dest: /etc/dhcp/guests.conf
    mode: "0644"
  # host 52-54-00-10-00-01 {
  #   hardware ethernet 52:54:00:10:00:01;
  #   fixed-address 192.0.2.10;
  # }
"""

RETURN = r"""
_value:
  description: The declarations.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import reservations
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import FAMILIES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def isc_hosts(nics: t.Any, family: str = "ipv4") -> str:
    """Return the reservations of ``nics``."""
    if family not in FAMILIES:
        raise AnsibleFilterError(f"isc_hosts: family: must be one of {', '.join(FAMILIES)}, not {family!r}")
    try:
        return reservations.isc(reservations.parse(nics), family)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"isc_hosts: {exc}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(isc_hosts)
