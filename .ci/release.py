# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Make a release: changelog, version, commit, tag and archive, all in a clone, and then take them over at once.

Variables:
    DRY_RUN        yes, to leave the repository as it is
    VERSION        of this release; by default galaxy.yml's
    NEXT           which the checkout has afterwards; by default the next minor version
    REPOSITORY, DOCUMENTATION, ISSUES   addresses: see published.py
    FILES, RAW     how the repository's site shows a file: see published.py

A release that fails leaves nothing behind, so it can be run again.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import typing as t

import published
import since

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Names the archive, with its version, as a user has it.
NAMED = ("README.md", "docs/example/collections/requirements.yml")
_NUMBERS = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
_VERSION = re.compile(rf"{_NUMBERS}(?:-(?P<pre>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?\Z")
_IN_GALAXY = re.compile(r"(?m)^version: (\S+)$")


class ReleaseError(Exception):
    """The release cannot be made. The message says why, and what to do."""


def ordered(version: str) -> tuple[t.Any, ...]:
    """Return what versions are compared by, as Semantic Versioning has it.

    :raises ReleaseError: it is not a version.
    """
    match = _VERSION.match(version)
    if match is None:
        raise ReleaseError(f"VERSION: {version!r} is not a version such as 1.2.3 or 1.2.3-rc.1")
    # A number comes before a word, and a version that has none of them after those that have.
    words = match["pre"].split(".") if match["pre"] else []
    pre = [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in words]
    return (*map(int, match.groups()[:3]), not pre, pre)


def following(version: str) -> str:
    """Return the version that the checkout has after a release: what its next release is, unless it says otherwise."""
    major, minor, patch, final, _pre = ordered(version)
    return f"{major}.{minor + 1}.0" if final else f"{major}.{minor}.{patch}"


def version_of(root: pathlib.Path) -> str:
    return _IN_GALAXY.findall((root / "galaxy.yml").read_text(encoding="utf-8"))[0]


def set_version(root: pathlib.Path, new: str) -> None:
    """Write a version into galaxy.yml, and wherever the archive is named."""
    old = version_of(root)
    galaxy = root / "galaxy.yml"
    galaxy.write_text(_IN_GALAXY.sub(f"version: {new}", galaxy.read_text(encoding="utf-8")), encoding="utf-8")
    for name in NAMED:
        path = root / name
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f"macvtap-{old}.tar.gz", f"macvtap-{new}.tar.gz"), encoding="utf-8")


def run(*argv: str | os.PathLike[str], cwd: pathlib.Path) -> str:
    """Run a command, and return what it prints.

    :raises ReleaseError: it fails, or there is no such command.
    """
    try:
        done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as exc:
        raise ReleaseError(f"{exc.filename} is missing. Install it") from exc
    if done.returncode:
        shown = " ".join(map(str, argv))
        raise ReleaseError(f"{shown}: {(done.stderr.strip() or done.stdout.strip())}")
    return done.stdout


def looked_at(root: pathlib.Path, version: str) -> None:
    """Check that the release can be made.

    :raises ReleaseError: it cannot.
    """
    ordered(version)
    changed = run("git", "status", "--porcelain", cwd=root)
    if changed:
        raise ReleaseError(f"the checkout has changes that are not committed. Commit or remove them:\n{changed}")
    released = re.findall(r"(?m)^  (\d\S*):$", (root / "changelogs/changelog.yaml").read_text(encoding="utf-8"))
    newest = max(released, key=ordered, default="0.0.0-0")
    if ordered(version) <= ordered(newest):
        raise ReleaseError(f"VERSION: {version} does not come after {newest}, the last release in the changelog")
    if run("git", "tag", "--list", version, cwd=root):
        raise ReleaseError(f"VERSION: there is a tag {version}")
    # What a final release has may all have been in its pre-releases.
    is_final_of = ordered(version)[3] and ordered(newest)[:4] == (*ordered(version)[:3], False)
    wrong = since.wrong(since.documented(root), since.recorded(root), version)
    if wrong:
        raise ReleaseError(f"VERSION: the documentation is of another release:\n{since.shown(wrong)}")
    if not is_final_of and not list((root / "changelogs/fragments").glob("*.yml")):
        raise ReleaseError("changelogs/fragments is empty: there is nothing to release")


def released(clone: pathlib.Path, version: str, next_version: str) -> None:
    """Commit and tag the release in a clone, and then what begins the next one."""
    set_version(clone, version)
    today = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    run("antsibull-changelog", "release", "--version", version, "--date", today, cwd=clone)
    run("antsibull-changelog", "lint", cwd=clone)
    since.record(clone, {**since.recorded(clone), **since.documented(clone)})
    commit(clone, f"Release {version}")
    run("git", "tag", "--annotate", "--message", f"linuxvirt.macvtap {version}", version, cwd=clone)
    set_version(clone, next_version)
    commit(clone, f"Begin {next_version}")


def commit(clone: pathlib.Path, subject: str) -> None:
    # Git leaves an empty directory out. The next fragment may come soon, or never.
    (clone / "changelogs/fragments").mkdir(exist_ok=True)
    (clone / "changelogs/fragments/.keep").touch()
    run("git", "add", "--all", cwd=clone)
    run("git", "commit", "--quiet", "--message", subject, cwd=clone)


def archive(root: pathlib.Path, where: published.Place | None, output: pathlib.Path) -> pathlib.Path:
    """Build the archive of a directory with the collection's files, which are changed for the place it goes to."""
    version = version_of(root)
    if where is not None:
        galaxy = root / "galaxy.yml"
        galaxy.write_text(published.galaxy(galaxy.read_text(encoding="utf-8"), where), encoding="utf-8")
        (root / "docs/docsite").mkdir(exist_ok=True)
        (root / "docs/docsite/links.yml").write_text(published.links(where), encoding="utf-8")
        for path in pages(root):
            name = path.relative_to(root).as_posix()
            text = published.page(path.read_text(encoding="utf-8"), name, where, version)
            path.write_text(text, encoding="utf-8")
        # Galaxy runs ansible-lint where the collection is not installed, so it does not find what the example imports.
        # The file ends with the paths that are left out.
        with (root / ".ansible-lint").open("a", encoding="utf-8") as file:
            file.write("  - docs/example/\n")
    run("ansible-galaxy", "collection", "build", "--force", "--output-path", output, cwd=root)
    return output / f"linuxvirt-macvtap-{version}.tar.gz"


def pages(root: pathlib.Path) -> list[pathlib.Path]:
    """Return the pages that the archive has and that link to other files."""
    return [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("docs/example/*.md"), *root.glob("roles/*/*.md")]


def copied(root: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """Copy what git has or would add, as it is now."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=root)
    for name in filter(None, listed.split("\0")):
        # A link of the checkout's own leads back to it. Git lists what has been removed, too.
        if not (root / name).is_symlink() and (root / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name)
    return to


def main() -> int:
    try:
        where = published.place(os.environ)
        with tempfile.TemporaryDirectory(prefix="macvtap-release-") as work:
            _release(pathlib.Path(work), where)
    except (published.PlaceError, ReleaseError, since.SinceError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def _release(directory: pathlib.Path, where: published.Place | None) -> None:
    dry_run = os.environ.get("DRY_RUN", "")
    if dry_run not in ("", "yes", "no"):
        raise ReleaseError(f"DRY_RUN: {dry_run!r} is neither yes nor no")
    version = os.environ.get("VERSION") or version_of(ROOT)
    next_version = os.environ.get("NEXT") or following(version)
    looked_at(ROOT, version)
    if ordered(next_version) <= ordered(version):
        raise ReleaseError(f"NEXT: {next_version} does not come after {version}")
    branch = run("git", "symbolic-ref", "--short", "HEAD", cwd=ROOT).strip()
    clone = directory / "clone"
    run("git", "clone", "--quiet", ROOT, clone, cwd=directory)
    for name in ("user.name", "user.email"):
        run("git", "config", name, configured(name), cwd=clone)
    released(clone, version, next_version)
    tree = directory / "tree"
    run("git", "clone", "--quiet", "--branch", version, clone, tree, cwd=directory)
    built = archive(tree, where, directory)
    (ROOT / "build").mkdir(exist_ok=True)
    moved = pathlib.Path(shutil.move(built, ROOT / "build" / built.name))
    if dry_run != "yes":
        take_over(clone, branch, version, moved)
    print(moved)


def configured(name: str) -> str:
    """Return a setting of Git's that a commit needs.

    :raises ReleaseError: it is not set.
    """
    value = run("git", "config", "--default", "", "--get", name, cwd=ROOT).strip()
    if not value:
        raise ReleaseError(f"Git has no {name}, which a commit needs. Set it with git config {name}")
    return value


def take_over(clone: pathlib.Path, branch: str, version: str, built: pathlib.Path) -> None:
    """Give the repository the tag and the commits of a clone: both of them and the archive, or nothing.

    :raises ReleaseError: the repository does not take them.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(built.unlink)
        run("git", "fetch", "--quiet", clone, f"refs/tags/{version}:refs/tags/{version}", cwd=ROOT)
        undo.callback(run, "git", "tag", "--delete", version, cwd=ROOT)
        # Fails if the branch has moved meanwhile.
        run("git", "pull", "--quiet", "--ff-only", clone, branch, cwd=ROOT)
        undo.pop_all()


if __name__ == "__main__":
    sys.exit(main())
