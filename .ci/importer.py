# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Run what Galaxy runs on an archive that is uploaded to it, and fail on anything that it warns of.

    importer.py [ARCHIVE]

Without an archive, that of the checkout is made first, as it would be published. Its addresses are those that
`make release` is given, or examples. Then ansible-builder is asked what the archive needs in an execution environment,
and ansible-sign signs the example project with a key for this run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import typing as t

import published
import release

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = {
    "REPOSITORY": "https://example.org/macvtap",
    "DOCUMENTATION": "https://example.org/docs",
    "ISSUES": "https://example.org/macvtap/issues",
}
# Beside its defaults.
SETTINGS = {"GALAXY_IMPORTER_RUN_FLAKE8": "yes", "GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "yes"}


class Heard(logging.Handler):
    """Keeps what a logger warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def imported(archive: pathlib.Path) -> list[str]:
    """Import an archive as Galaxy does, and return its warnings.

    :raises galaxy_importer.exceptions.ImporterError: Galaxy would refuse it.
    """
    os.environ.update(SETTINGS)
    from galaxy_importer import collection

    logger = logging.getLogger("importer")
    logger.propagate = False
    heard = Heard()
    logger.addHandler(heard)
    with archive.open("rb") as file:
        collection.import_collection(file, logger=logger)
    return heard.messages


def needed(archive: pathlib.Path, to: pathlib.Path) -> list[str]:
    """Return what is wrong with what the installed archive says of its needs.

    :raises release.ReleaseError: ansible-builder cannot read it.
    """
    # Not in the checkout, whose settings have Ansible find the collection there.
    release.run("ansible-galaxy", "collection", "install", archive, "--collections-path", to, cwd=to.parent)
    shown = release.run("ansible-builder", "introspect", to, cwd=to.parent)
    return [f"ansible-builder introspect: no {name}" for name in ("openssh-client",) if name not in shown]


def signed(installed: pathlib.Path, to: pathlib.Path) -> list[str]:
    """Return what is wrong with the signature of the installed example project.

    :raises release.ReleaseError: it cannot be signed, or its signature is not accepted.
    """
    project, clone, keys = (to / name for name in ("project", "clone", "keys"))
    shutil.copytree(installed / "ansible_collections/linuxvirt/macvtap/docs/example", project)
    keys.mkdir(mode=0o700)
    # Without a terminal it asks for none.
    os.environ.update(GNUPGHOME=str(keys), GPG_TTY="none")
    release.run("git", "init", "--quiet", cwd=project)
    try:
        key = ("--batch", "--passphrase", "", "--quick-gen-key", "Example <example@example.org>", "default")
        release.run("gpg", *key, cwd=project)
        release.run("ansible-sign", "project", "gpg-sign", ".", cwd=project)
        release.run("git", "add", "--all", cwd=project)
        own = [word for one in ("user.name=a", "user.email=b", "commit.gpgsign=false") for word in ("-c", one)]
        release.run("git", *own, "commit", "--quiet", "--message", "All", cwd=project)
        # As AWX has it.
        release.run("git", "clone", "--quiet", project, clone, cwd=to)
        release.run("ansible-sign", "project", "gpg-verify", ".", cwd=clone)
        (clone / "inventory/host_vars/hv3.yml").touch()
        try:
            release.run("ansible-sign", "project", "gpg-verify", ".", cwd=clone)
        except release.ReleaseError as error:
            return [] if "hv3.yml" in str(error) else [str(error)]
        return ["ansible-sign: a file that was added after the signature was not noticed"]
    finally:
        # Its agent would stay.
        with contextlib.suppress(release.ReleaseError):
            release.run("gpgconf", "--kill", "all", cwd=project)


def main(arguments: t.Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="macvtap-importer-") as work:
        directory = pathlib.Path(work)
        try:
            if arguments:
                archive = pathlib.Path(arguments[0])
            else:
                given = {name: os.environ.get(name) or example for name, example in EXAMPLES.items()}
                where = published.place(given)
                archive = release.archive(release.copied(ROOT, directory / "copy"), where, directory)
            from galaxy_importer.exceptions import ImporterError

            try:
                messages = imported(archive)
            except ImporterError as error:
                messages = [f"refused: {error}"]
            messages += needed(archive, directory / "installed")
            messages += signed(directory / "installed", directory)
        except (OSError, published.PlaceError, release.ReleaseError) as error:
            messages = [str(error)]
    for message in messages:
        print(f"importer: {message}", file=sys.stderr)
    print(f"importer: {len(messages)} warnings" if messages else "importer: no warnings")
    return 1 if messages else 0


if __name__ == "__main__":
    # What it has made is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_of: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
