# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the collection's archive has beyond the checkout's files, once it is published somewhere.

The checkout knows no address of its own: links between pages are relative, and `galaxy.yml` names no repository. A
place where collections are published shows pages alone, so there they get whole addresses.
"""

from __future__ import annotations

import json
import posixpath
import re
import string
import typing as t
from dataclasses import dataclass

PICTURES = (".png", ".svg")
# Fenced code, which is left as it is; or a link, whose target is what is replaced.
_CODE_OR_LINK = re.compile(r"(?ms)^(?P<fence>```|~~~).*?^(?P=fence)$|\]\((?P<target>[^)\s]+)\)")
_URL = re.compile(r"https://[^\s/]+(/\S*)?\Z")


class PlaceError(Exception):
    """An address is missing or cannot be one. The message names the variable."""


@dataclass(frozen=True)
class Place:
    """Where a version is published: addresses without a slash at the end."""

    # The repository, as a browser shows it.
    repository: str
    # The site that `make docs` builds. Without one, pages are read in the repository.
    documentation: str | None
    issues: str | None
    # How the repository's site shows a file and gives its bytes, of what is written as {repository} {version} {path}.
    files: str = "{repository}/blob/{version}/{path}"
    raw: str = "{repository}/raw/{version}/{path}"

    def link(self, path: str, version: str) -> str:
        """Return the address of a file of this version, by its path in the repository."""
        if path.endswith(PICTURES):
            return self.raw.format(repository=self.repository, version=version, path=path)
        if self.documentation and path.endswith(".md"):
            page = "index" if path == "README.md" else path[: -len(".md")]
            return f"{self.documentation}/{page}.html"
        return self.files.format(repository=self.repository, version=version, path=path)


def place(variables: t.Mapping[str, str]) -> Place | None:
    """Return the place that the variables of `make release` name, or None if they name none.

    :raises PlaceError: one is no address, or those that are there need another.
    """
    named = {
        name: variables[name].rstrip("/") for name in ("REPOSITORY", "DOCUMENTATION", "ISSUES") if variables.get(name)
    }
    for name, address in named.items():
        if not _URL.match(address):
            raise PlaceError(f"{name}: {address!r} is not an address that begins with https://")
    if not named:
        return None
    if "REPOSITORY" not in named:
        raise PlaceError(f"REPOSITORY is missing. {' and '.join(named)} cannot be without it")
    patterns = {name.lower(): variables[name] for name in ("FILES", "RAW") if variables.get(name)}
    for name, pattern in patterns.items():
        _check(name.upper(), pattern)
    return Place(named["REPOSITORY"], named.get("DOCUMENTATION"), named.get("ISSUES"), **patterns)


def _check(name: str, pattern: str) -> None:
    """Check how a file's address is written.

    :raises PlaceError: it cannot be one.
    """
    try:
        words = {word for _text, word, *_rest in string.Formatter().parse(pattern) if word is not None}
        if "path" not in words:
            raise PlaceError(f"{name}: {pattern!r} has no {{path}}")
        for word in sorted(words - {"repository", "version", "path"}):
            raise PlaceError(f"{name}: {pattern!r} has {{{word}}}. There are {{repository}}, {{version}} and {{path}}")
        pattern.format(repository="", version="", path="")
    except (ValueError, LookupError) as exc:
        raise PlaceError(f"{name}: {pattern!r} is not like {{repository}}/blob/{{version}}/{{path}}: {exc}") from exc


def page(text: str, path: str, where: Place, version: str) -> str:
    """Return a page with whole addresses in place of its relative links.

    :param path: the page's own path in the repository
    """

    def replaced(match: re.Match[str]) -> str:
        target = match["target"]
        # Code, an address, or a place on the page itself.
        if target is None or "://" in target or target.startswith("#"):
            return match[0]
        file, hash_, anchor = target.partition("#")
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
        return f"]({where.link(inside, version)}{hash_}{anchor})"

    return _CODE_OR_LINK.sub(replaced, text)


def galaxy(text: str, where: Place) -> str:
    """Return galaxy.yml with the addresses of the collection."""
    addresses = {
        "repository": where.repository,
        "documentation": where.documentation or where.repository,
        "homepage": where.documentation or where.repository,
        "issues": where.issues,
    }
    # A string of JSON is one of YAML.
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in addresses.items() if value)
    return text.replace("dependencies: {}\n", f"dependencies: {{}}\n{lines}")


def links(where: Place) -> str:
    """Return docs/docsite/links.yml, which puts addresses on the pages that antsibull-docs makes of the plugins."""
    shown = [("Repository (sources)", where.repository)]
    if where.documentation:
        shown.append(("Guides", where.documentation))
    if where.issues:
        shown.append(("Report an issue", where.issues))
    entries = "".join(f"  - description: {json.dumps(text)}\n    url: {json.dumps(url)}\n" for text, url in shown)
    return f"---\nextra_links:\n{entries}"
