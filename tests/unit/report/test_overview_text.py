# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A report beside an earlier one, and without one."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible.errors import AnsibleFilterError
from fleet import many

from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_overview import fleet_overview
from ansible_collections.linuxvirt.macvtap.plugins.filter.overview_text import overview_text
from ansible_collections.linuxvirt.macvtap.plugins.lookup.earlier_overview import LookupModule


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_without_an_earlier_report_nothing_has_changed(form: str) -> None:
    now = fleet_overview(many(2, 2))
    # Before ansible-core 2.19, a template that is none is an empty text.
    assert overview_text(now, form, before="") == overview_text(now, form) == overview_text(now, form, before=None)
    with pytest.raises(AnsibleFilterError, match="the earlier report is not the JSON of a report"):
        overview_text(now, form, before={})


NOW = fleet_overview(many(1, 1))
UNKNOWN = "What has changed since the last report is not known: "


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not the JSON of a report of version 1"),
        (b"{", "is not the JSON of a report of version 1"),
        (b"\xff\xfe\0", "is not the JSON of a report of version 1"),
        (b"[" * 100_000, "is not the JSON of a report of version 1"),
        (b'{"version": 0, "hosts": []}', "is not the JSON of a report of version 1"),
        (b'{"version": 1, "hosts": [{"name": "hv1"}]}', "is damaged (KeyError: 'uplinks')"),
        (b'{"version": 1, "hosts": null}', "is damaged (TypeError: "),
        (b'{"version": 1, "hosts": [{"name": ["hv1"]}]}', "is damaged (TypeError: the name of a host is ['hv1'])"),
    ],
)
def test_an_earlier_report_that_cannot_be_used_is_a_remark(
    tmp_path: pathlib.Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "y.json"
    path.write_bytes(content)
    (earlier,) = LookupModule().run([str(path)])
    assert earlier["overview"] is None
    assert earlier["problem"].startswith(f"{UNKNOWN}{path} {problem}")
    for form in ("table", "markdown", "html"):
        shown = overview_text(NOW, form, before=earlier["overview"], remark=earlier["problem"])
        assert UNKNOWN in shown.replace("\\", "")


def test_a_file_that_cannot_be_read_and_one_that_can(tmp_path: pathlib.Path) -> None:
    (tmp_path / "y.json").write_text(json.dumps(NOW))
    terms = [str(tmp_path / name) for name in ("y.json", "none.json", "")]
    usable, absent, unreadable = LookupModule().run(terms)
    assert usable == {"overview": json.loads(json.dumps(NOW)), "problem": ""}
    assert absent == {"overview": None, "problem": ""}
    assert unreadable["overview"] is None
    assert unreadable["problem"].startswith(f"{UNKNOWN}{tmp_path} cannot be read: ")


def test_a_remark_is_text() -> None:
    remark = "<b>\x1b[31m"
    assert "�" in overview_text(NOW, remark=remark)
    assert "&lt;b&gt;�" in overview_text(NOW, "html", remark=remark)
    assert r"\<b\>" in overview_text(NOW, "markdown", remark=remark)
