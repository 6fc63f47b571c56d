# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A run that is killed, that loses libvirtd, or that another editor gets in the way of."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, C, Module, Result, domain, element, nic, ok, run_beside
from labkit import cells
from support import running_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

KILLS = 20
RESTARTS = 6
NAMES = [f"web{number:02}" for number in range(20)]
# What the first NIC of each domain is to have; the second one is there on side b only.
MODES = {"a": "bridge", "b": "private"}


@pytest.fixture
def fleet(hv: Hypervisor) -> Hypervisor:
    """Twenty domains with one NIC each, of which the first and the last run."""
    for number, name in enumerate(NAMES):
        hv.define(domain(name, nic(mac(number, 0))))
    for name in (NAMES[0], NAMES[-1]):
        hv.virsh("start", name)
    return hv


def mac(number: int, which: int) -> str:
    return f"52:54:00:00:{which:02x}:{number:02x}"


def task(side: str) -> dict[str, t.Any]:
    entries: list[Result] = []
    for number, name in enumerate(NAMES):
        entries.append({"domain": name, "mac": mac(number, 0), "source": "eth0", "mode": MODES[side]})
        second: Result = {"domain": name, "mac": mac(number, 1), "source": "up1", "mode": "bridge"}
        entries.append(second if side == "b" else {**second, "state": "absent"})
    # The guests have no operating system to let go of a NIC: they keep the second once they have it.
    return {"interfaces": entries, "timeout": 0}


def stored(hv: Hypervisor) -> dict[str, str]:
    """Return each domain's stored configuration; every domain has to be there, with one that libvirt takes back."""
    # Once, nothing listened any more after a client of libvirt 9.0 had been killed.
    hv.revive()
    script = """
import json, libvirt
connection = libvirt.open("qemu:///system")
found = {}
for domain in connection.listAllDomains():
    found[domain.name()] = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    connection.defineXMLFlags(found[domain.name()], libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
print(json.dumps(found, sort_keys=True))
"""
    found: dict[str, str] = json.loads(hv.run("/usr/bin/python3", "-c", script))
    assert sorted(found) == NAMES
    return found


def nics(document: str) -> list[tuple[str, str, str]]:
    """Return address, source and mode of each NIC."""
    pattern = r"<mac address='(.*?)'/>\s*<source dev='(.*?)' mode='(.*?)'/>"
    return list(re.findall(pattern, document))


def sides(number: int) -> dict[str, list[tuple[str, str, str]]]:
    """Return the NICs of one domain as they are to be on each side."""
    return {
        "a": [(mac(number, 0), "eth0", "bridge")],
        "b": [(mac(number, 0), "eth0", "private"), (mac(number, 1), "up1", "bridge")],
    }


def check_whole(hv: Hypervisor) -> list[str]:
    """Return on which side each domain is; each has to be on one, with the password and the title that it had."""
    found = []
    for number, document in enumerate(stored(hv).values()):
        now = nics(document)
        assert now in sides(number).values(), now
        assert "passwd='s3cret'" in document
        assert "wéb ☃ &amp; more" in document
        found.append(next(side for side, wanted in sides(number).items() if wanted == now))
    assert hv.virsh("list", "--name").split() == [NAMES[0], NAMES[-1]]
    return found


def running(hv: Hypervisor, side: str) -> t.ContextManager[subprocess.Popen[str]]:
    return running_module(
        "libvirt_direct_iface",
        task(side),
        prefix=hv.prefix,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def duration(module: Module, side: str) -> float:
    started = time.monotonic()
    assert ok(module(**task(side)))["changed"]
    return time.monotonic() - started


def test_a_run_killed_at_any_moment_leaves_every_domain_whole(fleet: Hypervisor, module: Module) -> None:
    longest = max(duration(module, side) for side in "ba")
    chance = random.Random(5)
    killed, halfway = 0, 0
    for number in range(KILLS):
        side = "ba"[number % 2]
        # Half of them while it stores; the others at any time of the run, of which the most goes by in importing.
        moment = chance.choice(NAMES[:-2]) if number % 4 < 2 else longest * chance.random() ** 0.5
        killed += kill(fleet, side, moment)
        halfway += len(set(check_whole(fleet))) == 2
        done = ok(module(**task(side)))
        assert set(check_whole(fleet)) == {side}
        # Nothing of it is left to do but what a guest without an operating system does not let go of.
        assert {p["domain"] for p in done["pending"]} <= {NAMES[0], NAMES[-1]}
    again = ok(module(**task("b")))
    assert not ok(module(**task("b")))["changed"], again
    # Else it would not have shown anything.
    assert killed >= KILLS // 3
    assert halfway >= KILLS // 5


def kill(hv: Hypervisor, side: str, moment: str | float) -> bool:
    """Kill a run at ``moment``; say whether it was still running."""
    with at_moment(hv, side, moment) as process:
        if process.poll() is None:
            # nsenter waits for the run in a process of its own: both of them.
            os.killpg(process.pid, signal.SIGKILL)
            return True
    return False


@contextlib.contextmanager
def at_moment(hv: Hypervisor, side: str, moment: str | float) -> t.Iterator[subprocess.Popen[str]]:
    """Begin a run, and wait so many seconds or until it has stored that domain."""
    file = f"{cells.root_of(hv.cell)}/etc/libvirt/qemu/{moment}.xml"
    before = os.stat(file).st_ino if isinstance(moment, str) else 0
    with running(hv, side) as process:
        if isinstance(moment, str):
            # libvirt replaces the file.
            while os.stat(file).st_ino == before and process.poll() is None:
                time.sleep(0.0005)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
        yield process


def test_a_run_that_loses_libvirtd_leaves_every_domain_whole(fleet: Hypervisor, module: Module) -> None:
    longest = max(duration(module, side) for side in "ba")
    chance = random.Random(6)
    failed = 0
    for number in range(RESTARTS):
        side = "ba"[number % 2]
        # Half of them while it stores, early enough that there is more to come.
        early = chance.choice(NAMES[: len(NAMES) // 2])
        moment = early if number % 2 else longest * (0.4 + 0.6 * chance.random())
        with at_moment(fleet, side, moment) as process:
            fleet.restart()
            message = process.communicate(timeout=120)[0]
        if process.returncode:
            failed += 1
            assert re.search(r'"msg": "[^"]*(libvirt|domain|connect)', message), message
        assert "defect" not in message
        assert "Traceback" not in message
        check_whole(fleet)
        ok(module(**task(side)))
        assert set(check_whole(fleet)) == {side}
    ok(module(**task("b")))
    assert not ok(module(**task("b")))["changed"]
    assert failed >= 1


def beside(hv: Hypervisor, edits: t.Sequence[tuple[str, str]], params: Result) -> Result:
    """Run the module, and let another editor do one of ``edits`` to the stored XML of web1 before each of its attempts.

    Each is a text, of which the first is replaced, and what by. The editor works between what the module has read and
    what it writes, at the moment when it does most harm.
    """
    code = f"""
edits, apply = {list(edits)!r}, Hypervisor.apply
def raced(self, steps, journal):
    if edits and any(step.target.startswith("web1 ") for step in steps):
        connection = libvirt.open("qemu:///system")
        document = connection.lookupByName("web1").XMLDesc(3)
        old, new = edits.pop(0)
        assert old in document, document
        connection.defineXML(document.replace(old, new, 1))
        connection.close()
    apply(self, steps, journal)
Hypervisor.apply = raced
"""
    return run_beside(hv, code, params)


BOTH: Result = {
    "interfaces": [
        {"domain": "web0", "mac": C, "mode": "private"},
        {"domain": "web1", "mac": A, "mode": "private"},
    ]
}


@pytest.fixture
def pair(hv: Hypervisor) -> Hypervisor:
    hv.define(domain("web0", nic(C)))
    hv.define(domain("web1", nic(A), nic(B)))
    return hv


VIRTIO, E1000E = "<model type='virtio'/>", "<model type='e1000e'/>"


@pytest.mark.parametrize("fails", [False, True])
def test_what_another_editor_does_elsewhere_is_kept(pair: Hypervisor, fails: bool) -> None:
    untouched = pair.dump("web1")
    params = BOTH
    if fails:
        # Refused only when it is defined, and so after web1 was.
        bad: Result = {"domain": "web0", "mac": C, "boot_order": 1}
        params = {"interfaces": [BOTH["interfaces"][1], bad]}
    done = beside(pair, [("more</title>", "less</title>")], params)
    assert done["rc"] == fails
    now = pair.dump("web1")
    assert "less</title>" in now
    assert ("mode='private'" in element(now, A)) != fails
    if fails:
        assert done["msg"].endswith("The host is as it was before")
        assert now == untouched.replace("more</title>", "less</title>")


def test_what_was_kept_before_another_attempt_is_in_the_result(pair: Hypervisor) -> None:
    done = ok(beside(pair, [(VIRTIO, E1000E)], {**BOTH, "on_error": "keep"}))
    assert done["changed"]
    assert sorted(change["target"] for change in done["changes"]) == [f"web0 {C}", f"web1 {A}"]
    assert not ok(beside(pair, [], BOTH))["changed"]


@pytest.mark.parametrize("often", [1, 2])
def test_what_another_editor_does_to_the_same_interface_is_kept(pair: Hypervisor, often: int) -> None:
    edits = [(f"{A}'/>", f"{A}'/><link state='down'/>"), (VIRTIO, E1000E)]
    assert ok(beside(pair, edits[:often], BOTH))["changed"]
    now = element(pair.dump("web1"), A)
    assert "mode='private'" in now
    assert "<link state='down'/>" in now
    assert (E1000E in now) == (often == 2)
    assert "mode='private'" in element(pair.dump("web0"), C)


def test_an_editor_who_does_not_stop_is_named_and_everything_put_back(pair: Hypervisor) -> None:
    before = pair.dump("web0"), pair.dump("web1")
    failed = beside(pair, [(VIRTIO, E1000E), (E1000E, VIRTIO)] * 3, BOTH)
    assert failed["rc"] == 1
    assert failed["msg"] == (
        f"interfaces[1]: domain 'web1': the stored configuration of interface {A} kept changing while this ran. "
        "Find out what else edits it. The host is as it was before"
    )
    assert pair.dump("web0") == before[0]
    # And what the other one did three times is not undone.
    assert pair.dump("web1") == before[1].replace(VIRTIO, E1000E, 1)
