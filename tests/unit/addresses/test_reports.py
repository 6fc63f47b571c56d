# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A hypervisor that reports what its module never would."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import reports
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

ADDRESS = {"address": "192.0.2.7", "family": "ipv4", "scope": "global", "state": "claimed"}
NIC = {"mac": "52:54:00:00:00:0a", "addresses": [ADDRESS]}
GUEST = {"name": "web1", "uuid": "u1", "state": "running", "interfaces": [NIC]}


def test_a_whole_report_is_returned_as_it_is() -> None:
    assert reports.guests([GUEST]) == [GUEST]
    assert reports.others([NIC]) == [NIC]


@pytest.mark.parametrize(
    "report",
    [
        None,
        "web1",
        {"name": "web1"},
        [None],
        [{**GUEST, "name": None}],
        [{**GUEST, "interfaces": None}],
        [{**GUEST, "interfaces": [{**NIC, "mac": ["a"]}]}],
        [{**GUEST, "interfaces": [{**NIC, "addresses": {}}]}],
        *(
            [{**GUEST, "interfaces": [{**NIC, "addresses": [{**ADDRESS, **change}]}]}]
            for change in (
                {"address": "-oProxyCommand=reboot"},
                {"address": 7},
                {"family": "inet"},
                {"state": "sure"},
                {"scope": None},
            )
        ),
        [{name: value for name, value in GUEST.items() if name != "uuid"}],
    ],
)
def test_another_form_is_an_error(report: t.Any) -> None:
    with pytest.raises(MacvtapError, match="its answer cannot be read: "):
        reports.guests(report)


@pytest.mark.parametrize("name", ["web1", "web-1.example.org", "wéb", "web@2", "1"])
def test_names_of_hosts(name: str) -> None:
    assert reports.is_usable(name)


@pytest.mark.parametrize(
    "name", ["-oProxyCommand=x", "", "a b", "{{ x }}", "web1,web2", "!web1", "web[1:9]", "a\nb", "$(x)"]
)
def test_names_that_cannot_be_hosts(name: str) -> None:
    assert not reports.is_usable(name)
