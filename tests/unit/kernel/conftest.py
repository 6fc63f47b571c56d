# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Directory trees with the kernel files of distributions."""

from __future__ import annotations

import functools
import gzip
import os
import pathlib
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import host as adapter
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import Host, Probe

NAMES = ("macvtap", "macvlan", "tap", "8021q", "vhost_net")


def config_text(release: str, macvtap: str = "m", macvlan: str = "m", tap: str = "m") -> str:
    """Return the relevant part of a kernel configuration, in Kconfig's format."""
    lines = ["#", "# Automatically generated file; DO NOT EDIT.", f"# Linux/x86 {release} Kernel Configuration", "#"]
    lines += ["CONFIG_NETDEVICES=y", "CONFIG_NET_CORE=y", "CONFIG_INET=y", 'CONFIG_LOCALVERSION=""']
    asked = (("MACVLAN", macvlan), ("MACVTAP", macvtap), ("TAP", tap), ("VLAN_8021Q", "m"), ("VHOST_NET", "m"))
    for name, setting in asked:
        if setting:
            lines.append(f"# CONFIG_{name} is not set" if setting == "n" else f"CONFIG_{name}={setting}")
    return "\n".join([*lines, "# CONFIG_MACVTAP_OF_ANOTHER_NAME is not set", ""])


class Tree:
    """A root directory with the files of one kernel."""

    def __init__(self, root: pathlib.Path, release: str) -> None:
        self.root = root
        self.release = release

    def write(self, path: str, content: str | bytes) -> Tree:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self

    def config(self, path: str, **settings: str) -> Tree:
        text = config_text(self.release, **settings)
        return self.write(path, gzip.compress(text.encode()) if path.endswith(".gz") else text)

    def modules(self, top: str = "/lib/modules", suffix: str = ".ko", names: t.Sequence[str] = NAMES) -> Tree:
        """Create a modules directory as after depmod."""
        directory = f"{top}/{self.release}"
        files = {name: f"kernel/drivers/net/{name}{suffix}" for name in ("veth", *names)}
        for file in files.values():
            self.write(f"{directory}/{file}", b"\x7fELF")
        needs = {"macvtap": ("macvlan", "tap")}
        dep = [
            f"{file}: {' '.join(files[n] for n in needs.get(name, ()) if n in files)}".rstrip() + "\n"
            for name, file in files.items()
        ]
        return self.write(f"{directory}/modules.dep", "".join(dep)).builtin(top=top)

    def builtin(self, *names: str, top: str = "/lib/modules") -> Tree:
        directory = f"{top}/{self.release}"
        listed = ("bonding/bonding", *names)
        self.write(f"{directory}/modules.builtin", "".join(f"kernel/drivers/net/{name}.ko\n" for name in listed))
        entries = "".join(f"{name.rsplit('/', maxsplit=1)[-1]}.license=GPL v2\0" for name in listed)
        return self.write(f"{directory}/modules.builtin.modinfo", entries)

    def loaded(self) -> Tree:
        self.write("/proc/modules", "macvtap 20480 0 - Live 0x0\nmacvlan 28672 1 macvtap, Live 0x0\n")
        return self.devices("macvtap")

    def devices(self, *names: str) -> Tree:
        lines = [f"{240 + i:3} {name}\n" for i, name in enumerate(names)]
        return self.write(
            "/proc/devices", f"Character devices:\n  1 mem\n{''.join(lines)}\nBlock devices:\n  8 sd\n254 macvtap\n"
        )

    def link(self, path: str, target: str) -> Tree:
        (self.root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, self.root / path.lstrip("/"))
        return self

    def observe(
        self, release: str | None = None, config_path: str | None = None, probe: t.Callable[[], Probe] | None = None
    ) -> Host:
        return adapter.observe(release, config_path, probe=probe, root=str(self.root), running=self.release)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> t.Callable[[str], Tree]:
    return functools.partial(Tree, tmp_path)
