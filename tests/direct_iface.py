# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the tests of libvirt_direct_iface share: domains to work on, and what they look at."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import typing as t

import pytest
from support import run_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

MARKS = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("libvirtd") is None, reason="needs libvirtd"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs qemu-system-x86_64"),
]

A, B, C = (f"52:54:00:00:00:0{digit}" for digit in "abc")
Result = t.Dict[str, t.Any]


class Module(t.Protocol):
    def __call__(self, *, check: bool = False, **params: t.Any) -> Result:
        pass


def on(hv: Hypervisor) -> Module:
    """Return what runs the module on ``hv``, with a diff."""

    def call(*, check: bool = False, **params: t.Any) -> Result:
        return run_module("libvirt_direct_iface", params, check=check, diff=True, prefix=hv.prefix)

    return call


def run_beside(hv: Hypervisor, code: str, params: Result) -> Result:
    """Run the module with ``code`` having changed what it consists of: somebody else acts at the very moment."""
    package = "ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains"
    patch = f"import libvirt\nfrom {package}.hypervisor import Hypervisor\n{code}"
    return run_module("libvirt_direct_iface", params, prefix=hv.prefix, patch=patch)


def nic(mac: str, source: str = "eth0", mode: str = "bridge", more: str = "") -> str:
    return (
        f"<interface type='direct'><mac address='{mac}'/><source dev='{source}' mode='{mode}'/>"
        f"<model type='virtio'/>{more}</interface>"
    )


def domain(name: str, *nics: str, ports: int = 8, firmware: str = "qboot.rom") -> str:
    """A machine with free slots to plug into, and with a password that must not get lost.

    Its firmware is the least that QEMU has: it halts at once, and leaves hardly any memory to save. A BIOS would keep a
    processor busy with the NICs' boot ROMs.
    """
    # Without the root controller libvirt 9.0 adds it at define, and moves it to the front at the next define.
    spare = "<controller type='pci' index='0' model='pcie-root'/>" + "".join(
        f"<controller type='pci' index='{i}' model='pcie-root-port'/>" for i in range(1, ports + 1)
    )
    return f"""
    <domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
      <name>{name}</name><title>wéb ☃ &amp; more</title><memory unit='MiB'>32</memory>
      <metadata><x:y xmlns:x='urn:x'><interface/></x:y></metadata>
      <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
      <devices>{spare}{"".join(nics)}
        <graphics type='vnc' port='-1' passwd='s3cret'/><controller type='usb' model='none'/><memballoon model='none'/>
      </devices>
      <qemu:commandline><qemu:arg value='-bios'/><qemu:arg value='{firmware}'/></qemu:commandline>
    </domain>"""


def element(xml: str, mac: str) -> str:
    (found,) = [e for e in re.findall(r"<interface type.*?</interface>", xml, re.S) if mac in e]
    return found


def ok(result: Result) -> Result:
    assert result["rc"] == 0, result
    return result


def impacts(result: Result) -> dict[str, str]:
    return {change["field"]: change["impact"] for change in result["changes"]}


def guest_has(hv: Hypervisor, guest: str, macs: set[str]) -> bool:
    """Whether the guest's own kernel has these NICs and no others; it may need a moment to notice one."""
    return until(lambda: set(re.findall(r"link/ether (\S+)", hv.in_guest(guest, "ip", "link"))) == macs, 20)


def attempt(hv: Hypervisor, *words: str, stdin: str = "") -> str:
    """Return virsh's error, "" if it has none."""
    argv = [*hv.prefix, "virsh", "--quiet", "--connect", "qemu:///system", *words]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=60)
    return done.stderr if done.returncode else ""
