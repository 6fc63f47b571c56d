# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What refusals of libnftables mean to users, by the errors that its versions return."""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table

# As 0.9.8 of Debian 11 returns it, whose Linux 5.10 has no such hook either.
OLD_LIBRARY = """\
internal:0:0-0: Error: Invalid chain hook 'egress'.

internal:0:0-0: Error: Parsing command array at index 1 failed.

"""
OLD_KERNEL = "internal:0:0-0: Error: Could not process rule: Operation not supported\n\n"


class Library:
    """The library of python3-nftables, which carries nothing out."""

    error = ""

    def json_cmd(self, _commands: t.Any) -> tuple[int, str, str]:
        return -1, "", self.error

    def set_json_output(self, _on: bool) -> None: ...

    def set_handle_output(self, _on: bool) -> None: ...


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OLD_LIBRARY, r"refused it: Invalid chain hook 'egress'.; this version of nftables does not know it"),
        (OLD_KERNEL, r"refused it: Could not process rule: Operation not supported; the kernel does not support it"),
    ],
)
def test_where_no_link_can_be_filtered_it_says_what_is_needed(
    error: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Library, "error", error)
    monkeypatch.setattr(_deps, "load", lambda _name: types.SimpleNamespace(Nftables=Library))
    with pytest.raises(MacvtapError, match=message) as refused:
        Table().replace([])
    assert "needs Linux 5.16 or newer, and nftables 1.0.1 or newer" in str(refused.value)
