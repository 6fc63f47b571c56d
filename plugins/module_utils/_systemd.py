# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which systemd is installed on this host, if any. An adapter."""

from __future__ import annotations

import glob
import re

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._file_store import under

# The name of the private library has the version: libsystemd-shared-252.so, libsystemd-shared-252-32.el9.so.
_LIBRARY = re.compile(r".*/libsystemd-shared-(\d+)\b[^/]*\.so")
_DIRECTORIES = ("/usr/lib/systemd", "/lib/systemd", "/usr/lib/*/systemd")


def version(root: str = "/") -> int | None:
    """Return the version of systemd below ``root``, such as 252; None if there is none, or it is not known."""
    paths = [path for above in _DIRECTORIES for path in glob.glob(under(root, f"{above}/libsystemd-shared-*"))]
    return max((int(found[1]) for found in map(_LIBRARY.fullmatch, paths) if found), default=None)
