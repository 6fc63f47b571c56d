# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Entries that Ansible need not check are what Ansible would make of them; all others are left to it."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _entries, _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import (
    libvirt_direct_iface,
    macvtap_guard,
    macvtap_link,
    vlan_link,
)

SPEC: t.Mapping[str, t.Any] = {
    "links": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "parent": {"type": "str", "aliases": ["dev", "lower"]},
            "mode": {"type": "str", "choices": ["bridge", "vepa"]},
            "mtu": {"type": "int"},
            "up": {"type": "bool"},
            "permissions": {"type": "raw"},
            "macs": {"type": "list", "elements": "str"},
            "flags": {"type": "list", "elements": "str", "choices": ["a", "b"]},
            "tap": {"type": "dict", "options": {"owner": {"type": "str"}, "repair": {"type": "bool"}}},
            "peers": {"type": "list", "elements": "dict", "options": {"mac": {"type": "str", "required": True}}},
        },
    }
}
_VALUES: st.SearchStrategy[t.Any] = st.sampled_from(
    (
        *(None, True, False, 0, 1500, 1 << 70, 1.5, "", "a", "yes", "1500", "bridge", "0660", [], {}),
        *(["a"], ["a", 1], ["a", None], ["c"], "a,b", {"owner": "kvm"}, {"owner": "kvm", "repair": None}),
        *({"repair": "yes"}, {"other": 1}, [{"mac": "x"}], [{}], [{"mac": None}], [{"mac": "x"}, {"mac": 1}]),
    )
)
_NAMES = st.sampled_from((*SPEC["links"]["options"], "dev", "lower", "unknown"))
_ENTRY = st.one_of(st.dictionaries(_NAMES, _VALUES, max_size=4).map(lambda one: {"name": "a", **one}), _VALUES)


def by_ansible(params: t.Mapping[str, t.Any], spec: t.Mapping[str, t.Any]) -> t.Any:
    """Return what Ansible makes of ``params``, None if it refuses or warns."""
    result = ArgumentSpecValidator(spec).validate(copy.deepcopy(params))
    return None if result.error_messages or result._warnings else result.validated_parameters


@given(st.lists(_ENTRY, max_size=3))
def test_entries_are_what_ansible_makes_of_them(entries: list[t.Any]) -> None:
    params = {"links": entries}
    before = copy.deepcopy(params)
    found = _entries.plain(params, SPEC)
    assert params == before
    if found:
        # As JSON, in which true is not 1.
        assert json.dumps(found, sort_keys=True) == json.dumps(by_ansible(params, SPEC), sort_keys=True)


@pytest.mark.parametrize(
    ("specification", "option", "entry"),
    [
        (macvtap_link.SPECIFICATION, "links", {"name": "a", "source": "eth0", "mtu": 1400, "tap": {"mode": 432}}),
        (macvtap_link.SPECIFICATION, "links", {"name": "a", "guard": {"addresses": ["10.0.0.1"]}, "queues": {"tx": 2}}),
        (libvirt_direct_iface.SPECIFICATION, "interfaces", {"domain": "a", "mac": "b", "driver": {"queues": 2}}),
        (vlan_link.SPECIFICATION, "vlans", {"id": 5, "parent": "eth0"}),
        (macvtap_guard.SPECIFICATION, "guards", {"mac": "b", "addresses": ["10.0.0.1"], "state": "present"}),
    ],
)
def test_entries_of_the_modules_are_known(
    specification: _glue.Specification, option: str, entry: dict[str, t.Any]
) -> None:
    spec = {option: specification["argument_spec"][option]}
    found = _entries.plain({option: [entry]}, spec)
    assert found
    assert found == by_ansible({option: [entry]}, spec)


@pytest.mark.parametrize(
    "entry",
    [
        "name=a",
        {},
        {"name": None},
        {"name": 1},
        {"name": "a", "mode": None},
        {"name": "a", "mtu": True},
        {"name": "a", "mtu": 1 << 70},
        {"name": "a", "dev": "b", "parent": "c"},
        {"name": "a", "unknown": 1},
        {"name": "a", "peers": [{}]},
    ],
)
def test_other_entries_are_left_to_ansible(entry: t.Any) -> None:
    assert _entries.plain({"links": [{"name": "b"}, entry]}, SPEC) == {}


@pytest.mark.parametrize("rule", [{"no_log": True}, {"default": "x"}, {"type": "path"}, {"removed_in_version": "3"}])
def test_rules_that_are_not_known_are_left_to_ansible(rule: t.Mapping[str, t.Any]) -> None:
    spec = {"links": {"type": "list", "elements": "dict", "options": {"name": {"type": "str", **rule}}}}
    assert _entries.plain({"links": [{"name": "a"}]}, spec) == {}


def test_only_entries_are_not_checked() -> None:
    spec = {**SPEC, "name": {"type": "str"}}
    assert _entries.unchecked(spec, ["links"]) == {"links": {"type": "list"}, "name": {"type": "str"}}
    assert _entries.unchecked(spec, []) == spec
