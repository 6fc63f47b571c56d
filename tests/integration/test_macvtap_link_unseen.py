# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Who cannot be seen may be there: holders of taps where /sys or /proc does not show them, and taps of others."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
import subprocess
import tempfile
import typing as t

import pytest
from support import run_module

if t.TYPE_CHECKING:
    from namespaces import Namespace

BASE = {"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": "52:54:00:00:00:01"}
# What takes the link from whoever holds its tap.
CUTS = (
    {"state": "absent"},
    {"parent": "eth1"},
    {"mode": "passthru", "mac": None},
    {"state": "down"},
    {"mac": "52:54:00:00:00:02"},
    {"mode": "source"},
)


@contextlib.contextmanager
def held(netns: Namespace) -> t.Iterator[None]:
    (link,) = netns.run(BASE)["links"]
    with pathlib.Path(link["tap"]["path"]).open("rb+", buffering=0):
        yield


def inside(netns: Namespace, *words: str) -> list[str]:
    """Run the module in the network namespace alone, with the mounts that ``words`` leave it."""
    return [*words, "nsenter", f"--net=/run/netns/{netns.name}"]


@pytest.mark.parametrize("cut", CUTS)
def test_no_cut_is_made_without_force(netns: Namespace, cut: dict[str, t.Any]) -> None:
    with held(netns):
        for check in (True, False):
            netns.refuses(
                {**BASE, **cut}, rf"mt0 .*would disconnect pid {os.getpid()} .*, or set force: true", check=check
            )
        assert netns.run({**BASE, **cut, "force": True})["changed"]


def test_who_has_the_tap_of_a_former_link_open_holds_no_new_one(netns: Namespace) -> None:
    (link,) = netns.run(BASE)["links"]
    with contextlib.ExitStack() as opened:
        # Another link of the machine may get the number first.
        for _try in range(50):
            tap = link["tap"]
            opened.enter_context(pathlib.Path(tap["path"]).open("rb+", buffering=0))
            netns.ip("link", "del", "mt0")
            (link,) = netns.run(BASE)["links"]
            if (link["tap"]["major"], link["tap"]["minor"]) == (tap["major"], tap["minor"]):
                break
        else:
            pytest.fail("no link has got the device number of the one before")
        assert netns.run({}, "macvtap_link_info")["links"][0]["holders"] == []
        assert netns.run({**BASE, "mac": "52:54:00:00:00:02"})["changed"]
        with pathlib.Path(link["tap"]["path"]).open("rb+", buffering=0):
            netns.refuses({**BASE, "state": "absent"}, rf"mt0 would disconnect pid {os.getpid()} ")
        assert netns.run({**BASE, "state": "absent"})["changed"]


# A process ends while the run looks at its descriptors: the kernel's answer is EACCES then, for root too.
ENDING = """
import os, subprocess
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import holders
ending, real = [subprocess.Popen(["sleep", "infinity"], stdin=subprocess.DEVNULL)], os.stat
def acting(path, *how, **more):
    if ending and str(path).startswith(f"/proc/{ending[0].pid}/fd/"):
        process = ending.pop()
        process.kill()
        process.wait()
        raise PermissionError(13, "Permission denied", path)
    return real(path, *how, **more)
holders.os.stat = acting
"""


def test_a_process_that_ends_while_it_is_looked_at_hides_nothing(netns: Namespace) -> None:
    netns.run(BASE)
    assert netns.run({**BASE, "state": "absent"}, patch=ENDING)["changed"]


# SELinux, enforced: the policy lets not even root look at what some processes have open.
DENYING = """
import os, select
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import holders
opened, real = select.epoll(), os.stat
def denying(path, *how, **more):
    if "/fd/" in str(path) and os.readlink(path).startswith("anon_inode:"):
        raise PermissionError(13, "Permission denied", path)
    return real(path, *how, **more)
holders.os.stat = denying
"""


def test_a_descriptor_that_root_may_not_look_at_and_that_is_no_files_hides_no_holder(netns: Namespace) -> None:
    netns.run(BASE)
    with held(netns):
        netns.refuses({**BASE, "state": "absent"}, rf"disconnect pid {os.getpid()} ", patch=DENYING)
    assert netns.run({**BASE, "state": "absent"}, patch=DENYING)["changed"]


# A process of another user has a directory open that its user alone may look at, not even root.
ON_FUSE = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.unshare(0x20000)
libc.mount(b"none", b"/", None, 0x44000, None)
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=65534,group_id=65534"
assert libc.mount(b"test", sys.argv[1].encode(), b"fuse", 6, options.encode()) == 0
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
print(os.open(sys.argv[1], os.O_PATH), flush=True)
sys.stdin.read()
"""


def test_a_file_that_root_may_not_look_at_hides_no_holder(netns: Namespace) -> None:
    # Where every user may go.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        pathlib.Path(directory).chmod(0o755)
        command = ["/usr/bin/python3", "-c", ON_FUSE, directory]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            descriptor = process.stdout.readline().strip()
            with pytest.raises(PermissionError):
                os.stat(f"/proc/{process.pid}/fd/{descriptor}")
            netns.run(BASE)
            assert netns.run({**BASE, "state": "absent"})["changed"]


@pytest.mark.parametrize("words", [(), ("unshare", "--mount", "sh", "-c", 'umount -l /sys; exec "$@"', "sh")])
def test_a_holder_is_seen_whichever_namespace_sys_is_of(netns: Namespace, words: tuple[str, ...]) -> None:
    prefix = inside(netns, *words)
    with held(netns):
        failed = run_module("macvtap_link", {**BASE, "state": "absent"}, prefix=prefix)
        assert failed["msg"].startswith(f"removing mt0 would disconnect pid {os.getpid()} "), failed
        (link,) = run_module("macvtap_link_info", {}, prefix=prefix)["links"]
        assert [holder["pid"] for holder in link["holders"]] == [os.getpid()]
        assert link["tap"]["own"]
        assert run_module("macvtap_link", {**BASE, "tap": {"mode": "0660"}}, prefix=prefix)["changed"]
    assert netns.names() == {"mt0"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("unshare", "--pid", "--fork", "--mount-proc"), "its own PID namespace"),
        (
            ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc; exec "$@"', "sh"),
            "nobody tells|PID namespace",
        ),
        (("setpriv", "--reuid", "nobody", "--clear-groups"), r"run the task as root \(become: true\)"),
    ],
)
def test_where_nobody_can_be_seen_there_may_be_somebody(netns: Namespace, words: tuple[str, ...], why: str) -> None:
    prefix = [*netns.prefix, *words]
    with held(netns):
        gone = {**BASE, "state": "absent"}
        netns.prefix, usual = prefix, netns.prefix
        try:
            netns.refuses(gone, f"removing mt0 would disconnect any .*({why}).*, or set force: true", check=True)
            if "setpriv" not in words:
                netns.refuses(gone, f"removing mt0 would disconnect any process .*({why}).*, or set force: true")
                (link,) = run_module("macvtap_link_info", {}, prefix=prefix)["links"]
                assert link["holders"] is None
                # What cuts nobody off is done.
                assert netns.run({**BASE, "mtu": 1400})["changed"]
                assert netns.run({**gone, "force": True})["changed"]
        finally:
            netns.prefix = usual


def test_the_machines_processes_may_be_shown_to_a_container(netns: Namespace) -> None:
    shown = 'mkdir -p /run/host/proc; mount --bind /proc /run/host/proc; exec unshare --pid --fork --mount-proc "$@"'
    mounts = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none /run; {shown}", "sh"]
    prefix = ["nsenter", f"--net=/run/netns/{netns.name}", *mounts]
    with held(netns):
        failed = run_module("macvtap_link", {**BASE, "state": "absent"}, prefix=prefix)
        assert failed["msg"].startswith(f"removing mt0 would disconnect pid {os.getpid()} "), failed
    assert run_module("macvtap_link", {**BASE, "state": "absent"}, prefix=prefix)["changed"]


def test_the_run_that_makes_a_link_says_that_its_node_is_anothers(netns: Namespace) -> None:
    """As in two network namespaces that count alike, where the kernel leaves the first link's node as it is."""
    (first,) = netns.run(BASE)["links"]
    netns.run({**BASE, "state": "absent"})
    node = pathlib.Path(f"/dev/tap{first['ifindex'] + 1}")
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(first["tap"]["major"], first["tap"]["minor"] + 200))
    try:
        made = netns.run(BASE)
        assert made["links"][0]["tap"]["path"] == str(node)
        assert made["links"][0]["tap"]["own"] is False
        message = f"{node} of mt0 is the tap of a link in another network namespace: a program that opens it gets the"
        assert message in str(made["warnings"])
        assert netns.run(BASE)["warnings"] == made["warnings"]
        assert "warnings" not in netns.run({**BASE, "tap": {"repair": True}})
    finally:
        netns.run({**BASE, "state": "absent"})
        node.unlink(missing_ok=True)


def test_a_new_links_address_is_one_that_nobody_gives_it_anew(netns: Namespace) -> None:
    del (wanted := dict(BASE))["mac"]
    (link,) = netns.run(wanted)["links"]
    assert netns.link("mt0")["address"] == link["mac"]
    read = [*netns.prefix, "cat", "/sys/class/net/mt0/addr_assign_type"]
    # NET_ADDR_SET of include/uapi/linux/netdevice.h: udev's MACAddressPolicy= leaves such a one.
    assert subprocess.run(read, check=True, capture_output=True, text=True).stdout == "3\n"
