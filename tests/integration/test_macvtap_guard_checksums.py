# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""macvtap_guard against guests that have the host write checksums elsewhere than where they belong."""

from __future__ import annotations

import subprocess
import sys
import time
import typing as t

import guarded
import guest_checksums
import pytest
from guarded import ADDRESSES, Guarded
from guest_checksums import FORGED, HONEST, LARGE, SEGMENTED
from guest_frames import MAC
from support import PYTHON, ROOT_ONLY, module_environment, run_module

if t.TYPE_CHECKING:
    import pathlib

    import namespaces

pytestmark = ROOT_ONLY
_OWN, _LARGE = [f"own {name}" for name in HONEST], [f"large {name}" for name in SEGMENTED]
_PROGRAMS = (
    "import socket, sys; from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_loader; "
    "getattr(guard_loader.programs(), sys.argv[1])(socket.if_nametoindex('macvtap0'), *sys.argv[2:])"
)
# A patch by which the kernel puts one program on, and has no memory for the next one.
_NO_MEMORY = """
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import checksums
put_on, done = checksums.Links.put_on, []
def failing(self, index, policy):
    if done:
        raise OSError(12, "Cannot allocate memory")
    put_on(self, index, policy)
    done.append(index)
checksums.Links.put_on = failing
"""


@pytest.fixture(scope="module")
def _netns() -> t.Iterator[namespaces.Namespace]:
    with guarded.made() as made:
        program = [sys.executable, guest_checksums.__file__]
        subprocess.run([*made.prefix, *program, "software", "eth0"], check=True)
        yield made


@pytest.fixture
def guest(_netns: namespaces.Namespace, request: pytest.FixtureRequest) -> t.Iterator[Guarded]:
    with guarded.links(_netns, getattr(request, "param", "bridge")) as made:
        yield made


def programs(guest: Guarded, *words: str) -> subprocess.Popen[bytes]:
    """Let another process change what is on the link."""
    command = [*guest.netns.prefix, sys.executable, "-c", _PROGRAMS, *words]
    return subprocess.Popen(command, env=module_environment())


def forged(guest: Guarded, *names: str) -> list[str]:
    """Return which of these frames arrive as something else than the guard has seen."""
    found = guest.arrived(*(names or FORGED))
    return [name for name, frames in found.items() if FORGED[name].final in frames]


@pytest.mark.parametrize("guest", ["bridge", "vepa", "private", "passthru"], indirect=True)
def test_no_bytes_change_after_the_check(guest: Guarded) -> None:
    # A neighbour there is only in the mode bridge. In the others such a frame goes to the LAN.
    assert forged(guest) == [*FORGED]
    guest.run(addresses=ADDRESSES)
    begin = time.monotonic()
    assert not any(guest.arrived(*FORGED, *_LARGE).values())
    counted = guest.counted()
    assert {*counted} == {"checksum"}
    ages = {kind: one["last_age"] for kind, one in guest.info()["counters"].items() if one["last_age"] is not None}
    assert {*ages} == {"checksum"}
    assert 0 <= ages["checksum"] <= time.monotonic() - begin + 0.1
    assert len(FORGED) <= counted["checksum"] <= len(FORGED) + len(SEGMENTED)
    guest.run(state="absent")
    assert forged(guest, "arp") == ["arp"]


@pytest.mark.parametrize("guest", ["bridge", "passthru"], indirect=True)
def test_checksums_of_an_honest_guest_are_written(guest: Guarded) -> None:
    guest.run(addresses=ADDRESSES)
    found = guest.arrived(*_OWN, "own large")
    segments = {frame for frame in found.pop("own large") if len(frame) < len(LARGE.frame)}
    assert {name: {*frames} for name, frames in found.items()} == {f"own {n}": {one.final} for n, one in HONEST.items()}
    assert sorted(len(one) - 54 for one in segments) == [500, 1000, 1000]
    for one in segments:
        assert guest_checksums.checksum(guest_checksums.pseudo4(len(one) - 34, 6) + one[34:]) == 0
    assert guest.counted() == {}


def test_what_would_be_dropped_is_counted_first(guest: Guarded) -> None:
    guest.run(addresses=ADDRESSES, policy="count")
    assert forged(guest) == [*FORGED]
    assert guest.counted() == {"checksum": len(FORGED)}
    assert [one["field"] for one in guest.run(addresses=ADDRESSES)["changes"]] == ["policy"]
    assert forged(guest) == []
    assert guest.run(addresses=ADDRESSES)["changed"] is False
    guest.run(addresses=ADDRESSES, policy="count")
    assert forged(guest, "arp") == ["arp"]


def test_what_others_take_off_is_restored(guest: Guarded) -> None:
    guest.run(addresses=ADDRESSES)
    assert programs(guest, "take_off").wait() == 0
    assert forged(guest, "arp") == ["arp"]
    assert guest.info()["links"] == []
    assert [one["field"] for one in guest.run(addresses=ADDRESSES)["changes"]] == ["links"]
    assert forged(guest, "arp") == []


@pytest.mark.parametrize("policy", ["drop", "count"])
def test_a_task_that_cannot_put_all_on_puts_none_on(guest: Guarded, policy: str) -> None:
    """Where nothing else of the guards is to be changed, or that is as well."""
    both: dict[str, t.Any] = {"guards": [{"mac": MAC}, {"mac": guarded.NEIGHBOUR}]}
    guest.run(**both, policy="drop")
    command = [*guest.netns.prefix, sys.executable, "-c", _PROGRAMS, "take_off"]
    for link in ("macvtap0", "macvtap1"):
        subprocess.run([one.replace("macvtap0", link) for one in command], check=True, env=module_environment())
    before = guest.infos(MAC, guarded.NEIGHBOUR)
    params = {**both, "policy": policy, "persistent": False}
    failed = run_module("macvtap_guard", params, prefix=guest.netns.prefix, patch=_NO_MEMORY)
    assert failed["msg"].startswith("macvtap1: the check of checksums was not changed: [Errno 12]")
    assert failed["msg"].endswith("Cannot allocate memory. The host is as it was before")
    assert [(one["policy"], one["links"]) for one in before] == [("drop", [])] * 2
    assert guest.infos(MAC, guarded.NEIGHBOUR) == before
    assert forged(guest, "arp") == ["arp"]


def test_several_at_once_put_one_on(guest: Guarded) -> None:
    """As libvirt's hook and udev do when a guest starts."""
    guest.run(addresses=ADDRESSES, policy="count")
    assert programs(guest, "take_off").wait() == 0
    processes = [programs(guest, "put_on", "count") for _number in range(5)]
    assert [one.wait() for one in processes] == [0] * 5
    # Two of them would count each frame twice.
    assert forged(guest, "arp", "ip4-source") == ["arp", "ip4-source"]
    assert guest.counted() == {"checksum": 2}
    assert guest.run(addresses=ADDRESSES, policy="count")["changed"] is False


def test_other_links_are_not_affected(guest: Guarded) -> None:
    guest.run(mac=guarded.NEIGHBOUR)
    assert forged(guest, "arp", "ip4-source") == ["arp", "ip4-source"]


def test_a_kernel_without_types_has_the_other_rules(guest: Guarded, tmp_path: pathlib.Path) -> None:
    """As one before Linux 6.6: the guard is put on, and the task says what it does not do."""
    hidden = ["unshare", "-m", "sh", "-c", f'mount --bind {tmp_path} /sys/kernel/btf && exec "$@"', "sh"]
    params = {"link": "macvtap0", "addresses": ADDRESSES, "persistent": False}

    def run(module: str, given: dict[str, t.Any]) -> dict[str, t.Any]:
        found = run_module(module, given, prefix=[*guest.netns.prefix, *hidden], python=PYTHON, alone=True)
        assert not found.get("failed"), found
        return found

    assert "its kernel has no /sys/kernel/btf/vmlinux" in str(run("macvtap_guard", params)["warnings"])
    assert guest.passes("mac", "own ip4") == ["own ip4"]
    assert run("macvtap_guard", params)["changed"] is False
    (found,) = run("macvtap_guard_info", {"macs": [MAC]})["guards"]
    assert found["links"] == ["macvtap0"]
    assert "checksum" not in found["counters"]
    # A kernel that can has it from the next task on.
    assert guest.run(addresses=ADDRESSES)["changed"] is True
    assert forged(guest, "arp") == []
