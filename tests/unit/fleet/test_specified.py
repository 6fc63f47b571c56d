# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Variables that a role would refuse: each with one error that names it, before the first role runs."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from compared import H1, NOTHING
from fleet import declared
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare, specified

NO_VALUE = "has no value. Give it one, or remove it: then it has its default"


def specification() -> dict[str, dict[str, t.Any]]:
    """Return the options of all roles."""
    found: dict[str, dict[str, t.Any]] = {}
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        found.update(yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"])
    return found


SPECIFICATION = specification()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("macvtap_domains_timeout", "soon", "'soon' is not a whole number"),
        ("macvtap_kernel_state", "laoded", "'laoded' is not one of supported, loaded"),
        ("macvtap_host_access_persistence", "ifupdwn", "'ifupdwn' is not one of auto, "),
        ("macvtap_links_tap", 5, "must be a dictionary, not 5"),
        ("macvtap_links_guest_only", "maybe", "'maybe' is neither true nor false"),
        ("macvtap_domains_pause_max", "long", "'long' is not a number"),
        ("macvtap_migration_targets", [1], "must be a dictionary, not [1]"),
        ("macvtap_preflight_allow", {"a": 1}, "must be a list, not {'a': 1}"),
        # Ansible makes a text of these.
        ("macvtap_domains_uri", ["a"], "must be a text, not ['a']"),
        ("macvtap_verify_json", ["a"], "must be a text, not ['a']"),
        ("macvtap_domains_interfaces", None, NO_VALUE),
        ("macvtap_links_tap", None, NO_VALUE),
        ("macvtap_links_purge", None, NO_VALUE),
        ("macvtap_domains_timeout", None, NO_VALUE),
        ("macvtap_kernel_state", None, NO_VALUE),
        ("macvtap_links_tap", {"ownr": "root"}, ".ownr: unknown option; did you mean owner?"),
        ("macvtap_links_links", [{"name": "x0", "mtu": "many"}], "[0].mtu: 'many' is not a whole number"),
        ("macvtap_domains_interfaces", [{"domian": "web1"}], "[0].domian: unknown option; did you mean domain?"),
    ],
)
def test_an_error_names_the_variable_what_was_found_and_what_it_must_be(name: str, value: t.Any, message: str) -> None:
    sound = {"macvtap_uplink": "eth0", "macvtap_links_mtu": None}
    (found,) = specified.faults({**sound, name: value}, SPECIFICATION).items()
    assert found[0] == name
    assert found[1].startswith((f"{name}: {message}", f"{name}{message}"))


@pytest.mark.parametrize("name", sorted(SPECIFICATION))
def test_every_variable_that_is_nonsense_has_an_error_of_its_own(name: str) -> None:
    option = SPECIFICATION[name]
    nonsense = {"raw": None, "list": {"a": {"b"}}, "dict": 5}.get(option["type"], [{"a": 1}])
    found = specified.faults({name: nonsense}, SPECIFICATION)
    assert [error.startswith(f"{name}: ") for error in found.values()] == ([] if option["type"] == "raw" else [True])
    assert "<class" not in str(found)


def test_what_the_roles_accept_has_no_error() -> None:
    defaults = {name: option["default"] for name, option in SPECIFICATION.items() if "default" in option}
    assert specified.faults(defaults, SPECIFICATION) == {}
    texts = {"macvtap_domains_timeout": "30", "macvtap_links_purge": "yes", "macvtap_domains_live": "update,pause"}
    assert specified.faults({**texts, "macvtap_domains_model": None, "macvtap_domains_uri": None}, SPECIFICATION) == {}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (declared(domains_timeout="soon"), "macvtap_domains_timeout: refused"),
        # The declarations say more precisely what is wrong.
        (declared(domains_timeout="soon", domains_live="no"), "macvtap_domains_live: 'no' is not one of none, "),
        (declared(links=[{"name": "x0", "mtu": "many"}]), "macvtap_links_links[0].mtu: 'many' is not a whole number"),
    ],
)
def test_a_refused_variable_is_one_conflict(variables: dict[str, t.Any], message: str) -> None:
    name = message.partition(":")[0].partition("[")[0]
    there = {"declared": variables, "found": H1, "invalid": {name: f"{name}: refused"}}
    conflicts = compare.conflicts({"hv1": there})
    assert [(one.kind, [place.host for place in one.where]) for one in conflicts] == [("declaration", ["hv1"])]
    assert conflicts[0].message.startswith(message)


def test_a_refused_variable_of_a_host_that_cannot_be_read_otherwise_is_one_too() -> None:
    there = {"declared": NOTHING, "unreadable": "'nowhere' is undefined", "invalid": {"macvtap_links_tap": "wrong"}}
    assert [one.message for one in compare.conflicts({"hv1": there})] == [
        "a variable cannot be read: 'nowhere' is undefined",
        "wrong",
    ]
