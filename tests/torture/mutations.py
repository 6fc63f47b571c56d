# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Damages valid samples of what hosts, guests and other programs write. An example without any damage is a sample."""

from __future__ import annotations

import copy
import re
import typing as t

from hypothesis import strategies as st

# Names and texts that a host or a guest may choose, and what ends, begins or overflows something elsewhere.
WORDS: tuple[str, ...] = (
    *(
        "",
        " ",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\x1b[2J\x1b]0;x\x07",
        "\u202etxt.exe",
        "\u2028",
        "\ufeff",
        "\ufffd",
        "\U0001f600",
    ),
    *(
        "../../etc/passwd",
        "/",
        "a/b",
        "..",
        "a\nb",
        "%s%n",
        "{0.__class__}",
        "{{ 7 * 7 }}",
        "$(id)",
        "';--",
        '"',
        "'",
        "\\",
    ),
    *(
        "²",
        "١٢",
        "-1",
        "-0",
        "0x",
        "0x10",
        "1e999",
        "NaN",
        "Infinity",
        "1_0",
        " 1 ",
        "+1",
        "00",
        "true",
        "None",
        "null",
    ),
    *("255", "256", "65535", "4294967295", "4294967296", "18446744073709551616", "9" * 5000, "x" * 70000),
    *("fe80::1%eth0", "::ffff:1.2.3.4", "1.2.3.4/33", "52:54:00:00:00:0g", "52:54:00:00:00:01:02", "ff:ff:ff:ff:ff:ff"),
)
# What some formats are made of, and encodings of it that are none.
_TOKENS: tuple[bytes, ...] = (
    *(word.encode() for word in WORDS),
    *(b"\xff", b"\xfe\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80\x81"),
    *(b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"&#0;", b"&#x110000;", b"&lt;", b"<![CDATA[<interface>]]>", b"<!--"),
    *(b"<?x?>", b"xmlns='a'", b"<a xmlns='urn:x'>", b"</interface>", b"<interface type='direct'/>", b"/>", b">", b"<"),
    *(b"{}", b"[]", b"[", b"]", b"{", b"}", b",", b":", b'"\\ud800"', b"1E400", b"-", b"=", b"#", b"\\", b"\\\n", b";"),
    *(b"\0\0", b"\0\0\0\0", b"\1\0", b"\4\0", b"\5\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\0" * 64),
)
# Beginnings that are repeated, and what closes them.
_NESTS: tuple[tuple[bytes, bytes], ...] = (
    *((b"<a>", b"</a>"), (b"[", b"]"), (b'{"a":', b"}"), (b"(", b")"), (b"- ", b""), (b"\xff\xff\2\0", b"")),
)
_NUMBER, _WORD, _LINE = (
    re.compile(rb"[0-9]+"),
    re.compile(rb"[^\s<>='\"/,:;{}\[\]]+"),
    re.compile(rb"^[^\n]*\n", re.MULTILINE),
)

Damage = t.Tuple[str, int, int, bytes]
_PLACES = st.integers(0, 1 << 16)
_COUNTS = st.integers(0, 255)


def _nth(data: bytes, pattern: re.Pattern[bytes], number: int) -> tuple[int, int]:
    found = [match.span() for match in pattern.finditer(data)]
    return found[number % len(found)] if found else (0, 0)


def _replaced(data: bytes, place: tuple[int, int], new: bytes) -> bytes:
    start, end = place
    return data[:start] + new + data[end:]


def _nested(data: bytes, at: int, count: int) -> bytes:
    opening, closing = _NESTS[count % len(_NESTS)]
    depth = 40 * (count // len(_NESTS))
    return _replaced(data, (at, at), opening * depth + closing * depth)


def _recoded(data: bytes, at: int, _count: int) -> bytes:
    encoding = ("utf-16", "utf-32", "latin-1", "utf-8-sig")[at % 4]
    return data.decode(errors="replace").encode(encoding, errors="replace")


_KINDS: dict[str, t.Callable[[bytes, int, int, bytes], bytes]] = {
    "byte": lambda data, at, count, _token: _replaced(data, (at, at + 1), bytes([count])),
    "cut": lambda data, at, _count, _token: data[:at],
    "remove": lambda data, at, count, _token: _replaced(data, (at, at + count), b""),
    "repeat": lambda data, at, count, _token: _replaced(data, (at, at), data[at : at + count]),
    "insert": lambda data, at, _count, token: _replaced(data, (at, at), token),
    "number": lambda data, at, _count, token: _replaced(data, _nth(data, _NUMBER, at), token),
    "word": lambda data, at, _count, token: _replaced(data, _nth(data, _WORD, at), token),
    "line": lambda data, at, count, token: _replaced(
        data, _nth(data, _LINE, at), token if count % 2 else b"".join([data[slice(*_nth(data, _LINE, count))]] * 2)
    ),
    # A length or a type of a binary format.
    "field": lambda data, at, _count, token: _replaced(data, (at & ~1, (at & ~1) + 2), token[:2].ljust(2, b"\0")),
    "nest": lambda data, at, count, _token: _nested(data, at, count),
    "recode": lambda data, at, count, _token: _recoded(data, at, count),
}
_DAMAGES = st.lists(st.tuples(st.sampled_from(list(_KINDS)), _PLACES, _COUNTS, st.sampled_from(_TOKENS)), max_size=4)


def damaged(samples: t.Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return damaged ``samples``."""
    return st.tuples(st.sampled_from(samples), _DAMAGES).map(lambda pair: apply(*pair))


def apply(data: bytes, damages: t.Sequence[Damage]) -> bytes:
    for kind, at, count, token in damages:
        data = _KINDS[kind](data, at % (len(data) + 1), count, token)
    return data


def _deep() -> t.Any:
    value: t.Any = {}
    for _level in range(200):
        value = [{"a": value}]
    return value


# What Ansible may have instead of a value: of other types, and the same type from someone who means harm.
ODD_VALUES: tuple[t.Any, ...] = (
    *(None, True, False, 0, -1, 1 << 70, 1.5, float("inf"), float("nan"), [], {}, [[]], [None], {"": None}, [{}]),
    *(_deep(), "\ud800", ["a"] * 300, {"a": {"b": {"c": []}}}, {"1": 1}),
    *WORDS,
)
Change = t.Tuple[str, int, t.Any]
_TEXTS = st.lists(st.tuples(st.just("text"), _PLACES, st.sampled_from(WORDS)), max_size=4)
_CHANGES = st.lists(
    st.tuples(st.sampled_from(("replace", "remove", "repeat", "rename")), _PLACES, st.sampled_from(ODD_VALUES)),
    max_size=4,
)


def changed(samples: t.Sequence[t.Any]) -> st.SearchStrategy[t.Any]:
    """Return ``samples`` of what JSON can say, with other values in some places."""
    return st.tuples(st.sampled_from(samples), _CHANGES).map(lambda pair: apply_changes(*pair))


def renamed(samples: t.Sequence[t.Any]) -> st.SearchStrategy[t.Any]:
    """Return ``samples`` of what JSON can say, with other texts in some places, as hosts may choose them."""
    return st.tuples(st.sampled_from(samples), _TEXTS).map(lambda pair: apply_changes(*pair))


def apply_changes(sample: t.Any, changes: t.Sequence[Change]) -> t.Any:
    root = [copy.deepcopy(sample)]
    for kind, number, value in changes:
        places = [one for one in _places(root) if kind != "text" or isinstance(one[0][one[1]], str)]
        holder, key = places[number % len(places)]
        if kind in ("replace", "text") or holder is root:
            holder[key] = copy.deepcopy(value)
        elif kind == "remove":
            del holder[key]
        elif kind == "rename" and isinstance(holder, dict) and isinstance(value, str):
            holder[value] = holder.pop(key)
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
    return root[0]


def _places(root: t.Any) -> t.Iterator[tuple[t.Any, t.Any]]:
    """Yield each place of a value as (list or dictionary, index or key)."""
    waiting = [root]
    while waiting:
        holder = waiting.pop()
        for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            yield holder, key
            if isinstance(value, (dict, list)) and value:
                waiting.append(value)
