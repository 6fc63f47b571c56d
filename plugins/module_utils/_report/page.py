# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A report as one HTML file that needs no other file. Pure, but for reading its template."""

from __future__ import annotations

import pathlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report.picture import picture

Values = t.Mapping[str, t.Any]
_TEMPLATE = pathlib.Path(__file__).with_name("page.html.j2")


def page(report: Values, changes: t.Sequence[Values] = (), *, title: str, made: str, remark: str = "") -> str:
    """Return the report as HTML. ``made`` is when it was made, as text. Everything that hosts report is escaped."""
    # Ansible's own engine does not escape.
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def printable(value: t.Any) -> t.Any:
        # What a macro of the template returns is escaped already.
        return value if isinstance(value, Markup) else _text.printable(value)

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=printable
    )
    environment.filters.update(shown=text.shown, speed=text.speed, requested=text.requested)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    # The tables are by host.
    columns = [(name, value) for name, value in text.used_columns(report) if name != "host"]
    return template.render(
        report=report,
        changes=changes,
        title=title,
        made=made,
        remark=remark,
        columns=columns,
        picture=picture,
        summary=text.summary(report),
    )
