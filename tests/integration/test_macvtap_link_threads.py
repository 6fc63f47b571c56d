# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Holders of taps whose threads end while they are looked at."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import typing as t

import pytest
from support import until

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import holders

if t.TYPE_CHECKING:
    from namespaces import Namespace

BASE = {"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": "52:54:00:00:00:01"}


def test_a_holder_whose_first_thread_has_ended_is_seen(netns: Namespace) -> None:
    (link,) = netns.run(BASE)["links"]
    code = f"""if True:
        import ctypes, os, threading
        os.open({link["tap"]["path"]!r}, os.O_RDWR)
        threading.Thread(target=lambda: (print(flush=True), threading.Event().wait())).start()
        ctypes.CDLL(None).pthread_exit(None)
    """
    with subprocess.Popen(["/usr/bin/python3", "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            task = pathlib.Path(f"/proc/{process.pid}/stat")
            assert until(lambda: task.read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z")
            netns.refuses({**BASE, "state": "absent"}, rf"mt0 would disconnect pid {process.pid} \(python3\)")
        finally:
            process.kill()
    assert netns.run({**BASE, "state": "absent"})["changed"]


def test_a_process_is_no_holder_that_is_about_to_end(netns: Namespace) -> None:
    """As a guest's QEMU, whose first thread has ended before those that still write its memory."""
    (link,) = netns.run(BASE)["links"]
    device = (link["tap"]["major"], link["tap"]["minor"])
    code = f"""if True:
        import ctypes, os, sys, threading
        os.open({link["tap"]["path"]!r}, os.O_RDWR)
        last = lambda: (sys.stdin.readline(), threading.Event().wait(0.1), os._exit(0))
        threading.Thread(target=last).start()
        ctypes.CDLL(None).pthread_exit(None)
    """
    with subprocess.Popen(["/usr/bin/python3", "-c", code], stdin=subprocess.PIPE, text=True) as process:
        task = pathlib.Path(f"/proc/{process.pid}/stat")
        assert until(lambda: task.read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z")
        assert [one.pid for one in holders.survey({device})[0][device]] == [process.pid]
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        # Not reaped yet: only its number is left.
        assert holders.survey({device}) == ({}, "")


# The first thread ends with the first line that it gets, and the second one with the next, once it has started a third.
PASSING_ON = """if True:
    import ctypes, os, sys, threading
    os.open("/dev/zero", os.O_RDWR)
    turn = threading.Event()
    def second():
        turn.wait()
        sys.stdin.readline()
        threading.Thread(target=threading.Event().wait).start()
    threading.Thread(target=second).start()
    print(flush=True)
    sys.stdin.readline()
    turn.set()
    ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.parametrize("moments", [("_descriptors",), ("_is_left_over",), ("_descriptors", "_threads")])
def test_a_holder_is_seen_whose_threads_end_while_it_is_looked_at(
    moments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    zero = (1, 5)
    command = ["/usr/bin/python3", "-c", PASSING_ON]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            coming = list(moments)
            for moment in moments:
                monkeypatch.setattr(holders, moment, passing_on(process, moment, coming))
            assert holders._inspect(f"/proc/{process.pid}", {zero}, look=True) == {zero}
            assert not coming
        finally:
            process.kill()


def passing_on(process: subprocess.Popen[str], moment: str, coming: list[str]) -> t.Callable[..., t.Any]:
    """Return the function ``moment`` of the search as it is if a thread ends between its look and what follows."""
    usual = getattr(holders, moment)

    def running() -> list[str]:
        states = []
        for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                states.append((task / "stat").read_text(encoding="ascii"))
        return [state.split()[0] for state in states if state.rpartition(")")[2].split()[0] != "Z"]

    def then(*args: t.Any) -> t.Any:
        found = usual(*args) if moment != "_is_left_over" else None
        if coming[:1] == [moment]:
            del coming[0]
            before = running()
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert until(lambda: not set(before) <= set(running()))
        return found if moment != "_is_left_over" else usual(*args)

    return then
