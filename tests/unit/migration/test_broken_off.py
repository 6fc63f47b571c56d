# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is read and said around a migration that is refused at the last moment, or breaks off."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import adapter, aftermath
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Guest

GUEST = Guest("web1", "uuid-1", "hv2", running=True)


class LibvirtError(Exception):
    def get_error_message(self) -> str:
        return str(self)


class Libvirt:
    libvirtError = LibvirtError  # noqa: N815


class Connection:
    """A host that can be connected to, and fails when it is asked for the guest if ``error`` is set."""

    libvirt = Libvirt

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.asked: list[str] = []

    def ensure(self) -> None:
        pass

    def guest(self, _uuid: str) -> t.Any:
        if self._error is not None:
            raise self._error

    def retry(self, do: t.Callable[[], t.Any]) -> t.Any:
        return do()


@pytest.mark.parametrize("error", [LibvirtError("reset"), MacvtapError("reset")], ids=["libvirt", "own"])
@pytest.mark.parametrize(
    ("silent", "said"),
    [(0, "Here the guest is not known, and this host cannot"), (1, "Here the guest is absent, and hv2 cannot")],
)
def test_the_host_is_named_that_could_not_be_asked(
    monkeypatch: pytest.MonkeyPatch, silent: int, said: str, error: Exception
) -> None:
    monkeypatch.setattr(aftermath, "_RESOLVE_SECONDS", -1.0)
    monkeypatch.setattr(aftermath, "message_of", str)
    both = [Connection(error if number == silent else None) for number in range(2)]
    found = aftermath.Aftermath(*t.cast("t.Any", both)).resolve(GUEST)
    assert found == f"{said} be asked: reset"


def test_what_is_sent_is_read_after_the_last_check(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def prepared(*_args: t.Any) -> t.NoReturn:
        done.append("read")
        raise MacvtapError("enough")

    monkeypatch.setattr(adapter.Migration, "_prepared", prepared)
    migration = adapter.Migration.__new__(adapter.Migration)
    migration._source = t.cast("t.Any", Connection())
    with pytest.raises(MacvtapError, match="enough"):
        migration._move(*t.cast("t.Any", (None, GUEST, None, None, lambda: done.append("checked"))))
    assert done == ["checked", "read"]
