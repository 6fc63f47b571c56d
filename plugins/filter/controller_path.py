# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter controller_path: a path of a file on the controller, where the user means it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: controller_path
short_description: Make a path on the controller absolute
version_added: 1.0.0
description:
  - Returns the absolute path of a file on the controller. A relative one is in the directory in which
    C(ansible-playbook) was called. A C(~) is the home directory.
  - Modules take a relative path for one beside the playbook, which is in the installed collection. The variable C(PWD)
    of the environment may be another process's directory.
options:
  _input:
    description: The path.
    type: str
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Write a file where the command was called
  ansible.builtin.copy:
    content: found
    dest: "{{ 'found.txt' | linuxvirt.macvtap.controller_path }}"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The absolute path.
  type: str
"""

import pathlib
import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def controller_path(path: t.Any) -> str:
    """Return ``path`` as an absolute one."""
    if not isinstance(path, str) or not path:
        raise AnsibleFilterError(f"controller_path: the input must be a path, not {path!r}")
    return str(pathlib.Path(path).expanduser().absolute())


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(controller_path)
