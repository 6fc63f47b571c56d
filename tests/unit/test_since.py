# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Since which release there is each option."""

from __future__ import annotations

import pathlib
import sys

import pytest
from support import ROOT

sys.path.append(str(ROOT / ".ci"))

import release
import since


def test_all_options_are_documented_with_the_release_that_they_came_with() -> None:
    assert since.wrong(since.documented(ROOT), since.recorded(ROOT), release.version_of(ROOT)) == []


def test_the_documentation_is_read_by_the_ansible_of_this_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """So pytest can be run by its path, without .venv/bin in PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "module macvtap_link" in since.documented(ROOT)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(since.SinceError, match="ansible-doc is missing"):
        since.documented(ROOT)


@pytest.mark.parametrize(
    ("there", "version", "lines"),
    [
        ({"module a": "0.1.0", "module a b": "0.2.0"}, "0.2.0", []),
        ({"module a": "0.1.0", "module a b": "1.0.0"}, "1.0.0-rc.1", []),
        (
            {"module a": "0.1.0", "module a b": "0.1.0"},
            "0.2.0",
            ["module a b: version_added is 0.1.0, and must be 0.2.0"],
        ),
        ({"module a": "", "module a b": "0.2.0"}, "0.2.0", ["module a: version_added is missing, and must be 0.1.0"]),
        (
            {},
            "0.2.0",
            ["module a: 0.1.0 had it. Keep it. After its deprecation, remove it from changelogs/options.json"],
        ),
    ],
)
def test_what_is_said_of_a_wrong_release(there: since.Versions, version: str, lines: list[str]) -> None:
    assert since.wrong(there, {"module a": "0.1.0"}, version) == lines
