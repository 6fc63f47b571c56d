# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A hypervisor that is a virtual machine, for what namespaces cannot show: modules, udev, systemd, a reboot."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from labkit import cells, image, reach, ssh, switch, variants, vmimage
from labkit.model import Lab, Vm
from labkit.shell import LabError, run, say

MEMORY = 2048
# With two, which must wait for each other whenever the kernel changes what is mapped, it takes a quarter more of the
# machine's processors for the same work.
CPUS = 1
# Without what makes the kernel clear and copy memory by `rep stosb` and `rep movsb`: QEMU does those byte by byte. And
# without AVX2, in which the C library has its functions for texts: emulated, they are slower than those in SSE2.
CPU = "max,-erms,-fsrm,-avx,-avx2"
# Translated code, MiB. With QEMU's own 1024 all of one boot's would still be there at the next, which then takes twice
# the time: each write to where there was code looks for it.
CODE_CACHE = 192
# Where its network cards are; its files name them after their places (../vm/etc/systemd/network).
MGMT_SLOT = 0x10
UPLINK_SLOT = 0x11
# Emulated, and others may want the processors too.
BOOT_TIMEOUT = 600.0
# On a busy machine a disk may take longer to appear than the 90 seconds that systemd waits. It gets the time of a whole
# boot; systemd before 252 knows one timeout for both.
PATIENCE = f"systemd.default_device_timeout_sec={BOOT_TIMEOUT:g} systemd.default_timeout_start_sec={BOOT_TIMEOUT:g}"
# All after "quiet" is for speed alone. QEMU knows translated code by its virtual address too: with the same addresses
# in each process, a library is translated once, and not again for each process that loads it.
CMDLINE = f"root=/dev/nvme0n1 rw console=ttyS0 {PATIENCE} quiet mitigations=off cryptomgr.notests norandmaps"
# Its own kernel with another command line: kexec_file_load(2), with no initramfs.
KEXEC = """
import ctypes, glob, os, sys
(kernel,) = glob.glob("/boot/vmlinuz-*")
with open(kernel, "rb") as file, open("/proc/cmdline") as now:
    line = f"{now.read().strip()} {sys.argv[1]}".encode() + b"\\0"
    size, flags = ctypes.c_ulong(len(line)), ctypes.c_ulong(4)
    if ctypes.CDLL(None, use_errno=True).syscall(320, file.fileno(), -1, size, line, flags):
        sys.exit(os.strerror(ctypes.get_errno()))
"""
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def console(vm: Vm) -> Path:
    return vm.dir / "console.log"


def pidfile(vm: Vm) -> Path:
    """QEMU's process, as the cell numbers it."""
    return vm.dir / "qemu.pid"


def preference(vm: Vm) -> list[list[str]]:
    """What gives its QEMU as much of the processors as LAB_VM_NICE (nice(1)'s number) says, where the kernel lets it.

    QEMU has a session of its own, and Linux shares processors out by sessions first: see sched(7), autogroup.
    """
    wanted = os.environ.get("LAB_VM_NICE", "0")
    if wanted == "0" or not Path("/proc/self/autogroup").exists():
        return []
    script = 'echo "$1" > /proc/$(cat "$2")/autogroup'
    return [["sh", "-c", script, "sh", wanted, str(pidfile(vm))]]


def start(lab: Lab, vm: Vm, cache: Path) -> None:
    """Plug it in and switch it on; it is there when `wait` says so."""
    built = vmimage.build(cache, lab.release or vmimage.RELEASE, lab.variant)
    switch.add_taps(lab, vm)
    vm.dir.mkdir(parents=True)
    make_seed(lab, vm, cache)
    spec: cells.Spec = {
        "hostname": f"{lab.name}-{vm.name}",
        "overlays": [],
        "emptied": [],
        "removed": [],
        "files": {},
        # It returns once it has its files and its taps; and goes with the cell, as all that is in one.
        "start": [[*qemu(vm, built, lab.variant), "-daemonize", "-pidfile", str(pidfile(vm))], *preference(vm)],
    }
    cells.boot(vm, spec)


def make_seed(lab: Lab, vm: Vm, cache: Path) -> None:
    """A disk with what is this lab's alone, the keys of its SSH, and the guests' kernel and initramfs."""
    guests = image.build(cache)
    with tempfile.TemporaryDirectory(dir=vm.dir) as work:
        keys, images = Path(work, "ssh"), Path(work, "images")
        keys.mkdir(mode=0o755)
        images.mkdir(mode=0o755)
        for name, content in ssh.key_files(lab).items():
            (keys / name).touch(mode=0o600)
            (keys / name).write_text(content)
        for path in (guests.kernel, guests.initramfs):
            shutil.copyfile(path, images / path.name)
            (images / path.name).chmod(0o644)
        Path(work).chmod(0o755)
        run(["mke2fs", "-q", "-t", "ext4", "-L", "lab", "-d", work, str(seed(vm)), "96M"])


def seed(vm: Vm) -> Path:
    return vm.dir / "seed.raw"


def qemu(vm: Vm, built: vmimage.VmImage, variant: str = "") -> list[str]:
    """QEMU's command. Emulated on every machine alike, whether or not there is a KVM that works."""
    machine_id = uuid.uuid5(uuid.NAMESPACE_OID, str(vm.dir)).hex
    cmdline = variants.VARIANTS[variant].cmdline
    append = f"{CMDLINE} {cmdline} systemd.hostname={vm.name} systemd.machine_id={machine_id}"
    management = f"hostfwd=tcp:127.0.0.1:{ssh.vm_port(vm)}-10.0.2.15:22"
    argv = ["qemu-system-x86_64", "-name", vm.name, "-nodefaults", "-no-user-config", "-display", "none"]
    argv += [
        "-machine",
        "q35",
        "-accel",
        f"tcg,tb-size={CODE_CACHE}",
        "-cpu",
        CPU,
        "-smp",
        str(CPUS),
        "-m",
        str(MEMORY),
    ]
    argv += ["-kernel", str(built.kernel), "-append", append]
    # What it writes goes into a temporary file that has no name, and so is gone with QEMU, however that ends.
    argv += ["-drive", f"if=none,id=root,file={built.disk},format=raw,snapshot=on,cache=unsafe"]
    argv += ["-device", "nvme,drive=root,serial=root"]
    argv += ["-drive", f"if=none,id=seed,file={seed(vm)},format=raw,readonly=on"]
    argv += ["-device", "virtio-blk-pci,drive=seed", "-device", "virtio-rng-pci"]
    argv += ["-serial", f"file:{console(vm)}", "-qmp", f"unix:{monitor(vm)},server=on,wait=off"]
    # With restrict nothing but the SSH of the lab goes in, and nothing out.
    argv += ["-netdev", f"user,id=mgmt0,restrict=on,ipv6=off,{management}"]
    argv += ["-device", f"virtio-net-pci,netdev=mgmt0,addr={MGMT_SLOT:#x},romfile="]
    for number, (uplink, port) in enumerate(vm.ports.items()):
        argv += ["-netdev", f"tap,id={uplink},ifname={port},script=no,downscript=no,vhost=off"]
        card = f"virtio-net-pci,netdev={uplink},mac={vm.mac(uplink)},addr={UPLINK_SLOT + number:#x},romfile="
        argv += ["-device", card]
    return argv


def monitor(vm: Vm) -> Path:
    return vm.dir / "qmp"


def set_cable(vm: Vm, uplink: str, plugged: bool) -> None:
    """Pull an uplink's cable, so that the machine sees no carrier, or plug it in again."""
    if uplink not in vm.ports:
        raise LabError(f"{vm.name} has no uplink {uplink}; it has {', '.join(vm.ports)}")
    try:
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rw") as lines:
            sock.settimeout(30)
            sock.connect(str(monitor(vm)))
            lines.readline()  # its greeting
            for command in (
                {"execute": "qmp_capabilities"},
                {"execute": "set_link", "arguments": {"name": uplink, "up": plugged}},
            ):
                lines.write(json.dumps(command) + "\n")
                lines.flush()
                while "event" in (answer := json.loads(lines.readline())):
                    pass
                if "error" in answer:
                    raise LabError(f"{vm.name}: {answer['error']['desc']}")
    except (OSError, ValueError) as error:
        raise LabError(f"the monitor of {vm.name} does not answer: {error}") from error


def boot_id(vm: Vm) -> str | None:
    """As the kernel has it, another one at each boot; None while SSH does not answer."""
    argv = reach.command(vm, ["cat", BOOT_ID])
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def wait(vm: Vm, *, not_boot: str | None = None, timeout: float = BOOT_TIMEOUT) -> str:
    """Wait until SSH answers and systemd has started what there is to start; returns the boot id.

    With the boot id of before, until it is another. Whether all of it did start is not judged here.
    """
    deadline = time.monotonic() + timeout
    while (found := boot_id(vm)) is None or found == not_boot:
        if cells.pid_of(vm) is None:
            raise LabError(f"{vm.name} of lab {vm.lab} has ended; its console's log is {console(vm)}")
        if time.monotonic() > deadline:
            raise LabError(f"{vm.name} does not answer within {timeout:g} s; {_last_words(vm)}")
        time.sleep(0.5)
    left = max(1.0, deadline - time.monotonic())
    try:
        argv = reach.command(vm, ["systemctl", "is-system-running", "--wait"])
        subprocess.run(argv, capture_output=True, check=False, timeout=left, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{vm.name} has not finished booting within {timeout:g} s; {_last_words(vm)}") from error
    return found


def reboot(vm: Vm, *, append: str = "", timeout: float = BOOT_TIMEOUT) -> tuple[str, str]:
    """Boot it anew, in order; returns the boot ids of before and after.

    ``append`` is for this boot alone, after what else is on the kernel's command line.
    """
    before = wait(vm, timeout=timeout)
    say(f"{vm.name} reboots")
    if append:
        run(reach.command(vm, ["/usr/bin/python3", "-c", KEXEC, append]), timeout=60)
    # The connection may go before the command has ended.
    argv = reach.command(vm, ["systemctl", "kexec" if append else "reboot"])
    subprocess.run(argv, capture_output=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    return before, wait(vm, not_boot=before, timeout=timeout)


def _last_words(vm: Vm) -> str:
    try:
        lines = [line for line in console(vm).read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return f"the last on its console ({console(vm)}): {lines[-1] if lines else 'nothing'}"
