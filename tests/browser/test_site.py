# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The site of the documentation in a real browser: every page, on a desk and on a phone, light and dark."""

from __future__ import annotations

import functools
import http.server
import pathlib
import sys
import threading
import typing as t

import pytest
from support import ROOT

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ViewportSize

sys.path.append(str(ROOT / ".ci"))
DESK: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: t.Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    pytest.importorskip("myst_parser", reason="needs Sphinx: make docs installs it")
    import website

    made = tmp_path_factory.mktemp("site") / "site"
    website.build(made)
    return made


@pytest.fixture(scope="module")
def address(site: pathlib.Path) -> t.Iterator[str]:
    """Serve the site, because its search reads files that a browser does not read from a disk."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def complaints_in(context: BrowserContext) -> list[str]:
    """Return a list that gets whatever goes wrong on the pages of a context."""
    found: list[str] = []
    context.on(
        "console", lambda one: found.append(f"{one.page and one.page.url}: {one.text}") if one.type == "error" else None
    )
    context.on("weberror", lambda one: found.append(str(one.error)))
    context.on(
        "requestfailed",
        # The search asks for the pages that it shows. Whoever follows a link does not wait for them.
        lambda one: None if one.failure == "net::ERR_ABORTED" else found.append(f"{one.url}: {one.failure}"),
    )
    context.on("response", lambda one: found.append(f"{one.url}: {one.status}") if one.status >= 400 else None)
    return found


@pytest.mark.parametrize(("viewport", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def test_every_page_opens_and_fits(
    browser: Browser, site: pathlib.Path, address: str, viewport: ViewportSize, scheme: t.Literal["dark", "light"]
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    complaints = complaints_in(context)
    page = context.new_page()
    page.on("request", lambda one: complaints.append(one.url) if not one.url.startswith((address, "data:")) else None)
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    assert len(names) > 80
    wide = []
    for name in names:
        page.goto(f"{address}/{name}")
        if page.evaluate("document.documentElement.scrollWidth") > viewport["width"]:
            wide.append(name)
    context.close()
    assert (complaints, wide) == ([], [])


def test_the_search_finds_an_option_and_a_guide(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport=DESK)
    complaints = complaints_in(context)
    page = context.new_page()
    for words, found in (("bcqueuelen", "macvtap_link module"), ("maintenance", "Maintenance without downtime")):
        page.goto(f"{address}/index.html")
        page.get_by_placeholder("Search").fill(words)
        page.keyboard.press("Enter")
        page.locator("ul.search li a", has_text=found).first.wait_for()
    context.close()
    assert complaints == []


def test_a_reader_gets_from_the_first_page_to_a_modules_options(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    page.goto(f"{address}/")
    page.locator(".sidebar-tree").get_by_role("link", name="libvirt_direct_iface", exact=True).click()
    assert page.locator("h1").inner_text().startswith("linuxvirt.macvtap.libvirt_direct_iface module")
    assert page.locator("#parameter-mac").count() == 1
    context.close()
