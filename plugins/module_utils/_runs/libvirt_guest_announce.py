# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_guest_announce: from options to an announcement."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hypervisor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import announce_run


def body(module: _glue.Module) -> dict[str, t.Any]:
    uri = module.params["uri"]
    if not uris.is_local(uri) or uris.is_session(uri):
        raise MacvtapError(f"{uri} is not this host's own libvirt, and the uplinks are this host's", path="uri")
    with hypervisor.connect(uri, read_only=True) as connected:
        return announce_run.run(connected, module.params["domain"], check_mode=module.check_mode)


SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "domain": {"type": "str", "required": True, "aliases": ["name", "guest"]},
        **_glue.shared("uri"),
    },
}
