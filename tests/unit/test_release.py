# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What `make release` makes."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tarfile
import typing as t

import pytest
import yaml
from support import ROOT

sys.path.append(str(ROOT / ".ci"))

import published
import release
import since

REPOSITORY, DOCUMENTATION, ISSUES = "https://example.org/r", "https://example.org/d", "https://example.org/i"
NEEDED = "needs antsibull-changelog, of make lint or make release"
PLACE = published.Place(REPOSITORY, DOCUMENTATION, ISSUES)


def test_versions_are_ordered_as_semantic_versioning_has_it() -> None:
    versions = [
        "0.1.0",
        "0.9.0",
        "0.10.0",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-rc.1",
        "1.0.0-rc.2",
        "1.0.0-rc.10",
        "1.0.0",
    ]
    assert sorted(versions, key=release.ordered) == versions


@pytest.mark.parametrize("version", ["1", "v1.0.0", "1.0", "1.0.0-", "01.0.0", "1.0.0\n", "1.0.0+build", "1.0.0-a..b"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(release.ReleaseError, match=r"^VERSION: .* is not a version such as 1\.2\.3 or 1\.2\.3-rc\.1$"):
        release.ordered(version)


@pytest.mark.parametrize(("version", "after"), [("0.2.0", "0.3.0"), ("1.4.7", "1.5.0"), ("1.0.0-rc.1", "1.0.0")])
def test_the_checkout_has_the_next_version_afterwards(version: str, after: str) -> None:
    assert release.following(version) == after


@pytest.mark.parametrize(
    ("text", "path", "after"),
    [
        ("[a](docs/modes.md)", "README.md", f"[a]({DOCUMENTATION}/docs/modes.html)"),
        ("[a](../roles/x/README.md#b-c)", "docs/modes.md", f"[a]({DOCUMENTATION}/roles/x/README.html#b-c)"),
        ("[a](../../README.md)", "roles/x/README.md", f"[a]({DOCUMENTATION}/index.html)"),
        ("![a](pictures/modes.svg)", "docs/modes.md", f"![a]({REPOSITORY}/raw/1.0.0/docs/pictures/modes.svg)"),
        ("[a](example)", "docs/modes.md", f"[a]({REPOSITORY}/blob/1.0.0/docs/example)"),
        ("[a](#here) [b](https://example.org/x.md)", "docs/modes.md", None),
        ("```yaml\n[a](docs/modes.md)\n```\n", "README.md", None),
    ],
)
def test_links_of_pages_lead_to_the_place(text: str, path: str, after: str | None) -> None:
    assert published.page(text, path, PLACE, "1.0.0") == (after or text)


def test_without_a_site_pages_are_read_in_the_repository() -> None:
    place = published.Place(REPOSITORY, None, None, files="{repository}/src/tag/{version}/{path}")
    assert (
        published.page("[a](docs/modes.md#b)", "README.md", place, "1.0.0")
        == f"[a]({REPOSITORY}/src/tag/1.0.0/docs/modes.md#b)"
    )


def test_galaxy_gets_the_addresses_that_there_are() -> None:
    text = (ROOT / "galaxy.yml").read_text(encoding="utf-8")
    got = yaml.safe_load(published.galaxy(text, PLACE))
    assert {name: got[name] for name in ("repository", "documentation", "homepage", "issues")} == {
        "repository": REPOSITORY,
        "documentation": DOCUMENTATION,
        "homepage": DOCUMENTATION,
        "issues": ISSUES,
    }
    assert "issues" not in yaml.safe_load(published.galaxy(text, published.Place(REPOSITORY, None, None)))
    assert len(yaml.safe_load(published.links(PLACE))["extra_links"]) == 3


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"REPOSITORY": "example.org/r"}, "REPOSITORY: 'example.org/r' is not an address that begins with https://"),
        ({"REPOSITORY": "https://a b/"}, "REPOSITORY: 'https://a b' is not an address"),
        ({"ISSUES": ISSUES}, "REPOSITORY is missing. ISSUES cannot be without it"),
        ({"REPOSITORY": REPOSITORY, "FILES": "{repository}/x"}, "FILES: '{repository}/x' has no {path}"),
        ({"REPOSITORY": REPOSITORY, "RAW": "{path}/{tag}"}, "RAW: '{path}/{tag}' has {tag}"),
        (
            {"REPOSITORY": REPOSITORY, "FILES": "{path"},
            "FILES: '{path' is not like {repository}/blob/{version}/{path}: ",
        ),
        ({"REPOSITORY": REPOSITORY, "FILES": "{path:d}"}, "FILES: '{path:d}' is not like "),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(published.PlaceError) as caught:
        published.place(variables)
    assert str(caught.value).startswith(message)


FIRST, VERSION = "0.1.0", "0.2.0"
CHANGELOG = f"""---
ancestor: null
releases:
  {FIRST}:
    changes:
      release_summary: The first one.
    fragments:
      - {FIRST}.yml
    release_date: '2026-01-01'
"""


class Checkout:
    """A repository of its own with the collection's files, but for its version and its changelog.

    A commit that `make release` makes has another version, and no fragment.
    """

    def __init__(self, path: pathlib.Path, documented: since.Versions) -> None:
        self.path = release.copied(ROOT, path)
        # All are of a release before.
        since.record(path, documented)
        (path / ".collections/ansible_collections/linuxvirt").mkdir(parents=True)
        (path / ".collections/ansible_collections/linuxvirt/macvtap").symlink_to("../../..")
        release.set_version(path, VERSION)
        (path / "changelogs/changelog.yaml").write_text(CHANGELOG, encoding="utf-8")
        for one in (path / "changelogs/fragments").glob("*.yml"):
            one.unlink()
        (path / "changelogs/fragments").mkdir(exist_ok=True)
        (path / "changelogs/fragments/one.yml").write_text("---\nbugfixes:\n  - one thing.\n", encoding="utf-8")
        self.git("init", "--quiet", "--initial-branch", "main")
        self.git("config", "user.name", "Somebody")
        self.git("config", "user.email", "somebody@example.org")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "All")

    def git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self.path, check=True, stdout=subprocess.PIPE, text=True).stdout

    def release(self, **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, ".ci/release.py"],
            cwd=self.path,
            env={**os.environ, "PATH": path, **variables},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def documented() -> since.Versions:
    return since.documented(ROOT)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, documented: since.Versions) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("checkout"), documented)


def state(checkout: Checkout) -> tuple[str, ...]:
    return (checkout.git("rev-parse", "HEAD"), checkout.git("tag"), checkout.git("status", "--porcelain"))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"VERSION": FIRST}, f"VERSION: {FIRST} does not come after {FIRST}, the last release in the changelog"),
        ({"DRY_RUN": "true"}, "DRY_RUN: 'true' is neither yes nor no"),
        ({"VERSION": "0.2"}, "VERSION: '0.2' is not a version such as 1.2.3 or 1.2.3-rc.1"),
        ({"NEXT": VERSION}, f"NEXT: {VERSION} does not come after {VERSION}"),
        ({"ISSUES": ISSUES}, "REPOSITORY is missing. ISSUES cannot be without it"),
    ],
)
def test_a_release_that_cannot_be_made_changes_nothing(
    checkout: Checkout, variables: dict[str, str], message: str
) -> None:
    before = state(checkout)
    done = checkout.release(**variables)
    assert (done.returncode, done.stderr) == (1, f"release: {message}\n")
    assert state(checkout) == before


def test_changes_that_are_not_committed_are_not_released(checkout: Checkout) -> None:
    (checkout.path / "new").touch()
    try:
        done = checkout.release()
    finally:
        (checkout.path / "new").unlink()
    assert "release: the checkout has changes that are not committed. Commit or remove them:\n?? new" in done.stderr


def manifest(archive: pathlib.Path) -> dict[str, t.Any]:
    with tarfile.open(archive) as opened:
        file = opened.extractfile("MANIFEST.json")
        assert file is not None
        return dict(json.load(file)["collection_info"])


def test_a_release_is_rehearsed_and_made(tmp_path: pathlib.Path, documented: since.Versions) -> None:
    pytest.importorskip("antsibull_changelog", reason=NEEDED)
    new = "module libvirt_guest_announce domain"
    checkout = Checkout(tmp_path, {name: added for name, added in documented.items() if name != new})
    before = state(checkout)
    done = checkout.release(DRY_RUN="yes", REPOSITORY=REPOSITORY)
    archive = checkout.path / "build" / f"linuxvirt-macvtap-{VERSION}.tar.gz"
    assert (done.returncode, done.stdout) == (0, f"{archive}\n"), done.stderr
    assert state(checkout) == before
    assert manifest(archive)["repository"] == REPOSITORY
    archive.unlink()
    other = checkout.release(VERSION="7.0.0").stderr
    assert f"{new}: {since.ADDED} is {documented[new]}, and must be 7.0.0\n" in other

    done = checkout.release(VERSION="0.2.0-rc.1")
    assert done.returncode == 0, done.stderr
    assert checkout.git("log", "--format=%s", "-3").splitlines() == ["Begin 0.2.0", "Release 0.2.0-rc.1", "All"]
    assert checkout.git("status", "--porcelain") == ""
    made = manifest(checkout.path / "build/linuxvirt-macvtap-0.2.0-rc.1.tar.gz")
    assert (made["version"], made["repository"]) == ("0.2.0-rc.1", None)
    released = checkout.git("show", "0.2.0-rc.1:CHANGELOG.md")
    assert released.index("v0\\.2\\.0\\-rc\\.1") < released.index("v0\\.1\\.0")
    assert not [name for name in checkout.git("ls-files", "changelogs/fragments").split() if name.endswith(".yml")]
    assert json.loads(checkout.git("show", f"0.2.0-rc.1:{since.RECORD}")) == documented
    # Both name the archive that a checkout builds.
    assert "linuxvirt-macvtap-0.2.0-rc.1.tar.gz" in checkout.git("show", "0.2.0-rc.1:README.md")
    assert "linuxvirt-macvtap-0.2.0.tar.gz" in checkout.git("show", "HEAD:README.md")

    # All fragments are in the changelog. The final release has the changes of its pre-release.
    assert "release: changelogs/fragments is empty" in checkout.release(VERSION="0.2.0-rc.2").stderr
    done = checkout.release()
    assert done.returncode == 0, done.stderr
    assert "one thing" in checkout.git("show", "0.2.0:CHANGELOG.md")
    assert "release: changelogs/fragments is empty" in checkout.release().stderr


def test_a_release_that_the_branch_does_not_take_leaves_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, clone, built = tmp_path / "root", tmp_path / "clone", tmp_path / "built"
    root.mkdir()
    built.touch()
    monkeypatch.setattr(release, "ROOT", root)

    def git(where: pathlib.Path, *arguments: str) -> str:
        return release.run("git", "-c", "user.name=a", "-c", "user.email=b", *arguments, cwd=where)

    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "All")
    git(tmp_path, "clone", "--quiet", str(root), str(clone))
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "Release")
    git(clone, "tag", "--annotate", "--message", "x", VERSION)
    git(root, "commit", "--quiet", "--allow-empty", "--message", "Meanwhile")
    with pytest.raises(release.ReleaseError):
        release.take_over(clone, "main", VERSION, built)
    assert (git(root, "tag"), built.exists()) == ("", False)

    git(root, "reset", "--quiet", "--hard", "HEAD^")
    built.touch()
    release.take_over(clone, "main", VERSION, built)
    assert (git(root, "tag").strip(), git(root, "log", "-1", "--format=%s").strip()) == (VERSION, "Release")
    assert built.exists()


def test_what_git_or_this_machine_lacks_is_a_clear_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(release.ReleaseError, match=r"^no-such-program is missing\. Install it$"):
        release.run("no-such-program", cwd=tmp_path)
    release.run("git", "init", "--quiet", cwd=tmp_path)
    monkeypatch.setattr(release, "ROOT", tmp_path)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    with pytest.raises(release.ReleaseError, match=r"^Git has no user\.name, which a commit needs"):
        release.configured("user.name")
