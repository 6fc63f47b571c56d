# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How the program finds the uplinks of a file, in a directory that stands for /sys."""

from __future__ import annotations

import pathlib
import subprocess

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.make_links import PROGRAM

# What it says of links by their alternative names.
IP = """\
ip() {
    case $5 in
        lan-a) echo "2: eth0: <UP> mtu 1500" ;;
        lan-b) echo "3: a@b: <UP> mtu 1500" ;;
        lan-c) echo "4: bond0@if2: <UP> mtu 1500" ;;
        *) return 1 ;;
    esac
}"""


@pytest.fixture
def sys(tmp_path: pathlib.Path) -> pathlib.Path:
    """Make two physical links, of which one is a function of a PCI device, and a bond that has the other's address."""
    pci = tmp_path / "devices/pci0000:00/0000:03:00.0/virtio0"
    usb = tmp_path / "devices/usb1/1-1"
    for name, address, device in (
        ("eth0", "52:54:00:00:00:0a", pci),
        ("a@b", "52:54:00:00:00:0b", usb),
        ("bond0", "52:54:00:00:00:0b", None),
    ):
        link = tmp_path / "class/net" / name
        link.mkdir(parents=True)
        (link / "address").write_text(address + "\n")
        if device is not None:
            device.mkdir(parents=True)
            (link / "device").symlink_to(device)
    return tmp_path


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("eth0", "eth0"),
        ("bond0", "bond0"),
        ("eth9", ""),
        ("52:54:00:00:00:0a", "eth0"),
        # A link that is no device has the address of what it is made of.
        ("52:54:00:00:00:0b", "a@b"),
        ("52:54:00:00:00:0c", ""),
        ("0000:03:00.0", "eth0"),
        ("0000:03:00.1", ""),
        ("altname:lan-a", "eth0"),
        ("altname:lan-b", "a@b"),
        ("altname:lan-c", "bond0"),
        ("altname:lan-d", ""),
    ],
)
def test_an_uplink_is_found_by_the_name_of_its_file(sys: pathlib.Path, key: str, found: str) -> None:
    assert uplinks(sys, key) == (found + "\n", "")


def uplinks(sys: pathlib.Path, key: str) -> tuple[str, str]:
    """Return what the program's function says, and its errors."""
    _before, start, rest = PROGRAM.partition("\nuplinks() {")
    function = (start + rest.partition("\n}\n")[0] + "\n}\n").replace("/sys/", f"{sys}/")
    script = f'set -f\n{IP}\n{function}\necho $(uplinks "$1")'
    result = subprocess.run(["sh", "-c", script, "sh", key], capture_output=True, text=True, check=True)
    return result.stdout, result.stderr
