# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that stop and start while guards are changed: libvirt gives the name of one's link to the next one."""

from __future__ import annotations

import typing as t

import direct_iface
import guarded_links
import pytest
from guarded_links import GuardedLinks
from guest_frames import FOREIGN, MAC, NEIGHBOUR
from support import PYTHON, ROOT, ansible_path, meanwhile, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
GUARD = "/etc/linuxvirt-macvtap/guard"
_MADE = "ip link add {name} link up1 address {mac} type macvtap mode bridge; ip link set {name} addrgenmode none up"
# guest0 stops, and another guest gets its link's name. If it has a guard, libvirt's hook puts that on.
REPLACED = f"ip link del guest0; {_MADE.format(name='guest0', mac=FOREIGN)}; {PYTHON} {GUARD} link guest0"
# Another link comes, that is the NIC's of a guard of the task.
STARTED = f"{_MADE.format(name='guest2', mac=FOREIGN)}; [ ! -e {GUARD} ] || {PYTHON} {GUARD} link guest2"
# A patch by which others run COMMAND right before the kernel is first asked to change something.
AT_LAST = """
import nftables, subprocess
real = nftables.Nftables.json_cmd
def json_cmd(self, commands):
    if not all("list" in one for one in commands["nftables"]):
        nftables.Nftables.json_cmd = real
        subprocess.run(["sh", "-c", COMMAND], check=True)
    return real(self, commands)
nftables.Nftables.json_cmd = json_cmd
"""
MOMENTS = {
    "planned": meanwhile("before", "_guard.transaction.commands", ["sh", "-c", REPLACED]),
    "at last": AT_LAST.replace("COMMAND", repr(REPLACED)),
}
_BEFORE_PUT = """
import subprocess
put = guard_loader.Loader._put
def putting(*args):
    guard_loader.Loader._put = put
    subprocess.run(["sh", "-c", COMMAND], check=True)
    return put(*args)
guard_loader.Loader._put = putting
"""


@pytest.fixture
def guest(hv: Hypervisor) -> t.Iterator[GuardedLinks]:
    yield from guarded_links.made(hv)


def loader(guest: GuardedLinks, code: str, patch: str = "") -> str:
    """Run code with the program's modules, as ``loader`` and ``guard_loader``, and return what it prints."""
    package = "ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard"
    text = f"from {package} import guard_loader, loader\n{patch}\n{code}"
    return guest.hv.run("env", f"PYTHONPATH={ROOT / '.collections'}:{ansible_path()}", PYTHON, "-c", text)


def others(guest: GuardedLinks, guarded: bool) -> None:
    """Check that guest0, which another guest has by now, has that one's guard, if it has one, and no other."""
    found = {mac: names for mac, names in guest.links().items() if mac in (MAC, FOREIGN)}
    assert found.get(MAC, []) == []
    assert found.get(FOREIGN, []) == (["guest0"] if guarded else [])
    assert guest.passes("guest0", "mac", "own ip4", own=FOREIGN) == (["mac"] if guarded else ["mac", "own ip4"])
    policy = loader(guest, f"print(guard_loader.programs().policy({guest.index('guest0')}))")
    assert policy == ("drop\n" if guarded else "None\n")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    ("how", "guarded"), [("new", True), ("new", False), ("flushed", True), ("flushed", False), ("absent", True)]
)
def test_a_task_does_not_touch_a_link_that_has_got_the_name(
    guest: GuardedLinks, how: str, guarded: bool, moment: str
) -> None:
    if guarded:
        guest.run(mac=FOREIGN)
    if how == "new":
        guest.run(mac=MAC, state="absent")
    elif how == "flushed":
        guest.flush()
    given = {"mac": MAC, "state": "absent" if how == "absent" else "present"}
    done = run_module("macvtap_guard", given, prefix=guest.hv.prefix, patch=MOMENTS[moment])
    assert not done.get("failed"), done
    others(guest, guarded)
    again = guest.run(**given)
    assert again["changed"] is False
    others(guest, guarded)


LOAD, LINK = "loader.main(['load'])", "loader.main(['link', 'guest0'])"
OFF = "loader.Loader(loader.stored()).off({'guest0': INDEX})"


@pytest.mark.parametrize(
    ("code", "moment", "guarded"),
    [
        (LOAD, _BEFORE_PUT, True),
        (LOAD, _BEFORE_PUT, False),
        (LOAD, AT_LAST, True),
        (LINK, _BEFORE_PUT, True),
        (LINK, _BEFORE_PUT, False),
        (LINK, AT_LAST, True),
        (OFF, AT_LAST, True),
    ],
    ids=["load-chosen-True", "load-chosen-False", "load", "link-chosen-True", "link-chosen-False", "link", "off"],
)
def test_the_program_does_not_touch_a_link_that_has_got_the_name(
    guest: GuardedLinks, code: str, guarded: bool, moment: str
) -> None:
    if guarded:
        guest.run(mac=FOREIGN)
    guest.flush()
    if code == OFF:
        guest.program("load")
    loader(guest, code.replace("INDEX", guest.index("guest0")), moment.replace("COMMAND", repr(REPLACED)))
    others(guest, guarded)


def test_a_link_that_is_another_by_now_gets_no_guard_that_was_meant_for_the_former(guest: GuardedLinks) -> None:
    index = guest.index("guest0")
    guest.hv.run("sh", "-c", REPLACED)
    loader(guest, f"loader.Loader(loader.stored()).on([('guest0', {MAC!r})], indexes={{'guest0': {index}}})")
    others(guest, guarded=False)


def test_a_name_that_another_link_has_got_is_no_longer_meant(guest: GuardedLinks) -> None:
    params = {"link": "guest0", "rate": 9}
    failed = run_module("macvtap_guard", params, prefix=guest.hv.prefix, patch=MOMENTS["planned"])
    assert failed["msg"].startswith("link: another link has got the name guest0 while this task ran. Run it again")
    others(guest, guarded=False)


@pytest.mark.parametrize("task", [{"rate": 1000}, {"state": "absent"}])
def test_a_guard_leaves_the_program_on_a_link_whose_guest_has_taken_its_address(
    guest: GuardedLinks, task: dict[str, t.Any]
) -> None:
    guest.ip("set", "guest0", "address", NEIGHBOUR)
    guest.run(mac=NEIGHBOUR, **task)
    assert guest.links()[MAC] == ["guest0"]
    assert loader(guest, f"print(guard_loader.programs().policy({guest.index('guest0')}))") == "drop\n"
    guest.run(mac=MAC, state="absent")
    assert loader(guest, f"print(guard_loader.programs().policy({guest.index('guest0')}))") == "None\n"


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize(
    "moment",
    [
        meanwhile("before", "_guard.transaction.commands", ["sh", "-c", STARTED]),
        AT_LAST.replace("COMMAND", repr(STARTED)),
        meanwhile("before", "_guard.appeared.put_on", ["sh", "-c", STARTED]),
    ],
    ids=["planned", "at last", "written"],
)
def test_a_guest_that_starts_meanwhile_gets_its_guard(guest: GuardedLinks, moment: str, persistent: bool) -> None:
    guards = {"guards": [{"mac": MAC, "rate": 9}, {"mac": FOREIGN}], "persistent": persistent}
    done = run_module("macvtap_guard", guards, prefix=guest.hv.prefix, patch=moment)
    assert not done.get("failed"), done
    if persistent or "appeared" not in moment:
        assert guest.links()[FOREIGN] == ["guest2"]
        assert guest.passes("guest2", "mac", "own ip4", own=FOREIGN) == ["mac"]
    assert guest.links()[MAC] == ["guest0"]
    assert guest.run(**guards)["changed"] is (not persistent and "appeared" in moment)


def test_a_link_that_comes_meanwhile_gets_the_guard_of_a_link_that_is_made(guest: GuardedLinks) -> None:
    params = {"name": "guest5", "parent": "eth0", "mac": FOREIGN, "guard": {}}
    moment = meanwhile("before", "_guard.transaction.commands", ["sh", "-c", STARTED])
    done = run_module("macvtap_link", params, prefix=guest.hv.prefix, patch=moment)
    assert not done.get("failed"), done
    assert guest.links()[FOREIGN] == ["guest2", "guest5"]
    direct_iface.ok(run_module("macvtap_link", {"name": "guest5", "state": "absent"}, prefix=guest.hv.prefix))


def test_a_link_that_comes_meanwhile_and_gets_no_guard_fails_the_task(guest: GuardedLinks) -> None:
    refused = "from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_loader\n" + (
        "def link(*args):\n    raise RuntimeError('no room')\nguard_loader.Loader.link = link\n"
    )
    moment = meanwhile("before", "_guard.transaction.commands", ["sh", "-c", STARTED])
    failed = run_module("macvtap_guard", {"mac": FOREIGN}, prefix=guest.hv.prefix, patch=refused + moment)
    assert failed["msg"].startswith("guest2 has come while this task ran, and got no guard: no room")
    assert FOREIGN not in guest.links()
    assert guest.links()[MAC] == ["guest0"]


# guest0 is stopped and started again after its guard is removed, and then the task fails.
RESTARTED = (
    f"ip link del guest0; {_MADE.format(name='guest0', mac=MAC)}; [ ! -e {GUARD} ] || {PYTHON} {GUARD} link guest0"
)
_FAILS = """
import subprocess
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import appeared
put = appeared.put_on
def failing(*args):
    appeared.put_on = put
    put(*args)
    subprocess.run(["sh", "-c", COMMAND], check=True)
    raise MacvtapError("failed in a test")
appeared.put_on = failing
"""


@pytest.mark.parametrize("entry", ["known", "of another version"])
@pytest.mark.parametrize("flushed", [False, True], ids=["loaded", "flushed"])
def test_a_removed_guard_is_back_on_the_link_of_a_guest_that_restarts(
    guest: GuardedLinks, flushed: bool, entry: str
) -> None:
    file = "/etc/linuxvirt-macvtap/guards.json"
    if entry != "known":
        guest.hv.run("sed", "-i", 's/"guards": {/&\\n  /; s/"options": {/&"later": true, /g', file)
    if flushed:
        guest.flush()
    before = guest.hv.run("cat", file)
    params, patch = {"mac": MAC, "state": "absent"}, _FAILS.replace("COMMAND", repr(RESTARTED))
    failed = run_module("macvtap_guard", params, prefix=guest.hv.prefix, patch=patch)
    assert failed["msg"] == "failed in a test. The host is as it was before"
    assert guest.hv.run("cat", file) == before
    assert guest.links()[MAC] == ["guest0"]
    assert guest.passes("guest0", "mac", "own ip4") == ["own ip4"]
    policy = loader(guest, f"print(guard_loader.programs().policy({guest.index('guest0')}))")
    assert policy == "drop\n"


def test_a_removal_that_fails_leaves_what_is_left_of_a_guard_that_was_flushed(guest: GuardedLinks) -> None:
    guest.flush()
    patch = _FAILS.replace("COMMAND", "'true'")
    failed = run_module("macvtap_guard", {"mac": MAC, "state": "absent"}, prefix=guest.hv.prefix, patch=patch)
    assert failed["msg"] == "failed in a test. The host is as it was before"
    program = f"print(guard_loader.programs().policy({guest.index('guest0')}))"
    assert loader(guest, program) == "drop\n"
    guest.run(mac=MAC, state="absent")
    assert loader(guest, program) == "None\n"
