# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup earlier_overview: an overview of a fleet that was written to a file, to compare another one with."""

from __future__ import annotations

DOCUMENTATION = r"""
name: earlier_overview
short_description: Read an earlier overview of a fleet from a file
version_added: 1.0.0
description:
  - Reads what the playbook C(report) has written as JSON, that is the result of
    P(linuxvirt.macvtap.fleet_overview#filter), for the option O(linuxvirt.macvtap.overview_text#filter:before).
  - A file that cannot be used is no error, because the report that replaces it must not depend on it.
options:
  _terms:
    description: Absolute paths of files on the controller.
    type: list
    elements: str
    required: true
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show what has changed since the last report
  ansible.builtin.debug:
    msg: "{{ fleet | linuxvirt.macvtap.fleet_overview
      | linuxvirt.macvtap.overview_text(before=earlier.overview, remark=earlier.problem) }}"
  vars:
    earlier: "{{ query('linuxvirt.macvtap.earlier_overview', '/srv/reports/lan.json') | first }}"
"""

RETURN = r"""
_raw:
  description: What each file has.
  type: list
  elements: dict
  contains:
    overview:
      description: The overview. V(null) without a file, and if it cannot be used.
      type: dict
    problem:
      description: Why an existing file cannot be used. Empty if it can, and without a file.
      type: str
"""

import typing as t

from ansible.plugins.lookup import LookupBase

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import changes


class LookupModule(LookupBase):
    """The entry point for Ansible."""

    def run(
        self, terms: t.Sequence[str], variables: t.Mapping[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        """Return the overview of each of the files ``terms``."""
        self.set_options(var_options=variables, direct=kwargs)
        return [_read(str(path)) for path in terms]


def _read(path: str) -> dict[str, t.Any]:
    unknown = "What has changed since the last report is not known"
    try:
        text = _files.read(path)
    except MacvtapError as exc:
        return {"overview": None, "problem": f"{unknown}: {exc}"}
    try:
        return {"overview": None if text is None else changes.parse(text), "problem": ""}
    except MacvtapError as exc:
        return {"overview": None, "problem": f"{unknown}: {path} {exc}"}
