# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A portgroup in use that others have removed from what is stored: the active network keeps it, and says so."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import report, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Portgroup, User

from .planned import DB, LAN, host, impacts, network, plan
from .test_portgroups import documents

Groups = t.Tuple[Portgroup, ...]
GONE = Portgroup("web", values={"trust_guest_rx_filters": "yes"})
GONE_DEFAULT = replace(GONE, default=True)
OTHER = (replace(DB, default=False),)


@pytest.mark.parametrize(
    ("stored", "live", "user", "unreadable"),
    [
        ((DB,), (GONE, DB), documents("web", live="web"), ()),
        ((DB,), (GONE, DB), documents("db", live="web"), ()),
        # It would start, or be restored, without it.
        ((DB,), (GONE, DB), documents("web"), ()),
        ((DB,), (GONE, DB), documents("db", saved="web"), ()),
        # It is the default one, and there is no other.
        (OTHER, (GONE_DEFAULT, *OTHER), documents("", live=""), ()),
        ((), (GONE_DEFAULT,), documents("", live=""), ()),
        # There is another default one, and the guest has chosen this by its name.
        ((DB,), (GONE_DEFAULT, *OTHER), documents("web", live="web"), ()),
        ((DB,), (GONE, DB), None, ("secret",)),
    ],
)
@pytest.mark.parametrize("mode", ["bridge", "passthrough"])
def test_the_active_network_keeps_a_portgroup_in_use_that_others_have_removed(
    stored: Groups, live: Groups, user: User | None, unreadable: tuple[str, ...], mode: str
) -> None:
    was = replace(LAN, mode=mode)
    lan = network(replace(was, portgroups=stored), replace(was, portgroups=live))
    here = host(lan, *([user] if user is not None else []), unreadable=unreadable)
    options: list[dict[str, t.Any]] = [
        {},
        {"interfaces": ["eth0", "eth1"]},
        {"interfaces": ["eth0", "eth1", "eth2"]},
        {"portgroups": [{"name": "new", "trust_guest_rx_filters": True}]},
        {"mode": "vepa"},
    ]
    for given in options:
        planned = plan(here, **given)
        after = planned.steps[0].after if planned.steps else lan
        assert after is not None
        assert after.live is not None
        kept = after.live.portgroup("web")
        assert kept is not None
        assert kept.values == GONE.values
        # A network has one default portgroup.
        assert sum(one.default for one in after.live.portgroups) <= 1
        assert "recreate" not in impacts(planned).values()
        assert "portgroups.web" not in impacts(planned)
        # It is not stored again, and what that means is not hidden.
        assert after.portgroup("web") is None
        fields = {field for one in report.due(after, here.users_of("lan")) for field in one["fields"]}
        assert "portgroups.web" in fields
        # Nothing is left to do then.
        again = replace(here, networks={"lan": after})
        assert not plan(again, **given).changed
        for step in planned.steps:
            validate.confirm(step, replace(here, unreadable=()))
    assert "portgroups.web" in impacts(plan(here, force=True))
    # It goes once no guest uses it.
    assert "portgroups.web" in impacts(plan(host(lan)))
    assert "portgroups.web" in impacts(plan(host(lan, documents("db"))))
