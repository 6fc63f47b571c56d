# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Debian in a directory, as mmdebstrap installs it, and a cache of what is made from it.

What is cached has a name that is a hash of what goes in.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import typing as t
from pathlib import Path

from labkit.shell import LabError, locked, run, say

# From the oldest to the newest. The last one moves; it is what the next stable release will be, and later.
RELEASES = ("bullseye", "bookworm", "trixie", "sid")
KEPT_SECONDS = 24 * 60 * 60
# Each is a directory of files nobody reads there.
UNWANTED = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
# What a hypervisor is, in all of these releases.
HYPERVISOR = (
    "iproute2",
    "libvirt-clients",
    "libvirt-daemon-system",
    "openssh-client",
    "openssh-server",
    "procps",
    "python3",
    "python3-libvirt",
    "python3-lxml",
    "python3-nftables",
    "python3-pyroute2",
    "qemu-system-x86",
)


def required(release: str) -> str:
    """Return the release's name, if the lab has it."""
    if release not in RELEASES:
        raise LabError(f"'{release}' is none of the Debian releases {', '.join(RELEASES)}")
    return release


def install(root: Path, release: str, packages: t.Sequence[str], options: t.Sequence[str] = ()) -> None:
    """Install Debian with these packages into a directory; ``options`` are mmdebstrap's."""
    # In its own PID namespace, whose end is the end of all that mmdebstrap has started, and of its mounts.
    alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    lines = "".join(f"{line}\n" for line in sources(release))
    run([*alone, *mmdebstrap(root, release, packages, options)], stdin=lines, timeout=1800)


def mmdebstrap(root: Path, release: str, packages: t.Sequence[str], options: t.Sequence[str] = ()) -> list[str]:
    """Return the command, which reads apt's sources on stdin."""
    return [
        # No initramfs: the kernel has drivers for NVMe and ext4 built in, and starts some seconds sooner without.
        "env", "INITRD=No", "mmdebstrap", "--quiet", "--mode=root", "--format=directory", "--variant=minbase",
        # A mirror may keep what a release's own file calls outdated.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        "--dpkgopt=force-unsafe-io", *(f"--dpkgopt=path-exclude={path}" for path in UNWANTED),
        f"--include={','.join(packages)}", *options, release, str(root), "-",
    ]  # fmt: skip


def sources(release: str) -> list[str]:
    """Return apt's lines for Debian's own archive as this machine's apt gets it, and nothing else that it may know.

    Of a release that is not the machine's, that is the release alone, without what came after it.
    """
    wanted = ["--format", "deb $(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages", "Origin: Debian"]
    for update in (False, True):
        if update:
            say("apt-get update")
            run(["apt-get", "update"], timeout=300)
        lines = sorted(set(run(["apt-get", "indextargets", *wanted]).splitlines()))
        if found := chosen(lines, release):
            return found
    raise LabError(f"apt knows no archive of Debian that has {release}; the lab needs one")


def chosen(lines: t.Sequence[str], release: str) -> list[str]:
    """Return those of a machine's own lines that are for the release, or else one made from them."""
    split = [line.split() for line in lines]
    suites = (release, f"{release}-updates", f"{release}-security")
    if any(suite == release for _deb, _uri, suite, _component in split):
        return [line for line, words in zip(lines, split) if words[2] in suites]
    archives = [uri for _deb, uri, suite, component in split if component == "main" and "-" not in suite]
    return [f"deb {archives[0]} {release} main"] if archives else []


def key(code: bytes, files: t.Mapping[str, bytes], release: str) -> str:
    """What goes in, whatever mirror it comes from: the code has the packages' names, and the files are these.

    The newest release is another one each week.
    """
    moving = time.strftime("%G-%V") if release == RELEASES[-1] else ""
    digest = hashlib.sha256(code + f"\0{release}\0{moving}".encode())
    for name, content in sorted(files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def cached(cache: Path, kind: str, of: str, make: t.Callable[[Path], Path]) -> Path:
    """Return a directory of the cache, and make it first if it is not there; what it replaces is removed after a day.

    ``make`` gets a directory to work in, and returns the one in it that is kept.
    """
    final = cache / f"{kind}-{of}"
    if final.is_dir():
        return final
    with locked(cache / ".lock", keep=True):
        if not final.is_dir():
            # Whoever holds the lock is the only one who builds: what is there is of one who was killed.
            for leftover in cache.glob(f".building-{kind}-*"):
                clear(leftover)
            # In the cache itself, so that the rename is one step: whoever looks sees all of it or nothing.
            work = cache / f".building-{kind}-{os.getpid()}"
            work.mkdir()
            try:
                make(work).rename(final)
            finally:
                clear(work)
            # A lab that runs may use what is younger.
            for outdated in set(cache.glob(f"{kind}-*")) - {final}:
                if time.time() - outdated.stat().st_mtime > KEPT_SECONDS:
                    clear(outdated)
    return final


def clear(path: Path) -> None:
    deadline = time.monotonic() + 10
    while path.exists():  # processes that were ended a moment ago may still be writing
        with contextlib.suppress(OSError):
            shutil.rmtree(path)
        # Removing it may take longer than that by itself.
        if path.exists() and time.monotonic() > deadline:
            raise LabError(f"{path} cannot be removed")


def hypervisor_root(cache: Path, release: str) -> Path:
    """Return the root directory of a hypervisor of this release, from the cache if it is there."""

    def make(work: Path) -> Path:
        say(f"Debian {release}: installing a hypervisor into a directory (half a minute)")
        root = work / "root"
        install(root, release, HYPERVISOR)
        return root

    return cached(cache, f"root-{required(release)}", key(Path(__file__).read_bytes(), {}, release), make)
