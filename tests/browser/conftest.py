# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A browser for the tests of the report's page. Without one they are skipped.

It takes 300 MB, and nothing else needs it.
"""

from __future__ import annotations

import os
import shutil
import typing as t

import pytest

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> t.Iterator[Browser]:
    """Start Debian's Chromium, headless."""
    chromium = os.environ.get("MACVTAP_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: make browser-test installs it")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: make browser-test installs it")
    # Chromium's own sandbox does not work for root. The pages are made by these tests.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()
