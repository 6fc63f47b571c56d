# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the site adds to the pages of the repository. tests/browser opens it."""

from __future__ import annotations

import pathlib
import re
import sys

from support import ROOT

sys.path.append(str(ROOT / ".ci"))

import website

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_navigation_has_the_guides_and_roles_of_the_readme_in_its_order() -> None:
    shown = website.navigation(README, ["macvtap_link_module"], ["docs/dev/lab"])
    names = re.findall(r"(?m)^[\w/.-]+$", shown)
    assert names.index("docs/modes") < names.index("docs/host-access") < names.index("docs/speed")
    assert {f"roles/{path.parent.name}/README" for path in (ROOT / "roles").glob("*/README.md")} <= set(names)
    assert "macvtap_link <reference/macvtap_link_module>" in shown


def test_every_page_is_in_the_navigation() -> None:
    developers = [path.with_suffix("").as_posix() for path in website.pages(ROOT) if path.parts[:2] == ("docs", "dev")]
    names = set(re.findall(r"(?m)^[\w/.-]+$", website.navigation(README, [], [*developers, "tests/README"])))
    assert {path.with_suffix("").as_posix() for path in website.pages(ROOT)} - names == {"README"}


def test_directories_and_files_that_pages_link_to_are_on_the_site() -> None:
    found = website.other_files(ROOT)
    assert {pathlib.Path("docs/example/networks"), pathlib.Path("docs/pictures/modes.svg")} <= found
    text = website.listing(ROOT, pathlib.Path("docs/example/inventory"))
    assert "## host_vars/hv1.yml\n\n`````yaml\n---" in text


def test_a_plugins_page_does_not_say_where_it_is_published() -> None:
    page = """\
.. Collection note

.. note::
    This module is part of the `linuxvirt.macvtap collection <https://galaxy.ansible.com/x>`_ (version 0.2.0).

.. version_added

.. rst-class:: ansible-version-added

New in linuxvirt.macvtap 0.1.0

.. contents::
   :local:
   :depth: 1

.. Deprecated

Synopsis
"""
    text = website.without_place(page)
    assert "galaxy" not in text
    assert "contents" not in text
    assert text.startswith(".. version_added")
    assert text.endswith(".. Deprecated\n\nSynopsis\n")
