# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The guests' kernel and initramfs: Debian's cloud kernel, unpacked and not installed, and busybox with some Python.

Built once into a cache directory, under a name that is a hash of what goes in.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import lzma
import os
import re
import stat
import subprocess
import typing as t
from pathlib import Path

from labkit import cpio, debian, vmlinux
from labkit.model import PYTHON
from labkit.shell import LabError, run, say, try_run

HERE = Path(__file__).resolve().parent
GUEST = HERE.parent / "guest"
DEFAULT_CACHE = HERE.parents[3] / ".cache" / "lab"
KERNEL = "linux-image-cloud-amd64"
# The last two are for guest agents and disks.
MODULES = ("virtio_pci", "virtio_net", "8021q", "virtio_console", "virtio_blk")
BUSYBOX = Path("/bin/busybox")
SCRIPTS = ("etherping.py", "qga.py")


@dataclasses.dataclass(frozen=True)
class Image:
    kernel: Path
    initramfs: Path


def cache_dir(option: str | None) -> Path:
    return Path(option or os.environ.get("LINUXVIRT_LAB_CACHE") or DEFAULT_CACHE).absolute()


def build(cache: Path) -> Image:
    """The guest image, from the cache if it is there."""
    final = debian.cached(cache, "guest", _key(), _build)
    return Image(final / "vmlinux", final / "initramfs.cpio")


def _build(work: Path) -> Path:
    if not BUSYBOX.exists() or try_run(["ldd", str(BUSYBOX)]).returncode == 0:  # it fails for a static program
        raise LabError(f"{BUSYBOX} has to be the static one: apt-get install busybox-static")
    say("guest image: fetching and unpacking Debian's cloud kernel")
    tree = _kernel_tree(work)
    say("guest image: writing the initramfs")
    ready = work / "image"
    ready.mkdir()
    (ready / "vmlinux").write_bytes(vmlinux.unpacked(next(tree.glob("boot/vmlinuz-*")).read_bytes()))
    cpio.write(ready / "initramfs.cpio", _contents(tree))
    return ready


def _key() -> str:
    digest = hashlib.sha256(f"{KERNEL} {MODULES}".encode())
    for source in [*sorted(GUEST.glob("*")), *(HERE / name for name in ("image.py", "cpio.py", "vmlinux.py"))]:
        if source.is_file():
            digest.update(source.name.encode() + source.read_bytes())
    for program in (BUSYBOX, Path(PYTHON).resolve()):
        if program.exists():
            digest.update(f"{program} {program.stat().st_size} {program.stat().st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _kernel_tree(work: Path) -> Path:
    package = _real_package()
    done = _download(package, work)
    if done.returncode:  # the package lists name a version that the mirror has replaced
        run(["apt-get", "update"], timeout=300)
        package = _real_package()
        done = _download(package, work)
    debs = sorted(work.glob("*.deb"))
    if done.returncode or not debs:
        raise LabError(f"apt-get download {package}: {' '.join(done.stderr.split())[:300]}")
    tree = work / "tree"
    run(["dpkg-deb", "-x", str(debs[0]), str(tree)], timeout=300)
    return tree


def _real_package() -> str:
    """linux-image-cloud-amd64 is empty; the package it depends on is the kernel."""
    found = _dependency()
    if found is None:
        say("guest image: apt-get update")
        run(["apt-get", "update"], timeout=300)
        found = _dependency()
    if found is None:
        raise LabError(f"apt knows no package {KERNEL}; the lab needs Debian's amd64 archive")
    return found


def _dependency() -> str | None:
    shown = try_run(["apt-cache", "show", "--no-all-versions", KERNEL]).stdout
    match = re.search(r"^Depends:.*?\b(linux-image-[0-9][^ ,]*)", shown, re.MULTILINE)
    return match[1] if match else None


def _download(package: str, work: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["apt-get", "download", package], cwd=work, capture_output=True, text=True, check=False, timeout=300
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"apt-get download {package} did not end within 5 minutes") from error


def _contents(tree: Path) -> t.Iterator[cpio.Entry]:
    yield cpio.Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield from (cpio.directory(name) for name in ("proc", "sys", "run", "tmp", "etc"))
    yield cpio.file("bin/busybox", BUSYBOX, executable=True)
    # Here, and not by `busybox --install` at each boot.
    for name in run([str(BUSYBOX), "--list"]).split():
        if name != "busybox":
            yield cpio.symlink(f"bin/{name}", "busybox")
    yield cpio.file("init", GUEST / "init", executable=True)
    for name in ("agent", "udhcpc"):
        yield cpio.file(f"lab/{name}", GUEST / name, executable=True)
    for name in SCRIPTS:
        yield cpio.file(f"lab/{name}", GUEST / name)
    launcher = b'#!/bin/sh\nexec python3 -I -S /lab/etherping.py "$@"\n'
    yield cpio.Entry("usr/bin/etherping", stat.S_IFREG | 0o755, launcher)
    yield from _modules(tree)
    yield from _python()


def _modules(tree: Path) -> t.Iterator[cpio.Entry]:
    """The modules and what they depend on, with their order of loading; built-in ones are skipped."""
    (base,) = tree.glob("**/lib/modules/*")
    files = {re.sub(r"\.ko.*", "", path.name).replace("-", "_"): path for path in base.glob("kernel/**/*.ko*")}
    order: list[str] = []
    contents: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in order or name not in files:
            return
        data = files[name].read_bytes()
        contents[name] = lzma.decompress(data) if files[name].suffix == ".xz" else data
        for needed in module_dependencies(contents[name]):
            add(needed)
        order.append(name)

    for module in MODULES:
        add(module)
    for name in order:
        yield cpio.Entry(f"modules/{name}.ko", stat.S_IFREG | 0o644, contents[name])
    yield cpio.Entry("modules/order", stat.S_IFREG | 0o644, "".join(f"{name}.ko\n" for name in order).encode())


def module_dependencies(module: bytes) -> list[str]:
    """What the module itself says it needs (`depends=` in its .modinfo section)."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name.replace("-", "_") for name in match[1].decode().split(",") if name] if match else []


def _imports() -> set[str]:
    found: set[str] = set()
    for name in SCRIPTS:
        for node in ast.walk(ast.parse((GUEST / name).read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return found - {Path(name).stem for name in SCRIPTS}


def _python() -> t.Iterator[cpio.Entry]:
    """The interpreter, and as much of its library as the guest's scripts load; Python itself is asked for that."""
    program = Path(PYTHON).resolve()
    script = f"import {', '.join(sorted(_imports() | {'sys'}))}\n"
    script += "for m in list(sys.modules.values()):\n    for f in {getattr(m, '__file__', None),"
    script += " getattr(m, '__cached__', None)} - {None}: print(f)\n"
    sources = {Path(line) for line in run([PYTHON, "-I", "-S", "-c", script]).splitlines()}
    libraries: set[Path] = set()
    for binary in [program, *(path for path in sources if path.suffix == ".so")]:
        libraries |= {Path(word) for word in re.findall(r"(/\S+) \(0x", run(["ldd", str(binary)]))}
    for path in sorted(libraries):
        yield cpio.file(str(path).lstrip("/"), path, executable=True)
    for path in sorted(path for path in sources if path.exists()):
        yield cpio.file(str(path).lstrip("/"), path)
    yield cpio.file(str(program).lstrip("/"), program, executable=True)
    yield cpio.symlink("usr/bin/python3", str(program))
    # Empty or not, Python complains where it is missing.
    yield cpio.directory(f"usr/lib/{program.name}/lib-dynload")
