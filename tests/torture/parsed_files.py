# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files of the kernel (/proc, /sys), of distributions, of network managers and of this collection."""

from __future__ import annotations

import functools
import gzip
import io
import os
import pathlib
import tempfile
import typing as t
from types import ModuleType
from unittest import mock

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _managed_blocks, _mountinfo, _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import pause_facts, save_directory, xmlfile
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import connections, leases, settings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import links as keeper_links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import config, modprobe, modules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import host as kernel_host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import holders, process_table, speed, udev
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host as persistence_host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import model, systemd_unit
from torture.parsers import Parser

_LINKS = {"eth0": Link("eth0", index=2, altnames=frozenset({"enp1s0"}))}


def opened(module: ModuleType, data: bytes) -> t.Any:
    """Have ``module`` open a file of this content, whatever it opens."""

    def fake(_path: object, mode: str = "r", **how: t.Any) -> t.Any:
        return io.BytesIO(data) if "b" in mode else io.TextIOWrapper(io.BytesIO(data), **how)

    return mock.patch.object(module, "open", fake, create=True)


def _private(module: ModuleType, name: str) -> t.Any:
    return vars(module)[name]


@functools.cache
def _root() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def _below_root(data: bytes, paths: t.Sequence[str]) -> str:
    """Write the content into these files of a directory that stands for the root, and return it."""
    root = _root().name
    for path in paths:
        file = pathlib.Path(root, path)
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True)
        file.write_bytes(data)
    return root


def _written() -> set[str]:
    return {str(path) for path in pathlib.Path(_root().name).rglob("*")}


def _kernel(data: bytes) -> None:
    with opened(config, data):
        config.read_config("/boot/config-6.1.0")
    text = data.decode(errors="replace")
    for parse in (modules.parse_builtin, modules.parse_modinfo, modules.parse_dep, modules.parse_devices):
        parse(text)
    modules.parse_loaded(text)
    _text.distribution(text)


_OF_KERNEL = (
    *("etc/modprobe.d/a.conf", "proc/cmdline", "proc/modules", "proc/devices", "boot/config-6.1.0", "etc/os-release"),
    *(f"lib/modules/6.1.0/modules.{name}" for name in ("builtin", "builtin.modinfo", "dep")),
    *("etc/modules-load.d/macvtap.conf", "proc/sys/kernel/modules_disabled", "sys/kernel/security/lockdown"),
)


def _kernel_host(data: bytes) -> None:
    root = _below_root(data, _OF_KERNEL)
    before = _written()
    kernel_host.observe(root=root, running="6.1.0")
    modprobe.find_blockers(root, running=True)
    modprobe.parse(data.decode(errors="replace"))
    assert _written() == before


_OF_MANAGERS = (
    *("run/systemd/netif/links/2", "run/NetworkManager/devices/2", "etc/network/interfaces"),
    *("run/NetworkManager/devices/²", "run/systemd/system/a", "sbin/ifup", "etc/network/interfaces.d/a"),
    f"{model.LINKS_DIR[1:]}/eth0",
)


def _managers(data: bytes) -> None:
    root = _below_root(data, _OF_MANAGERS)
    before = _written()
    found = persistence_host.observe(_LINKS, root)
    links, up = systemd_unit.parse(found.files.values())
    list(systemd_unit.render(systemd_unit.by_uplink(links), up, systemd=True))
    assert _written() == before


def _blocks(data: bytes) -> None:
    head, blocks = _managed_blocks.parse(data.decode(errors="surrogateescape"))
    _managed_blocks.render(head, blocks)


_OF_LEASES = (
    "run/systemd/netif/leases/2",
    "var/lib/NetworkManager/internal-x-eth0.lease",
    "var/lib/dhcp/dhclient.eth0.leases",
)


def _leases(data: bytes) -> None:
    leases.noted("eth0", 2, _below_root(data, _OF_LEASES))


def _number(data: bytes) -> None:
    with opened(settings, data):
        settings.read("eth0", "ipv6/disable_ipv6")
    with opened(speed, data):
        speed.speeds({"eth0": Link("eth0", index=2, carrier=True)})
    with opened(udev, data):
        _private(udev, "_initialized")((240, 1))
    with opened(keeper_links, data):
        keeper_links.ifindex("eth0")
        keeper_links.allmulticast("eth0")


def _process(data: bytes) -> None:
    with opened(holders, data), opened(process_table, data), opened(_mountinfo, data):
        process_table.capable(19)
        _private(process_table, "_mounted_tables")()
        _private(holders, "_is_on_fuse")("/proc/7", "3")
        _private(holders, "_holder")(f"/proc/{os.getpid()}")
    with opened(_mountinfo, data):
        _private(xmlfile, "_mounts")()
    with opened(save_directory, data):
        _private(save_directory, "_available")()
        _private(save_directory, "_image_format")()
    with opened(pause_facts, data):
        _private(pause_facts, "_resident")(mock.Mock(local=True), Domain("a", "u", True, instance="1 7 3"))
    with opened(connections, data):
        list(_private(connections, "_sockets")())
        next(_private(connections, "_ancestors")())
        _private(connections, "_is_server")("7")
        _private(connections, "_from_environment")(data.decode(errors="replace"), ())


def _instance(data: bytes) -> None:
    with opened(guest, data):
        guest.instance(mock.Mock(), 7, local=True)


_CONFIG = b"# Linux\nCONFIG_MACVTAP=m\nCONFIG_MACVLAN=y\n# CONFIG_TUN is not set\nCONFIG_TAP=m\n"
_MANAGED = b"".join(
    (
        _managed_blocks.HEADER.encode(),
        b"\nup\n\n# vlan eth0.7\nlink add link uplink name eth0.7 type vlan id 7\nlink set dev eth0.7 up\n",
        b"\n# macvtap tap0\nlink add link eth0.7 name tap0 type macvtap mode bridge\ntap root:kvm 0660\n",
    )
)
_MOUNTS = b"""24 1 0:22 / /proc rw,nosuid,nodev - proc proc rw,hidepid=2
25 1 0:23 / /mnt/a\\040b rw,nodev shared:1 - fuse.sshfs a rw
"""
_STATUS = (
    b"Name:\tqemu\nNSpid:\t7\t1\nCapEff:\t000001ffffffffff\nVmRSS:\t  1024 kB\nMemAvailable:   1024 kB\nmnt_id:\t25\n"
)
_TCP = b"""  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0016 0200007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 12346 1 0
"""
PARSERS: t.Sequence[Parser] = (
    Parser(
        "kernel's configuration and modules",
        (
            _CONFIG,
            gzip.compress(_CONFIG, mtime=0),
            b"kernel/net/macvtap.ko\nkernel/drivers/net/tun.ko.xz: kernel/drivers/net/tap.ko.xz\n",
            b"macvtap.license=GPL\0tun.alias=devname:net/tun\0",
            b"Character devices:\n  1 mem\n240 macvtap\n\nBlock devices:\n  8 sd\n",
            b"macvtap 32768 1 - Live 0x0000000000000000\n",
            b'ID=debian\nID_LIKE="rhel fedora"\n',
        ),
        _kernel,
    ),
    Parser(
        "modprobe.d, the command line and others of the kernel",
        (
            b"# a\nblacklist macvtap\ninstall macv[a-z]* /bin/true \\\n  && exit\nalias a b\noptions tun a=1\n",
            b'BOOT_IMAGE=/vmlinuz root=/dev/sda1 module_blacklist=macvtap,tap modprobe.blacklist="tun" -- x\n',
            b"none [integrity] confidentiality\n",
        ),
        _kernel_host,
    ),
    Parser(
        "network managers' files",
        (
            b"ADMIN_STATE=configured\nOPER_STATE=routable\nNETWORK_FILE=/etc/systemd/network/05-macvtap-a.network\n",
            b"[device]\nmanaged=true\nconnection-uuid=9c92fad9-6ecb-3e6c-eb4d-8a47c6f50c04\n",
            b"auto lo eth0\niface eth0 inet dhcp\nallow-hotplug eth1\nsource /etc/network/interfaces.d/*\n"
            b"source-directory interfaces.d\nsource interfaces\n",
            _MANAGED,
        ),
        _managers,
    ),
    Parser("this collection's files with blocks", (_MANAGED,), _blocks),
    Parser(
        "lease files",
        (
            b"# private\nADDRESS=192.0.2.7\nNETMASK=255.255.255.0\nLIFETIME=3600\n",
            b'lease {\n  interface "eth0";\n  fixed-address 192.0.2.7;\n  option routers 192.0.2.1;\n}\n',
        ),
        _leases,
    ),
    Parser(
        "attributes of /sys and /proc/sys", (b"1\n", b"1000\n", b"-1\n", b"0x1003\n", b"I:12345678\nE:A=b\n"), _number
    ),
    Parser("processes of /proc", (_MOUNTS, _STATUS, _TCP, b"sshd\n", b"qemu\0-name\0guest=a,,b,debug=on\0"), _process),
    Parser(
        "a process of QEMU's", (b"7\n", b"7 (qemu (x)) S 1 7 7 0 -1 4 1 0 0 0 1 1 0 0 20 0 5 0 12345 1 1\n"), _instance
    ),
)
