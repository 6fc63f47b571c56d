# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter mac_address: generates stable MAC addresses from names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mac_address
short_description: Generate a stable MAC address from names
version_added: 0.2.0
description:
  - Generates a MAC address from names that identify an interface, such as host, domain and NIC. The same names give the
    same address on every run and every controller.
  - Different names give different addresses, except for collisions. The default O(prefix) leaves 24 bits, so the
    probability of any collision is 3% among 1,000 addresses and 38% among 4,000. A shorter prefix, such as V(52:54), or
    O(taken) reduces that. The playbook C(linuxvirt.macvtap.preflight) finds collisions.
  - The names are joined by C(/), so V(a/b) gives the same address as V(a) and V(b).
  - M(linuxvirt.macvtap.libvirt_direct_iface) generates addresses in the same way, from the domain's UUID and the
    source.
options:
  _input:
    description: The first name, or a list of all of them.
    type: raw
    required: true
  _names:
    description: More names, as positional arguments.
    type: list
    elements: str
  prefix:
    description:
      - The first one to five bytes of the address. They must be those of locally administered unicast addresses, like
        libvirt's V(52:54:00).
    type: str
    default: '52:54:00'
  taken:
    description:
      - Addresses that are already in use. A generated address that is among them is replaced by another one.
      - The list must not contain the generated address itself, or the next run would generate a different one.
    type: list
    elements: str
    default: []
positional: _input, _names
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Generate an address for the first NIC of web1
  ansible.builtin.debug:
    msg: "{{ 'web1' | linuxvirt.macvtap.mac_address('lan') }}"
  # 52:54:00:ae:7d:aa

- name: Use a shorter prefix, and exclude addresses of machines outside of the inventory
  ansible.builtin.debug:
    msg: "{{ [inventory_hostname, 'lan'] | linuxvirt.macvtap.mac_address(prefix='52:54', taken=macs_of_others) }}"
"""

RETURN = r"""
_value:
  description: The address, in lower case with colons.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def mac_address(seed: t.Any, *names: t.Any, prefix: str = "52:54:00", taken: t.Iterable[str] = ()) -> str:
    """Return the address for ``seed`` and ``names`` together."""
    words = [*(seed if isinstance(seed, (list, tuple)) else [seed]), *names]
    if not words or not all(
        isinstance(word, (str, int)) and not isinstance(word, bool) and str(word) for word in words
    ):
        raise AnsibleFilterError(f"mac_address: the input must be names, not {words!r}")
    if isinstance(taken, (str, t.Mapping)) or not isinstance(taken, t.Iterable):
        raise AnsibleFilterError(f"mac_address: taken: must be a list of addresses, not {taken!r}")
    try:
        # A number is converted to text, so that the error names it as such.
        begins = _mac.require_prefix(str(prefix), path="prefix")
        used = {_mac.parse(str(mac), path=f"taken[{index}]") for index, mac in enumerate(taken)}
        return _mac.stable("/".join(map(str, words)), prefix=begins, taken=used)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"mac_address: {exc}") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(mac_address)
