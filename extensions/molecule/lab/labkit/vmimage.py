# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The virtual machine's disk: Debian as mmdebstrap installs it, with Debian's modular kernel.

Built once into a cache directory, under a name that is a hash of what goes in.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from labkit import debian, variants
from labkit.shell import run, say

HERE = Path(__file__).resolve().parent
FILES = HERE.parent / "vm"
# What a virtual machine has unless another is asked for.
RELEASE = "bookworm"
KERNEL = "linux-image-cloud-amd64"
PACKAGES = (
    *debian.HYPERVISOR,
    KERNEL,
    "dbus",
    "kmod",
    "systemd-sysv",
    "udev",
)
# What a small one does not have: managers of the network beside networkd, and tools of the tests.
MORE = ("ifupdown", "iputils-ping", "network-manager", "python3-apt")
# It has ifupdown's place, and so cannot be there beside it: what its package installs lies in this directory.
OTHER, OTHERS = "ifupdown2", "/usr/local/share/lab"
HOOK = f"""\
--customize-hook=mkdir "$1{OTHERS}" && cd "$1{OTHERS}" && \
APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq download {OTHER}"""
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
# Three managers of the network at once; its files say which link is whose. A small one has the first alone.
MANAGERS = ("systemd-networkd.service", "NetworkManager.service", "networking.service")
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
SIZE = "3G"


# In the image's directory: the packages that it has, a line each.
LISTED = "packages"


@dataclasses.dataclass(frozen=True)
class VmImage:
    kernel: Path
    disk: Path


def build(cache: Path, release: str = RELEASE, variant: str = "") -> VmImage:
    """The image of a virtual machine of this release and variant, from the cache if it is there."""
    kept = variants.VARIANTS[variants.required(variant)]
    of = debian.key(_code() + repr((kept.packages, kept.prepare, kept.small)).encode(), _files(), release)
    # The release at the end: of two kinds, none begins with the other.
    kind = "-".join(filter(None, ("vm", variant, debian.required(release))))
    final = debian.cached(cache, kind, of, lambda work: _build(work, release, kept))
    return VmImage(final / "vmlinuz", final / "disk.raw")


def _code() -> bytes:
    return Path(__file__).read_bytes() + Path(debian.__file__).read_bytes()


def _files() -> dict[str, bytes]:
    paths = [path for path in FILES.rglob("*") if path.is_file()]
    return {os.path.relpath(path, FILES): path.read_bytes() for path in (*paths, KEPT_CODE)}


def _build(work: Path, release: str, variant: variants.Variant) -> Path:
    say(f"virtual machine: installing Debian {release} into a directory (a minute or two)")
    root, image = work / "root", work / "image"
    packages = (*PACKAGES, *(() if variant.small else MORE), *variant.packages)
    debian.install(root, release, packages, [] if variant.small else [HOOK])
    _settle(root, variant)
    if variant.prepare:
        run(["unshare", "--mount", "chroot", str(root), "sh", "-c", variant.prepare], timeout=300)
    say("virtual machine: making its disk")
    image.mkdir()
    (image / LISTED).write_text(listing(root))
    (kernel,) = root.glob("boot/vmlinuz-*")
    shutil.copyfile(kernel, image / "vmlinuz")
    # All of it initialised now, or the kernel would do that at each first boot.
    options = ["-E", "lazy_itable_init=0,lazy_journal_init=0"]
    run(["mke2fs", "-q", "-t", "ext4", *options, "-d", str(root), str(image / "disk.raw"), SIZE], timeout=300)
    return image


def listing(root: Path) -> str:
    """Return the packages of a root directory, a line each: its name and version."""
    shown = "--showformat=${Package} ${Version}\\n"
    return run(["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show", shown])


def _settle(root: Path, variant: variants.Variant) -> None:
    """What is the lab's own in it, and what must not be the same in each machine made from it."""
    for source in sorted(FILES.rglob("*")):
        target = root / source.relative_to(FILES)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            shutil.copyfile(source, target)
        # Not as the checkout has it, whose umask may let nobody but root read; NetworkManager wants it so.
        target.chmod(0o755 if source.is_dir() else 0o600 if source.suffix == ".nmconnection" else 0o644)
    (version,) = (path.name for path in root.glob("usr/lib/python3.*"))
    packages = root / "usr/local/lib" / version / "dist-packages"
    (packages / KEPT_CODE.name).write_bytes(KEPT_CODE.read_bytes())
    (packages / KEPT_CODE.with_suffix(".pth").name).write_text(f"import {KEPT_CODE.stem}\n")
    run(["chroot", str(root), "python3", "-m", "py_compile", f"/{packages.relative_to(root)}/{KEPT_CODE.name}"])
    if not variant.small:
        run(["chroot", str(root), "sh", "-c", UNPACK])
    (root / "srv/lab").mkdir()
    (root / "etc/machine-id").write_text("")
    # The name and the resolver are the building machine's; and the LAN has no mirror, but apt would wait for one.
    for path in (
        *root.glob("etc/ssh/ssh_host_*"),
        *(root / "etc" / x for x in ("hostname", "resolv.conf", "apt/sources.list")),
    ):
        path.unlink()
    managers = MANAGERS[:1] if variant.small else MANAGERS
    for action, units in (("enable", managers), ("mask", MASKED)):
        run(["chroot", str(root), "systemctl", "--quiet", action, *units])
