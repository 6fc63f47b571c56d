# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The input of the filters that make DHCP reservations."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  _input:
    description:
      - The NICs, each a dictionary. C(mac) and C(address) are required. C(addresses) is a list instead, with one IPv4
        address at most; setting both is an error. C(hostname), or else C(name), is the host name; without it there is
        none.
      - Other keys do not matter, so the entries of a role's variables can be used as they are.
      - A MAC address or an address that two of them have is an error.
    type: list
    elements: dict
    required: true
"""

    FAMILY = r"""
options:
  family:
    description: Which addresses to reserve. NICs without any are left out.
    type: str
    choices: [ipv4, ipv6]
    default: ipv4
"""
