# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The Pythons that this machine has, and that of the newest Debian."""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

from support import ROOT

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import debian, image

# The newest Debian's, which this machine's C library is too old for: it runs with its own. Its name is that by which it
# was called, so that it finds its virtual environment, and its children get a path that they can run.
_WRAPPER = """\
#!/bin/sh
exec {loader} --argv0 "$0" --library-path {libraries} {python} "$@"
"""


def interpreter(version: str) -> str | None:
    """Return the path of a Python of this version, as 3.9, or None: pyenv's or one that is in PATH."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"), "versions")
    for path in (*sorted(pyenv.glob(f"{version}.*/bin/python{version}")), shutil.which(f"python{version}")):
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(path)
    return None


def newest_debian(version: str) -> str | None:
    """Return the path of the newest Debian's Python, which is installed if need be, or None if it is another version.

    It has no pip, and can make virtual environments without one.
    """
    cache = image.cache_dir(None)
    # Checkouts may share the cache by a symbolic link.
    root = debian.hypervisor_root(cache, debian.RELEASES[-1]).resolve()
    if not (root / f"usr/bin/python{version}").exists():
        return None

    def make(work: pathlib.Path) -> pathlib.Path:
        # As beside /usr/bin: a Python finds its library so.
        (work / "made/bin").mkdir(parents=True)
        (work / "made/lib").symlink_to(root / "usr/lib")
        (loader,) = (root / "usr/lib").glob("*-linux-gnu/ld-linux-*")
        words = {"loader": loader, "libraries": loader.parent, "python": root / f"usr/bin/python{version}"}
        program = work / "made/bin" / f"python{version}"
        program.write_text(_WRAPPER.format(**{name: shlex.quote(str(path)) for name, path in words.items()}))
        program.chmod(0o755)
        return work / "made"

    return str(debian.cached(cache, "python", root.name, make) / "bin" / f"python{version}")
