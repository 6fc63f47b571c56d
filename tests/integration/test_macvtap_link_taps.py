# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The node /dev/tapN: missing, another link's, made right, and its permissions."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Tap

if t.TYPE_CHECKING:
    from namespaces import Namespace

BASE = {"name": "mt0", "parent": "eth0", "mode": "bridge"}


@pytest.fixture
def node(netns: Namespace) -> t.Iterator[pathlib.Path]:
    """The node of the link mt0, which a test may take away or replace."""
    (link,) = netns.run(BASE)["links"]
    path = pathlib.Path(link["tap"]["path"])
    assert path.stat().st_rdev == os.makedev(link["tap"]["major"], link["tap"]["minor"])
    yield path
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def take_away(node: pathlib.Path) -> None:
    node.unlink()


def replace_by_another(node: pathlib.Path) -> None:
    """Put there what a link of the same index in another namespace would have: a node of another minor number."""
    device = node.stat().st_rdev
    node.unlink()
    os.mknod(node, stat.S_IFCHR | 0o640, os.makedev(os.major(device), os.minor(device) + 1))


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [(take_away, "is missing"), (replace_by_another, "is the tap of a link in another network namespace")],
)
def test_a_node_that_is_not_the_links_own(
    netns: Namespace, node: pathlib.Path, spoil: t.Callable[[pathlib.Path], None], fault: str
) -> None:
    device = node.stat().st_rdev
    spoil(node)
    spoilt = node.lstat() if node.exists() else None

    warned = netns.run(BASE)
    assert not warned["changed"]
    assert f"{node} of mt0 {fault}" in str(warned["warnings"])
    assert "tap.repair: true" in str(warned["warnings"])
    assert warned["links"][0]["tap"]["own"] is False
    netns.refuses({**BASE, "tap": {"mode": "0660"}}, rf"^tap: {node} {fault}; its permissions are left alone")
    assert (node.lstat() if node.exists() else None) == spoilt

    repair = {**BASE, "tap": {"repair": True, "group": "kvm", "mode": "0660"}}
    result = netns.run(repair, check=True)
    assert ("tap.node", fault) in [(change["field"], change["before"]) for change in result["changes"]]
    assert (node.lstat() if node.exists() else None) == spoilt
    repaired = netns.run(repair)
    assert repaired["changes"] == result["changes"]
    assert "warnings" not in repaired
    assert repaired["links"][0]["tap"] | {"own": True, "group": "kvm", "mode": "0660"} == repaired["links"][0]["tap"]
    found = node.stat()
    assert (found.st_rdev, stat.S_IMODE(found.st_mode)) == (device, 0o660)
    assert not netns.run(repair)["changed"]
    # It is the link's: what a guest would open is this link and no other.
    with node.open("rb+", buffering=0):
        pass

    assert netns.run({"name": "mt0", "state": "absent"})["changed"]
    assert not list(node.parent.glob(f"{node.name}.*"))


def test_a_link_that_goes_leaves_a_node_alone_that_is_not_its_own(netns: Namespace, node: pathlib.Path) -> None:
    replace_by_another(node)
    theirs = node.stat().st_rdev
    netns.run({"name": "mt0", "state": "absent"})
    # The kernel itself removes only the node with the number that it knows.
    assert node.stat().st_rdev == theirs


def test_repair_of_what_is_right_is_no_change(netns: Namespace, node: pathlib.Path) -> None:
    before = node.stat()
    assert not netns.run({**BASE, "tap": {"repair": True}})["changed"]
    assert node.stat() == before


def test_a_repaired_node_survives_a_recreation_and_goes_with_the_old_link(netns: Namespace) -> None:
    # Another link of the machine may get the number first, and then the node is that one's.
    for _try in range(50):
        node = pathlib.Path(netns.run(BASE)["links"][0]["tap"]["path"])
        node.unlink()
        netns.run({**BASE, "tap": {"repair": True, "group": "kvm", "mode": "0660"}})
        (link,) = netns.run({**BASE, "parent": "eth1"})["links"]
        if not node.exists():
            break
        node.unlink()
    else:
        pytest.fail("the node of the old link always stays")
    assert {key: link["tap"][key] for key in ("own", "group", "mode")} == {"own": True, "group": "kvm", "mode": "0660"}


def test_a_tap_open_to_everybody_is_warned_of(netns: Namespace) -> None:
    open_to_all = netns.run({**BASE, "tap": {"mode": "0666"}})
    assert "mt0: every user of the host can read and send this link's frames" in str(open_to_all["warnings"])
    assert stat.S_IMODE(os.stat(open_to_all["links"][0]["tap"]["path"]).st_mode) == 0o666
    assert "warnings" not in netns.run({**BASE, "tap": {"mode": "0660"}})


def test_the_node_of_a_link_that_has_the_number_by_now_stays(netns: Namespace, node: pathlib.Path) -> None:
    """As where, between the removal and this, another one has got the same index and minor number."""
    found = node.stat()
    device = (os.major(found.st_rdev), os.minor(found.st_rdev))
    tap.forget(Tap(str(node), device, device))
    assert node.exists()
    # What is left of a link that is gone goes. Another link of the machine may have its number by now, but not this:
    netns.run({"name": "mt0", "state": "absent"})
    device = (device[0], 2**20 - 1)
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(*device))
    tap.forget(Tap(str(node), device, device))
    assert not node.exists()
