# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest of the lab that runs sshd, and a controller on its LAN."""

from __future__ import annotations

import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import typing as t

import readme
import yaml
from labkit import cells, cpio, guest, hypervisor, image, model
from support import ROOT

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

GUIDE = "docs/finding-guests.md"
# As in the guide.
NAME, MAC = "web9", "52:54:00:10:00:09"
_SSHD = pathlib.Path("/usr/sbin/sshd")
_INITRAMFS = "with-sshd.cpio"
# The machine's own sshd, which runs before the guest has an address. It needs a user, and /dev, which init makes again.
_INIT = """\
#!/bin/sh
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
mkdir -p /run/sshd
chmod 600 /etc/ssh/key
/usr/sbin/sshd -f /etc/ssh/config
exec /init
"""
_FILES = {
    "etc/passwd": "root:x:0:0::/:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/ssh/config": "HostKey /etc/ssh/key\nAuthorizedKeysFile /etc/ssh/authorized\nStrictModes no\nUsePAM no\n",
}


def install(hv: Hypervisor) -> None:
    """Give a hypervisor an initramfs whose sshd lets in whoever has the lab's key."""
    keys = model.require(hv.cell.lab).dir / "ssh"
    built = image.build(image.cache_dir(None))
    guest.install_image(hv.cell, built)
    target = pathlib.Path(f"{cells.root_of(hv.cell)}{hypervisor.GUEST_IMAGES}") / _INITRAMFS
    files = {
        **_FILES,
        "etc/ssh/key": (keys / "host_key").read_text(),
        "etc/ssh/authorized": (keys / "id_ed25519.pub").read_text(),
    }
    cpio.write(target, _contents(files))
    # The kernel unpacks one archive after the other.
    target.write_bytes(built.initramfs.read_bytes() + target.read_bytes())


def _contents(files: t.Mapping[str, str]) -> t.Iterator[cpio.Entry]:
    yield cpio.Entry("init-sshd", stat.S_IFREG | 0o755, _INIT.encode())
    for path, text in files.items():
        yield cpio.Entry(path, stat.S_IFREG | 0o644, text.encode())
    listed = subprocess.run(["ldd", str(_SSHD)], check=True, capture_output=True, text=True).stdout
    for program in [str(_SSHD), *sorted(set(re.findall(r"(/\S+) \(0x", listed)))]:
        yield cpio.file(program.lstrip("/"), pathlib.Path(program), executable=True)


def xml() -> str:
    """Return the XML of the guest, which has no NIC."""
    text = guest.domain_xml(NAME).replace("initramfs.cpio", _INITRAMFS)
    return text.replace(f"{guest.CMDLINE} ", f"{guest.CMDLINE} rdinit=/init-sshd ")


def controller(hv: Hypervisor, directory: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run the guide's playbook with its inventory, as somebody whose machine is on the LAN."""
    lab = model.require(hv.cell.lab)
    inventory = directory / "inventory"
    # The lab's other hypervisors have guests that would be asked as well.
    listed = yaml.safe_load(lab.inventory.read_text())["hypervisors"]
    only = {**listed, "hosts": {hv.cell.name: listed["hosts"][hv.cell.name]}}
    files = {
        "web9.yml": readme.file("From nothing to a command inside a guest", GUIDE),
        "web9.xml": xml(),
        "inventory/hosts.yml": json.dumps({"hypervisors": only}),
        "inventory/macvtap_guests.yml": readme.file("An inventory of all guests", GUIDE),
        "inventory/group_vars/guests.yml": readme.file("How to log in to new guests", GUIDE),
        # This machine's own user keeps neither the key nor what is known by it.
        f"inventory/host_vars/{NAME}.yml": f"ansible_ssh_private_key_file: {lab.dir}/ssh/id_ed25519\n"
        f"ansible_ssh_common_args: -o UserKnownHostsFile={directory}/known -o HashKnownHosts=no\n",
    }
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    play = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), str(directory / "web9.yml")]
    return subprocess.run(
        ["ip", "netns", "exec", lab.switch.netns, *play],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )


def remove(hv: Hypervisor) -> None:
    if guest.state(hv.cell, NAME) is not None:
        guest.stop(hv.cell, NAME)
        hv.virsh("undefine", NAME)
