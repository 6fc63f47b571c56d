# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_gaps: of which hosts fleet_conflicts knows only what is declared."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_gaps
short_description: Which hosts of a fleet could not be compared, and which domains wait
version_added: 0.2.0
description:
  - Says of which hosts nothing was found, as they could not be reached, and of which hosts libvirt was not asked,
    if interfaces of domains are declared there.
  - Also of which declared domains nothing that is stored will hold, or not yet. They are transient, or have a managed
    save. That is no conflict, since nothing is wrong with their declarations.
  - A host whose variables could not be read is in P(linuxvirt.macvtap.fleet_conflicts#filter), and not here.
options:
  _input:
    description: The fleet, as P(linuxvirt.macvtap.fleet_conflicts#filter) takes it.
    type: dict
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Say which hosts are left out
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
      description: V(host) where nothing was found, V(libvirt) where only links and the kernel were, V(domain) where it
        is about one domain, V(limit) where C(--limit) leaves the host out.
      type: str
    reason:
      description: Why.
      type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import compare


def fleet_gaps(fleet: t.Any) -> list[dict[str, str]]:
    """Return what is not known of ``fleet``."""
    try:
        return compare.gaps(fleet)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"fleet_gaps: {exc}") from exc


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"fleet_gaps": fleet_gaps}
