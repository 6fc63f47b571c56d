# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Applying a plan to a tree, with a modprobe that writes what the kernel would show."""

from __future__ import annotations

import functools
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import host as adapter
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import LOAD_FILE, Host, Thing, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Outcome, converge

if t.TYPE_CHECKING:
    from .conftest import Tree

RELEASE = "6.1.0-40-amd64"
WANTED = Wanted("loaded", persistent=True)


@pytest.fixture
def host(tree: t.Callable[[str], Tree]) -> Tree:
    return tree(RELEASE).config(f"/boot/config-{RELEASE}").modules().devices("misc")


def make_so(host: Tree, run: adapter.Run, *, check: bool = False) -> Outcome[Thing, Host]:
    return converge(
        host.observe,
        functools.partial(planner.plan, WANTED),
        functools.partial(adapter.apply, run=run, root=str(host.root)),
        planner.undo,
        check_mode=check,
    )


def load_file(host: Tree) -> str | None:
    file = host.root / LOAD_FILE.lstrip("/")
    return file.read_text() if file.exists() else None


def test_load_and_persist(host: Tree) -> None:
    commands: list[list[str]] = []

    def modprobe(command: list[str]) -> tuple[int, str, str]:
        commands.append(command)
        host.loaded()
        return 0, "", ""

    assert make_so(host, modprobe, check=True).plan.changed
    assert commands == []
    assert load_file(host) is None
    outcome = make_so(host, modprobe)
    assert outcome.plan.changed
    assert outcome.host.loaded
    assert commands == [["modprobe", "macvtap"]]
    file = host.root / LOAD_FILE.lstrip("/")
    assert "macvtap\n" in file.read_text().splitlines(keepends=True)
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in file.parent.iterdir()] == ["macvtap.conf"]
    assert not make_so(host, modprobe).plan.changed
    assert len(commands) == 1


def test_a_modprobe_that_fails_leaves_no_file(host: Tree) -> None:
    def modprobe(_command: list[str]) -> tuple[int, str, str]:
        return 1, "", "modprobe: ERROR: could not insert 'macvtap': Operation not permitted\n"

    with pytest.raises(MacvtapError) as caught:
        make_so(host, modprobe)
    assert str(caught.value) == (
        "state: modprobe macvtap failed with code 1: modprobe: ERROR: could not insert 'macvtap': Operation not "
        "permitted. The host is as it was before"
    )
    assert load_file(host) is None


def test_a_modprobe_that_does_nothing_is_found_out(host: Tree) -> None:
    host.write(LOAD_FILE, "vhost_net\n")
    with pytest.raises(MacvtapError, match="reading back shows otherwise: macvtap loaded: False → True"):
        make_so(host, lambda _command: (0, "", ""))
    assert load_file(host) == "vhost_net\n"


def test_a_file_that_cannot_be_written(host: Tree) -> None:
    host.write("/etc", "not a directory")
    with pytest.raises(MacvtapError, match=r"^persistent: "):
        make_so(host, lambda _command: pytest.fail("nothing is loaded after that"))


@pytest.mark.parametrize("release", ["../etc", "6.1/0", ".", ""])
def test_what_is_no_release(host: Tree, release: str) -> None:
    if release:
        with pytest.raises(MacvtapError, match=r"^kernel: "):
            host.observe(release)
    else:
        assert host.observe(release).release == RELEASE


def test_installed_kernels(host: Tree) -> None:
    host.write("/boot/config-5.10.0-1", "").write("/boot/vmlinuz-4.9.0-1", "").write("/lib/modules/notes.txt", "")
    assert host.observe().installed == ("5.10.0-1", RELEASE)
