# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter host_pattern: a pattern that matches certain hosts and no others, whatever their names are."""

from __future__ import annotations

DOCUMENTATION = r"""
name: host_pattern
short_description: Make a host pattern of names of hosts
version_added: 1.0.0
description:
  - Returns a pattern for C(hosts) of a play, which matches these hosts. Without hosts, one that matches none.
  - Ansible splits a pattern at commas, blanks and colons, and reads C(*), C(!), C(&) and brackets. A name that has such
    a character would match other hosts, or none.
options:
  _input:
    description: The names of the hosts.
    type: list
    elements: str
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Restart what differs
  hosts: "{{ different | linuxvirt.macvtap.host_pattern }}"
  vars:
    different: [hv1, "rack 2:hv"]
  # ~^(hv1|rack\x202\x3ahv)\Z
"""

RETURN = r"""
_value:
  description: The pattern.
  type: str
"""

import re
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted

# Nothing in them means anything in a pattern.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NOBODY = "localhost,!localhost"


def host_pattern(hosts: t.Any) -> str:
    """Return a pattern that matches ``hosts``."""
    if isinstance(hosts, (str, t.Mapping)) or not isinstance(hosts, t.Iterable):
        raise AnsibleFilterError("host_pattern: the input must be a list of names of hosts")
    names = [str(host) for host in hosts]
    if all(map(_PLAIN.fullmatch, names)):
        return ",".join(names) or _NOBODY
    return f"~^({'|'.join(map(_escaped, names))})\\Z"


def _escaped(name: str) -> str:
    """Return ``name`` as a regular expression, without any character that ends or splits a pattern."""
    return "".join(one if _PLAIN.fullmatch(one) else _code(ord(one)) for one in name)


def _code(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\U{number:08x}"


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(host_pattern)
