# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A report beside an earlier one, and without one."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from fleet import many

from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_overview import fleet_overview
from ansible_collections.linuxvirt.macvtap.plugins.filter.overview_text import overview_text


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_without_an_earlier_report_nothing_has_changed(form: str) -> None:
    now = fleet_overview(many(2, 2))
    # Before ansible-core 2.19, a template that is none is an empty text.
    assert overview_text(now, form, before="") == overview_text(now, form) == overview_text(now, form, before=None)
    with pytest.raises(AnsibleFilterError, match="the earlier report is not the JSON of a report"):
        overview_text(now, form, before={})
