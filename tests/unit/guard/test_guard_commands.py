# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The chains on links, as commands and as they are listed."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft

A, B = "52:54:00:00:0a:01", "52:54:00:00:0a:02"
NAME = nft.name_from(bytes(range(250, 256)))


def listed(commands: t.Sequence[nft.Object]) -> list[nft.Object]:
    return [one["add"]["rule"] for one in commands if "rule" in one.get("add", {})]


def test_the_name_of_a_nics_link_is_known_as_such_and_fits() -> None:
    assert NAME == "mvgfafbfcfdfeff"
    assert len(NAME) == 15
    assert nft.is_named_for_nic(NAME)
    assert not any(map(nft.is_named_for_nic, ("mvg0", "web0", "macvtap0", "mvg525400000a01x", "mvgx25400000a01")))


def test_only_a_declared_name_may_be_another_nics_later() -> None:
    assert [one for one in ("web0", "macvtap3", NAME, "macvtapx") if nft.may_be_declared(one)] == [
        "web0",
        "macvtapx",
    ]


def test_what_opens_a_link_replaces_what_closed_it() -> None:
    close = nft.close_link(NAME, A, 1e9, None)
    opened = nft.add_link(NAME, A, 7, "guard_x", [{**one, "handle": 3} for one in listed(close)])
    # One chain, at one hook, without the rule that was there.
    assert close[0]["create"] == opened[0]["add"]
    assert opened[1] == {"delete": {"rule": {**nft.OF_TABLE, "chain": nft.chain_of(NAME), "handle": 3}}}
    assert [len(listed(one)) for one in (close, opened)] == [1, 1]
    assert nft.is_closed(listed(close))
    assert not nft.is_closed(listed(opened))
    assert not nft.is_closed([*listed(close), *listed(opened)])
    assert not nft.is_closed([])


@pytest.mark.parametrize(
    ("commands", "orphan"),
    [
        (nft.close_link("web0", A, 1e9, None), False),
        (nft.close_link("web0", A, 1e9 - nft.CLOSED_SECONDS, None), True),
        (nft.add_link(NAME, A, 7, "guard_x", None), True),
        # A kernel may have it ready for the next link of that name, which is as likely as not to be the same guest's.
        (nft.add_link("macvtap0", A, 7, "guard_x", None), False),
        (nft.add_link("web0", A, None, "guard_x", None), False),
    ],
)
def test_what_does_nothing_without_a_link_is_left_over(commands: t.Sequence[nft.Object], orphan: bool) -> None:
    (found,) = [nft.of_link(one) for one in listed(commands)]
    assert found is not None
    assert nft.is_orphan(found, 1e9) is orphan


def test_what_an_earlier_version_has_closed_is_known() -> None:
    assert nft.of_link({"comment": f"{A} closed web0"}) == nft.OfLink(A, "web0", closed=0)
    assert nft.of_link({"comment": "mac"}) is None


@pytest.mark.parametrize("digits", [str(1 << 32), "9" * 10, "9" * 19, "9" * 5000], ids=len)
def test_a_number_that_the_kernel_has_none_of_is_no_index_and_no_time(digits: str) -> None:
    assert nft.of_link({"comment": f"{A} {digits} web0"}) == nft.OfLink(A, "web0")
    rule = {"comment": f"{A} closed@{digits} web0"}
    assert nft.of_link(rule) == nft.OfLink(A, "web0", closed=0)
    assert nft.lets_out([rule], 1e9) == nft.ANYTHING
    assert nft.of_link({"comment": f"{A} {(1 << 32) - 1} web0"}) == nft.OfLink(A, "web0", (1 << 32) - 1)


@pytest.mark.parametrize(
    ("commands", "mac"),
    [
        (nft.add_link("macvtap0", A, 7, "guard_x", None), A),
        (nft.add_link("macvtap0", A, 8, "guard_x", None), ""),
        (nft.add_link("macvtap0", A, None, "guard_x", None), ""),
        (nft.close_link(NAME, A, 1e9, None), A),
        (nft.close_link(NAME, B, 1e9, None), B),
        # Any NIC may have got a name that was declared.
        (nft.close_link("web0", A, 1e9, None), ""),
        ([], ""),
    ],
)
def test_whose_link_it_is_follows_from_the_chain(commands: t.Sequence[nft.Object], mac: str) -> None:
    assert nft.bound(listed(commands), 7) == mac


@pytest.mark.parametrize(
    ("commands", "text"),
    [
        (nft.close_link(NAME, A, 1e9, None), "nothing that the guest sends gets out before 01:47:40 UTC"),
        # Its time is over.
        (nft.close_link(NAME, A, 1e9 - nft.CLOSED_SECONDS, None), "the guest may send anything"),
        # The kernel cannot close it.
        ([], "the guest may send anything"),
    ],
)
def test_what_a_link_without_its_guard_lets_out_is_said(commands: t.Sequence[nft.Object], text: str) -> None:
    assert nft.lets_out(listed(commands), 1e9) == text


@pytest.mark.parametrize(
    ("former", "commands"),
    [
        (None, ["create chain", "add rule"]),
        # The kernel does not delete a chain that has got rules since.
        ([], ["delete chain", "create chain", "add rule"]),
        ([{"handle": 3}, {"handle": 5}], ["add chain", "delete rule", "delete rule", "add rule"]),
    ],
)
def test_nothing_replaces_what_it_has_not_seen(former: list[nft.Object] | None, commands: list[str]) -> None:
    for found in (nft.add_link("macvtap0", A, 7, "guard_x", former), nft.close_link("macvtap0", A, 1e9, former)):
        assert [f"{verb} {kind}" for one in found for verb, what in one.items() for kind in what] == commands
