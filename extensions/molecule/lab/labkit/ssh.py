# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""SSH with no network of the machine's: the client's ProxyCommand enters the hypervisor and runs sshd there.

For a virtual machine it enters the switch's namespaces, where QEMU listens for it, and hands back a connection.
"""

from __future__ import annotations

from labkit.model import PYTHON, Cell, Lab, Vm
from labkit.shell import run

INSIDE = "/run/lab-ssh"
CONNECT = (
    "import socket; there = socket.create_connection(('127.0.0.1', {port}));"
    " socket.send_fds(socket.socket(fileno=1), [b'.'], [there.fileno()])"
)


def host(hv: Cell) -> str:
    """Unique on the machine: Ansible names the sockets of its persistent connections after it."""
    return f"{hv.name}.{hv.lab}"


def make_keys(lab: Lab) -> None:
    keys = lab.dir / "ssh"
    keys.mkdir(mode=0o700)
    for name in ("id_ed25519", "host_key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {lab.name}", "-f", str(keys / name)])
    public = (keys / "host_key.pub").read_text()
    (keys / "known_hosts").write_text(f"linuxvirt-lab-{lab.name} {public}")
    lab.ssh_config.write_text(client_config(lab))


def client_config(lab: Lab) -> str:
    keys = lab.dir / "ssh"
    text = ""
    for hv in lab.cells[1:]:
        text += f"Host {hv.name} {host(hv)}\n{_vm_proxy(hv) if isinstance(hv, Vm) else _proxy(hv)}"
    return (
        text
        + f"""\
Host *
    User root
    IdentityFile {keys}/id_ed25519
    IdentitiesOnly yes
    IdentityAgent none
    PreferredAuthentications publickey
    HostKeyAlias linuxvirt-lab-{lab.name}
    UserKnownHostsFile {keys}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    LogLevel ERROR
"""
    )


# The PID is read at each connection, so that a hypervisor made anew is found again.
def _proxy(hv: Cell) -> str:
    return f"""\
    ProxyCommand nsenter -t $(cat {hv.dir}/pid) --mount --uts --net --pid /usr/sbin/sshd -i -f {INSIDE}/sshd_config
"""


def _vm_proxy(vm: Vm) -> str:
    # It may be rebooted under a connection: somebody has to notice.
    return f"""\
    ProxyCommand nsenter -t $(cat {vm.dir}/pid) --net {PYTHON} -c "{CONNECT.format(port=vm_port(vm))}"
    ProxyUseFdpass yes
    ConnectTimeout 20
    ServerAliveInterval 10
    ServerAliveCountMax 6
"""


def vm_port(vm: Vm) -> int:
    """Of the loopback address in the switch's namespace."""
    return 2200 + vm.number


SSHD_CONFIG = f"""\
HostKey {INSIDE}/host_key
AuthorizedKeysFile {INSIDE}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
PrintMotd no
PrintLastLog no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""


def server_files(lab: Lab) -> dict[str, tuple[int, str]]:
    keys = {f"{INSIDE}/{name}": (0o600, content) for name, content in key_files(lab).items()}
    return {f"{INSIDE}/sshd_config": (0o600, SSHD_CONFIG), **keys}


def key_files(lab: Lab) -> dict[str, str]:
    """What sshd needs to know itself and us by."""
    keys = lab.dir / "ssh"
    return {
        "host_key": (keys / "host_key").read_text(),
        "authorized_keys": (keys / "id_ed25519.pub").read_text(),
    }


def inventory(lab: Lab) -> str:
    """How Ansible reaches the hypervisors, and what they cannot: what they should be is another inventory's matter."""
    hosts = "".join(f"    {hv.name}:\n      ansible_host: {host(hv)}\n{_cannot(hv)}" for hv in lab.cells[1:])
    return f"""\
---
hypervisors:
  hosts:
{hosts}  vars:
    ansible_connection: ssh
    ansible_user: root
    ansible_ssh_common_args: -F {lab.ssh_config}
    ansible_python_interpreter: {PYTHON}
    ansible_pipelining: true
"""


def _cannot(cell: Cell) -> str:
    # Namespaces have no boot, and nobody who would make links at one.
    return "" if isinstance(cell, Vm) else "      macvtap_links_persistence: none\n"
