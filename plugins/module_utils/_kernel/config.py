# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Kernel configuration files: where distributions put them, and reading them."""

from __future__ import annotations

import glob
import gzip
import os
import re
import zlib

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import DEPENDENCIES, REPORTED, Source

_OPTIONS = (*REPORTED, *DEPENDENCIES)
_SETTING = re.compile(rf"^(?:({'|'.join(_OPTIONS)})=([ymn])|# ({'|'.join(_OPTIONS)}) is not set)\s*$", re.MULTILINE)
_ANY_SETTING = re.compile(r"^(?:CONFIG_\w+=|# CONFIG_\w+ is not set)", re.MULTILINE)


def parse_config(text: str) -> dict[str, str] | None:
    """Return y, m or n for each option of interest, or None if ``text`` is not a kernel configuration.

    An option that is not in the file is n: Kconfig omits options with unmet dependencies.
    """
    if not _ANY_SETTING.search(text):
        return None
    options = dict.fromkeys(_OPTIONS, "n")
    for match in _SETTING.finditer(text):
        options[match[1] or match[3]] = match[2] or "n"
    return options


def config_paths(release: str, running: str, root: str = "/") -> tuple[str, ...]:
    """Return the possible paths of ``release``'s configuration, in order of precedence."""
    ostree = f"/usr/lib/ostree-boot/config-{release}"
    # ostree appends the boot checksum to the name.
    found = sorted(glob.glob(under(root, glob.escape(ostree) + "*")))
    return (
        *(["/proc/config.gz"] if release == running else []),
        f"/boot/config-{release}",
        f"/lib/modules/{release}/config",
        f"/usr/lib/modules/{release}/config",
        *([os.path.join("/", os.path.relpath(path, root)) for path in found] or [ostree]),
    )


def read_config(path: str, root: str = "/") -> Source:
    """Read the kernel configuration at ``path``, compressed or not."""
    try:
        with open(under(root, path), "rb") as file:
            content = file.read()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as exc:
        return Source(path, problem=problem_of(exc))
    options = parse_config(content.decode("utf-8", "replace"))
    return Source(path, problem="is not a kernel configuration") if options is None else Source(path, options)


def under(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def problem_of(exc: Exception) -> str:
    """Return in a few words why a file could not be read."""
    if isinstance(exc, (FileNotFoundError, NotADirectoryError)):
        return "does not exist"
    if isinstance(exc, IsADirectoryError):
        return "is a directory"
    return f"cannot be read: {getattr(exc, 'strerror', None) or exc}"
