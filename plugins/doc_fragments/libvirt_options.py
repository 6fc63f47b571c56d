# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Documents options of modules that read from libvirt."""

from __future__ import annotations


class ModuleDocFragment:
    # For modules that gather information.
    DOCUMENTATION = r"""
options:
  timeout:
    description:
      - How many seconds to wait until running guests have released NICs that
        M(linuxvirt.macvtap.libvirt_direct_iface) asked them to release, and replugged NICs are attached again.
      - By default, the state of this moment is returned.
    version_added: 0.2.0
    type: int
    default: 0
"""
