# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter mac_address: stable MAC addresses out of names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mac_address
short_description: A stable MAC address made from names
version_added: 0.2.0
description:
  - Makes a MAC address from what names an interface, such as host, domain and NIC. The same names give the same address
    on every run and every controller, and other names another one, as far as the bytes after O(prefix) go. With the
    default, which leaves 24 bits, at least two of 4,000 addresses are the same with a probability of 38%, and of 1,000
    with one of 3%. A shorter prefix, such as V(52:54), or O(taken) helps against that, and the playbook
    C(linuxvirt.macvtap.preflight) finds it.
  - The names are joined by C(/), so that V(a/b) gives the same address as V(a) and V(b).
  - It is the function by which M(linuxvirt.macvtap.libvirt_direct_iface) makes up addresses, there from the domain's
    UUID and the source.
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
      - What the address begins with, one to five bytes. It must be that of unicast addresses, and for local use, as
        libvirt's V(52:54:00) is.
    type: str
    default: '52:54:00'
  taken:
    description:
      - Addresses that it must not be. Each of them that it would be gives way to the next one.
      - They must not contain the address itself once it is in use, or it would be another one in the next run.
    type: list
    elements: str
    default: []
positional: _input, _names
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: An address for the first NIC of web1
  ansible.builtin.debug:
    msg: "{{ 'web1' | linuxvirt.macvtap.mac_address('lan') }}"
  # 52:54:00:ae:7d:aa

- name: The same of a shorter prefix, and not one that a machine outside of the inventory has
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


def mac_address(seed: t.Any, *names: t.Any, prefix: str = "52:54:00", taken: t.Iterable[str] = ()) -> str:
    """Return the address that all of ``seed`` and ``names`` together have."""
    words = [*(seed if isinstance(seed, (list, tuple)) else [seed]), *names]
    if not words or not all(
        isinstance(word, (str, int)) and not isinstance(word, bool) and str(word) for word in words
    ):
        raise AnsibleFilterError(f"mac_address: it is made from names, and not from {words!r}")
    if isinstance(taken, (str, t.Mapping)) or not isinstance(taken, t.Iterable):
        raise AnsibleFilterError(f"mac_address: taken: a list of addresses is needed, and found is {taken!r}")
    try:
        # What YAML has read as a number is said to be that.
        begins = _mac.require_prefix(str(prefix), path="prefix")
        used = {_mac.parse(str(mac), path=f"taken[{index}]") for index, mac in enumerate(taken)}
        return _mac.stable("/".join(map(str, words)), prefix=begins, taken=used)
    except MacvtapError as exc:
        raise AnsibleFilterError(f"mac_address: {exc}") from exc


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., str]]:
        return {"mac_address": mac_address}
