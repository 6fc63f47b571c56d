# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The module as it is, on the kernel that the tests run on."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import typing as t

import pytest
from other_user import OtherUser
from support import module_environment, run_module

if t.TYPE_CHECKING:
    from conftest import Namespace
    from libvirtd_fixture import Hypervisor

RELEASE = os.uname().release
NAME = "kernel_macvtap_check"
LOAD_FILE = pathlib.Path("/etc/modules-load.d/macvtap.conf")


@pytest.fixture(scope="module")
def verdict() -> dict[str, t.Any]:
    return run_module(NAME, {"required": False})


def test_the_verdict_agrees_with_the_kernel(verdict: dict[str, t.Any]) -> None:
    assert verdict["rc"] == 0
    assert verdict["kernel"] == RELEASE
    assert not verdict["changed"]
    assert verdict["loaded"] == ("macvtap" in pathlib.Path("/proc/devices").read_text().split())
    assert verdict["supported"] or not verdict["loaded"]
    assert verdict["sources_tried"][-1]["path"] == verdict["source"] or verdict["provided_by"] == "module"


@pytest.mark.parametrize("check", [True, False])
def test_loaded_changes_nothing_where_it_is_loaded(verdict: dict[str, t.Any], check: bool) -> None:
    if verdict["provided_by"] != "builtin":
        pytest.skip("macvtap is not built in here: loading it is the virtual machine's part")
    before = LOAD_FILE.exists()
    result = run_module(NAME, {"state": "loaded", "persistent": True}, check=check, diff=True)
    assert (result["rc"], result["changed"], result["changes"], result["diff"]) == (0, False, [], [])
    assert result["loaded"]
    assert LOAD_FILE.exists() == before


def test_a_configuration_without_macvtap(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "config"
    config.write_text("CONFIG_NETDEVICES=y\nCONFIG_NET_CORE=y\n# CONFIG_INET is not set\n# CONFIG_MACVLAN is not set\n")
    result = run_module(NAME, {"config_path": str(config)})
    assert result["rc"] != 0
    assert f"CONFIG_MACVTAP and CONFIG_MACVLAN are not set in {config}" in result["msg"]
    assert "Device Drivers → Network device support" in result["msg"]
    assert result["msg"].endswith("Not set here: CONFIG_INET, CONFIG_MACVLAN.")
    assert result["provided_by"] == "missing"
    allowed = run_module(NAME, {"config_path": str(config), "required": False})
    assert (allowed["rc"], allowed["supported"], allowed["source"]) == (0, False, str(config))
    assert allowed["reason"]
    assert allowed["remedy"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"config_path": "/nonexistent/config"}, "config_path: /nonexistent/config does not exist"),
        ({"config_path": "/etc"}, "config_path: /etc is a directory"),
        ({"config_path": "/etc/passwd"}, "config_path: /etc/passwd is not a kernel configuration"),
        ({"kernel": "0.0.0-none"}, "kernel: 0.0.0-none is not installed: "),
        ({"kernel": "../../etc"}, "kernel: '../../etc' is not a kernel release such as "),
    ],
)
def test_a_bad_option_is_named(params: dict[str, str], message: str) -> None:
    result = run_module(NAME, params)
    assert result["rc"] != 0
    assert result["msg"].startswith(message)
    assert "exception" not in result


def test_a_kernel_by_its_configuration_alone(tmp_path: pathlib.Path) -> None:
    config = tmp_path / ".config"
    config.write_text("CONFIG_MACVLAN=m\nCONFIG_MACVTAP=m\nCONFIG_TAP=m\n")
    result = run_module(NAME, {"kernel": "9.9.9", "config_path": str(config)})
    assert (result["rc"], result["provided_by"], result["kernel"], result["loaded"]) == (0, "module", "9.9.9", False)
    refused = run_module(NAME, {"kernel": "9.9.9", "config_path": str(config), "state": "loaded"})
    assert refused["msg"].startswith("kernel: macvtap cannot be loaded into 9.9.9")


class Modular:
    """This system as one would see it whose kernel has macvtap as a module, in a mount namespace of its own.

    What the kernel shows in /proc is covered by files, and modprobe is a script that adds to them. Whether the
    kernel loads a real module is for a real modular kernel to show.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        for name in ("usr", "etc", "usr.work", "etc.work"):
            (directory / name).mkdir()
        tree = directory / "usr/lib/modules" / RELEASE
        tree.mkdir(parents=True)
        names = ("macvtap", "macvlan", "tap")
        for name in names:
            (tree / f"{name}.ko").touch()
        (tree / "modules.dep").write_text("".join(f"{name}.ko:\n" for name in names))
        config = "".join(f"CONFIG_{name.upper()}=m\n" for name in names)
        (directory / "config.gz").write_bytes(gzip.compress(config.encode()))
        self.devices = directory / "devices"
        self.devices.write_text("Character devices:\n  1 mem\n\nBlock devices:\n")
        self.calls = directory / "calls"
        # Written in place: a file that sed had replaced would not be the one that is mounted.
        self.modprobe("printf 'Character devices:\\n246 macvtap\\n\\nBlock devices:\\n' > /proc/devices")

    def modprobe(self, command: str) -> None:
        script = self.directory / "usr/sbin/modprobe"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\necho "$@" >> {self.calls}\n{command}\n')
        script.chmod(0o755)

    def configure(self, text: str) -> None:
        file = self.directory / "etc/modprobe.d/hardening.conf"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def run(self, params: dict[str, t.Any] | None = None, **kwargs: t.Any) -> dict[str, t.Any]:
        where = self.directory
        mounts = [
            f"mount -t overlay overlay -o lowerdir=/{name},upperdir={where}/{name},workdir={where}/{name}.work /{name}"
            for name in ("usr", "etc")
        ]
        mounts += [f"mount --bind {where}/{name} /proc/{name}" for name in ("config.gz", "devices")]
        script = " && ".join([*mounts, 'exec "$@"'])
        params = params or {"state": "loaded", "persistent": True}
        return run_module(NAME, params, prefix=["unshare", "--mount", "sh", "-c", script, "sh"], diff=True, **kwargs)

    @property
    def load_file(self) -> str | None:
        file = self.directory / LOAD_FILE.relative_to("/")
        return file.read_text() if file.exists() else None


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
    foreseen = modular.run(check=True)
    assert (foreseen["rc"], foreseen["changed"], foreseen["loaded"]) == (0, True, False)
    assert not modular.calls.exists()
    assert modular.load_file is None
    done = modular.run()
    assert (done["rc"], done["changed"], done["loaded"], done["provided_by"]) == (0, True, True, "module")
    assert done["changes"] == foreseen["changes"]
    assert done["diff"] == foreseen["diff"]
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
    foreseen = modular.run({"probe": True}, check=True)
    assert (foreseen["rc"], foreseen["changed"], foreseen["probe"]) == (0, True, None)
    assert not modular.calls.exists()
    done = modular.run({"probe": True})
    assert (done["rc"], done["changed"], done["probe"]["works"]) == (0, True, True)
    assert done["changes"] == foreseen["changes"]
    assert modular.load_file is None
    again = modular.run({"probe": True})
    assert (again["rc"], again["changed"], again["probe"]["works"]) == (0, False, True)


PROBE = "ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.probe"


def no_node_stays() -> bool:
    """Return whether the nodes of taps whose links have an index that only a probe gives go.

    /dev is one for the machine, where somebody else may probe just now: that node is gone in milliseconds.
    """
    deadline = time.monotonic() + 10
    while any(int(path.name[3:]) >= 0x30000000 for path in pathlib.Path("/dev").glob("tap[0-9]*")):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def macvtap(verdict: dict[str, t.Any]) -> None:
    if not verdict["loaded"]:
        pytest.skip("macvtap is not loaded")


@pytest.mark.root
@pytest.mark.usefixtures("macvtap")
def test_a_probe_leaves_nothing(netns: Namespace) -> None:
    before = netns.links()
    result = netns.run({"probe": True}, NAME)
    assert (result["rc"], result["supported"], result["changed"]) == (0, True, False)
    assert result["probe"]["works"] is True
    assert netns.links() == before
    assert no_node_stays()
    foreseen = netns.run({"probe": True}, NAME, check=True)
    assert (foreseen["rc"], foreseen["probe"]) == (0, None)


def probes(count: int, namespaces: int, *words: str) -> list[list[t.Any]]:
    """Probe ``count`` times in a user namespace that may have so many network namespaces at a time."""
    code = f"import json; from {PROBE} import try_macvtap; "
    code += f"found = [try_macvtap({', '.join(words)}) for i in range({count})]; "
    code += "print(json.dumps([[one.works, one.reason] for one in found]))"
    script = f'echo {namespaces} > /proc/sys/user/max_net_namespaces && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", sys.executable, "-c", code]
    done = subprocess.run(command, env=module_environment(), check=True, capture_output=True, text=True, timeout=120)
    return [list(one) for one in json.loads(done.stdout)]


@pytest.mark.root
@pytest.mark.usefixtures("macvtap")
def test_fifty_probes_leave_no_namespace() -> None:
    # The kernel takes a namespace down a while after its last process: some may be waiting for that.
    assert {works for works, reason in probes(50, 25)} == {True}
    assert no_node_stays()


@pytest.mark.root
@pytest.mark.usefixtures("macvtap")
def test_where_a_probe_fails_is_said() -> None:
    assert probes(1, 0) == [[None, "creating a network namespace: No space left on device (ENOSPC)"]]
    found = probes(1, 25, 'kind="nosuchkind"')
    assert found == [[False, "creating a nosuchkind link on a veth link: Unknown device type (ENOTSUP)"]]
    assert probes(1, 25, 'parents=("nosuchkind", "veth")')[0][0] is True


@pytest.mark.root
def test_a_probe_by_a_root_without_capabilities(verdict: dict[str, t.Any]) -> None:
    result = run_module(NAME, {"probe": True, "required": False}, prefix=["setpriv", "--bounding-set=-all"])
    _was_not_tried(result, verdict)


@pytest.mark.root
def test_a_probe_by_a_user(hv: Hypervisor, verdict: dict[str, t.Any]) -> None:
    _was_not_tried(OtherUser(hv).module(NAME, probe=True, required=False), verdict)


def _was_not_tried(result: dict[str, t.Any], verdict: dict[str, t.Any]) -> None:
    assert (result["rc"], result["supported"], result["probe"]["works"]) == (0, verdict["supported"], None)
    assert result["probe"]["reason"] == (
        "creating a network namespace: Operation not permitted (EPERM). A probe requires root: become: true, and in a "
        "container CAP_SYS_ADMIN and CAP_NET_ADMIN"
    )
    assert result["probe"]["reason"] in str(result["warnings"])
