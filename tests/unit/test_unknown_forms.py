# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the kernel, libvirt, an editor or a disk gives in a form that nobody expects: one clear error, or nothing."""

from __future__ import annotations

import json
import pathlib
import struct
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, save_blockers
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands, parsing
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import decode as host_decode
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import records
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import decode, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft import dump
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import changes

UNKNOWN = r"^the kernel's answer about .* has a form that this version of the collection does not know \("


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("007", 7), ("", None), ("²", None), ("١", None), ("-1", None), ("9" * 5000, None)]
)
def test_a_number_that_a_host_writes(text: str, number: int | None) -> None:
    assert _text.number(text) == number


@pytest.mark.parametrize("text", ["²", "9" * 5000])
def test_a_text_of_libvirts_in_place_of_a_number_is_returned_as_it_is(text: str) -> None:
    assert fields.BY_NAME["driver.queues"].value(text) == text
    assert fields.BY_NAME["driver.queues"].value("1500") == 1500


@pytest.mark.parametrize(
    "read",
    [
        lambda: decode.links([b"\0" * 15]),
        lambda: decode.addresses([b"\2"]),
        lambda: decode.routes([b"\2\x18\0\0\xfe\3\0\1\0\0\0\0\5\0\1\0\1\0\0\0\x08\0\4\0\2\0\0\0"]),
        lambda: (
            host_decode.neighbour_entries([b"\2\0"[:0] + b"\x0a\0\1\0" * 5 + b"\7"])
            or decode.foreign_links([b""], "n", {}, 0)
        ),
        lambda: dump.outline(dump.Rule(b"\x08\0\1\0abcd", b"")),
    ],
)
def test_a_message_of_another_form_is_a_clear_error(read: t.Callable[[], object]) -> None:
    with pytest.raises(MacvtapError, match=UNKNOWN):
        read()


class Kernel:
    """A netlink socket that answers with this message, and then with the end of a dump."""

    def __init__(self, kind: int, body: bytes) -> None:
        self.kind, self.body, self.number = kind, body, b""

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def send(self, data: bytes) -> None:
        self.number = data[8:12]

    def recv(self, _size: int, flags: int = 0) -> bytes:
        if flags:
            raise BlockingIOError
        message = struct.pack("=IHH", 16 + len(self.body), self.kind, 2) + self.number + bytes(4) + self.body
        return message.ljust(len(message) + 3 & ~3, b"\0") + struct.pack("=IHH", 20, 3, 2) + self.number + bytes(8)


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (lambda sock: rtnetlink.dump_routes(sock, 2), b""),
        (lambda sock: rtnetlink.nsid_of(sock, 1), b"\0\0\0\0\x05\0\1\0\7"),
    ],
)
def test_a_short_message_in_an_answer(read: t.Callable[[t.Any], object], body: bytes) -> None:
    with pytest.raises(MacvtapError, match=UNKNOWN) as caught:
        read(Kernel(24, body))
    assert caught.value.__cause__ is not None


def test_what_a_caller_gets_wrong_is_not_the_kernels_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = dump.attribute(1, "table") + dump.attribute(3, "chain")
    monkeypatch.setattr(dump, "_generation", lambda _sock: 0)
    monkeypatch.setattr(dump, "_socket", lambda: Kernel(2563, struct.pack("=BBH", 5, 0, 0) + chain))

    def wanted(_name: str) -> bool:
        raise KeyError("a defect")

    with pytest.raises(KeyError, match="a defect"):
        dump.Reader("table").snapshot(wanted)


@pytest.mark.parametrize("message", [b"\0\0\2\0abc", b"\3\0\4\0", b"\xff\xff\1\0"])
def test_reading_a_rule_ends_whatever_lengths_it_has(message: bytes) -> None:
    name, rule = vars(dump)["_rule"](message)
    assert (name in ("", "abc"), isinstance(rule, dump.Rule)) == (True, True)


@pytest.mark.parametrize("document", ["", "<domain>", "<domain/><domain/>", "<domain>\x1b</domain>"])
def test_a_running_guests_xml_that_is_cut_off(document: str) -> None:
    for read in (save_blockers.of, save_blockers.disks, save_blockers.has_huge_pages, save_blockers.has_agent):
        with pytest.raises(MacvtapError, match="the XML of the domain is not well formed: "):
            read(document)


def test_an_interfaces_file_with_nul_bytes_after_a_crash(tmp_path: pathlib.Path) -> None:
    for path in ("sbin/ifup", "etc/network/interfaces", "etc/network/interfaces.d/a"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "sbin/ifup").touch()
    (tmp_path / "etc/network/interfaces.d/a").write_text("auto eth1\n")
    text = "source interfaces.d/*\0\0\nsource-directory \0\nsource interfaces.d/*\n" + "\0" * 64
    (tmp_path / "etc/network/interfaces").write_text(text)
    names, _sourced = vars(host)["_interfaces"](str(tmp_path), systemd=False)
    assert names == {"eth1"}


MAC = "52:54:00:00:00:0a"
NIC = {
    "since": "2026-11-28T08:00:00Z", "element": "<interface/>", "returns": True, "ifindex": 7, "allmulticast": True,
}  # fmt: skip
STATE = {"uri": "qemu:///system", "local": True, "instance": "7", "nics": {MAC: NIC}}
PAUSE = {
    "token": "a", "running": True, "local": True, "has": "new", "run": "7 8", "until": 1.5,
    "interfaces": {"old": {MAC: "<a/>"}, "new": {MAC: "<b/>"}},
    "allmulticast": {"old": [MAC], "new": []},
}  # fmt: skip
EMPTY: records.State = {"old": {}, "new": {}}


@pytest.mark.parametrize(
    ("damaged", "left"),
    [
        ({}, STATE),
        ({"nics": {}, "pause": {}}, {**STATE, "nics": {}}),
        ({"pause": PAUSE}, {**STATE, "pause": PAUSE}),
        ({"nics": {MAC: NIC, "b": None}}, STATE),
        *(({"nics": {MAC: NIC, "b": {**NIC, key: 7}}}, STATE) for key in ("since", "element", "returns")),
        ({"nics": {MAC: NIC, "b": {**NIC, "element": "<interface"}}}, STATE),
        ({"nics": {MAC: {**NIC, "error": [], "desired": "<a", "target": 7}}}, STATE),
        ({"nics": {MAC: {**NIC, "ifindex": "7"}}}, {**STATE, "nics": {MAC: {**NIC, "ifindex": None}}}),
        ({"pause": "yes"}, STATE),
        ({"pause": {**PAUSE, "token": ""}}, STATE),
        ({"pause": {**PAUSE, "interfaces": 7}}, {**STATE, "pause": {**PAUSE, "interfaces": EMPTY}}),
        *(({key: None}, None) for key in ("uri", "local", "instance", "nics")),
    ],
)
def test_what_is_left_of_a_damaged_file_of_requests(tmp_path: pathlib.Path, damaged: t.Any, left: object) -> None:
    (tmp_path / "u.json").write_text(json.dumps({**STATE, **damaged}))
    assert records.load(str(tmp_path), "u") == left


def test_rules_and_comments_of_others() -> None:
    assert guard_commands.of_link({"comment": f"52:54:00:00:00:0a {'9' * 5000} eth0"}) is not None
    assert parsing.parse("52:54:00:00:00:0a", t.cast("t.Any", [None])) is None
    assert parsing.parse("52:54:00:00:00:0a", [{"comment": [], "expr": 7}]) is None
    assert guard_commands.of_link({"comment": "52:54:00:00:00:0a ² eth0"}) == guard_commands.OfLink(
        "52:54:00:00:00:0a", "eth0"
    )


@pytest.mark.parametrize(
    "hosts",
    [
        [{}],
        [None],
        7,
        [{"name": "hv1", "uplinks": [], "nics": [{}], "inspected": True}],
        [{"name": 7, "uplinks": [], "nics": []}],
    ],
)
def test_an_earlier_report_that_is_damaged(hosts: object) -> None:
    with pytest.raises(MacvtapError, match="the earlier report is damaged"):
        changes.changes({"version": changes.VERSION, "hosts": hosts}, {"hosts": []})
