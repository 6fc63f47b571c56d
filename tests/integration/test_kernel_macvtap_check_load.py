# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""kernel_macvtap_check loads macvtap where it is a module, or says what hinders that."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest
from modular import RELEASE, Modular


@pytest.fixture
def modular(tmp_path: pathlib.Path) -> t.Iterator[Modular]:
    if (
        os.geteuid() != 0
        or not pathlib.Path("/proc/config.gz").exists()
        or pathlib.Path("/lib/modules", RELEASE).exists()
    ):
        pytest.skip("needs root, /proc/config.gz to cover and a kernel without modules of its own")
    # An overlay cannot have its upper directory on an overlay, which a temporary directory may be on.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=True)
    try:
        yield Modular(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.root
def test_loading_a_module(modular: Modular) -> None:
    predicted = modular.run(check=True)
    assert (predicted["rc"], predicted["changed"], predicted["loaded"]) == (0, True, False)
    assert not modular.calls.exists()
    assert modular.load_file is None
    done = modular.run()
    assert (done["rc"], done["changed"], done["loaded"], done["provided_by"]) == (0, True, True, "module")
    assert done["changes"] == predicted["changes"]
    assert done["diff"] == predicted["diff"]
    assert [(change["field"], change["before"], change["after"]) for change in done["changes"]] == [
        ("persistent", False, True),
        ("loaded", False, True),
    ]
    assert modular.calls.read_text() == "macvtap\n"
    assert done["diff"][0]["after"] == modular.load_file
    again = modular.run()
    assert (again["rc"], again["changed"], again["diff"]) == (0, False, [])
    assert modular.calls.read_text() == "macvtap\n"


@pytest.mark.root
def test_a_modprobe_that_fails(modular: Modular) -> None:
    modular.modprobe("echo \"modprobe: ERROR: could not insert 'macvtap': Key was rejected by service\" >&2; exit 1")
    result = modular.run()
    assert result["rc"] != 0
    assert result["msg"] == (
        "state: modprobe macvtap failed with code 1: modprobe: ERROR: could not insert 'macvtap': Key was rejected by "
        "service. The kernel loads only modules that are signed with a key it trusts, and this one is not. Install the "
        "modules that were shipped with the kernel, or sign them and enrol the key (mokutil --import), or boot without "
        "Secure Boot and without lockdown= and module.sig_enforce on the kernel's command line. The host is as it was "
        "before"
    )
    assert modular.load_file is None


@pytest.mark.root
def test_a_host_without_modprobe(modular: Modular) -> None:
    if shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        pytest.skip("this host has modprobe")
    (modular.directory / "usr/sbin/modprobe").unlink()
    result = modular.run()
    assert result["msg"].startswith("state: modprobe cannot be run (No such file or directory): install kmod")
    assert modular.load_file is None


@pytest.mark.root
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("install tap /bin/true", "state: macvtap cannot be loaded: "),
        (
            "blacklist macvtap",
            "persistent: macvtap would not be loaded at boot, despite /etc/modules-load.d/",
        ),
    ],
)
def test_what_hinders_is_named_before_anything_is_done(modular: Modular, line: str, message: str) -> None:
    modular.configure(f"# CIS 3.5\n{line}\n")
    for check in (True, False):
        result = modular.run(check=check)
        assert result["rc"] != 0
        assert result["msg"].startswith(message)
        assert result["msg"].endswith(f"/etc/modprobe.d/hardening.conf:2 has '{line}': remove that line")
        assert result["obstacles"][0]["where"] == "/etc/modprobe.d/hardening.conf:2"
    assert not modular.calls.exists()
    assert modular.load_file is None


@pytest.mark.root
def test_a_blacklist_is_a_warning_where_it_is_not_to_last(modular: Modular) -> None:
    modular.configure("blacklist macvtap\n")
    result = modular.run({"state": "loaded"})
    assert (result["rc"], result["changed"], result["loaded"]) == (0, True, True)
    assert "/etc/modprobe.d/hardening.conf:1 has 'blacklist macvtap'" in str(result["warnings"])


@pytest.mark.root
def test_a_probe_loads_the_module_and_says_so(modular: Modular) -> None:
    predicted = modular.run({"probe": True}, check=True)
    assert (predicted["rc"], predicted["changed"], predicted["probe"]) == (0, True, None)
    assert not modular.calls.exists()
    done = modular.run({"probe": True})
    assert (done["rc"], done["changed"], done["probe"]["works"]) == (0, True, True)
    assert done["changes"] == predicted["changes"]
    assert modular.load_file is None
    again = modular.run({"probe": True})
    assert (again["rc"], again["changed"], again["probe"]["works"]) == (0, False, True)
