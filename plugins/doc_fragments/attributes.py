# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The attributes of every module, in the words of Ansible's own documentation."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and predict what would change without changing it.
  diff_mode:
    description: Returns what changed, or in check mode would change, when in diff mode.
  idempotent:
    description: A second run with the same options changes nothing.
  platform:
    description: Platforms that the module runs on.
    platforms: posix
    support: full
    details: Linux only.
"""

    LIBVIRT = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/linuxvirt.macvtap.libvirt) in C(module_defaults) to set O(uri) and O(timeout).
    support: full
    membership:
      - linuxvirt.macvtap.libvirt
"""

    LINKS = r"""
options: {}
attributes:
  action_group:
    description: >-
      Use C(group/linuxvirt.macvtap.links) in C(module_defaults) to set O(parent), O(mode), O(lock_timeout) and
      O(on_error).
    support: full
    membership:
      - linuxvirt.macvtap.links
"""
