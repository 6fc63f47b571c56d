# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A hypervisor: a Debian machine with libvirtd and one uplink, as far as anything on it can tell."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

from labkit import cells, indexes, management, ssh, switch, vmimage
from labkit.model import HOME, Cell, Lab

# /usr and /root too: what is installed or removed on a hypervisor is of no concern to the machine.
OVERLAYS = ["/etc", "/var", "/usr", HOME]
GUEST_SOCKETS = "/run/lab-guests"
GUEST_IMAGES = "/var/lib/libvirt/images/lab"

QEMU_CONF = """\
# Namespaces share the machine's cgroups, and its security module knows nothing of them.
security_driver = "none"
cgroup_controllers = [ ]
# libvirt's own private /dev for each guest would be filled from the shared devtmpfs anyway.
namespaces = [ ]
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
"""

# There is no polkit to ask, which lets everybody read and, as Debian sets it up, the group libvirt do everything.
LIBVIRTD_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
"""


@dataclasses.dataclass(frozen=True)
class System:
    """What a hypervisor runs in place of the machine's own system, and which of the machine's directories it sees."""

    root: Path = Path("/")
    shown: tuple[Path, ...] = ()

    @property
    def daemon(self) -> str:
        """The daemon for QEMU: virtqemud, where libvirt is built with one for each driver."""
        return next(name for name in ("virtqemud", "libvirtd") if (self.root / "usr/sbin" / name).exists())

    def start_daemon(self, lab: Lab) -> list[str]:
        """The command that starts it, and returns when it can be talked to."""
        # Where there is a daemon for each driver, another one listens.
        listens = lab.management and self.daemon == "libvirtd"
        return [f"/usr/sbin/{self.daemon}", "-d", *(["--listen"] if listens else [])]


MACHINE = System()


def create(lab: Lab, hv: Cell, index_count: int, system: System = MACHINE) -> None:
    cells.add_netns(hv)
    indexes.reserve(hv.netns, index_count)
    switch.plug_in(lab, hv)
    if lab.management:
        management.plug_in(lab, hv)
    cells.boot(hv, spec(lab, hv, system))
    if lab.management:
        management.await_sshd(hv)


def customized(root: Path) -> list[Path]:
    """What Debian's Pythons import when they start, for the administrator to change: relative to the root."""
    return [path.relative_to(root) for path in root.glob("etc/python3.*/sitecustomize.py")]


def spec(lab: Lab, hv: Cell, system: System = MACHINE) -> cells.Spec:
    host_uuid = uuid.uuid5(uuid.NAMESPACE_OID, hv.netns)
    made: cells.Spec = {
        "hostname": hv.name,
        "overlays": OVERLAYS,
        # The machine's own guests are not this hypervisor's.
        "emptied": [
            "/etc/libvirt/qemu",
            "/etc/libvirt/storage",
            "/var/lib/libvirt/qemu",
            "/run/lock",
            "/run/sshd",
            GUEST_SOCKETS,
        ],
        # virsh would look for a polkit that is not there, and say so each time. The machine's own shell start-up would
        # run in each SSH session, and may wait for what an ended one has left.
        "removed": ["/usr/bin/pkttyagent", f"{HOME}/.bashrc"],
        "files": {
            "/etc/hostname": (0o644, f"{hv.name}\n"),
            "/etc/hosts": (0o644, f"127.0.0.1 localhost\n127.0.1.1 {hv.name}\n::1 localhost ip6-localhost\n"),
            "/etc/machine-id": (0o444, f"{host_uuid.hex}\n"),
            "/etc/libvirt/qemu.conf": (0o600, QEMU_CONF),
            f"/etc/libvirt/{system.daemon}.conf": (0o644, LIBVIRTD_CONF + f'host_uuid = "{host_uuid}"\n'),
            # Its Python compiles each of Ansible's modules once, not at each run.
            **{f"/{path}": (0o644, vmimage.KEPT_CODE.read_text()) for path in customized(system.root)},
            **ssh.server_files(lab),
        },
        "start": [["/usr/sbin/virtlogd", "-d"], system.start_daemon(lab)],
        "shown": [str(path) for path in system.shown],
    }
    if lab.management:
        daemon_conf = f"/etc/libvirt/{system.daemon}.conf"
        listens = management.libvirtd_conf(lab, hv) if system.daemon == "libvirtd" else ""
        made["emptied"].append(management.HOME_SSH)
        made["files"][daemon_conf] = (0o644, made["files"][daemon_conf][1] + listens)
        made["files"].update(management.files(lab, hv))
        made["start"].insert(0, management.sshd(lab, hv))
    if system.root != MACHINE.root:
        made["root"], made["overlays"] = str(system.root), []
    return made
