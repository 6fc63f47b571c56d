# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A copy that a user made of an uplink's file takes nothing from that file, and stays as it is."""

from __future__ import annotations

import pathlib
import shutil
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host as adapter
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR, Host

from .planned import LINKS, after, link, vlan
from .planned_shims import shim

COPIES = ["eth2.bak", "eth2~", "eth2.orig", "0", "eth2 (copy)", "#eth2#", "9eth2"]
OTHER = link("mt9", "eth1", mac="52:54:00:00:00:99")


class Root:
    """A directory that stands for the host's root, with the files of the links in it."""

    def __init__(self, path: pathlib.Path, key: str = "eth2") -> None:
        self.path = path
        (path / "run/systemd/system").mkdir(parents=True)
        self.apply(OTHER, link("mt0", key), vlan(key), shim(key))

    def observe(self, links: Links = LINKS) -> Host:
        return adapter.observe(links, str(self.path))

    def apply(self, *declared: planner.Declared, links: Links = LINKS, purge: bool = False) -> None:
        planned = planner.plan(declared, self.observe(links), purge=purge)
        adapter.apply([step for step in planned.steps if step.changes], root=str(self.path))
        assert not planner.plan(declared, self.observe(links), purge=purge).changed

    def copy(self, name: str, key: str = "eth2") -> pathlib.Path:
        directory = self.path / LINKS_DIR[1:]
        shutil.copy(directory / key, directory / name)
        return directory / name

    def text(self, key: str = "eth2") -> str:
        return (self.path / f"{LINKS_DIR}/{key}"[1:]).read_text()


@pytest.fixture
def root(tmp_path: pathlib.Path) -> Root:
    return Root(tmp_path)


def written(host: Host) -> dict[str, str]:
    return {name: one.key for name, one in planner.written_of(host.files.values()).items()}


@pytest.mark.parametrize("name", COPIES)
# The uplink may be one that appears later.
@pytest.mark.parametrize("links", [LINKS, {name: one for name, one in LINKS.items() if name != "eth2"}])
def test_a_copy_and_its_original_stay(root: Root, name: str, links: Links) -> None:
    before, copy = root.text(), root.copy(name)
    for declared in (OTHER, replace(OTHER, entry=replace(OTHER.entry, state="absent")), OTHER):
        root.apply(declared, links=links)
        assert (root.text(), copy.read_text()) == (before, before)
    host = root.observe(links)
    assert written(host)["mt0"] == "eth2"
    (warning,) = planner.plan([OTHER], host).warnings
    assert warning.startswith(f"{LINKS_DIR}/{name} has links of {LINKS_DIR}/eth2, and no uplink of this host has its ")


def test_either_of_two_files_for_missing_uplinks_stays(root: Root) -> None:
    before, copy = root.text(), root.copy("a")
    links = {name: one for name, one in LINKS.items() if name != "eth2"}
    root.apply(OTHER, link("mt8", "eth0", mac="52:54:00:00:00:98"), links=links)
    assert (root.text(), copy.read_text()) == (before, before)


def test_an_older_copy_brings_no_link_back(root: Root) -> None:
    copy = root.copy("eth2.bak")
    before = copy.read_text()
    root.apply(link("mt0", "eth2", state="absent"))
    assert "macvtap mt0" not in root.text()
    assert copy.read_text() == before
    assert "mt0" not in written(root.observe())
    root.apply(purge=True)
    assert list(written(root.observe()).values()) == ["eth2"]
    assert copy.read_text() == before


@pytest.mark.parametrize("key", ["52:54:00:00:00:02", "altname:lan-a", "0000:03:00.0"])
def test_a_file_for_an_address_has_copies_too(tmp_path: pathlib.Path, key: str) -> None:
    parent = {"52:54:00:00:00:02": "02:00:00:00:00:02"}.get(key, key).removeprefix("altname:")
    root = Root(tmp_path, parent)
    key = key if key.startswith("altname:") else parent
    before, copy = root.text(key), root.copy(f"{key}.bak", key)
    root.apply(OTHER)
    assert (root.text(key), copy.read_text()) == (before, before)


def test_the_file_of_an_uplink_with_such_a_name_is_none(root: Root) -> None:
    """If two uplinks have one link, it is not known which is right. What this run writes, or removes, it knows."""
    root.copy("eth3")
    for purge in (False, True):
        with pytest.raises(MacvtapError, match=f"is in {LINKS_DIR}/eth2 and in {LINKS_DIR}/eth3, and only one of"):
            planner.plan([OTHER], root.observe(), purge=purge)
    root.apply(OTHER, link("mt0", "eth3"), vlan("eth3", name="eth2.20"), shim("eth2"))
    assert {one for one, key in written(root.observe()).items() if key == "eth3"} == {"mt0", "eth2.20"}


def test_a_link_that_only_a_file_without_an_uplink_has_stays(root: Root) -> None:
    (root.path / f"{LINKS_DIR}/eth2"[1:]).rename(root.path / f"{LINKS_DIR}/gone0"[1:])
    before = root.text("gone0")
    root.apply(OTHER)
    assert root.text("gone0") == before
    assert written(root.observe())["mt0"] == "gone0"
    assert planner.plan([OTHER], root.observe()).warnings == ()


def test_a_copy_that_a_user_turned_into_his_own_file_is_left_alone(root: Root) -> None:
    copy = root.copy("eth2.bak")
    copy.write_text("mine\n" + copy.read_text())
    root.apply(OTHER)
    assert after(root.observe(), OTHER).copies == {}
    assert copy.read_text().startswith("mine\n")


WITHOUT_ETH2 = {name: one for name, one in LINKS.items() if name != "eth2"}
MOVED = (link("mt0", "eth3"), vlan("eth3", name="eth2.20"), shim("eth3"))
ABSENT = tuple(replace(one, entry=replace(t.cast("t.Any", one.entry), state="absent")) for one in MOVED)
CHANGED = (link("mt0", "eth3", mode="private"), *MOVED[1:])


def killed(root: Root, declared: tuple[planner.Declared, ...], steps: int) -> None:
    """Let a run that moves links from an uplink that is gone end after so many steps, as SIGKILL does."""
    planned = planner.plan(declared, root.observe(WITHOUT_ETH2))
    adapter.apply([step for step in planned.steps if step.changes][:steps], root=str(root.path))
    assert {"eth2", "eth3"} <= {path.name for path in (root.path / LINKS_DIR[1:]).iterdir()}


@pytest.mark.parametrize("then", [MOVED, ABSENT, CHANGED])
@pytest.mark.parametrize("moved", [MOVED, CHANGED])
def test_what_a_killed_run_left_is_no_copy_for_a_run_that_decides_on_its_links(
    root: Root, moved: tuple[planner.Declared, ...], then: tuple[planner.Declared, ...]
) -> None:
    killed(root, moved, 1)
    root.apply(*then, links=WITHOUT_ETH2)
    there = root.observe(WITHOUT_ETH2)
    assert not (root.path / f"{LINKS_DIR}/eth2"[1:]).exists()
    ours = {name for name, key in written(there).items() if key != "eth1"}
    assert ours == (set() if then is ABSENT else {"mt0", "eth2.20", "host0"})
    assert planner.plan(then, there).warnings == ()


def test_what_a_killed_run_left_stays_for_any_other_run(root: Root) -> None:
    killed(root, MOVED, 1)
    before = root.text()
    root.apply(OTHER, link("mt8", "eth3", mac="52:54:00:00:00:98"), links=WITHOUT_ETH2)
    root.apply(OTHER, link("mt8", None, state="absent"), links=WITHOUT_ETH2)
    assert root.text() == before
    assert written(root.observe(WITHOUT_ETH2))["mt0"] == "eth3"
    with pytest.raises(MacvtapError, match=f"is in {LINKS_DIR}/eth2 and in {LINKS_DIR}/eth3, and only one of"):
        planner.plan([MOVED[0]], root.observe(WITHOUT_ETH2))


def test_a_killed_change_is_not_settled_by_chance(root: Root) -> None:
    killed(root, CHANGED, 1)
    with pytest.raises(MacvtapError, match=f"is in {LINKS_DIR}/eth2 and in {LINKS_DIR}/eth3, and only one of"):
        planner.plan([OTHER], root.observe(WITHOUT_ETH2))


def test_a_copy_is_none_of_what_a_run_decides_on(root: Root) -> None:
    """Its name ends as those of copies do, so no killed run has left it."""
    copy = root.copy("eth2.bak")
    before = copy.read_text()
    root.apply(*MOVED, links=WITHOUT_ETH2)
    root.apply(*ABSENT, links=WITHOUT_ETH2)
    assert copy.read_text() == before
    # Nor does it bring back what has left the last file of an uplink.
    there = root.observe(WITHOUT_ETH2)
    assert list(written(there)) == ["mt9"]
    (warning,) = planner.plan([OTHER], there).warnings
    assert warning.startswith(f"{LINKS_DIR}/eth2.bak has links, and no uplink of this host has its name.")
