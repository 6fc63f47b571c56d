# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Support results for the file layouts of distributions."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.support import evaluate

if t.TYPE_CHECKING:
    from .conftest import Tree

    MakeTree = t.Callable[[str], Tree]

FEDORA, DEBIAN13, LEAP15 = "6.11.4-301.fc41.x86_64", "6.12.48+deb13-amd64", "5.14.21-150500.55.7-default"
DEBIAN, UBUNTU, RHEL = "6.1.0-40-amd64", "5.15.0-119-generic", "5.14.0-427.13.1.el9_4.x86_64"
SUSE, ARCH, NIXOS, COREOS = "6.4.0-150600.23-default", "6.9.7-arch1-1", "6.6.36", "6.8.11-300.fc40.x86_64"


def debian(make: MakeTree) -> Tree:
    return make(DEBIAN).config(f"/boot/config-{DEBIAN}").modules()


def ubuntu(make: MakeTree) -> Tree:
    return make(UBUNTU).config(f"/boot/config-{UBUNTU}").modules("/usr/lib/modules").link("/lib", "usr/lib")


def rhel(make: MakeTree) -> Tree:
    tree = make(RHEL).config(f"/usr/lib/modules/{RHEL}/config").link("/lib", "usr/lib")
    return tree.config(f"/boot/config-{RHEL}").modules("/usr/lib/modules", ".ko.xz")


def debian_usr_merged(make: MakeTree) -> Tree:
    tree = make(DEBIAN13).config(f"/boot/config-{DEBIAN13}").modules("/usr/lib/modules", ".ko.xz")
    return tree.link("/lib", "usr/lib")


def fedora(make: MakeTree) -> Tree:
    """Without a copy in /boot: the kernel package has its configuration only in the modules directory."""
    tree = make(FEDORA).config(f"/usr/lib/modules/{FEDORA}/config").modules("/usr/lib/modules", ".ko.xz")
    return tree.link("/lib", "usr/lib")


def suse_not_merged(make: MakeTree) -> Tree:
    return make(LEAP15).config(f"/boot/config-{LEAP15}").modules("/lib/modules", ".ko.zst")


def suse(make: MakeTree) -> Tree:
    return make(SUSE).config(f"/usr/lib/modules/{SUSE}/config").modules("/usr/lib/modules", ".ko.zst")


def arch(make: MakeTree) -> Tree:
    return make(ARCH).config("/proc/config.gz").modules("/usr/lib/modules", ".ko.zst").link("/lib", "usr/lib")


def nixos(make: MakeTree) -> Tree:
    return make(NIXOS).config("/proc/config.gz").modules("/run/booted-system/kernel-modules/lib/modules", ".ko.xz")


def nixos_switched(make: MakeTree) -> Tree:
    return make(NIXOS).config("/proc/config.gz").modules("/run/current-system/kernel-modules/lib/modules", ".ko.xz")


def gzipped(make: MakeTree) -> Tree:
    return make(ARCH).config("/proc/config.gz").modules("/lib/modules", ".ko.gz")


def ostree(make: MakeTree) -> Tree:
    tree = make(COREOS).config(f"/usr/lib/ostree-boot/config-{COREOS}-{'0123456789abcdef' * 4}")
    return tree.modules("/usr/lib/modules", ".ko.xz").link("/lib", "usr/lib")


def no_config(make: MakeTree) -> Tree:
    return make(ARCH).modules("/usr/lib/modules", ".ko.zst")


@pytest.mark.parametrize(
    ("layout", "source"),
    [
        (debian, f"/boot/config-{DEBIAN}"),
        (ubuntu, f"/boot/config-{UBUNTU}"),
        (rhel, f"/boot/config-{RHEL}"),
        (debian_usr_merged, f"/boot/config-{DEBIAN13}"),
        (fedora, f"/lib/modules/{FEDORA}/config"),
        (suse_not_merged, f"/boot/config-{LEAP15}"),
        (nixos_switched, "/proc/config.gz"),
        (gzipped, "/proc/config.gz"),
        (suse, f"/usr/lib/modules/{SUSE}/config"),
        (arch, "/proc/config.gz"),
        (nixos, "/proc/config.gz"),
        (ostree, f"/usr/lib/ostree-boot/config-{COREOS}-{'0123456789abcdef' * 4}"),
        (no_config, f"/usr/lib/modules/{ARCH}/modules.dep"),
    ],
)
def test_a_module_is_found_in_every_layout(tree: MakeTree, layout: t.Callable[[MakeTree], Tree], source: str) -> None:
    host = layout(tree).observe()
    result = evaluate(host)
    assert (result.provided_by, result.source) == ("module", source)
    assert result.options == dict.fromkeys(
        ("CONFIG_MACVTAP", "CONFIG_MACVLAN", "CONFIG_TAP", "CONFIG_VLAN_8021Q", "CONFIG_VHOST_NET"), "m"
    )
    assert not host.loaded


def test_builtin_by_config_alone(tree: MakeTree) -> None:
    host = tree(ARCH).config("/proc/config.gz", macvtap="y", macvlan="y", tap="y").devices("macvtap").observe()
    result = evaluate(host)
    assert (result.provided_by, result.source) == ("builtin", "/proc/config.gz")
    assert [source.path for source in result.tried] == ["/proc/config.gz"]
    # /sys/module/macvtap is absent where it is built in.
    assert host.loaded


@pytest.mark.parametrize("gone", ["modules.builtin", "modules.builtin.modinfo"])
def test_builtin_by_either_list_alone(tree: MakeTree, gone: str) -> None:
    host = tree(DEBIAN).builtin("macvtap", "macvlan", "tap")
    (host.root / "lib/modules" / DEBIAN / gone).unlink()
    result = evaluate(host.observe())
    assert result.provided_by == "builtin"
    assert result.source in {
        f"/lib/modules/{DEBIAN}/modules.builtin",
        f"/lib/modules/{DEBIAN}/modules.builtin.modinfo",
    }
    assert result.options["CONFIG_MACVTAP"] == "y"


def test_no_source_is_usable(tree: MakeTree) -> None:
    result = evaluate(tree(DEBIAN).devices("misc").observe())
    assert (result.provided_by, result.source, result.supported) == ("unknown", None, False)
    assert "modprobe macvtap" in result.hint
    assert [source.problem for source in result.tried] == ["does not exist"] * 8


def test_only_the_running_kernel_shows_it(tree: MakeTree) -> None:
    result = evaluate(tree(DEBIAN).devices("macvtap").observe())
    assert (result.provided_by, result.source) == ("builtin", "/proc/devices")
    result = evaluate(tree(DEBIAN).loaded().observe())
    assert (result.provided_by, result.source) == ("module", "/proc/modules")


def test_not_set(tree: MakeTree) -> None:
    result = evaluate(tree(DEBIAN).config(f"/boot/config-{DEBIAN}", macvtap="n", macvlan="n", tap="").observe())
    assert (result.provided_by, result.source) == ("missing", f"/boot/config-{DEBIAN}")
    assert f"CONFIG_MACVTAP and CONFIG_MACVLAN are not set in /boot/config-{DEBIAN}" in result.reason
    assert "Device Drivers → Network device support → Network core driver support" in result.hint
    assert "MAC-VLAN based tap driver" in result.hint
    assert "CONFIG_INET" in result.hint
    assert result.hint.endswith("Not set here: CONFIG_MACVLAN.")


def test_an_unusable_source_passes_on_to_the_next(tree: MakeTree) -> None:
    host = tree(DEBIAN).write("/proc/config.gz", b"\x1f\x8bbroken").config(f"/boot/config-{DEBIAN}").modules()
    result = evaluate(host.observe())
    assert result.source == f"/boot/config-{DEBIAN}"
    assert result.tried[0].problem.startswith("cannot be read: ")


@pytest.mark.parametrize(
    ("os_release", "advice"),
    [
        ("ID=ubuntu\nID_LIKE=debian\n", f"linux-modules-extra-{UBUNTU}"),
        ("ID=debian\n", f"apt install --reinstall linux-image-{UBUNTU}"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', f"dnf install kernel-modules-{UBUNTU}"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "kernel-default-base"),
        ("ID=arch\n", f"depmod -a {UBUNTU}"),
    ],
)
def test_configured_but_the_package_with_the_module_is_missing(tree: MakeTree, os_release: str, advice: str) -> None:
    host = tree(UBUNTU).config(f"/boot/config-{UBUNTU}").modules(names=()).write("/etc/os-release", os_release)
    result = evaluate(host.observe())
    assert (result.provided_by, result.source) == ("missing", f"/lib/modules/{UBUNTU}/modules.dep")
    assert result.reason.startswith(f"/boot/config-{UBUNTU} has CONFIG_MACVTAP=m, but ")
    assert "macvtap, macvlan, tap" in result.reason
    assert advice in result.hint


def test_a_listed_module_whose_file_is_gone_is_missing(tree: MakeTree) -> None:
    host = debian(tree)
    (host.root / "lib/modules" / DEBIAN / "kernel/drivers/net/macvlan.ko").unlink()
    result = evaluate(host.observe())
    assert result.provided_by == "missing"
    assert "does not list macvlan, or lists a file that does not exist" in result.reason


def test_upgraded_but_not_rebooted(tree: MakeTree) -> None:
    host = tree(ARCH).config("/proc/config.gz").write("/usr/lib/modules/6.10.1-arch1-1/modules.dep", "")
    result = evaluate(host.observe())
    assert result.provided_by == "missing"
    assert f"the modules directory of {ARCH} is missing" in result.reason
    assert "Installed: 6.10.1-arch1-1. After a kernel upgrade, reboot" in result.hint
    # Loaded before the upgrade, it keeps working.
    assert evaluate(host.loaded().observe()).provided_by == "module"


def test_upgraded_with_nothing_left_of_the_running_kernel(tree: MakeTree) -> None:
    """Like with a package manager that keeps only one kernel, and its configuration in its package."""
    host = tree(FEDORA).write("/usr/lib/modules/6.12.9-200.fc41.x86_64/modules.dep", "").link("/lib", "usr/lib")
    result = evaluate(host.observe())
    assert result.provided_by == "unknown"
    assert result.hint.startswith(
        "Its modules directory is missing. Installed: 6.12.9-200.fc41.x86_64. After a kernel upgrade, reboot into the "
        "new kernel."
    )


@pytest.mark.parametrize("source", ["config", "lists"])
def test_macvtap_built_in_and_others_as_modules(tree: MakeTree, source: str) -> None:
    host = tree(DEBIAN).modules(names=("8021q",)).builtin("macvtap", "macvlan", "tap")
    if source == "config":
        host.config(f"/boot/config-{DEBIAN}", macvtap="y", macvlan="y", tap="y")
    result = evaluate(host.observe())
    assert result.provided_by == "builtin"
    assert result.options["CONFIG_VLAN_8021Q"] == "m"
    assert result.options["CONFIG_VHOST_NET"] == ("m" if source == "config" else "n")


def test_in_neither_list(tree: MakeTree) -> None:
    result = evaluate(tree(ARCH).modules(names=()).observe())
    assert (result.provided_by, result.source) == ("missing", f"/lib/modules/{ARCH}/modules.dep")
    assert set(result.options.values()) == {"n"}
    assert "If it was not built at all: " in result.hint


def test_a_tree_without_depmod(tree: MakeTree) -> None:
    result = evaluate(tree(ARCH).builtin().observe())
    assert result.provided_by == "missing"
    assert f"depmod -a {ARCH}" in result.hint


def test_modules_but_no_builtin_list_leaves_it_open(tree: MakeTree) -> None:
    host = tree(ARCH).modules(names=())
    for name in ("modules.builtin", "modules.builtin.modinfo"):
        (host.root / "lib/modules" / ARCH / name).unlink()
    assert evaluate(host.observe()).provided_by == "unknown"


def test_before_4_12_no_tap_is_needed(tree: MakeTree) -> None:
    release = "3.10.0-1160.el7.x86_64"
    host = tree(release).config(f"/boot/config-{release}", tap="").modules(names=("macvtap", "macvlan"))
    assert evaluate(host.observe()).provided_by == "module"
    newer = tree("4.12.0").config("/boot/config-4.12.0").modules(names=("macvtap", "macvlan"))
    assert evaluate(newer.observe()).provided_by == "missing"


def test_macvlan_and_tap_may_be_built_in_under_a_module(tree: MakeTree) -> None:
    host = tree(SUSE).config(f"/boot/config-{SUSE}", macvlan="y", tap="y").modules(names=("macvtap",))
    assert evaluate(host.observe()).provided_by == "module"
