# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A user of one of the lab's hypervisors who is nobody there: no capability, no group but the own one."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import typing as t

import ansible
from labkit import cells
from support import MODULES, ROOT, module_input

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

NAME = "anybody"
_HOME = f"/var/lib/{NAME}"


class OtherUser:
    """Runs modules from a copy in the user's home: a checkout may be where nobody else can read it."""

    def __init__(self, hv: Hypervisor) -> None:
        self._hv = hv
        self._prefix = ["setpriv", "--reuid", NAME, "--regid", NAME, "--init-groups", "--reset-env", "--"]
        home = pathlib.Path(f"{cells.root_of(hv.cell)}{_HOME}")
        if not home.exists():  # files share a hypervisor
            self._make(home)

    def _make(self, home: pathlib.Path) -> None:
        # /etc and /var are the hypervisor's own.
        self._hv.run("useradd", "--system", "--user-group", "--create-home", "--home-dir", _HOME, NAME)
        # Other tests may be writing those at this moment.
        sources = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "plugins", home / "ansible_collections/linuxvirt/macvtap/plugins", ignore=sources)
        core = pathlib.Path(ansible.__file__).parent
        for part in ("_vendor", "module_utils"):
            shutil.copytree(core / part, home / "ansible" / part, ignore=sources)
        for part in ("__init__.py", "release.py"):
            shutil.copy2(core / part, home / "ansible" / part)

    def command(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._hv.prefix, *self._prefix, *command],
            input=stdin, capture_output=True, text=True, check=False, timeout=60, cwd="/",
        )  # fmt: skip

    def module(self, name: str, **params: t.Any) -> dict[str, t.Any]:
        """Run a module as :func:`support.run_module` does."""
        code = f"import runpy; runpy.run_module({MODULES + '.' + name!r}, run_name='__main__', alter_sys=True)"
        words = ["env", f"PYTHONPATH={_HOME}", "LC_ALL=C.UTF-8", "/usr/bin/python3", "-c", code]
        done = self.command(*words, stdin=module_input(params))
        assert "Traceback" not in done.stderr, done.stderr
        return {**json.loads(done.stdout.strip().splitlines()[-1]), "rc": done.returncode}
