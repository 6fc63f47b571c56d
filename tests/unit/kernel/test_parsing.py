# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
from __future__ import annotations

import gzip
import pathlib

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import config, modules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import needed_options


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("CONFIG_MACVTAP=y", "y"),
        ("CONFIG_MACVTAP=m", "m"),
        ("# CONFIG_MACVTAP is not set", "n"),
        ("CONFIG_MACVTAP=n", "n"),
        ("CONFIG_MACVTAP=m  ", "m"),
        ("CONFIG_MACVTAP=m\r", "m"),
        ("", "n"),
        ("CONFIG_MACVTAPE=y", "n"),
        ("#CONFIG_MACVTAP=y", "n"),
        (" CONFIG_MACVTAP=y", "n"),
    ],
)
def test_parse_config(line: str, setting: str) -> None:
    parsed = config.parse_config(f"CONFIG_64BIT=y\n{line}\nCONFIG_TAP=m\n")
    assert parsed is not None
    assert parsed["CONFIG_MACVTAP"] == setting
    assert parsed["CONFIG_TAP"] == "m"


def test_a_later_setting_wins_as_in_kconfig() -> None:
    parsed = config.parse_config("CONFIG_MACVTAP=m\n# CONFIG_MACVTAP is not set\n")
    assert parsed is not None
    assert parsed["CONFIG_MACVTAP"] == "n"


@pytest.mark.parametrize("text", ["", "\n", "hello\n", "<html>CONFIG_MACVTAP=y</html>", "# a comment\n"])
def test_a_file_that_is_not_a_configuration(text: str) -> None:
    assert config.parse_config(text) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (gzip.compress(b"CONFIG_MACVTAP=m\n", mtime=0), ""),
        (gzip.compress(b"CONFIG_MACVTAP=m\n" * 50, mtime=0)[:-12], "cannot be read: "),
        (b"\x1f\x8bnonsense", "cannot be read: "),
        (b"\x00\xff\xfe", "is not a kernel configuration"),
        (b"", "is not a kernel configuration"),
    ],
)
def test_read_config(tmp_path: pathlib.Path, content: bytes, problem: str) -> None:
    (tmp_path / "config.gz").write_bytes(content)
    source = config.read_config("/config.gz", str(tmp_path))
    assert source.path == "/config.gz"
    assert source.problem.startswith(problem)
    assert bool(source.problem) == bool(problem)


def test_read_config_names_what_is_in_the_way(tmp_path: pathlib.Path) -> None:
    assert config.read_config("/gone", str(tmp_path)).problem == "does not exist"
    assert config.read_config("/", str(tmp_path)).problem == "is a directory"


def test_config_paths_in_order(tmp_path: pathlib.Path) -> None:
    release = "6.12.0-1.x86_64"
    expected = [
        "/proc/config.gz",
        f"/boot/config-{release}",
        f"/lib/modules/{release}/config",
        f"/usr/lib/modules/{release}/config",
        f"/usr/lib/ostree-boot/config-{release}",
    ]
    assert list(config.config_paths(release, release, str(tmp_path))) == expected
    # /proc/config.gz is of the running kernel only.
    assert list(config.config_paths(release, "5.10.0", str(tmp_path))) == expected[1:]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("kernel/drivers/net/macvtap.ko", "macvtap"),
        ("kernel/drivers/net/macvtap.ko.xz", "macvtap"),
        ("kernel/drivers/net/macvtap.ko.zst", "macvtap"),
        ("/lib/modules/4.4.0/kernel/drivers/net/macvtap.ko.gz", "macvtap"),
        ("kernel/drivers/virtio/virtio-pci.ko", "virtio_pci"),
    ],
)
def test_module_name(path: str, name: str) -> None:
    assert modules.module_name(path) == name


def test_parse_dep() -> None:
    text = "kernel/drivers/net/macvtap.ko.xz: kernel/drivers/net/tap.ko.xz\nkernel/drivers/net/tap.ko.xz:\n\n"
    assert modules.parse_dep(text) == {
        "macvtap": "kernel/drivers/net/macvtap.ko.xz",
        "tap": "kernel/drivers/net/tap.ko.xz",
    }


def test_parse_builtin_lists() -> None:
    assert modules.parse_builtin("kernel/drivers/net/macvtap.ko\nkernel/drivers/net/tun.ko\n") == {"macvtap", "tun"}
    text = "macvtap.license=GPL\0macvtap.alias=rtnl-link-macvtap\0tap.author=A. B. <a@b.c>\0"
    assert modules.parse_modinfo(text) == {"macvtap", "tap"}
    # An alias of another module is not the module.
    assert "macvtap" not in modules.parse_modinfo("other.alias=rtnl-link-macvtap\0")


def test_parse_devices_takes_character_devices_only() -> None:
    text = "Character devices:\n  1 mem\n246 macvtap\n\nBlock devices:\n254 virtblk\n"
    assert modules.parse_devices(text) == {"mem", "macvtap"}
    assert "macvtap" not in modules.parse_devices("Character devices:\n  1 mem\n\nBlock devices:\n246 macvtap\n")


def test_parse_loaded() -> None:
    text = "vhost_net 36864 0 - Live 0x0\nmacvlan 28672 1 macvtap, Live 0x0\n"
    assert modules.parse_loaded(text) == {"vhost_net", "macvlan"}


@pytest.mark.parametrize(
    ("release", "with_tap"),
    [("3.10.0-1160.el7.x86_64", False), ("4.11.12", False), ("4.12.0", True), ("6.18.44-custom", True), ("odd", True)],
)
def test_needed_options(release: str, with_tap: bool) -> None:
    assert ("CONFIG_TAP" in needed_options(release)) == with_tap
