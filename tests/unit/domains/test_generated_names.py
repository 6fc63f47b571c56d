# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which names libvirt has generated for a running guest, and which a user has chosen."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import is_generated


@pytest.mark.parametrize(
    ("field", "text", "generated"),
    [
        ("target", "vnet0", True),
        ("target", "macvtap12", True),
        ("target", "vnet", False),
        ("target", "vnet²", False),
        ("target", "vnet٣", False),
        ("target", "myvnet0", False),
        ("alias", "net0", True),
        ("alias", "ua-net0", False),
        ("alias", "hostdev²", False),
    ],
)
def test_a_name_is_generated_only_in_the_form_of_libvirt(field: str, text: str, generated: bool) -> None:
    assert is_generated(field, text) is generated
