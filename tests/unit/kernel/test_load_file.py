# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A file of modules-load.d that is a symbolic link, or is not a file."""

from __future__ import annotations

import functools
import os
import pathlib
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import host as adapter
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import modprobe, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import LOAD_FILE, Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import converge

if t.TYPE_CHECKING:
    from .conftest import Tree

RELEASE = "6.1.0-40-amd64"


@pytest.fixture
def host(tree: t.Callable[[str], Tree]) -> Tree:
    return tree(RELEASE).config(f"/boot/config-{RELEASE}").modules().devices("misc")


@pytest.fixture
def file(host: Tree) -> pathlib.Path:
    path = host.root / LOAD_FILE.lstrip("/")
    path.parent.mkdir(parents=True)
    return path


def persist(host: Tree, run: modprobe.Run, *, check: bool = False) -> None:
    converge(
        host.observe,
        lambda current, _answers: planner.plan(Desired("loaded", persistent=True), current),
        functools.partial(adapter.apply, run=run, root=str(host.root)),
        lambda journal, current: planner.undo(journal.steps, current),
        check_mode=check,
    )


# The last leads to no file.
@pytest.mark.parametrize("target", ["/dev/null", "../vendor.conf", "../gone.conf"])
def test_a_link_is_a_link_again_when_modprobe_fails(host: Tree, file: pathlib.Path, target: str) -> None:
    (file.parent.parent / "vendor.conf").write_text("loop\n")
    file.symlink_to(target)
    with pytest.raises(MacvtapError, match="The host is as it was before"):
        persist(
            host, lambda _command: (1, "", "modprobe: ERROR: could not insert 'macvtap': Operation not permitted\n")
        )
    assert os.readlink(file) == target
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("target", ["/dev/null", "../vendor.conf", "../gone.conf"])
def test_a_link_becomes_a_file(host: Tree, file: pathlib.Path, target: str) -> None:
    (file.parent.parent / "vendor.conf").write_text("loop\n")
    file.symlink_to(target)

    def load(_command: list[str]) -> tuple[int, str, str]:
        host.loaded()
        return 0, "", ""

    persist(host, load)
    assert not file.is_symlink()
    assert file.read_text().endswith("loop\nmacvtap\n" if "vendor" in target else "\nmacvtap\n")


# A link that leads to itself, and a directory.
@pytest.mark.parametrize("target", ["macvtap.conf", ""])
def test_a_file_that_cannot_be_read_is_not_replaced(host: Tree, file: pathlib.Path, target: str) -> None:
    file.symlink_to(target) if target else file.mkdir()
    for check in (True, False):
        with pytest.raises(MacvtapError, match=rf"^persistent: .*{LOAD_FILE} cannot be read: "):
            persist(host, lambda _command: pytest.fail("nothing is loaded after that"), check=check)
    assert os.readlink(file) == target if target else file.is_dir()
