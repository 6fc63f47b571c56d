# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt's hook where the file of the guards is damaged: only guests that have a guard in it are refused."""

from __future__ import annotations

import io
import pathlib
from types import SimpleNamespace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_links, guard_table, loader

GUARDED, OTHER = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
START = ["qemu", "web1", "start", "begin", "-"]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """The file of the guards on a host with the link macvtap0."""
    made, sysfs = tmp_path / "guards.json", tmp_path / "net"
    (sysfs / "macvtap0" / "tap7").mkdir(parents=True)
    monkeypatch.setattr(guard_links, "SYSFS", str(sysfs))
    for function in (loader.stored, loader.mentions):
        monkeypatch.setattr(function, "__defaults__", (str(made),))
    return made


def test_a_damaged_file_is_an_error_with_what_to_do(store: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in (
        f'{{"guards": {{"{GUARDED}": 5}}}}',
        f'{{"guards": ["{GUARDED}"]}}',
        "",
        f'{{"guards": {{"{GUARDED}',
        DEEP,
    ):
        store.write_text(text)
        assert loader.main(["load"]) == 1
        message = capsys.readouterr().err
        assert message.startswith(f"linuxvirt.macvtap: {loader.STORE} is damaged (")
        assert message.endswith("). Move it away, and run macvtap_guard for all guards of this host\n")


DEEP = 100_000 * "["
DAMAGED = (
    f'{{"guards": {{"{GUARDED.upper()}": {{',
    f'{{"others": ["{GUARDED}"]}}',
    f'["{GUARDED}"]',
    f'{{"{GUARDED}": {DEEP}',
)


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
@pytest.mark.parametrize(("mac", "refused"), [(GUARDED, 1), (OTHER, 0)])
def test_only_guests_that_a_damaged_file_mentions_are_refused(
    store: pathlib.Path, monkeypatch: pytest.MonkeyPatch, text: str, mac: str, refused: int
) -> None:
    store.write_text(text)
    nic = f"<interface><mac address='{mac}'/><target dev='macvtap0'/></interface>"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"<domain><devices>{nic}</devices></domain>"))
    assert loader.main(START) == refused


def test_a_guard_that_lacks_something_is_damaged(
    store: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write_text(f'{{"guards": {{"{GUARDED}": {{"sets": []}}}}}}')
    monkeypatch.setattr(guard_table, "GuardTable", lambda: SimpleNamespace(rules=dict))
    # It may be one that is required.
    assert loader.main(["load"]) == 1
    why = f"{loader.STORE} is damaged ('chain' is missing). Move it away"
    assert capsys.readouterr().err.startswith(f"linuxvirt.macvtap: no guard for {GUARDED}: {why}")
