# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Bad values of macvtap_link's options get one error with the option's path."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import options, tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import LINK_OPTIONS


def wanted(**given: t.Any) -> t.Any:
    empty = dict.fromkeys(LINK_OPTIONS)
    return options.desired("links[2]", {**empty, "name": "mt0", "state": "up", **given}, tap.ACCOUNTS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "a" * 16}, r"links\[2\]\.name: 'a{16}' has 16 bytes and the kernel allows 15"),
        ({"name": "ä" * 8}, r"links\[2\]\.name: 'ä{8}' has 16 bytes"),
        ({"name": "mt%d"}, r"links\[2\]\.name: 'mt%d' is not a valid link name"),
        ({"name": "a/b"}, r"links\[2\]\.name: 'a/b' is not a valid link name"),
        ({"name": "a\0b"}, r"links\[2\]\.name: 'a\0b' is not a valid link name"),
        ({"name": "a b"}, r"links\[2\]\.name: 'a b' is not a valid link name"),
        ({"name": "a\ud800"}, r"links\[2\]\.name: 'a\\ud800' has a character that UTF-8 cannot encode; remove it"),
        ({"altnames": ["a\ud800"]}, r"links\[2\]\.altnames\[0\]: 'a\\ud800' has a character that UTF-8"),
        ({"alias": "a\udfff"}, r"links\[2\]\.alias: 'a\\udfff' has a character that UTF-8 cannot encode"),
        ({"alias": "a\0b"}, r"links\[2\]\.alias: 'a\\x00b' has a NUL character, which ends a text for the kernel"),
        ({"name": ".."}, r"links\[2\]\.name: '\.\.' is not a valid link name"),
        ({"name": ""}, r"links\[2\]\.name: '' is not a valid link name"),
        ({"name": "à"}, r"links\[2\]\.name: 'à' has the byte a0 in UTF-8, which the kernel takes for white space"),
        ({"name": "all"}, r"links\[2\]\.name: 'all' is reserved"),
        ({"name": "default"}, r"links\[2\]\.name: 'default' is reserved"),
        ({"tap": {"mode": 440}}, r"links\[2\]\.tap\.mode: 440 without quotes is .* 0670\. Write '0440' in quotes"),
        ({"tap": {"mode": 400}}, r"links\[2\]\.tap\.mode: 400 without quotes is .* 0620\. Write '0400' in quotes"),
        (
            {"source_macs": [f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(5401)]},
            r"links\[2\]\.source_macs: 5401 addresses",
        ),
        ({"mtu": 67}, r"links\[2\]\.mtu: 67 is not between 68 and 65535"),
        # What YAML makes of yes.
        ({"group": True}, r"links\[2\]\.group: True is not a whole number"),
        ({"queues": {"tx": True}}, r"links\[2\]\.queues\.tx: True is not a whole number"),
        ({"mac": "01:00:5e:00:00:01"}, r"links\[2\]\.mac: 01:00:5e:00:00:01 is a multicast address"),
        ({"mac": "00:00:00:00:00:00"}, r"links\[2\]\.mac: .* all zero"),
        ({"mac": "eth0"}, r"links\[2\]\.mac: 'eth0' is not a MAC address"),
        ({"tap": {"owner": "nobody-here"}}, r"links\[2\]\.tap\.owner: no user 'nobody-here' on this host"),
        ({"tap": {"group": "nobody-here"}}, r"links\[2\]\.tap\.group: no group 'nobody-here' on this host"),
        ({"tap": {"owner": "99999999999"}}, r"links\[2\]\.tap\.owner: 99999999999 is not between 0 and 4294967294"),
        ({"tap": {"group": "4294967296"}}, r"links\[2\]\.tap\.group: 4294967296 is not between 0 and 4294967294"),
        # chown() would keep the owner.
        ({"tap": {"owner": "4294967295"}}, r"links\[2\]\.tap\.owner: 4294967295 is not between 0 and 4294967294"),
        ({"tap": {"owner": "9" * 5000}}, r"links\[2\]\.tap\.owner: the number is too large for any option"),
        (
            {"tap": {"owner": "²"}},
            r"links\[2\]\.tap\.owner: no user '²' on this host; use an existing user or a numeric",
        ),
        ({"tap": {"group": "٣"}}, r"links\[2\]\.tap\.group: no group '٣' on this host"),
        ({"tap": {"owner": "-1"}}, r"links\[2\]\.tap\.owner: no user '-1' on this host"),
        ({"tap": {"owner": "a\0"}}, r"links\[2\]\.tap\.owner: no user 'a\\x00' on this host"),
        ({"tap": {"group": "a\ud800"}}, r"links\[2\]\.tap\.group: no group 'a\\ud800' on this host"),
        ({"tap": {"mode": "0999"}}, r"links\[2\]\.tap\.mode: '0999' is not an octal permission"),
        ({"tap": {"mode": "u=rw"}}, r"links\[2\]\.tap\.mode: 'u=rw' is not an octal permission"),
    ],
)
def test_bad_value(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(MacvtapError, match=f"^{message}"):
        wanted(**given)


def test_values_take_their_canonical_form() -> None:
    found = wanted(mac="52-54-00-AB-CD-EF", tap={"owner": "0", "group": "60123", "mode": "0660"})
    assert (found.mac, found.tap_owner, found.tap_group, found.tap_mode) == (
        "52:54:00:ab:cd:ef",
        "root",
        "60123",
        0o660,
    )


def test_numbers_of_accounts_that_no_account_has() -> None:
    found = wanted(tap={"owner": "4294967294", "group": "0000060123"})
    assert (found.tap_owner, found.tap_group) == ("4294967294", "60123")


def test_the_word_of_libvirt_is_that_of_the_kernel() -> None:
    assert wanted(mode="passthrough") == wanted(mode="passthru")


def test_permissions_that_yaml_has_read_as_a_number() -> None:
    for mode in (0o660, 0o640, 0o644, 0o600, 0o400, 0o440, 0o664, 0o666, 0):
        assert wanted(tap={"mode": mode}).tap_mode == mode


def test_no_namespace_is_none() -> None:
    assert wanted(netns="").netns is None


def test_what_is_white_space_in_a_name_is_none_in_an_alternative_one() -> None:
    assert wanted(altnames=["à", "all"]).altnames == {"à", "all"}


def test_who_owns_a_tap_is_looked_up_where_the_host_is_known_alone() -> None:
    given = {**dict.fromkeys(LINK_OPTIONS), "name": "mt0", "state": "up", "tap": {"owner": "nobody-here"}}
    assert options.desired("links[2]", given).tap_owner == "nobody-here"
