# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What an inventory says of a migration."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import inventory

MAC = "52:54:00:00:01:01"


class Stage(t.NamedTuple):
    module: str
    options: t.Mapping[str, t.Any]
    error: str | None = None


def of_web1(entry: dict[str, t.Any], **options: t.Any) -> list[dict[str, t.Any]]:
    stage = Stage("libvirt_direct_iface", {"interfaces": [{"domain": "web1", "mac": MAC, **entry}], **options})
    return inventory.interfaces("web1", inventory.declared([Stage("macvtap_link", {}), stage]))


@pytest.mark.parametrize(
    ("entry", "options", "found"),
    [
        ({"source": "eth1"}, {}, {"source": "eth1"}),
        ({}, {"source": "eth1", "mode": "private"}, {"source": "eth1", "mode": "private"}),
        ({"source": "eth2"}, {"source": "eth1", "mode": "vepa"}, {"source": "eth2", "mode": "vepa"}),
        ({"network": "lan"}, {"source": "eth1", "mode": "vepa"}, {"network": "lan"}),
        ({"source": "eth2"}, {"network": "lan", "portgroup": "web"}, {"source": "eth2"}),
        ({"portgroup": "db"}, {"network": "lan", "portgroup": "web"}, {"network": "lan", "portgroup": "db"}),
        ({"source": "eth1", "mode": "auto"}, {}, {"source": "eth1", "mode": "auto"}),
        (
            {"model": "virtio", "live": "replug", "guard": {}},
            {"source": "eth1", "state": "present"},
            {"source": "eth1"},
        ),
    ],
)
def test_a_nic_has_what_the_destination_declares(
    entry: dict[str, t.Any], options: dict[str, t.Any], found: dict[str, str]
) -> None:
    assert of_web1(entry, **options) == [{"mac": MAC, **found}]


def test_other_domains_and_absent_nics_do_not_count() -> None:
    assert of_web1({"domain": "web2", "source": "eth1"}) == []
    assert of_web1({"state": "absent", "source": "eth1"}) == []
    assert of_web1({"mac": None, "source": "eth1"}) == []
    assert of_web1({"source": "eth1"}, state="absent") == []


def test_variables_that_cannot_be_read_are_an_error() -> None:
    with pytest.raises(MacvtapError, match=r"^destination: its variables cannot be read: 'x' is undefined$"):
        inventory.declared([Stage("libvirt_direct_iface", {}, "'x' is undefined")])


@pytest.mark.parametrize("entries", [True, "web1", {"domain": "web1"}, 7])
def test_nics_that_are_no_list_are_an_error(entries: t.Any) -> None:
    with pytest.raises(MacvtapError, match=r"^destination: its macvtap_domains_interfaces is not a list, but "):
        inventory.declared([Stage("libvirt_direct_iface", {"interfaces": entries}, None)])


@pytest.mark.parametrize("odd", [[], {}, 1.5, "never"])
def test_what_is_no_truth_value_does_not_silence_a_nic(odd: t.Any) -> None:
    entry = {"domain": "web1", "mac": LEFT[0]["mac"], "allmulticast": odd}
    (rule,) = inventory.there(LEFT[:1], [Stage("libvirt_direct_iface", {"interfaces": [entry]}, None)], "web1")
    assert rule["allmulticast"] is True


@pytest.mark.parametrize(
    ("variables", "uri"),
    [
        ({}, "qemu+ssh://hv2/system"),
        ({"ansible_host": "192.0.2.7"}, "qemu+ssh://192.0.2.7/system"),
        ({"ansible_host": "2001:db8::7"}, "qemu+ssh://[2001:db8::7]/system"),
        (
            {"ansible_host": "192.0.2.7", "macvtap_migration_uri": "qemu+tls://hv2.lan/system"},
            "qemu+tls://hv2.lan/system",
        ),
    ],
)
def test_the_uri_of_a_host(variables: dict[str, str], uri: str) -> None:
    assert inventory.uri("hv2", variables) == uri


def test_the_uplinks_of_both_hosts() -> None:
    assert inventory.uplinks({"macvtap_uplink": "eth0"}, {"macvtap_uplink": "enp3s0"}) == {"eth0": "enp3s0"}
    assert inventory.uplinks({}, {"macvtap_uplink": "enp3s0"}) == {}
    assert inventory.uplinks({"macvtap_uplink": "eth0"}, {}) == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hv1", "destination: 'hv1' is the host that the task runs on"),
        ("hw2", "destination: the inventory has no host 'hw2'; did you mean hv2.*"),
    ],
)
def test_the_destination_is_another_host_of_the_inventory(name: str, message: str) -> None:
    with pytest.raises(MacvtapError, match=message):
        inventory.check(name, "hv1", ["hv1", "hv2", "hv3"])
    inventory.check("hv2", "hv1", ["hv1", "hv2", "hv3"])


MACS = [f"52:54:00:00:01:{n}" for n in ("0a", "0b", "0c", "0d")]
LEFT = [{"mac": mac, "allmulticast": True, "guard": None} for mac in MACS]


def test_what_a_host_declares_is_not_left_over() -> None:
    stages = [
        Stage(
            "libvirt_direct_iface", {"interfaces": [{"domain": "web1", "mac": "52-54-00-00-01-0A"}, {"domain": "w2"}]}
        ),
        Stage("macvtap_guard", {"guards": [{"mac": "5254.0000.010b"}]}),
        Stage("macvtap_link", {"links": [{"name": "x0"}, {"name": "x1", "mac": "52540000010C", "guard": {}}]}),
    ]
    # A guard says nothing of multicast, and a NIC without one nothing of guards.
    assert inventory.undeclared(LEFT, stages, "web1") == [LEFT[1], LEFT[3]]
    guarded = [{**one, "guard": {"rate": 1}} for one in LEFT]
    rest = inventory.undeclared(guarded, stages, "web1")
    assert [(one["mac"], one["allmulticast"], one["guard"]) for one in rest] == [
        (MACS[0], False, {"rate": 1}),
        (MACS[1], True, None),
        (MACS[3], True, {"rate": 1}),
    ]


@pytest.mark.parametrize(
    ("entry", "options", "allmulticast", "keeps"),
    [
        ({"guard": {}}, {}, True, True),
        ({"guard": {"state": "absent"}}, {}, True, False),
        ({"guard": {}, "state": "absent"}, {}, True, False),
        ({"guard": {}}, {"state": "absent"}, True, False),
        ({}, {"allmulticast": True}, True, False),
        ({}, {"allmulticast": "no"}, False, False),
        ({"allmulticast": False}, {"allmulticast": True}, False, False),
        # What is not set, or has no value, says nothing.
        ({"allmulticast": None}, {"allmulticast": True}, True, False),
        ({}, {"allmulticast": None}, True, False),
        ({}, {"allmulticast": ""}, True, False),
        # Of an entry without an address it is not known which NIC it is for.
        ({"mac": None, "alias": "ua-lan", "allmulticast": False}, {}, False, False),
    ],
)
def test_what_a_destination_declares_is_not_overwritten(
    entry: dict[str, t.Any], options: dict[str, t.Any], allmulticast: bool, keeps: bool
) -> None:
    rule = {"mac": MACS[0], "allmulticast": True, "guard": {"rate": 1}}
    entries = [{"domain": "web1", "mac": MACS[0], **entry}]
    stages = [Stage("libvirt_direct_iface", {"interfaces": entries, **options})]
    assert inventory.there([rule], stages, "web1") == [{**rule, "allmulticast": allmulticast, "keep_guard": keeps}]
    only_heard = inventory.there([{**rule, "guard": None}], stages, "web1")
    assert [one["allmulticast"] for one in only_heard] == [True] * allmulticast


def test_a_guard_that_may_be_declared_on_the_destination_stays_there() -> None:
    rule = {"mac": MACS[0], "allmulticast": True, "guard": {}}
    assert inventory.there([rule], [Stage("macvtap_guard", {}, "'x' is undefined")], "web1") == [
        {**rule, "keep_guard": True}
    ]


@pytest.mark.parametrize(
    "stage",
    [
        Stage("macvtap_guard", {}, "'x' is undefined"),
        Stage("macvtap_guard", {"guards": 5}),
        Stage("macvtap_guard", {"guards": MACS[0]}),
        Stage("macvtap_guard", {"guards": {"mac": MACS[0]}}),
        Stage("macvtap_guard", {"guards": [MACS[0]]}),
        Stage("libvirt_direct_iface", {"interfaces": [{"domain": "web1", "alias": "ua-lan"}]}),
    ],
    ids=str,
)
def test_what_may_be_declared_counts_as_declared(stage: Stage) -> None:
    assert inventory.undeclared(LEFT, [stage], "web1") == []


@pytest.mark.parametrize("uri", ["qemu+ssh://hv3/system", "qemu:///session", "qemu+tcp://localhost/system"])
def test_a_destination_whose_roles_use_another_libvirt_is_refused(uri: str) -> None:
    inventory.check_own("hv2", "qemu:///system")
    with pytest.raises(MacvtapError, match=r"^macvtap_domains_uri: .* is not hv2's own libvirt") as raised:
        inventory.check_own("hv2", uri)
    assert repr(uri) in str(raised.value)
