# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The NICs of domains that are on networks."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import users

STORED = """<domain><metadata><devices><interface><source network='no'/></interface></devices></metadata><devices>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/></interface>
    <interface type='network' trustGuestRxFilters='yes'><mac address='52:54:00:00:00:0A'/>
      <source network='lan' portgroup='web'/></interface>
    <interface type='direct'><mac address='52:54:00:00:00:0b'/><source dev='eth0' mode='bridge'/></interface>
</devices></domain>"""
# As libvirt 9.0 shows a running one.
LIVE = """<domain id='1'><devices><interface type='direct'><mac address='52:54:00:00:00:0a'/>
    <source network='lan' portgroup='web' portid='99e57e30' dev='eth0' mode='bridge'/><target dev='macvtap0'/>
</interface></devices></domain>"""


def test_nics_of_networks_are_found_stored_and_live() -> None:
    (stored,) = users.nics(STORED)
    assert stored == ("lan", "52:54:00:00:00:0a", "web", "", "", {"trust_guest_rx_filters": "yes"})
    (live,) = users.nics(LIVE)
    assert live == ("lan", "52:54:00:00:00:0a", "web", "eth0", "bridge", {})


@pytest.mark.parametrize("document", ["", "<domain>", "<!DOCTYPE x><domain/>"])
def test_a_domain_that_cannot_be_read_is_an_error(document: str) -> None:
    with pytest.raises(MacvtapError):
        users.nics(document)
