# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A management network of the hypervisors, for labs that ask for one: by it they reach each other, by SSH and by TLS.

As hosts do between which guests migrate: root of each knows the key and the host key of the others, and each has a
certificate for libvirt and QEMU. Virtual machines have no part in it.
"""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path

from labkit import cells, model, ssh
from labkit.model import Cell, Lab
from labkit.shell import LabError, run

LINK = "mgmt0"
# The documentation prefix that is not the LAN's or its VLANs'.
NETWORK = ipaddress.IPv4Network("203.0.113.0/24")
HOME_SSH = f"{model.HOME}/.ssh"
PKI = "/etc/pki"
# Where libvirt and QEMU look, in PKI: the authority's certificate, and by role what it certifies and the private key.
LIBVIRT_FILES = {"CA/cacert.pem": "ca", "libvirt/{role}cert.pem": "cert", "libvirt/private/{role}key.pem": "key"}
QEMU_FILES = {"qemu/ca-cert.pem": "ca", "qemu/{role}-cert.pem": "cert", "qemu/{role}-key.pem": "key"}
SSH_PORT = 22
SSH_CONFIG = """\
IdentitiesOnly yes
IdentityAgent none
StrictHostKeyChecking yes
GlobalKnownHostsFile /dev/null
LogLevel ERROR
"""


def address(lab: Lab, hv: Cell) -> str:
    return str(NETWORK[11 + lab.hypervisors.index(hv.name)])


def create(lab: Lab) -> None:
    """The network's bridge, beside the switch's own, and the certificates."""
    ip = ["ip", "-n", lab.switch.netns]
    run([*ip, "link", "add", LINK, "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"])
    run([*ip, "link", "set", LINK, "addrgenmode", "none", "up"])
    _certify(lab)


def plug_in(lab: Lab, hv: Cell) -> None:
    """A cable from the hypervisor's link for management to the network's bridge."""
    there, here = ["ip", "-n", lab.switch.netns], ["ip", "-n", hv.netns]
    port = f"mgmt-{hv.name}"
    veth = ["type", "veth", "peer", "name", LINK, "address", model.mac(f"{hv.netns} {LINK}"), "netns", hv.netns]
    run([*there, "link", "add", port, *veth])
    run([*there, "link", "set", port, "master", LINK, "addrgenmode", "none", "up"])
    run([*here, "link", "set", LINK, "addrgenmode", "none", "up"])
    run([*here, "address", "add", f"{address(lab, hv)}/{NETWORK.prefixlen}", "dev", LINK])


def files(lab: Lab, hv: Cell) -> dict[str, tuple[int, str]]:
    """What the hypervisor has for it, by path, with its mode."""
    others = {name: address(lab, lab.hypervisor(name)) for name in lab.hypervisors}
    hosts = "".join(f"{number} {name}\n" for name, number in others.items())
    keys = lab.dir / "ssh"
    kind, public, *_comment = (keys / "host_key.pub").read_text().split()
    known = "".join(f"{name},{number} {kind} {public}\n" for name, number in others.items())
    found = {
        "/etc/hosts": (0o644, f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{hosts}"),
        f"{HOME_SSH}/config": (0o600, SSH_CONFIG),
        f"{HOME_SSH}/id_ed25519": (0o600, (keys / "id_ed25519").read_text()),
        f"{HOME_SSH}/known_hosts": (0o600, known),
    }
    pki = lab.dir / "pki"
    sources = {"ca": pki / "ca.pem", "cert": pki / f"{hv.name}.pem", "key": pki / f"{hv.name}.key"}
    for role in ("server", "client"):
        for path, content in {**LIBVIRT_FILES, **QEMU_FILES}.items():
            found[f"{PKI}/{path.format(role=role)}"] = (0o600, sources[content].read_text())
    return found


def libvirtd_conf(lab: Lab, hv: Cell) -> str:
    """It listens for TLS alone, and lets in whom the authority has certified."""
    return f'listen_tcp = 0\nlisten_tls = 1\nlisten_addr = "{address(lab, hv)}"\nauth_tls = "none"\n'


def await_sshd(hv: Cell) -> None:
    """Wait until sshd listens: it has left its parent before."""
    pid = cells.pid_of(hv)
    deadline = time.monotonic() + 20
    while not _listens(Path(f"/proc/{pid}/net/tcp"), SSH_PORT):
        if time.monotonic() > deadline:
            raise LabError(f"sshd on {hv.name} of lab {hv.lab} does not listen")
        time.sleep(0.02)


def _listens(table: Path, port: int) -> bool:
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def sshd(lab: Lab, hv: Cell) -> list[str]:
    return ["/usr/sbin/sshd", "-f", f"{ssh.INSIDE}/sshd_config", "-o", f"ListenAddress={address(lab, hv)}:{SSH_PORT}"]


def _certify(lab: Lab) -> None:
    """An authority of the lab's own, and a certificate by it for each hypervisor, as a server and as a client."""
    pki = lab.dir / "pki"
    pki.mkdir(mode=0o700)
    ca, ca_key = str(pki / "ca.pem"), str(pki / "ca.key")
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    new += ["-days", "3650", "-config", "/dev/null"]

    def make(name: str, certificate: str, key: str, *extensions: str, by: tuple[str, ...] = ()) -> None:
        added = [word for extension in extensions for word in ("-addext", extension)]
        run([*new, "-subj", f"/O=lab {lab.name}/CN={name}", "-out", certificate, "-keyout", key, *added, *by])

    make("authority", ca, ca_key, "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
    for name in lab.hypervisors:
        make(
            name,
            str(pki / f"{name}.pem"),
            str(pki / f"{name}.key"),
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature,keyEncipherment",
            "extendedKeyUsage=serverAuth,clientAuth",
            f"subjectAltName=DNS:{name},IP:{address(lab, lab.hypervisor(name))}",
            by=("-CA", ca, "-CAkey", ca_key),
        )
