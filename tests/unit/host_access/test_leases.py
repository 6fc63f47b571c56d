# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Leases as the managers note them, in files as they were found."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import leases

NETWORKD = "# This is private data. Do not parse.\nADDRESS=192.0.2.130\nNETMASK=255.255.255.0\nROUTER=192.0.2.1\n"
NETWORKMANAGER = "# This is private data. Do not parse.\nADDRESS=192.0.2.130\nLIFETIME=3600\n"
DHCLIENT = 'lease {\n  interface "host0";\n  fixed-address 192.0.2.130;\n  option routers 192.0.2.1;\n}\n'


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("run/systemd/netif/leases/9", NETWORKD),
        ("var/lib/NetworkManager/internal-0dba29f2-host0.lease", NETWORKMANAGER),
        ("var/lib/dhcp/dhclient.host0.leases", DHCLIENT),
    ],
)
def test_the_address_of_a_lease_is_known_by_what_the_manager_has_noted(
    path: str, text: str, tmp_path: pathlib.Path
) -> None:
    assert leases.noted("host0", 9, str(tmp_path)) == frozenset()
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert leases.noted("host0", 9, str(tmp_path)) == {"192.0.2.130"}
    assert leases.noted("host1", 8, str(tmp_path)) == frozenset()
