# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""This system as one whose kernel has macvtap as a module, for kernel_macvtap_check."""

from __future__ import annotations

import gzip
import os
import pathlib
import typing as t

from support import run_module

RELEASE = os.uname().release
NAME = "kernel_macvtap_check"
LOAD_FILE = pathlib.Path("/etc/modules-load.d/macvtap.conf")


class Modular:
    """This system as one would see it whose kernel has macvtap as a module, in a mount namespace of its own.

    What the kernel shows in /proc is covered by files, and modprobe is a script that adds to them. Whether the
    kernel loads a real module is for a real modular kernel to show.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        for name in ("usr", "etc", "usr.work", "etc.work"):
            (directory / name).mkdir()
        tree = directory / "usr/lib/modules" / RELEASE
        tree.mkdir(parents=True)
        names = ("macvtap", "macvlan", "tap")
        for name in names:
            (tree / f"{name}.ko").touch()
        (tree / "modules.dep").write_text("".join(f"{name}.ko:\n" for name in names))
        config = "".join(f"CONFIG_{name.upper()}=m\n" for name in names)
        (directory / "config.gz").write_bytes(gzip.compress(config.encode()))
        self.devices = directory / "devices"
        self.devices.write_text("Character devices:\n  1 mem\n\nBlock devices:\n")
        self.calls = directory / "calls"
        # Written in place: a file that sed had replaced would not be the one that is mounted.
        self.modprobe("printf 'Character devices:\\n246 macvtap\\n\\nBlock devices:\\n' > /proc/devices")

    def modprobe(self, command: str) -> None:
        script = self.directory / "usr/sbin/modprobe"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\necho "$@" >> {self.calls}\n{command}\n')
        script.chmod(0o755)

    def configure(self, text: str) -> None:
        file = self.directory / "etc/modprobe.d/hardening.conf"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def run(self, params: dict[str, t.Any] | None = None, **kwargs: t.Any) -> dict[str, t.Any]:
        where = self.directory
        mounts = [
            f"mount -t overlay overlay -o lowerdir=/{name},upperdir={where}/{name},workdir={where}/{name}.work /{name}"
            for name in ("usr", "etc")
        ]
        mounts += [f"mount --bind {where}/{name} /proc/{name}" for name in ("config.gz", "devices")]
        script = " && ".join([*mounts, 'exec "$@"'])
        params = params or {"state": "loaded", "persistent": True}
        return run_module(NAME, params, prefix=["unshare", "--mount", "sh", "-c", script, "sh"], diff=True, **kwargs)

    @property
    def load_file(self) -> str | None:
        file = self.directory / LOAD_FILE.relative_to("/")
        return file.read_text() if file.exists() else None
