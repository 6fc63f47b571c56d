# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A module inside of another one: its options are what its own specification makes of them, or refuses."""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "name": {"type": "str"},
        "mode": {"type": "str", "choices": ["bridge", "vepa"], "default": "bridge"},
        "parent": {"type": "str", "aliases": ["dev"]},
        "path": {"type": "path"},
        "rate": {"type": "float"},
        "links": {
            "type": "list",
            "elements": "dict",
            "options": {"name": {"type": "str", "required": True}, "mtu": {"type": "int"}, "up": {"type": "bool"}},
        },
    },
    "mutually_exclusive": [("name", "links")],
    "required_one_of": [("name", "links")],
}
OUTER = t.cast("_glue.Module", types.SimpleNamespace(params={"outer": 1}, check_mode=False, _diff=True, tmpdir="/t"))


def stage(options: t.Mapping[str, t.Any]) -> _glue.Module:
    return _glue.stage(OUTER, "inner", SPECIFICATION, options, "stages[1].options")


def test_options_are_those_of_the_module_in_check_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    options = {"links": [{"name": "a", "mtu": "1400"}, {"name": "b", "mtu": 1500.0, "up": "yes"}], "dev": "eth0"}
    given = {**options, "path": "~/x", "rate": "0.5"}
    made = stage(given)
    assert made.params["links"] == [{"name": "a", "mtu": 1400, "up": None}, {"name": "b", "mtu": 1500, "up": True}]
    assert {key: made.params[key] for key in ("name", "mode", "parent", "path", "rate")} == {
        "name": None,
        "mode": "bridge",
        "parent": "eth0",
        "path": "/home/me/x",
        "rate": 0.5,
    }
    assert (made.check_mode, made._diff, made.tmpdir) == (True, True, "/t")
    # Neither the other module nor what was given for this one is changed.
    assert (OUTER.params, OUTER.check_mode) == ({"outer": 1}, False)
    assert options["links"] == [{"name": "a", "mtu": "1400"}, {"name": "b", "mtu": 1500.0, "up": "yes"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "stages[1].options: one of the following is required: name, links"),
        ({"name": "a", "links": []}, "stages[1].options: parameters are mutually exclusive: name|links"),
        ({"name": "a", "mode": "x"}, "stages[1].options: value of mode must be one of: bridge, vepa, got: x"),
        ({"links": [{}]}, "stages[1].options: missing required arguments: name found in links"),
        ({"links": [{"name": "a", "mtu": True}]}, "stages[1].options.links[0].mtu: True is not a whole number"),
        ({"links": [{"name": "a", "mtu": "1e99999"}]}, "stages[1].options.links[0].mtu: the number is too large for "),
        (
            {"name": "a", "_ansible_check_mode": False},
            "stages[1].options: Unsupported parameters for (linuxvirt.macvtap.inner) module: _ansible_check_mode. ",
        ),
        (
            {"links": [{"name": "a", "x": 1}]},
            "stages[1].options: Unsupported parameters for (linuxvirt.macvtap.inner) ",
        ),
        # What Ansible refuses comes first, as in the module.
        ({"links": [{"mtu": "yes"}]}, "stages[1].options: missing required arguments: name found in links"),
        # The text of a list is parsed only by Ansible.
        ({"links": "mtu=inf"}, "stages[1].options: the value of an option is not a whole number: "),
    ],
)
def test_what_the_module_refuses(options: t.Mapping[str, t.Any], message: str) -> None:
    with pytest.raises(MacvtapError) as caught:
        stage(options)
    assert str(caught.value).startswith(message)
