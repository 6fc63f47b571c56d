# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Parts of messages."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text, _values


def test_of_many_names_the_first_are_listed() -> None:
    assert _text.join_names(["a", "b"]) == "a, b"
    assert _text.join_names(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert _text.join_names([]) == ""


def test_suggestions_for_a_misspelt_name() -> None:
    assert _text.did_you_mean(_text.suggest("eth2", ["lo", "eth0", "eth1"])) == "; did you mean eth1 or eth0?"
    assert _text.did_you_mean(_text.suggest("zzz", ["lo", "eth0"])) == ""


def test_a_duplicate_declaration_has_both_paths() -> None:
    error = _text.declared_twice("eth0.20", "vlans[1].id", "vlans[0]")
    assert str(error) == "vlans[1].id: eth0.20 is declared twice, here and in vlans[0]"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0000:01:00.0", "0000:01:00.0"),
        ("1:0.0", "0000:01:00.0"),
        (" 0000:0A:1F.7 ", "0000:0a:1f.7"),
        # A domain of its own behind Intel's VMD.
        ("10000:e1:00.0", "10000:e1:00.0"),
        ("0000:01:00.8", None),
        ("eth0", None),
        ("52:54:00:00:00:01", None),
    ],
)
def test_pci_addresses(text: str, address: str | None) -> None:
    assert _values.pci_address(text) == address
