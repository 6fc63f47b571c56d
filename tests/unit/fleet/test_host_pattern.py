# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Patterns that match certain hosts and no others, as Ansible's own inventory matches them."""

from __future__ import annotations

import typing as t

import pytest

errors = pytest.importorskip("ansible.errors")

from ansible.inventory.manager import InventoryManager  # noqa: E402
from ansible.parsing.dataloader import DataLoader  # noqa: E402

from ansible_collections.linuxvirt.macvtap.plugins.filter.host_pattern import host_pattern  # noqa: E402

NAMES = (
    *("hv1", "hv10", "a b", "rack:a", "a,b", "2001:db8::1", "web[1]", "web1", "web*", "!x", "&y", "~z", "ünï", "a\\b"),
    *("a.b", "axb", "x\ny", "☃", "-f", "a|b", "(q)", "a", "b", "rack", "hv.example.com"),
)


@pytest.fixture(scope="module")
def matched() -> t.Callable[[str], t.List[str]]:
    inventory = InventoryManager(DataLoader(), sources=None)
    for name in NAMES:
        inventory.add_host(name, "all")
    return lambda pattern: [host.name for host in inventory.list_hosts(pattern)]


@pytest.mark.parametrize("name", NAMES)
def test_it_matches_one_host_alone(matched: t.Callable[[str], t.List[str]], name: str) -> None:
    assert matched(host_pattern([name])) == [name]


@pytest.mark.parametrize("some", [NAMES, NAMES[:2], NAMES[::3], ("hv1", "a b"), ()])
def test_it_matches_several_hosts_and_no_others(
    matched: t.Callable[[str], t.List[str]], some: t.Tuple[str, ...]
) -> None:
    assert sorted(matched(host_pattern(some))) == sorted(some)


def test_a_pattern_of_usual_names_can_be_read() -> None:
    assert host_pattern(["hv1", "hv.example.com"]) == "hv1,hv.example.com"


@pytest.mark.parametrize("hosts", ["hv1", None, 3, {"hv1": {}}])
def test_what_is_no_list_is_refused(hosts: t.Any) -> None:
    with pytest.raises(errors.AnsibleFilterError, match="must be a list of names"):
        host_pattern(hosts)
