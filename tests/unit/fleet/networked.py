# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What tests of networks in a fleet share: declarations of networks and of NICs on them."""

from __future__ import annotations

import typing as t

from compared import A, nic
from fleet import Values, declared, found, uplink


def lan(*interfaces: str, **options: t.Any) -> Values:
    return {"name": "lan", **({"interfaces": list(interfaces)} if interfaces else {}), **options}


def on(*nics: Values, networks: t.Sequence[Values] = (), **variables: t.Any) -> Values:
    """Return declarations of NICs on the network lan, and of networks."""
    own = declared(*nics, networks_networks=list(networks), domains_network="lan", uplink="eth0", **variables)
    return {name: value for name, value in own.items() if name != "macvtap_domains_source"}


# The uplinks of the two hosts have different names.
SECOND = found(uplink(3, "enp3s0"), number=2)
LAN1, LAN2 = on(nic(mac=A), networks=[lan()]), on(networks=[lan("enp3s0")])
