# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The modules that can be stages, each imported when it is asked for: some take longer to import than to run.

Ansible finds out by import statements which files it sends to a host, so each module has its own.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_plan.model import (
    GUARDS,
    HOST_ACCESS,
    INTERFACES,
    KERNEL,
    LINKS,
    NETWORKS,
    PERSISTENCE,
    VLANS,
)


def _kernel_macvtap_check() -> t.Any:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import kernel_macvtap_check

    return kernel_macvtap_check


def _macvtap_guard() -> t.Any:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import macvtap_guard

    return macvtap_guard


def _macvtap_persistence() -> t.Any:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import macvtap_persistence

    return macvtap_persistence


def _vlan_link() -> t.Any:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import vlan_link

    return vlan_link


def _macvtap_link() -> t.Any:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import macvtap_link

    return macvtap_link


def _libvirt_direct_network() -> t.Any:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import libvirt_direct_network

    return libvirt_direct_network


def _libvirt_direct_iface() -> t.Any:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import libvirt_direct_iface

    return libvirt_direct_iface


def _macvtap_host_access() -> t.Any:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import macvtap_host_access

    return macvtap_host_access


_MODULES: t.Mapping[str, t.Callable[[], t.Any]] = {
    KERNEL: _kernel_macvtap_check,
    GUARDS: _macvtap_guard,
    PERSISTENCE: _macvtap_persistence,
    VLANS: _vlan_link,
    LINKS: _macvtap_link,
    NETWORKS: _libvirt_direct_network,
    INTERFACES: _libvirt_direct_iface,
    HOST_ACCESS: _macvtap_host_access,
}
NAMES = tuple(_MODULES)


def load(name: str) -> t.Any:
    """Import what the module ``name`` does, and return it: a file of _runs."""
    return _MODULES[name]()
