# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The module as it is, on the kernel that the tests run on."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
import typing as t

import pytest
from modular import LOAD_FILE, NAME, RELEASE
from other_user import OtherUser
from support import module_environment, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor
    from namespaces import Namespace


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
        # Not the running kernel, for which it would be a success.
        ({"kernel": ""}, "kernel: '' is not a kernel release such as "),
        ({"kernel": "6.1\0"}, "kernel: '6.1\\x00' is not a kernel release such as "),
        ({"config_path": ""}, "config_path: '' is not the path of a file"),
        ({"config_path": "/boot/config\0"}, "config_path: '/boot/config\\x00' is not the path of a file"),
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
    predicted = netns.run({"probe": True}, NAME, check=True)
    assert (predicted["rc"], predicted["probe"]) == (0, None)


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
