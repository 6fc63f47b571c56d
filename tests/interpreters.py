# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The Pythons that this machine has."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess


def interpreter(version: str) -> str | None:
    """Return the path of a Python of this version, as 3.9, or None: pyenv's or one that is in PATH."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"), "versions")
    for path in (*sorted(pyenv.glob(f"{version}.*/bin/python{version}")), shutil.which(f"python{version}")):
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(path)
    return None
