# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From options to rules of nftables and back."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    guard_library,
    guard_links,
    guard_recorders,
    model,
    options,
    parsing,
    rules,
    store,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard

MAC = "52:54:00:00:0a:01"
_NETWORKS4 = st.tuples(st.integers(1, 0xDFFFFFFF), st.integers(8, 32)).map(
    lambda pair: f"{_dotted(pair[0] >> (32 - pair[1]) << (32 - pair[1]))}/{pair[1]}"
)
_NETWORKS6 = st.tuples(st.integers(0, (1 << 64) - 1), st.sampled_from((48, 64, 128))).map(
    lambda pair: f"2001:db8:{pair[0] >> 48 & 0xFFFF:x}:{pair[0] >> 32 & 0xFFFF if pair[1] > 48 else 0:x}::/{pair[1]}"
)
# IPv4 in IPv6, as libnftables lists it.
_MAPPED = _NETWORKS4.map(lambda text: f"::ffff:{text.partition('/')[0]}/{96 + int(text.partition('/')[2])}")
_MACS = st.integers(0, 0xFFFFFF).map(lambda n: f"52:54:00:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}")
_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "policy": st.sampled_from(("drop", "count")),
        "other_macs": st.booleans(),
        "addresses": st.just(["learned"]) | st.lists(_NETWORKS4 | _NETWORKS6 | _MAPPED, max_size=5),
        "ethertypes": st.lists(st.sampled_from(("ip", "ip6", "arp", "0x88cc", "0x8809")), min_size=1),
        "peers": st.lists(_NETWORKS4 | _NETWORKS6 | _MAPPED | _MACS, max_size=4),
        "dhcp_server": st.booleans(),
        "router_advertisements": st.booleans(),
        "rate": st.integers(0, 1000000),
        "mirror_to": st.sampled_from(("", "mon0")),
    },
)


def _dotted(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def guard_of(**given_options: t.Any) -> Guard:
    return options.desired("", {"mac": MAC, **given_options}).guard(MAC)


@given(_OPTIONS)
# As long as a MAC address, and with as many colons.
@example({"peers": ["192.0.2.1", "2001:db8:0:1000::"], "addresses": ["2001:db8:0:1000::"]})
def test_a_guard_is_read_back_from_its_rules(given_options: dict[str, t.Any]) -> None:
    guard = guard_of(**given_options)
    # As the kernel lists them: sets in another order.
    listed = json.loads(json.dumps(rules.render(guard)), object_hook=_reversed_sets)
    assert parsing.parse(MAC, listed) == guard
    # As libnftables 1.1.7 lists the same.
    assert parsing.parse(MAC, json.loads(json.dumps(listed), object_hook=_with_names)) == guard
    assert store.guard_of(MAC, json.loads(json.dumps(store.entry_of(guard)))) == guard


def _with_names(one: dict[str, t.Any]) -> dict[str, t.Any]:
    target = one.get("payload") == {"base": "th", "offset": 64, "len": 128}
    return {"payload": {"protocol": "icmpv6", "field": "taddr"}} if target else one


def _reversed_sets(one: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"set": one["set"][::-1]} if isinstance(one.get("set"), list) else one


@pytest.mark.parametrize(
    "edit",
    [
        lambda listed: listed.pop(),
        lambda listed: listed.insert(0, {"expr": [{"accept": None}]}),
        lambda listed: listed[0].pop("comment"),
        lambda listed: listed[0]["expr"].append({"accept": None}),
        lambda listed: listed[1].update(expr=[]),
        lambda listed: listed[0]["expr"].pop(),
    ],
)
def test_rules_of_others_are_no_guard(edit: t.Callable[[list[t.Any]], t.Any]) -> None:
    listed = copy.deepcopy(rules.render(guard_of(addresses=["192.0.2.1"])))
    edit(listed)
    assert parsing.parse(MAC, listed) is None


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({"addresses": ["192.0.2.1/24"]}, r"addresses\[0\]: .*did you mean 192.0.2.0/24 or 192.0.2.1"),
        ({"addresses": ["web1"]}, r"addresses\[0\]: 'web1' is not an IP address"),
        ({"addresses": ["192.0.2.1", "2001:db8::1%eth0"]}, r"addresses\[1\]: '2001:db8::1%eth0' has a zone"),
        ({"peers": ["2001:db8::%eth0/64"]}, r"peers\[0\]: '2001:db8::%eth0/64' has a zone"),
        ({"addresses": ["224.0.0.1"]}, r"addresses\[0\]: 224.0.0.1 is not an address that a guest can have"),
        ({"addresses": ["0.0.0.0"]}, r"addresses\[0\]: 0.0.0.0 is not an address"),  # noqa: S104
        ({"addresses": ["192.0.2.1", "learned"]}, "addresses: learned cannot be combined"),
        ({"ethertypes": ["ipx"]}, r"ethertypes\[0\]: 'ipx' is not an EtherType"),
        ({"ethertypes": ["0x10"]}, r"ethertypes\[0\]: '0x10' is not an EtherType"),
        # Not one that Python's own rules for numbers are about.
        ({"ethertypes": ["0800"]}, r"ethertypes\[0\]: '0800' is not .*to 0xffff\. Did you mean 0x0800\?$"),
        ({"ethertypes": ["arp", "08"]}, r"ethertypes\[1\]: '08' is not an EtherType: .*to 0xffff$"),
        ({"ethertypes": ["86dd"]}, r"ethertypes\[0\]: '86dd' is not .*Did you mean 0x86dd\?$"),
        ({"ethertypes": ["806"]}, r"ethertypes\[0\]: '806' is not .*Did you mean 0x0806\?$"),
        ({"ethertypes": ["00"]}, r"ethertypes\[0\]: '00' is not an EtherType: .*to 0xffff$"),
        ({"ethertypes": ["65536"]}, r"ethertypes\[0\]: '65536' is not an EtherType: .*to 0xffff$"),
        ({"ethertypes": []}, "ethertypes: the guest could send nothing at all"),
        ({"ethertypes": ["vlan"], "addresses": ["192.0.2.1"]}, "ethertypes: within VLAN tags no address is checked"),
        ({"peers": ["ff:ff:ff:ff:ff:ff"]}, r"peers\[0\]: .*broadcast address"),
        ({"peers": ["ff02::1"]}, r"peers\[0\]: ff02::1 is always allowed"),
        ({"rate": -1}, "rate: -1 is not between"),
        ({"link": "macvtap0"}, "mac: set mac or link, and not both"),
        ({"mac": None, "link": "a/b"}, "link: 'a/b' is not a valid link name"),
        ({"mac": None, "link": "mt0", "domain": "web1"}, "mac: mac is required with domain"),
    ],
)
def test_what_is_no_guard_is_refused(given_options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(MacvtapError, match=message):
        options.desired("", {"mac": MAC, **given_options}).guard(MAC)


@pytest.mark.parametrize(
    ("given_addresses", "addresses"),
    [
        ([], ()),
        (["learned"], ("learned",)),
        (["192.0.2.10"], ("192.0.2.10", "fe80::5054:ff:fe00:a01")),
        (["2001:db8::/65", "2001:db8::8000:0:0:0/65"], ("2001:db8::/64", "fe80::5054:ff:fe00:a01")),
        (["fe80::/10"], ("fe80::/10",)),
        (["fe80::7"], ("fe80::7",)),
        (["::/0", "192.0.2.1", "192.0.2.0/24"], ("192.0.2.0/24", "::/0")),
        # As one text, whichever Python writes it.
        (["::ffff:c000:201", "192.0.2.5"], ("192.0.2.5", "::ffff:192.0.2.1", "fe80::5054:ff:fe00:a01")),
        (["::ffff:192.0.2.0/120"], ("::ffff:192.0.2.0/120", "fe80::5054:ff:fe00:a01")),
    ],
)
def test_a_guest_has_its_own_link_local_address(given_addresses: list[str], addresses: tuple[str, ...]) -> None:
    assert guard_of(addresses=given_addresses).addresses == addresses


@pytest.mark.parametrize(("text", "word"), [("2048", "ip"), ("34525", "ip6"), ("0X88CC", "0x88cc"), ("0x800", "ip")])
def test_a_number_may_be_of_either_base(text: str, word: str) -> None:
    assert guard_of(ethertypes=[text]).ethertypes == (word,)


def test_addresses_are_told_apart_whatever_their_last_part_looks_like() -> None:
    texts = [MAC, "192.0.2.1", "::ffff:192.0.2.1", "64:ff9b::192.0.2.1", "1:2:3:4:5:6:192.0.2.1", "2001:db8::/32"]
    assert model.by_family(texts) == (texts[:1], texts[1:2], texts[2:])


def test_a_guest_that_is_watched_loses_nothing() -> None:
    for given_options in ({}, {"addresses": ["learned"]}, {"addresses": ["192.0.2.1"], "peers": ["192.0.2.2"]}):
        for policy, drops in (("count", False), ("drop", True)):
            rendered = rules.render(guard_of(policy=policy, **given_options))
            used = guard_recorders.used(rendered)
            assert used
            assert used <= rules.recorders(policy)
            commands = [rule for name in used for rule in guard_recorders.add(name, {}, has_set=False)]
            verdicts = [one for rule in rendered for one in rule["expr"]]
            verdicts += [
                one
                for command in commands
                if "rule" in command.get("add", {})
                for one in command["add"]["rule"]["expr"]
            ]
            assert ({"drop": None} in verdicts) is drops


@pytest.mark.parametrize("policy", ["drop", "count"])
def test_what_an_earlier_version_has_loaded_is_known(policy: str) -> None:
    guard = guard_of(policy=policy, addresses=["192.0.2.1"])
    former = parsing.as_formerly(guard)
    assert ({"drop": None} in [one for rule in former for one in rule["expr"]]) is (policy == "drop")
    assert guard_recorders.used(former) == set()
    assert (parsing.parse(MAC, former), parsing.parse(MAC, former, former=True)) == (None, guard)
    assert parsing.parse(MAC, rules.render(guard), former=True) is None


def test_the_names_of_chains_and_sets_have_the_address() -> None:
    for name in (rules.chain_name(MAC), *rules.set_names(MAC)):
        assert rules.mac_of(name) == MAC
    for name in ("guard_", "guard_52540000", "link_macvtap0", "other_525400000a01", "guard_525400000aZZ"):
        assert rules.mac_of(name) is None
    assert model.link_local(MAC) == "fe80::5054:ff:fe00:a01"


def test_a_guard_whose_mirror_is_gone_is_loaded_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_links, "index_of", {"mon0": 7}.get)
    for link, plain in (("mon0", False), ("mon1", True)):
        found = guard_links.loadable(rules.render(guard_of(mirror_to=link)))
        assert (found == rules.render(guard_of())) is plain
        assert parsing.parse(MAC, found) == guard_of(mirror_to="" if plain else link)


def test_the_library_is_told_what_to_learn_in_its_own_words() -> None:
    class Library:
        def __init__(self, code: int) -> None:
            self.code = code

        def cmd(self, text: str) -> tuple[int, str, str]:
            assert text.startswith("describe ")
            return self.code, "", ""

    for guard in (guard_of(addresses=["learned"]), guard_of(addresses=["2001:db8::1"])):
        rendered = rules.render(guard)
        assert guard_library.in_its_words(Library(-1), rendered) == rendered
        named = guard_library.in_its_words(Library(0), rendered)
        assert (named == rendered) == (guard.addresses != ("learned",))
        # A library that has the name refuses the place.
        assert not any(one.get("set", {}).get("elem") == guard_library.TARGET for rule in named for one in rule["expr"])
        assert parsing.parse(MAC, named) == guard
