# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Records of whose links guarded ones are, with directories in place of the kernel's."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_links

A, B = "52:54:00:00:0a:01", "52:54:00:00:0a:02"


class Host:
    def __init__(self, path: pathlib.Path) -> None:
        self.sysfs, self.records = path / "net", path / "links"
        self.sysfs.mkdir()

    def add(self, link: str, index: int) -> None:
        (self.sysfs / link).mkdir()
        (self.sysfs / link / "ifindex").write_text(f"{index}\n")

    def names(self) -> list[str]:
        return sorted(one.name for one in self.records.iterdir())


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Host:
    made = Host(tmp_path)
    made.add("guest0", 7)
    monkeypatch.setattr(guard_links, "SYSFS", str(made.sysfs))
    monkeypatch.setattr(guard_links, "DIRECTORY", str(made.records))
    monkeypatch.setattr(guard_links, "_place", lambda: ("boot", "1"))
    return made


def owners(link: str = "guest0", index: int = 7) -> dict[str, str]:
    return {name: one.mac for name, one in guard_links.known({link: index}).owners.items()}


def test_a_link_is_known_whatever_its_name_is(host: Host) -> None:
    guard_links.write({("guest0", 7): A})
    assert owners() == {"guest0": A}
    (host.sysfs / "guest0").rename(host.sysfs / "other0")
    assert owners() == {}
    assert owners("other0") == {"other0": A}
    assert guard_links.known({"other0": 7}).owners["other0"].link == "guest0"


@pytest.mark.parametrize("place", [("other", "1"), ("boot", "2")], ids=["boot", "namespace"])
@pytest.mark.usefixtures("host")
def test_a_record_says_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch, place: tuple[str, str]) -> None:
    guard_links.write({("guest0", 7): A})
    monkeypatch.setattr(guard_links, "_place", lambda: place)
    assert guard_links.known({"guest0": 7}) == ({}, set(), [])
    # What is written there replaces it.
    guard_links.write({("guest0", 7): B})
    assert owners() == {"guest0": B}


@pytest.mark.usefixtures("host")
def test_a_link_that_is_not_the_one_that_was_seen_is_not_recorded() -> None:
    assert guard_links.write({("guest0", 8): A, ("gone0", 9): A}) == {}
    assert owners() == {}


def test_what_was_recorded_before_is_restored(host: Host) -> None:
    guard_links.write({("guest0", 7): A})
    host.add("guest1", 8)
    former = guard_links.write({("guest0", 7): B, ("guest1", 8): B})
    assert (owners(), owners("guest1", 8)) == ({"guest0": B}, {"guest1": B})
    guard_links.restore(former)
    assert (owners(), owners("guest1", 8)) == ({"guest0": A}, {})
    guard_links.restore(guard_links.write({("guest0", 7): None}))
    assert owners() == {"guest0": A}


def test_what_is_left_of_links_and_runs_is_removed(host: Host) -> None:
    guard_links.write({("guest0", 7): A})
    (mine,) = host.names()
    # Of a link that is gone: whole, damaged, and of a run that was killed while it wrote it.
    for name, text in {"1": f"boot 1 9 {A} gone0", "2": "nonsense", "3.44": "boot", f"{mine}.55": "boot"}.items():
        (host.records / name).symlink_to(text)
    # That of the link itself may be a run's that writes at this moment. Others' links are not known here.
    (host.records / "4").symlink_to(f"boot 2 9 {A} elsewhere0")
    guard_links.write({("guest0", 7): A})
    assert host.names() == sorted(["4", mine, f"{mine}.55"])


def test_a_link_with_the_index_of_one_that_is_gone_is_another(host: Host) -> None:
    guard_links.write({("guest0", 7): A})
    (host.records / "kept").mkdir()
    (host.sysfs / "guest0").rename(host.records / "kept" / "guest0")
    host.add("guest0", 7)
    assert guard_links.known({"guest0": 7}).replaced == {"guest0"}
    host.add("guest1", 8)
    guard_links.write({("guest1", 8): B})
    assert guard_links.known({"guest0": 7}).replaced == {"guest0"}
    guard_links.write({("guest0", 7): B})
    assert guard_links.known({"guest0": 7}).replaced == set()
    assert owners() == {"guest0": B}


def test_what_cannot_be_read_or_written_is_reported(host: Host) -> None:
    host.records.mkdir()
    identity = guard_links.identity("guest0", 7)
    (host.records / identity).mkdir()
    assert "is damaged" in guard_links.known({"guest0": 7}).warnings[0]
    with pytest.raises(OSError, match="irectory"):
        guard_links.write({("guest0", 7): A})
