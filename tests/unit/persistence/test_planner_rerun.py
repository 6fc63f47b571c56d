# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Further runs: a second one changes nothing, a purge and a move leave nothing behind, and undo restores the files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, predicted, undo
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR, Declared, Host

from .planned import HOST, STARTERS, after, block, link, vlan


def test_a_link_moves_to_the_file_of_its_vlan() -> None:
    host = after(HOST, vlan("eth0", name="lan20"), link("mt0", "lan20"))
    host = after(host, vlan("02:00:00:00:00:02", name="lan20"))
    assert f"{LINKS_DIR}/eth0" not in host.files
    assert "name mt0" in block(host, "mt0", "02:00:00:00:00:02")


def test_shared_files_have_a_block_for_each_link() -> None:
    host = after(HOST, link("mt1"), link("mt0", mac=None), vlan())
    blocks = [line for line in host.files[f"{LINKS_DIR}/eth0"].text.splitlines() if line.startswith("# ")][1:]
    assert blocks == ["# vlan eth0.20", "# macvtap mt0", "# macvtap mt1"]
    host = after(host, link("mt1", state="absent"))
    assert "mt1" not in "".join(file.path + file.text for file in host.files.values())
    host = after(host, link("mt0", state="absent"))
    assert host.files == after(HOST, vlan()).files
    assert after(host, vlan(state="absent")).files == {}


@pytest.mark.parametrize(("backend", "on"), STARTERS)
def test_a_link_that_moves_leaves_nothing_behind(backend: str, on: Host) -> None:
    first, second = link(backend=backend), link("mt0", "eth2", backend)
    assert after(after(on, first), second).files == after(on, second).files


def test_purge_removes_only_undeclared_links() -> None:
    host = after(HOST, link("mt0"), link("mt1", mac=None), vlan())
    assert after(host, link("mt0")).files == host.files
    assert after(host, link("mt0"), purge=True).files == after(HOST, link("mt0")).files
    assert after(host, purge=True).files == {}


def test_undo_restores_the_files() -> None:
    was = after(HOST, link("mt0"), link("mt1", mac=None))
    planned = planner.plan([link("mt0", mode="private"), link("mt1", state="absent")], was)
    half = {**was.files, **{s.target: s.after for s in planned.steps[:1] if s.after}}
    assert predicted(undo(planned.steps, half), half) == was.files


@pytest.mark.parametrize("theirs", ["", "theirs\n", HEADER + "\ntheirs\n"])
def test_undo_leaves_a_file_that_something_else_has_changed(theirs: str) -> None:
    was = after(HOST, link("mt0"))
    planned = planner.plan([link("mt0", mode="private"), link("mt1", "eth3")], was)
    done = predicted(planned, was.files)
    for step in planned.steps:
        path = step.target
        files = {**done, path: File(path, theirs)} if theirs else {p: file for p, file in done.items() if p != path}
        back = undo(planned.steps, files)
        assert path not in {change.target for change in back.changes}
        # Where there was none before, none is as it was.
        left = () if not theirs and step.before is None else (f"{path} was changed by something else while this ran",)
        assert [message.partition(", and is left")[0] for message in back.warnings] == list(left)


NAMES = st.sampled_from(["mt0", "mt1", "web-1", "a.b"])
DECLARED = st.lists(
    st.builds(
        link,
        NAMES,
        st.sampled_from(["eth0", "eth1", "eth2", "02:00:00:00:00:05", "eth0.20", "eth2.20"]),
        st.sampled_from(["auto", "none"]),
        mac=st.none(),
        mode=st.just("bridge"),
        state=st.sampled_from(["up", "down", "present", "absent"]),
        alias=st.sampled_from([None, "50% of $x"]),
        group=st.sampled_from([None, 7]),
        tap_mode=st.sampled_from([None, 0o660]),
    ),
    unique_by=lambda declared: declared.entry.name,
    max_size=4,
)


@given(DECLARED, DECLARED, st.booleans())
def test_a_second_run_changes_nothing(first: list[Declared], second: list[Declared], purge: bool) -> None:
    vlans = [vlan("eth0"), vlan("eth2")]
    host = after(HOST, *vlans, *first)
    once = after(host, *vlans, *second, purge=purge)
    assert not planner.plan([*vlans, *second], once, purge=purge).changed
    # Whatever was there before, what is declared looks the same.
    if purge:
        assert once.files == after(HOST, *vlans, *second).files
    assert after(once, purge=True).files == {}
