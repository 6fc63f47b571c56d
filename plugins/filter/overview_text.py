# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter overview_text: an overview of a fleet as a table, as Markdown, or as an HTML page."""

from __future__ import annotations

DOCUMENTATION = r"""
name: overview_text
short_description: Format an overview of a fleet as text, Markdown or HTML
version_added: 0.2.0
description:
  - Formats the result of P(linuxvirt.macvtap.fleet_overview#filter). What hosts report is escaped, and control
    characters are replaced.
options:
  _input:
    description: The overview.
    type: dict
    required: true
  form:
    description:
      - V(table), for a terminal. V(markdown). V(html), one file that needs no other file.
    type: str
    choices: [table, markdown, html]
    default: table
  before:
    description: An earlier overview of the fleet. What has changed since then is listed.
    type: dict
  title:
    description: Title of the page.
    type: str
    default: Guests on macvtap
  remark:
    description: A sentence for the reader of the text, such as why it does not list what has changed.
    type: str
    default: ""
    version_added: 1.0.0
  made:
    description: When the overview was made, shown on the page.
    type: str
    default: ""
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Write the fleet's NICs to a file in Markdown
  ansible.builtin.copy:
    content: "{{ fleet | linuxvirt.macvtap.fleet_overview | linuxvirt.macvtap.overview_text(form='markdown') }}"
    dest: guests.md
    mode: "0644"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import changes, page, text
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted


def overview_text(  # noqa: PLR0913  # the options of the filter
    report: t.Any,
    form: str = "table",
    before: t.Any = None,
    title: str = "Guests on macvtap",
    made: str = "",
    *,
    remark: str = "",
) -> str:
    """Return ``report`` as text of this ``form``."""
    forms: dict[str, t.Callable[[t.Sequence[t.Any]], str]] = {
        "table": lambda changed: text.table(report, changed, remark),
        "markdown": lambda changed: text.markdown(report, changed, remark),
        "html": lambda changed: page.page(report, changed, title=title, made=made, remark=remark),
    }
    if form not in forms:
        raise AnsibleFilterError(f"overview_text: form must be one of {', '.join(forms)}, found {form!r}")
    try:
        return forms[form]([] if before in (None, "") else changes.changes(before, report))
    except MacvtapError as exc:
        raise AnsibleFilterError(f"overview_text: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError("overview_text: the input must be the result of fleet_overview") from exc


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(overview_text)
