# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is known of rules from a former run, and that anything else than these very rules is unknown."""

from __future__ import annotations

import pathlib
import struct

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import known
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.dump import Rule, digest, outline

MAC = "52:54:00:00:0a:01"
GUARD = Guard(MAC, addresses=("192.0.2.1",), rate=5)


def attribute(kind: int, *values: bytes) -> bytes:
    value = b"".join(values)
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def expression(name: str, *data: bytes) -> bytes:
    return attribute(0x8001, attribute(1, name.encode() + b"\0"), attribute(0x8002, *data))


def counter(packets: int) -> bytes:
    return expression(
        "counter", attribute(1, struct.pack(">Q", 60 * packets)), attribute(2, struct.pack(">Q", packets))
    )


def jump(target: str) -> bytes:
    verdict = attribute(0x8002, attribute(1, struct.pack(">i", -3)), attribute(2, target.encode() + b"\0"))
    return expression("immediate", attribute(1, bytes(4)), attribute(0x8002, verdict))


def cmp(value: bytes) -> bytes:
    return expression("cmp", attribute(1, bytes(4)), attribute(2, bytes(4)), attribute(0x8003, attribute(1, value)))


def last(milliseconds: int) -> bytes:
    return expression("last", attribute(1, struct.pack(">I", 1)), attribute(2, struct.pack(">Q", milliseconds)))


def rule(*expressions: bytes, comment: str = "mac") -> Rule:
    text = comment.encode() + b"\0"
    return Rule(b"".join(expressions), bytes((0, len(text))) + text)


def test_a_digest_is_of_all_but_what_was_counted() -> None:
    rules = [rule(cmp(b"abcdef"), counter(0), last(0), jump("a"))]
    assert digest(rules) == digest([rule(cmp(b"abcdef"), counter(7), last(9), jump("a"))])
    others = [
        [],
        [*rules, *rules],
        [rule(cmp(b"abcdeg"), counter(0), last(0), jump("a"))],
        [rule(cmp(b"abcdef"), counter(0), last(0), jump("b"))],
        [rule(cmp(b"abcdef"), last(0), jump("a"))],
        [rule(cmp(b"abcdef"), counter(0), last(0), jump("a"), comment="arp")],
    ]
    assert digest(rules) not in [digest(one) for one in others]
    # Of an anonymous set, a rule has no more than the number.
    assert digest([rule(expression("lookup", attribute(1, b"__set0\0")))]) is None


def test_a_rule_is_read_as_the_library_lists_it() -> None:
    assert outline(rule(cmp(b"ab"), counter(7), jump("guard_1"))) == {
        "comment": "mac",
        "expr": [{"cmp": (0, b"ab")}, {"counter": {"bytes": 420, "packets": 7}}, {"jump": {"target": "guard_1"}}],
    }


def test_what_was_learned_lasts_for_this_very_state(tmp_path: pathlib.Path) -> None:
    first = known.Known(str(tmp_path))
    first.learn(MAC, "d1", GUARD)
    first.learn_stored("text", {MAC: GUARD})
    first.save({MAC})
    again = known.Known(str(tmp_path))
    assert (again.guard(MAC, "d1"), again.guard(MAC, "d2"), again.guard(MAC, None)) == (GUARD, None, None)
    assert (again.stored("text"), again.stored("text "), again.stored("")) == ({MAC: GUARD}, None, None)
    assert again.contradicts(MAC, "d2", GUARD)
    assert not again.contradicts(MAC, "d2", Guard(MAC))
    again.save(())
    assert known.Known(str(tmp_path)).guard(MAC, "d1") is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": "x"}', '{"version": "VERSION", "chains": {"a": 1}}', 100_000 * "["],
    ids=lambda text: text[:9],
)
def test_a_file_that_is_none_is_no_error(tmp_path: pathlib.Path, text: str) -> None:
    file = tmp_path / known.FILE.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_text(text.replace("VERSION", known._version()))
    assert known.Known(str(tmp_path)).guard(MAC, "d1") is None


def test_another_version_knows_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = known.Known(str(tmp_path))
    first.learn(MAC, "d1", GUARD)
    first.save({MAC})
    monkeypatch.setattr(known, "_version", lambda: "other")
    assert known.Known(str(tmp_path)).guard(MAC, "d1") is None


def test_nothing_is_written_in_check_mode(tmp_path: pathlib.Path) -> None:
    made = known.Known(str(tmp_path), keeps=False)
    made.learn(MAC, "d1", GUARD)
    made.save({MAC})
    assert list(tmp_path.iterdir()) == []
