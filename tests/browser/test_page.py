# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The report's page in a real browser: what a reader does with mouse, keyboard and printer."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import typing as t

import pytest
import report_pages as pages
from support import ROOT

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


@contextlib.contextmanager
def opened(browser: Browser, directory: pathlib.Path, html: str, **options: t.Any) -> t.Iterator[Page]:
    """Open a page. It fails if the page logs an error, or asks for anything but itself."""
    file = directory / "report.html"
    file.write_text(html, encoding="utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    try:
        yield page
    finally:
        context.close()
    assert (complaints, requests) == ([], [file.as_uri()])


@pytest.fixture
def page(browser: Browser, tmp_path: pathlib.Path) -> t.Iterator[Page]:
    """The page of two hosts."""
    with opened(browser, tmp_path, pages.html(pages.two(), pages.before())) as made:
        yield made


def shown(page: Page) -> list[str]:
    """Return the guests, or else the links, of the rows that can be seen."""
    cells = page.locator("tr.nic:visible").evaluate_all("rows => rows.map(r => [...r.cells].map(c => c.textContent))")
    return [guest or link for guest, _state, _mac, link, *_rest in cells]


def focused(page: Page) -> str:
    """Return what has the keyboard: its id, or else its text."""
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim().split('\\n')[0]"))


def test_a_search_finds_rows_of_which_all_words_match(page: Page) -> None:
    everything = shown(page)
    page.keyboard.press("/")
    assert focused(page) == "search"
    page.keyboard.type("hv1 web")
    page.get_by_text("3 found", exact=True).wait_for()
    assert shown(page) == ["web1", "web2", "web10"]
    page.locator("#search").fill("mail1")
    page.get_by_text("2 found", exact=True).wait_for()
    assert page.locator("details.host:visible").count() == 1
    page.locator("#search").press("Escape")
    assert shown(page) == everything
    assert page.locator("#count").text_content() == ""


def test_only_what_differs(page: Page) -> None:
    page.get_by_label("only what differs").check()
    # A request that is not answered, a link in another mode, and a NIC that does not exist.
    assert shown(page) == ["web2", "spare0", "mail1"]


def test_hosts_fold_and_unfold(page: Page) -> None:
    page.get_by_role("button", name="Close all hosts").click()
    assert shown(page) == []
    # Enter on the headline opens one.
    page.locator("summary").first.press("Enter")
    assert "web1" in shown(page)
    assert "web3" not in shown(page)
    page.get_by_role("button", name="Open all hosts").click()
    assert "web3" in shown(page)


def test_a_table_is_sorted_by_keyboard_and_numbers_in_names_count(page: Page) -> None:
    head = page.locator("details.host").first.locator("th", has_text="guest")
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [name for name in shown(page) if name.startswith("web")][:3] == ["web1", "web2", "web10"]
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert [name for name in shown(page) if name.startswith("web")][:3] == ["web10", "web2", "web1"]
    assert page.locator("th[aria-sort]").count() == 1
    # What differs stays below its row.
    above = page.locator("tr.more").first.evaluate("row => row.previousElementSibling.textContent")
    assert "web2" in above


def test_nothing_is_cut_off_on_a_small_screen(page: Page) -> None:
    page.set_viewport_size({"width": 1000, "height": 800})
    wide = page.locator("details > div, .scroll").evaluate_all(
        "all => all.map(one => one.scrollWidth - one.clientWidth)"
    )
    assert set(wide) == {0}
    # The text of a box is in the box.
    over = page.locator("svg g").evaluate_all(
        "all => all.map(one => one.getBBox().width - one.querySelector('rect').getBBox().width)"
    )
    assert max(over) <= 0


def test_the_keyboard_goes_through_the_page_from_top_to_bottom(page: Page) -> None:
    order = []
    for _stop in range(6):
        page.keyboard.press("Tab")
        order.append(focused(page))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", order
    assert order[:4] == ["search", "problems", "unfold", "fold"]
    assert order[4].startswith("hv1")


def test_a_box_of_the_picture_leads_to_its_row(page: Page) -> None:
    link = page.locator("svg a", has_text="db1")
    target = link.get_attribute("href") or ""
    link.press("Enter")
    row = page.locator(target)
    assert "db1" in (row.text_content() or "")
    assert row.evaluate("row => row.matches(':target')")
    # It is not below what stays at the top.
    above = page.locator(".tools").evaluate("tools => tools.getBoundingClientRect().bottom")
    assert row.evaluate("row => row.getBoundingClientRect().top") >= above
    # Also from a host that is closed.
    page.get_by_role("button", name="Close all hosts").click()
    page.evaluate("location.hash = ''")
    page.evaluate(f"location.hash = '{target}'")
    row.wait_for(state="visible")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(browser: Browser, tmp_path: pathlib.Path, scheme: str) -> None:
    with opened(browser, tmp_path, pages.html(pages.two()), color_scheme=scheme) as page:
        colors = page.evaluate(
            """() => ["body", "tr.problem > td", ".differences", ".muted", ".badge", "summary b"].map(selector => {
                const element = document.querySelector(selector);
                let behind = element;
                while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
                return [selector, getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
            })"""
        )
        assert (luminance(colors[0][2]) < 0.2) == (scheme == "dark")
        # As WCAG 2 asks for at level AA.
        assert [selector for selector, text, behind in colors if contrast(text, behind) < 4.5] == []


def luminance(color: str) -> float:
    """Return the relative luminance of a color such as ``rgb(1, 2, 3)``, as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_print_has_all_hosts_and_no_controls(page: Page) -> None:
    page.get_by_role("button", name="Close all hosts").click()
    page.emulate_media(media="print")
    assert not page.locator(".tools").is_visible()
    assert len(page.pdf(format="A4")) > 10000
    assert "web3" in shown(page)


def test_hostile_names_are_only_text(browser: Browser, tmp_path: pathlib.Path) -> None:
    fleet = pages.two()
    for domain in fleet["hv1"]["found"]["domains"]:
        domain["name"] = HOSTILE
    with opened(browser, tmp_path, pages.html({**fleet, HOSTILE: fleet["hv1"]})) as page:
        page.locator("#search").fill(HOSTILE)
        page.get_by_text(re.compile(r"^\d+ found$")).wait_for()
        assert page.evaluate("window.hacked") is None
        assert page.locator("img").count() == 0
        assert HOSTILE in shown(page)


@pytest.mark.parametrize("hosts", [2, 200])
def test_it_opens_quickly(
    browser: Browser, tmp_path: pathlib.Path, hosts: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(browser, tmp_path, pages.html(pages.large(hosts))) as page:
        painted = page.evaluate(
            """() => new Promise(done => new PerformanceObserver(list => {
                const [first] = list.getEntriesByName("first-contentful-paint");
                if (first) done(first.startTime);
            }).observe({type: "paint", buffered: true}))"""
        )
        loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        searched = page.evaluate(
            """() => {
                const start = performance.now();
                search.value = "web1";
                filter();
                return performance.now() - start;
            }"""
        )
        size = (tmp_path / "report.html").stat().st_size // 1024
        assert page.locator("details.host").count() == hosts
    # A figure, not a limit: other work on the machine would break it.
    with capsys.disabled():
        print(
            f"\n{hosts} hosts, {size} KiB: painted {painted:.0f} ms, loaded {loaded:.0f} ms, search {searched:.0f} ms"
        )


@pytest.mark.skipif("MACVTAP_TEST_SCREENSHOTS" not in os.environ, reason="MACVTAP_TEST_SCREENSHOTS is not set")
def test_the_screenshots_are_made_again(browser: Browser, tmp_path: pathlib.Path) -> None:
    for scheme in ("light", "dark"):
        with opened(browser, tmp_path, pages.html(pages.two(), pages.before()), color_scheme=scheme) as page:
            page.set_viewport_size({"width": 1000, "height": 800})
            directory = ROOT / os.environ["MACVTAP_TEST_SCREENSHOTS"]
            page.evaluate("document.querySelector('#hosts').scrollIntoView()")
            page.screenshot(path=directory / f"report-{scheme}.png")
