# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter kea_reservations: DHCP reservations for Kea."""

from __future__ import annotations

DOCUMENTATION = r"""
name: kea_reservations
short_description: DHCP reservations for Kea
version_added: 0.2.0
description:
  - Returns the list C(reservations) of a subnet of Kea's C(Dhcp4) or C(Dhcp6).
extends_documentation_fragment:
  - linuxvirt.macvtap.reservations
  - linuxvirt.macvtap.reservations.family
positional: _input, family
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the reservations of a subnet
  ansible.builtin.debug:
    msg: "{{ nics | linuxvirt.macvtap.kea_reservations | to_json }}"
  vars:
    nics:
      - {mac: "52:54:00:10:00:01", address: 192.0.2.10, hostname: web1}
  # [{"hw-address": "52:54:00:10:00:01", "ip-address": "192.0.2.10", "hostname": "web1"}]
"""

RETURN = r"""
_value:
  description: The reservations.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import reservations
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import FAMILIES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def kea_reservations(nics: t.Any, family: str = "ipv4") -> list[dict[str, t.Any]]:
    """Return the reservations of ``nics``."""
    if family not in FAMILIES:
        raise AnsibleFilterError(f"kea_reservations: family: must be one of {', '.join(FAMILIES)}, not {family!r}")
    try:
        return reservations.kea(reservations.parse(nics), family)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"kea_reservations: {exc}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(kea_reservations)
