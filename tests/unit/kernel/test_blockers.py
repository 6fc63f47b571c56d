# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Blockers in modprobe.d and on the kernel's command line."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import modprobe
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.planner import plan, returned
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.support import evaluate

if t.TYPE_CHECKING:
    from .conftest import Tree

RELEASE = "6.1.0-40-amd64"
SUPPORTED, LOADED, PERSISTENT = Desired("supported"), Desired("loaded"), Desired("loaded", persistent=True)


@pytest.fixture
def host(tree: t.Callable[[str], Tree]) -> Tree:
    return tree(RELEASE).config(f"/boot/config-{RELEASE}").modules().devices("misc")


def refused(desired: Desired, host: Tree) -> str:
    with pytest.raises(MacvtapError) as caught:
        plan(desired, host.observe())
    return str(caught.value)


def found(host: Tree) -> list[tuple[str, str, str]]:
    return [(one.module, one.kind, one.where) for one in host.observe().blockers]


@pytest.mark.parametrize(
    "command", ["/bin/false", "/bin/true", "/usr/bin/true", "false", ":", "exit 1", "true; exit 0"]
)
@pytest.mark.parametrize("module", ["macvtap", "macvlan", "tap"])
def test_an_install_command_that_loads_nothing(host: Tree, module: str, command: str) -> None:
    host.write("/etc/modprobe.d/cis.conf", f"# hardening\n\ninstall {module} {command}\n")
    line = f"/etc/modprobe.d/cis.conf:3 has 'install {module} {command}': remove that line"
    assert refused(LOADED, host) == f"state: macvtap cannot be loaded: {line}"
    assert refused(PERSISTENT, host) == f"state: macvtap cannot be loaded: {line}"
    allowed = plan(SUPPORTED, host.observe())
    assert not allowed.changed
    assert allowed.warnings == (f"macvtap is not loaded at boot, nor on creating a first link: {line}",)


@pytest.mark.parametrize(
    "command",
    ["/sbin/modprobe --ignore-install macvtap && /usr/local/bin/note", "true && modprobe -i macvtap", "/x.sh"],
)
def test_an_install_command_that_may_load_the_module(host: Tree, command: str) -> None:
    host.write("/etc/modprobe.d/macvtap.conf", f"install macvtap {command}\n")
    assert plan(PERSISTENT, host.observe()).changed
    assert found(host) == []


def test_a_loaded_or_builtin_module_is_not_blocked_now(host: Tree) -> None:
    host.write("/etc/modprobe.d/cis.conf", "install macvlan /bin/false\n")
    host.write("/proc/modules", "macvlan 28672 0 - Live 0x0\n")
    assert plan(LOADED, host.observe()).changed
    # ... but at the next boot.
    assert refused(PERSISTENT, host).startswith("persistent: macvtap would not be loaded at boot, despite /etc/")
    host.config(f"/boot/config-{RELEASE}", macvlan="y")
    assert plan(PERSISTENT, host.observe()).changed
    assert returned(host.observe(), evaluate(host.observe()))["obstacles"] == []


def test_a_blacklist_blocks_at_boot_only(host: Tree) -> None:
    host.write("/usr/lib/modprobe.d/vendor.conf", "blacklist macvtap\n")
    where = "/usr/lib/modprobe.d/vendor.conf:1 has 'blacklist macvtap': copy that file to /etc/modprobe.d/vendor.conf"
    assert where in refused(PERSISTENT, host)
    assert refused(PERSISTENT, host).startswith("persistent: ")
    loaded = plan(LOADED, host.observe())
    assert [change.field for change in loaded.changes] == ["loaded"]
    assert where in loaded.warnings[0]
    # Dependencies of macvtap are loaded by name, blacklisted or not.
    host.write("/usr/lib/modprobe.d/vendor.conf", "blacklist macvlan\nblacklist tap\n")
    assert plan(PERSISTENT, host.observe()).warnings == ()
    assert found(host) == [
        ("macvlan", "blacklist", "/usr/lib/modprobe.d/vendor.conf:1"),
        ("tap", "blacklist", "/usr/lib/modprobe.d/vendor.conf:2"),
    ]


def test_a_file_overrides_files_of_the_same_name(host: Tree) -> None:
    for directory in ("/lib", "/usr/lib", "/usr/local/lib", "/run"):
        host.write(f"{directory}/modprobe.d/x.conf", "blacklist macvtap\n")
        assert found(host) == [("macvtap", "blacklist", f"{directory}/modprobe.d/x.conf:1")]
    host.link("/etc/modprobe.d/x.conf", "/dev/null")
    assert found(host) == []
    host.write("/etc/modprobe.d/README", "blacklist macvtap\n").write("/etc/modprobe.d/.y.conf", "blacklist macvtap\n")
    host.write("/etc/modprobe.d/d.conf/z.conf", "blacklist macvtap\n")
    assert found(host) == []


def test_the_first_install_command_counts(host: Tree) -> None:
    host.write("/run/modprobe.d/20.conf", "install macv* /bin/false\n")
    assert found(host) == [
        ("macvtap", "install", "/run/modprobe.d/20.conf:1"),
        ("macvlan", "install", "/run/modprobe.d/20.conf:1"),
    ]
    host.write("/usr/lib/modprobe.d/10.conf", "install macvtap /sbin/modprobe -i macvtap\n")
    assert found(host) == [("macvlan", "install", "/run/modprobe.d/20.conf:1")]


def test_a_file_is_parsed_like_libkmod_does() -> None:
    text = "#install a /bin/true\n\tinstall\ta  /bin/true\ninstall \\\n b-c \\\n /bin/false x\n\nblacklist\nblacklist d"
    assert modprobe.parse(text) == [
        (2, "install", "a", "/bin/true"),
        (3, "install", "b_c", "/bin/false x"),
        (8, "blacklist", "d", ""),
    ]


def test_the_command_line_of_the_kernel(host: Tree) -> None:
    host.write("/proc/cmdline", "BOOT_IMAGE=/vmlinuz ro module_blacklist=nouveau,macvlan quiet\n")
    expected = "/proc/cmdline has 'module_blacklist=macvlan': remove it from the kernel's command line"
    assert expected in refused(LOADED, host)
    # The kernel uses the last value.
    host.write("/proc/cmdline", "module_blacklist=macvlan module-blacklist=nouveau -- module_blacklist=tap")
    assert plan(PERSISTENT, host.observe()).warnings == ()
    host.write("/proc/cmdline", "modprobe.blacklist=a,macvtap modprobe.blacklist=b")
    assert plan(LOADED, host.observe()).changed
    assert refused(PERSISTENT, host).startswith("persistent: macvtap would not be loaded at boot")
    # The command line is that of the running kernel.
    other = host.observe("5.10.0", None)
    assert other.blockers == ()


def test_nothing_blocks_a_builtin_macvtap(tree: t.Callable[[str], Tree]) -> None:
    host = tree(RELEASE).config("/proc/config.gz", macvtap="y", macvlan="y", tap="y").devices("macvtap")
    host.write("/etc/modprobe.d/cis.conf", "install macvtap /bin/false\nblacklist macvtap\n")
    assert plan(PERSISTENT, host.observe()).warnings == ()


def test_blockers_are_returned(host: Tree) -> None:
    host.write("/etc/modprobe.d/cis.conf", "install tap /bin/false\n")
    assert returned(host.observe(), evaluate(host.observe()))["obstacles"] == [
        {
            "module": "tap",
            "kind": "install",
            "where": "/etc/modprobe.d/cis.conf:1",
            "says": "install tap /bin/false",
        }
    ]
