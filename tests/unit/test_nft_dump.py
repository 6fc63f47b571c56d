# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is read from nftables while others change it: messages by hand."""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft import dump

if t.TYPE_CHECKING:
    import pytest

ELEMENTS, DONE, MULTI, INTERRUPTED = 0x0A0C, 3, 0x2, 0x10


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def message(kind: int, body: bytes, flags: int = MULTI) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def elements(*keys: bytes, flags: int = MULTI) -> bytes:
    listed = b"".join(attribute(1, attribute(1, attribute(1, key))) for key in keys)
    return message(ELEMENTS, bytes(4) + attribute(3, listed), flags) + message(DONE, bytes(4))


class Kernel:
    """A socket with a kernel behind it that gives these answers, one to each request."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def send(self, data: bytes) -> int:
        return len(data)

    def recv(self, _size: int) -> bytes:
        return self._answers.pop(0)


def test_a_set_that_changes_while_it_is_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(elements(b"eth0", flags=MULTI | INTERRUPTED), elements(b"eth0", b"eth1"))
    monkeypatch.setattr(dump, "_socket", lambda: kernel)
    assert dump.Reader("table").elements("set") == [b"eth0", b"eth1"]


def test_a_dormant_table_has_no_chain_at_a_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(kind: int, *bodies: bytes, done: bool = True) -> bytes:
        head = bytes(2) + (7).to_bytes(2, "big")
        return b"".join(message(kind, head + body) for body in bodies) + (message(DONE, bytes(4)) if done else b"")

    own, other = attribute(1, b"own\0"), attribute(1, b"other\0")
    for flags, of_other, dormant in ((0, 1, False), (1, 0, True), (3, 0, True), (2, 0, False)):
        kernel = Kernel(
            answer(0x0A0F, attribute(1, (7).to_bytes(4, "big")), done=False),
            answer(
                0x0A00,
                other + attribute(2, of_other.to_bytes(4, "big")),
                own + (attribute(2, flags.to_bytes(4, "big")) if flags else b""),
            ),
            answer(0x0A03, own + attribute(3, b"link\0") + attribute(4, b""), own + attribute(3, b"guard\0")),
            answer(0x0A06),
            answer(0x0A09, own + attribute(2, b"set\0")),
        )
        monkeypatch.setattr(dump, "_socket", lambda: kernel)  # noqa: B023
        found = dump.Reader("own").snapshot()
        assert (found.chains, found.sets) == (frozenset({"link", "guard"}), frozenset({"set"}))
        assert (found.dormant, found.hooked) == (dormant, frozenset() if dormant else {"link"})
