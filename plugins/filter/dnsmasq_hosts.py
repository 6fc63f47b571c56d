# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter dnsmasq_hosts: DHCP reservations for dnsmasq."""

from __future__ import annotations

DOCUMENTATION = r"""
name: dnsmasq_hosts
short_description: DHCP reservations for dnsmasq
version_added: 0.2.0
description:
  - Returns a line C(dhcp-host) for each NIC, to be a file in the directory of C(conf-dir), which dnsmasq reads when it
    starts.
  - Fails for host names that dnsmasq would take for something else there, namely V(ignore), V(infinite) and a number
    with or without one of the letters C(smhdw).
extends_documentation_fragment:
  - linuxvirt.macvtap.reservations
positional: _input
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Reserve the guests' addresses
  ansible.builtin.copy:
    content: "{{ guest_nics | linuxvirt.macvtap.dnsmasq_hosts }}"
    dest: /etc/dnsmasq.d/guests.conf
    mode: "0644"
  vars:
    guest_nics:
      - {mac: "52:54:00:10:00:01", address: 192.0.2.10, hostname: web1}
      - {mac: "52:54:00:10:00:02", addresses: [192.0.2.11, "2001:db8::11"]}
  # dhcp-host=52:54:00:10:00:01,192.0.2.10,web1
  # dhcp-host=52:54:00:10:00:02,192.0.2.11,[2001:db8::11]
"""

RETURN = r"""
_value:
  description: The lines, each with its end.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import reservations
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def dnsmasq_hosts(nics: t.Any) -> str:
    """Return the reservations of ``nics``."""
    try:
        return reservations.dnsmasq(reservations.parse(nics))
    except MacvtapError as exc:
        raise AnsibleFilterError(f"dnsmasq_hosts: {exc}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(dnsmasq_hosts)
