# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Build the site of the documentation, in build/site: the repository's pages, and one of each plugin and role.

The pages keep their places, so links between them work here as they do in the repository. What the site adds is in
docs/dev/site. No network is needed.
"""

from __future__ import annotations

import os
import pathlib
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import typing as t

import release

ROOT = pathlib.Path(__file__).resolve().parent.parent
SITE = ROOT / "build/site"
SETTINGS = ROOT / "docs/dev/site"
REFERENCE = "reference"
# The parts of the navigation that are not from the README's tables.
DEVELOPERS = ("CONTRIBUTING", "docs/dev/architecture", "docs/dev/add-an-option", "docs/dev/add-a-manager")
EXAMPLE = "docs/example/README"
PROJECT = ("CHANGELOG", "docs/compatibility", "SECURITY", "CODE_OF_CONDUCT")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


def pages(root: pathlib.Path) -> list[pathlib.Path]:
    """Return the pages of the repository that are on the site, by their paths in it."""
    found = [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("docs/dev/*.md"), *root.glob("docs/example/*.md")]
    found += [*root.glob("roles/*/README.md"), root / "tests/README.md"]
    return sorted(path.relative_to(root) for path in found)


def under(readme: str, heading: str) -> list[str]:
    """Return the pages that the README links to under a heading, in its order, as Sphinx names them."""
    (text,) = re.findall(rf"(?ms)^## {heading}$(.*?)(?=^## |\Z)", readme)
    return [link[: -len(".md")] for link in _LINK.findall(text) if link.endswith(".md")]


def navigation(readme: str, reference: t.Iterable[str], developers: t.Iterable[str]) -> str:
    """Return the lists of pages for the site's sidebar, in Markdown."""
    first = [*DEVELOPERS, *(page for page in developers if page not in DEVELOPERS)]
    parts = {
        "Guides": [*under(readme, "Guides"), EXAMPLE],
        "Roles": under(readme, "Roles"),
        "Reference": [f"{name.rpartition('_')[0]} <{REFERENCE}/{name}>" for name in reference],
        "Project": PROJECT,
        "Development": first,
    }
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{chr(10).join(names)}\n```\n"
        for caption, names in parts.items()
    )


def other_files(root: pathlib.Path) -> set[pathlib.Path]:
    """Return the files and directories beside pages that pages link to, by their paths in the repository."""
    found = set()
    for page in pages(root):
        for link in _LINK.findall((root / page).read_text(encoding="utf-8")):
            path = (root / page).parent / link
            if "://" not in link and not link.endswith(".md") and path.exists():
                found.add(path.resolve().relative_to(root))
    return found


def listing(root: pathlib.Path, directory: pathlib.Path) -> str:
    """Return a page that shows the files of a directory."""
    lines = [f"# {directory}\n"]
    for path in sorted(path for path in (root / directory).rglob("*") if path.is_file()):
        name = path.relative_to(root / directory)
        # Longer than any that is in the file.
        lines.append(f"## {name}\n\n`````{language(path)}\n{path.read_text(encoding='utf-8')}`````\n")
    return "---\norphan: true\n---\n" + "\n".join(lines)


def language(path: pathlib.Path) -> str:
    return {".yml": "yaml", ".py": "python", ".json": "json", ".cfg": "ini", ".j2": "jinja"}.get(path.suffix, "text")


def laid_out(root: pathlib.Path, source: pathlib.Path) -> None:
    """Write the sources of the site, without those of the reference."""
    directories = {path for path in other_files(root) if (root / path).is_dir()}
    for page in pages(root):
        text = (root / page).read_text(encoding="utf-8")
        for directory in directories:
            relative = os.path.relpath(directory, page.parent)
            text = re.sub(rf"\]\({re.escape(relative)}/?\)", f"]({relative}/files.md)", text)
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        (source / page).write_text(text, encoding="utf-8")
    for path in other_files(root) - directories:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, source / path)
    for directory in directories:
        (source / directory).mkdir(parents=True, exist_ok=True)
        (source / directory / "files.md").write_text(listing(root, directory), encoding="utf-8")
    shutil.copy(SETTINGS / "conf.py", source)
    (source / "_static").mkdir()
    shutil.copy(SETTINGS / "favicon.svg", source / "_static")
    (source / "_static/site.css").write_text(colours() + (SETTINGS / "site.css").read_text(encoding="utf-8"))


def colours() -> str:
    """Return antsibull's colours of tables of options, by the theme's switch between light and dark."""

    def of(scheme: str, selector: str) -> str:
        css = pkgutil.get_data("sphinx_antsibull_ext", f"colors-{scheme}.css") or b""
        return css.decode().replace(":root", selector)

    automatic = of("default-dark", 'body:not([data-theme="light"])')
    dark = of("default-dark", 'body[data-theme="dark"]')
    return f"{of('default', 'body')}\n{dark}\n@media (prefers-color-scheme: dark) {{ {automatic} }}\n"


def reference(source: pathlib.Path) -> list[str]:
    """Write the pages of the plugins and roles, and return their names: modules, roles, then the others."""
    to = source / REFERENCE
    to.mkdir()
    make = ["antsibull-docs", "collection", "--use-current", "--fail-on-error", "--no-indexes", "--squash-hierarchy"]
    release.run(*make, "--no-add-antsibull-docs-version", "--dest-dir", to, "linuxvirt.macvtap", cwd=ROOT)
    (to / "index.rst").unlink(missing_ok=True)
    kinds = ("module", "role", "inventory", "filter", "lookup")
    found = [path.stem for path in to.glob("*.rst") if path.stem.rpartition("_")[2] in kinds]
    for path in to.glob("*.rst"):
        if path.stem in found:
            path.write_text(without_place(path.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            path.unlink()
    return sorted(found, key=lambda name: (kinds.index(name.rpartition("_")[2]), name))


def without_place(text: str) -> str:
    """Return a page of a plugin without what is not so here: where the collection is published, and its own contents.

    The theme shows the contents beside the page.
    """
    text = re.sub(r"(?ms)^\.\. Collection note\n.*?(?=^\.\. (?:version_added|contents|Deprecated|_))", "", text)
    return re.sub(r"(?m)^\.\. contents::\n(?: +:\w+:.*\n)+", "", text)


def build(output: pathlib.Path) -> None:
    """Build the site.

    :raises release.ReleaseError: a link leads nowhere, or a page has another fault. The message has all of them.
    """
    with tempfile.TemporaryDirectory(prefix="macvtap-site-") as work:
        source = pathlib.Path(work) / "source"
        source.mkdir()
        laid_out(ROOT, source)
        names = reference(source)
        readme = (source / "README.md").read_text(encoding="utf-8")
        developers = [str(page)[: -len(".md")] for page in pages(ROOT) if page.parts[:2] == ("docs", "dev")]
        text = readme + navigation(readme, names, [*developers, "tests/README"])
        (source / "README.md").write_text(text, encoding="utf-8")
        os.environ["MACVTAP_SITE_VERSION"] = release.version_of(ROOT)
        made = pathlib.Path(work) / "made"
        sphinx = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--jobs", "auto", "--builder", "html"]
        release.run(*sphinx, "-d", pathlib.Path(work) / "doctrees", source, made, cwd=ROOT)
        # Where an address without a page leads.
        shutil.copy(made / "README.html", made / "index.html")
        output.parent.mkdir(exist_ok=True)
        # The former site stays until there is another.
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(made, output)


def main() -> int:
    try:
        build(SITE)
    except (release.ReleaseError, subprocess.SubprocessError) as error:
        print(f"site: {error}", file=sys.stderr)
        return 1
    print(SITE / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
