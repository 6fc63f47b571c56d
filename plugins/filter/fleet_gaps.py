# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_gaps: lists what fleet_conflicts could not check."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_gaps
short_description: List what could not be checked in a fleet
version_added: 0.2.0
description:
  - Returns hosts that could not be reached, and hosts whose libvirt did not answer although interfaces of domains are
    declared there.
  - Also returns declared domains that are transient or have a managed save. Their declarations are valid, but take no
    effect, or not yet.
  - Also returns the NICs with C(trust_guest_rx_filters), each with the reason if no guard keeps it to its MAC address.
  - P(linuxvirt.macvtap.fleet_conflicts#filter) reports hosts whose variables could not be read.
options:
  _input:
    description: The fleet, as for P(linuxvirt.macvtap.fleet_conflicts#filter).
    type: dict
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show which hosts could not be checked
  ansible.builtin.debug:
    msg: "{{ fleet | linuxvirt.macvtap.fleet_gaps }}"
  # [{"host": "hv3", "what": "host", "reason": "cannot be reached: ..."}]
"""

RETURN = r"""
_value:
  description: The gaps.
  type: list
  elements: dict
  contains:
    host:
      description: Name of the host in the inventory.
      type: str
    what:
      description: V(host) if the host could not be checked, V(libvirt) if its domains could not be, V(domain) for a
        note about one domain, V(nowhere) for declared domains that no host has, V(limit) if C(--limit) excludes the
        host.
      type: str
    reason:
      description: The reason.
      type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def fleet_gaps(fleet: t.Any) -> list[dict[str, str]]:
    """Return what could not be checked in ``fleet``."""
    try:
        return compare.gaps(fleet)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"fleet_gaps: {exc}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_gaps)
