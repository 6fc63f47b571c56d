# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files that something else removes or replaces while they are read."""

from __future__ import annotations

import os
import pathlib
import socket
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _file_store
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR

# What can be asked of a path.
CALLS = ("stat", "lstat", "open", "readlink", "fstat")
Act = t.Callable[[pathlib.Path], None]


def at_call(number: int, path: pathlib.Path, act: Act, patch: pytest.MonkeyPatch) -> None:
    """Let something act on the path right before the call of this number that looks at it."""
    left = number

    def patched(real: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def call(asked: t.Any, *rest: t.Any, **how: t.Any) -> t.Any:
            nonlocal left
            if isinstance(asked, int) or os.fspath(asked) == str(path):
                left -= 1
                if left == -1:
                    act(path)
            return real(asked, *rest, **how)

        return call

    for name in CALLS:
        patch.setattr(os, name, patched(getattr(os, name)))


def removed(path: pathlib.Path) -> None:
    path.unlink()


def replaced(path: pathlib.Path) -> None:
    other = path.with_name("other")
    other.write_text("new")
    other.chmod(0o600)
    other.rename(path)


OLD, NEW = File("shown", "old", 0o644), File("shown", "new", 0o600)


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize(("act", "new"), [(removed, None), (replaced, NEW)])
def test_what_is_read_is_of_one_file_or_none(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, act: Act, new: File | None, number: int
) -> None:
    path = tmp_path / "4913"
    path.write_text("old")
    path.chmod(0o644)
    at_call(number, path, act, monkeypatch)
    assert _file_store.read(str(path), "shown") in (OLD, new)


@pytest.mark.parametrize("number", range(4))
def test_a_symbolic_link_that_goes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "unit"
    path.symlink_to("/dev/null")
    at_call(number, path, removed, monkeypatch)
    assert _file_store.read(str(path), "shown") in (File("shown", target="/dev/null"), None)


def test_an_editors_file_that_goes_is_none_of_the_managed_ones(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / LINKS_DIR.lstrip("/")
    directory.mkdir(parents=True)
    (directory / "eth0").write_text(HEADER + "\n")
    (directory / "4913").touch()
    at_call(0, directory / "4913", removed, monkeypatch)
    # glob has looked for it already.
    monkeypatch.setattr("glob.glob", lambda _pattern: [str(directory / "eth0"), str(directory / "4913")])
    assert list(host.ours(str(tmp_path))) == [f"{LINKS_DIR}/eth0"]


@pytest.mark.parametrize("number", range(8))
def test_a_file_that_goes_while_it_is_written(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Either that is noticed, or it is written as if it had gone later."""
    path = tmp_path / "etc/file"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    step = step_between(File("/etc/file", "old", 0o644), File("/etc/file", "new", 0o600))
    at_call(number, path, removed, monkeypatch)
    try:
        _file_store.apply([step], root=str(tmp_path))
    except MacvtapError as exc:
        assert str(exc).startswith("/etc/file was changed by something else while this ran")  # noqa: PT017
    else:
        monkeypatch.undo()
        assert not path.exists() or (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: pathlib.Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for name in ("directory", "fifo", "socket"):
            with pytest.raises(MacvtapError, match="shown is not a regular file; move it away"):
                _file_store.read(str(tmp_path / name), "shown")
    assert _file_store.read(str(tmp_path / "none"), "shown") is None
    assert _file_store.read(str(tmp_path / "fifo/none"), "shown") is None


def test_a_file_whose_place_a_link_takes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "unit"

    def link(path: pathlib.Path) -> None:
        path.unlink()
        path.symlink_to("/dev/null")

    for number in range(4):
        path.unlink(missing_ok=True)
        path.write_text("old")
        path.chmod(0o644)
        with monkeypatch.context() as patch:
            at_call(number, path, link, patch)
            assert _file_store.read(str(path), "shown") in (OLD, File("shown", target="/dev/null"))
    # Nothing of a directory that leads to itself can be read.
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(MacvtapError, match="cannot be read: Too many levels of symbolic links"):
        _file_store.read(str(tmp_path / "loop/file"), "shown")
