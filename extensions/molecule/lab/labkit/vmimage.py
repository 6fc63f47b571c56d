# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The virtual machine's disk: Debian as mmdebstrap installs it, with Debian's modular kernel.

Built once into a cache directory, under a name that is a hash of what goes in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import time
import typing as t
from pathlib import Path

from labkit.shell import LabError, locked, run, say

HERE = Path(__file__).resolve().parent
FILES = HERE.parent / "vm"
SUITE = "bookworm"
KERNEL = "linux-image-cloud-amd64"
PACKAGES = (
    "dbus",
    "ifupdown",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libvirt-clients",
    "libvirt-daemon-system",
    KERNEL,
    "network-manager",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "python3-libvirt",
    "python3-lxml",
    "python3-nftables",
    "python3-pyroute2",
    "qemu-system-x86",
    "systemd-sysv",
    "udev",
)
# It has ifupdown's place, and so cannot be there beside it: what its package installs lies in this directory.
OTHER, OTHERS = "ifupdown2", "/usr/local/share/lab"
# As its installation would compile it, which takes a minute in the machine, and is done here as long as it is built.
UNPACK = f"""\
set -e
cd {OTHERS}
mkdir files
dpkg-deb --extract {OTHER}_*.deb files
python3 -m compileall -q -s files -p / files
tar --create --file {OTHER}.tar --directory files .
rm -r files {OTHER}_*.deb
"""
# Its Python compiles each of Ansible's modules once, not at each run.
KEPT_CODE = HERE.parent / "kept_code.py"
PACKAGES_OF_ITS_OWN = "usr/local/lib/python3.11/dist-packages"
# Three managers of the network at once; its files say which link is whose.
ENABLED = ("systemd-networkd.service", "NetworkManager.service", "networking.service")
MASKED = (
    # At a shutdown it would wait minutes for guests that know nothing of ACPI's button.
    "libvirt-guests.service",
    # What nothing here needs and each boot would pay for.
    "NetworkManager-wait-online.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "logrotate.timer",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-network-generator.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
)
# Each is a directory of files nobody reads there.
UNWANTED = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
SIZE = "3G"


@dataclasses.dataclass(frozen=True)
class VmImage:
    kernel: Path
    disk: Path


def build(cache: Path) -> VmImage:
    """The virtual machine's image, from the cache if it is there."""
    final = cache / f"vm-{key(_code(), _files())}"
    image = VmImage(final / "vmlinuz", final / "disk.raw")
    if final.is_dir():
        return image
    with locked(cache / ".lock", keep=True):
        if not final.is_dir():
            # Whoever holds the lock is the only one who builds: what is there is of one who was killed.
            for leftover in cache.glob(".building-vm-*"):
                _clear(leftover)
            # In the cache itself, so that the rename is one step: whoever looks sees all of it or nothing.
            work = cache / f".building-vm-{os.getpid()}"
            work.mkdir()
            try:
                _build(work)
                (work / "image").rename(final)
            finally:
                _clear(work)
            for outdated in set(cache.glob("vm-*")) - {final}:
                _clear(outdated)
    return image


def key(code: bytes, files: t.Mapping[str, bytes]) -> str:
    """What goes in, whatever mirror it comes from: the code has the packages' names, and the files are these."""
    digest = hashlib.sha256(code)
    for name, content in sorted(files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _code() -> bytes:
    return Path(__file__).read_bytes()


def _files() -> dict[str, bytes]:
    paths = [path for path in FILES.rglob("*") if path.is_file()]
    return {os.path.relpath(path, FILES): path.read_bytes() for path in (*paths, KEPT_CODE)}


def _build(work: Path) -> None:
    sources = debian_sources()
    say(f"virtual machine: installing Debian {SUITE} into a directory (a minute or two)")
    root, image = work / "root", work / "image"
    # In its own PID namespace, whose end is the end of all that mmdebstrap has started, and of its mounts.
    alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    run([*alone, *mmdebstrap(root)], stdin="".join(f"{line}\n" for line in sources), timeout=1800)
    _settle(root)
    say("virtual machine: making its disk")
    image.mkdir()
    (kernel,) = root.glob("boot/vmlinuz-*")
    shutil.copyfile(kernel, image / "vmlinuz")
    # All of it initialised now, or the kernel would do that at each first boot.
    options = ["-E", "lazy_itable_init=0,lazy_journal_init=0"]
    run(["mke2fs", "-q", "-t", "ext4", *options, "-d", str(root), str(image / "disk.raw"), SIZE], timeout=300)


def mmdebstrap(root: Path) -> list[str]:
    """The command that installs the machine into a directory; it reads apt's sources on stdin."""
    hook = f'mkdir "$1{OTHERS}" && cd "$1{OTHERS}" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq download {OTHER}'
    return [
        # No initramfs: the kernel has drivers for NVMe and ext4 built in, and starts some seconds sooner without.
        "env", "INITRD=No", "mmdebstrap", "--quiet", "--mode=root", "--format=directory", "--variant=minbase",
        "--dpkgopt=force-unsafe-io", *(f"--dpkgopt=path-exclude={path}" for path in UNWANTED),
        f"--include={','.join(PACKAGES)}", f"--customize-hook={hook}", SUITE, str(root), "-",
    ]  # fmt: skip


def debian_sources() -> list[str]:
    """Debian's own archive as this machine's apt gets it, and nothing else that its apt may know."""
    suites = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
    wanted = ["--format", "deb $(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages", "Origin: Debian"]
    for update in (False, True):
        if update:
            say("virtual machine: apt-get update")
            run(["apt-get", "update"], timeout=300)
        lines = sorted(set(run(["apt-get", "indextargets", *wanted]).splitlines()))
        if found := [line for line in lines if line.split()[2] in suites]:
            return found
    raise LabError(f"apt knows no archive of Debian {SUITE}; the lab's virtual machine is made from that")


def _settle(root: Path) -> None:
    """What is the lab's own in it, and what must not be the same in each machine made from it."""
    for source in sorted(FILES.rglob("*")):
        target = root / source.relative_to(FILES)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            shutil.copyfile(source, target)
        # Not as the checkout has it, whose umask may let nobody but root read; NetworkManager wants it so.
        target.chmod(0o755 if source.is_dir() else 0o600 if source.suffix == ".nmconnection" else 0o644)
    packages = root / PACKAGES_OF_ITS_OWN
    (packages / KEPT_CODE.name).write_bytes(KEPT_CODE.read_bytes())
    (packages / KEPT_CODE.with_suffix(".pth").name).write_text(f"import {KEPT_CODE.stem}\n")
    run(["chroot", str(root), "python3", "-m", "py_compile", f"/{PACKAGES_OF_ITS_OWN}/{KEPT_CODE.name}"])
    run(["chroot", str(root), "sh", "-c", UNPACK])
    (root / "srv/lab").mkdir()
    (root / "etc/machine-id").write_text("")
    # The name and the resolver are the building machine's; and the LAN has no mirror, but apt would wait for one.
    for path in (
        *root.glob("etc/ssh/ssh_host_*"),
        *(root / "etc" / x for x in ("hostname", "resolv.conf", "apt/sources.list")),
    ):
        path.unlink()
    for action, units in (("enable", ENABLED), ("mask", MASKED)):
        run(["chroot", str(root), "systemctl", "--quiet", action, *units])


def _clear(path: Path) -> None:
    deadline = time.monotonic() + 10
    while path.exists():  # processes that were ended a moment ago may still be writing
        with contextlib.suppress(OSError):
            shutil.rmtree(path)
        # Removing it may take longer than that by itself.
        if path.exists() and time.monotonic() > deadline:
            raise LabError(f"{path} cannot be removed")
