# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Top-level options are the defaults of the entries of a list."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue


def test_one_thing_has_no_path() -> None:
    assert _glue.entries({"links": None, "name": "a", "mode": None}, "links", ["name", "mode"]) == [
        ("", {"name": "a", "mode": None})
    ]


def test_an_entry_takes_what_it_leaves_out_from_the_top_level() -> None:
    params = {"mode": "bridge", "mtu": 1400, "links": [{"name": "a"}, {"name": "b", "mode": "vepa", "mtu": None}]}
    assert _glue.entries(params, "links", ["name", "mode", "mtu"]) == [
        ("links[0]", {"name": "a", "mode": "bridge", "mtu": 1400}),
        ("links[1]", {"name": "b", "mode": "vepa", "mtu": 1400}),
    ]


def test_dictionaries_are_merged_key_by_key() -> None:
    params = {"tap": {"owner": "root", "group": "kvm"}, "links": [{"tap": {"owner": "qemu", "group": None}}]}
    assert _glue.entries(params, "links", ["tap"]) == [("links[0]", {"tap": {"owner": "qemu", "group": "kvm"}})]


def test_an_empty_list_declares_nothing() -> None:
    assert _glue.entries({"links": [], "name": None}, "links", ["name"]) == []
