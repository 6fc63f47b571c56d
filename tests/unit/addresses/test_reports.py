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


def test_a_mac_address_is_written_in_one_way_and_a_segment_is_not_the_hosts_to_tell() -> None:
    (nic,) = reports.others([{**NIC, "mac": "5254.0000.000A", "segment": "dmz"}])
    assert nic == NIC


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
        [{**GUEST, "interfaces": [{**NIC, "mac": "{{ lookup('pipe', 'reboot') }}"}]}],
        [{**GUEST, "interfaces": [{**NIC, "vlan": "10"}]}],
        # Another guest would get its groups and addresses.
        [GUEST, {**GUEST, "uuid": "u2"}],
        # Ansible's own JSON would make a template or a vault of it.
        [{**GUEST, "more": [{"__ansible_type": "_AnsibleTaggedStr"}]}],
        [{**GUEST, "more": {"__ansible_vault": "$ANSIBLE_VAULT;1.1"}}],
        [{**GUEST, "interfaces": [{**NIC, "addresses": {}}]}],
        *(
            [{**GUEST, "interfaces": [{**NIC, "addresses": [{**ADDRESS, **change}]}]}]
            for change in (
                {"address": "-oProxyCommand=reboot"},
                {"address": 7},
                {"address": "2001:db8::1%;reboot;", "family": "ipv6"},
                {"address": "fe80::1%eth0", "family": "ipv6"},
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
    "name",
    [
        *("-oProxyCommand=x", "", "a b", "{{ x }}", "web1,web2", "!web1", "web[1:9]", "a\nb", "$(x)"),
        # The variables of another host, a token of ssh, and what moves a terminal's cursor.
        *("x/../gitlab", "web%h", "web\x1b[2J", "web\u202e"),
    ],
)
def test_names_that_cannot_be_hosts(name: str) -> None:
    assert not reports.is_usable(name)
