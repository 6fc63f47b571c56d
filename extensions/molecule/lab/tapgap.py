# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How long two links do not hear each other when an uplink loses its cable, or while a command runs.

    tapgap.py --name LAB --pull CELL/UPLINK CELL/LINK CELL/LINK
    tapgap.py --name LAB --run CELL COMMAND CELL/LINK CELL/LINK

Each of the two sends the other ten frames a second; after two seconds the uplink's cable is pulled, or the command
begins. Prints for each, as JSON, how many of its frames it sent and the other heard, the longest time in milliseconds
between two that were heard one after the other (some 100 where none is lost), and whether the last ones were. The
cable stays out (lab.py cable). After a command has ended they talk for two seconds more.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shlex
import subprocess
import sys
import time
import typing as t

from labkit import model, reach, vm
from labkit.shell import LabError
from taptalk import Party, TalkError, parties_of, settled

INTERVAL = 0.1
BEFORE = AFTER = 2.0

# Begins what the links are to be heard through; what it returns says whether that has ended.
Begin = t.Callable[[], t.Callable[[], bool]]


def stream(parties: t.Sequence[Party], links: t.Sequence[str], seconds: float, begin: Begin) -> object:
    macs = {f"{party.cell}/{link}": mac for party in parties for link, mac in party.answer().items()}
    nonce = secrets.token_hex(4)
    start, ended = time.monotonic(), None
    sent: list[float] = []
    while (passed := time.monotonic() - start) < seconds:
        if passed >= BEFORE and ended is None:
            ended = begin()
        if ended is not None and ended():
            seconds = min(seconds, passed + AFTER)
        sent.append(time.monotonic())
        for speaker, listener in (links, links[::-1]):
            cell, link = speaker.split("/")
            party = next(party for party in parties if party.cell == cell)
            party.say([(link, macs[listener], f"{nonce} {speaker} {len(sent) - 1}")])
            party.answer()
        time.sleep(max(0.0, sent[-1] + INTERVAL - time.monotonic()))
    heard: dict[str, set[int]] = {link: set() for link in links}
    for _listener, words in settled(parties, 1.0):
        run, speaker, number = words.split(" ")
        if run == nonce:
            heard[speaker].add(int(number))
    return {speaker: summary(sent, numbers) for speaker, numbers in heard.items()}


def summary(sent: t.Sequence[float], heard: t.Collection[int]) -> dict[str, object]:
    """What became of the frames that were sent at these times, in seconds, of which these numbers were heard."""
    times = [sent[number] for number in sorted(heard)]
    edges = [sent[0], *times, sent[-1]]
    longest = max(after - before for before, after in zip(edges, edges[1:]))
    resumed = set(range(len(sent))[-10:]) <= set(heard)
    return {"sent": len(sent), "heard": len(heard), "gap_ms": round(longest * 1000), "resumed": resumed}


def cut(lab: model.Lab, cell: str, uplink: str) -> t.Callable[[], bool]:
    vm.set_cable(lab.vm(cell), uplink, False)
    return lambda: False


def run(lab: model.Lab, cell: str, command: str, seconds: float) -> t.Callable[[], bool]:
    argv = ["timeout", str(seconds), *reach.command(lab.hypervisor(cell), shlex.split(command))]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr)

    def ended() -> bool:
        if process.poll():
            raise TalkError(f"{command} has failed with status {process.returncode}")
        return process.returncode == 0

    return ended


def main(argv: t.Sequence[str]) -> int:
    top = argparse.ArgumentParser(prog="tapgap.py", description=__doc__.splitlines()[0] if __doc__ else None)
    top.add_argument("--name", required=True, metavar="LAB", help="the lab's name")
    event = top.add_mutually_exclusive_group(required=True)
    event.add_argument("--pull", metavar="CELL/UPLINK", help="the virtual machine's uplink")
    event.add_argument("--run", nargs=2, metavar=("CELL", "COMMAND"), help="on a hypervisor")
    top.add_argument("--seconds", type=float, default=10, help="that they talk at most (%(default)s)")
    top.add_argument("links", nargs=2, metavar="CELL/LINK", help="of two cells")
    args = top.parse_args(argv)
    try:
        lab = model.require(args.name)
        cell, what = args.run or args.pull.partition("/")[::2]
        seconds = args.seconds - 2 * (BEFORE + AFTER)

        def begin() -> t.Callable[[], bool]:
            return run(lab, cell, what, seconds) if args.run else cut(lab, cell, what)

        with parties_of(args.name, args.links) as parties:
            found = stream(parties, args.links, args.seconds, begin)
        print(json.dumps(found, indent=2))
    except (LabError, TalkError) as error:
        print(f"tapgap: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
