# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Hosts whose /etc, /dev or /proc is not as usual, containers with an uplink from outside, and user namespaces."""

from __future__ import annotations

import os
import pathlib
import stat
import typing as t

import pytest
from support import run_module

if t.TYPE_CHECKING:
    from namespaces import Namespace

BASE = {"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": "52:54:00:00:00:01"}
SHIM = {"name": "host0", "parent": "eth0", "addresses": ["192.0.2.50"], "guests": ["192.0.2.60"]}
NOBODY = ("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
# /etc is an overlay, whose upper files go with the process; {} is what follows. systemd seems to run.
OVERLAY = (
    "mount -t tmpfs none /run; mkdir -p /run/systemd/system /run/upper /run/work; "
    "mount -t overlay none /etc -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work; {}"
)
NO_NODES = "mkdir /tmp/dev; cp -a /dev/null /dev/urandom /tmp/dev; mount --move /tmp /dev"
HIDDEN = "mount -t proc -o hidepid=2 none /proc"
# A user namespace that has every user of the machine by the same number, which only root outside can make.
ALL_USERS = (
    "/usr/bin/python3",
    "-c",
    """if True:
        import ctypes, os, sys
        (inside, entered), (mapped, outside) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            assert ctypes.CDLL(None).unshare(0x10000000) == 0
            os.write(entered, b".")
            os.read(mapped, 1)
            os.execvp(sys.argv[1], sys.argv[1:])
        os.read(inside, 1)
        for users in ("uid", "gid"):
            with open(f"/proc/{child}/{users}_map", "w") as file:
                file.write("0 0 4294967295")
        os.write(outside, b".")
        sys.exit(os.waitpid(child, 0)[1] != 0)
    """,
)
UPLINK = "ip link add eth0 type veth peer name far0; for link in eth0 far0; do ip link set $link up; done"


def under(*words: str) -> list[str]:
    """Return the command that runs another one once a shell has carried out the last of ``words``."""
    return [*words[:-1], "sh", "-ec", f'{words[-1]}; exec "$@"', "sh"]


def in_mounts(netns: Namespace, script: str) -> list[str]:
    return [*netns.prefix, *under("unshare", "--mount", script)]


def test_an_etc_that_cannot_be_written_is_one_error_and_nothing_is_changed(netns: Namespace) -> None:
    prefix = in_mounts(netns, OVERLAY.format("mount -o remount,ro /etc"))
    before = netns.links()
    for module, params in (("macvtap_persistence", BASE), ("macvtap_guard", {"guards": [{"mac": BASE["mac"]}]})):
        message = run_module(module, params, prefix=prefix)["msg"]
        assert message.startswith("/etc/"), message
        assert message.endswith(" cannot be written: Read-only file system. The host is as it was before"), message
    assert netns.links() == before


def test_an_etc_that_is_an_overlay_is_written(netns: Namespace) -> None:
    """A file of the lower layer is replaced, one is removed: the overlay is put over what an earlier run wrote."""
    lower = "mount -t tmpfs none /var; mkdir /var/u /var/w; mount -t overlay none /etc -o lowerdir=/etc,{}"
    lower = lower.format("upperdir=/var/u,workdir=/var/w")
    files = "cd /etc/linuxvirt-macvtap/links; echo '# Managed by Ansible (linuxvirt.macvtap)' | tee eth0 >eth9; cd /"
    files = "mkdir -p /etc/linuxvirt-macvtap/links; " + files.replace(")'", "): what is changed here is lost.'")
    prefix = in_mounts(netns, f"{lower}; {files}; {OVERLAY.format('true')}")
    made = run_module("macvtap_persistence", {**BASE, "purge": True}, prefix=prefix)
    assert made["rc"] == 0, made
    changes = {change["target"]: change["after"] for change in made["changes"]}
    assert changes["/etc/linuxvirt-macvtap/links/eth9"] == "absent"
    assert "/etc/linuxvirt-macvtap/links/eth0" in changes


def test_a_dev_without_the_node_of_a_tap(netns: Namespace) -> None:
    prefix = in_mounts(netns, f"mount -t tmpfs none /tmp; {NO_NODES}")

    def run(check: bool = False, **more: t.Any) -> dict[str, t.Any]:
        return run_module("macvtap_link", {**BASE, **more}, prefix=prefix, check=check)

    # Whether there will be one is not known before the link is.
    assert "warnings" not in run(check=True, tap={"mode": "0660"})
    failed = run(tap={"mode": "0660"})["msg"]
    assert "of mt0, is missing; its permissions cannot be set. Set tap.repair: true to create" in failed
    assert failed.endswith("The host is as it was before")
    assert netns.names() == set()
    assert "of mt0 is missing: no program can open it. Set tap.repair: true" in str(run()["warnings"])
    # The node goes with the process and its mounts.
    repaired = run(tap={"mode": "0660", "repair": True})
    assert repaired["changed"]
    assert repaired["links"][0]["tap"]["own"]
    assert "warnings" not in repaired


@pytest.mark.parametrize(
    "more", [{"mode": "passthru", "mac": None}, {"parent": "eth1"}, {"queues": {"tx": 2, "rx": 2}}]
)
def test_a_link_without_its_node_is_recreated(netns: Namespace, more: dict[str, t.Any]) -> None:
    """Nobody has declared permissions, so that none need be set."""
    prefix = in_mounts(netns, f"mount -t tmpfs none /tmp; {NO_NODES}")
    assert "is missing" in str(run_module("macvtap_link", BASE, prefix=prefix)["warnings"])
    index = netns.link("mt0")["ifindex"]
    wanted = {name: value for name, value in {**BASE, **more}.items() if value is not None}
    predicted = run_module("macvtap_link", wanted, prefix=prefix, check=True)
    assert "recreate" in [change["impact"] for change in predicted["changes"]]
    done = run_module("macvtap_link", wanted, prefix=prefix)
    assert done["changes"] == predicted["changes"]
    assert netns.link("mt0")["ifindex"] != index
    assert "of mt0 is missing: no program can open it" in str(done["warnings"])
    # What is declared is no less an error.
    failed = run_module("macvtap_link", {**BASE, "tap": {"mode": "0660"}}, prefix=prefix)["msg"]
    assert failed.startswith("tap: /dev/tap")
    # And the rollback makes it again, which has lost nothing but its index.
    other = {**BASE, "queues": {"tx": 3, "rx": 3}}
    both = {"links": [other, {"name": "mt1", "parent": "far0", "mode": "bridge", "tap": {"mode": "0660"}}]}
    back = run_module("macvtap_link", both, prefix=prefix)["msg"]
    assert "of mt1, is missing; its permissions cannot be set" in back
    assert "mt0: recreated during the rollback, with another index and /dev/tapN" in back
    assert "The rollback failed" not in back
    assert netns.names() == {"mt0"}


def test_permissions_of_another_links_node_are_not_taken_over(netns: Namespace) -> None:
    (link,) = netns.run(BASE)["links"]
    node = pathlib.Path(link["tap"]["path"])
    device = node.stat().st_rdev
    node.unlink()
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(os.major(device), os.minor(device) + 1))
    node.chmod(0o666)
    try:
        (new,) = netns.run({**BASE, "parent": "eth1"})["links"]
    finally:
        node.unlink()
    assert new["tap"]["own"]
    assert new["tap"]["mode"] != "0666"


def test_a_proc_with_hidepid_hides_a_holder_from_others_than_root(netns: Namespace) -> None:
    (link,) = netns.run(BASE)["links"]
    gone = {**BASE, "state": "absent"}
    with pathlib.Path(link["tap"]["path"]).open("rb+", buffering=0):
        as_root = in_mounts(netns, HIDDEN)
        assert run_module("macvtap_link", gone, prefix=as_root)["msg"].startswith("removing mt0 would disconnect pid ")
        # Root of a user namespace has the capability there alone.
        for words in (NOBODY, (*NOBODY, "unshare", "--user", "--map-root-user")):
            failed = run_module("macvtap_link", gone, prefix=[*as_root, *words], check=True)["msg"]
            assert "whether one does is unknown: /proc is mounted with hidepid, and this process lacks" in failed


def test_a_container_whose_uplink_is_a_macvlan_link_from_outside(netns: Namespace, other_netns: str) -> None:
    netns.ip("link", "add", "inner0", "link", "eth0", "type", "macvlan", "mode", "bridge")
    netns.ip("link", "set", "inner0", "netns", other_netns, "name", "eth0", "up")
    prefix = ["ip", "netns", "exec", other_netns]
    for module, params in (("macvtap_link", BASE), ("macvtap_host_access", SHIM)):
        for changed in (True, False):
            for check in (True, False):
                done = run_module(module, params, prefix=prefix, check=check)
                assert done.get("changed") is changed, done
        assert run_module(module, {"name": params["name"], "state": "absent"}, prefix=prefix)["changed"]


@pytest.mark.parametrize("into", [(*NOBODY, "unshare", "--user", "--map-root-user"), ALL_USERS], ids=["root", "all"])
@pytest.mark.parametrize("force", [False, True])
def test_root_of_a_user_namespace_makes_links_and_is_told_what_it_cannot_see(
    into: tuple[str, ...], force: bool
) -> None:
    made = "ip link add link eth0 name mt0 address 52:54:00:00:00:01 type macvtap mode bridge"
    prefix = [*into, *under("unshare", "--net", f"{UPLINK}; {made}")]
    run_as = ["unshare", "--mount", *under("mount -t tmpfs none /run")]
    done = run_module("macvtap_link", {**BASE, "state": "absent", "force": force}, prefix=[*prefix, *run_as])
    if force:
        assert done["changed"]
    else:
        assert "this process runs in a user namespace, as in a rootless container, and may not inspect" in done["msg"]
        assert "become" not in done["msg"]
