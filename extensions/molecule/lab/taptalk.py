# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Who hears whom: sends frames through open taps, as QEMU would, and says where each of them came out.

    taptalk.py talk --name LAB CELL/LINK...    prints a table of the hypervisors' links, as JSON

How a link talks is in taps.py, which runs on each hypervisor. The cell 'lan' is the switch, and lan/lan0 a machine
plugged into it.

The table says for each link that spoke who heard it, and which of its frames: those for the listener's 'own' address,
for 'all' (broadcast), for the address of another link, or for 'nobody', an address that none has. A link that hears a
frame twice has it twice. With hv1/one and hv1/two in bridge mode, and a switch that does not send them back to hv1:

    {"hv1/one": {"hv1/two": "own all"}, "hv1/two": {"hv1/one": "own all"}, "hv1/eth0": {}}
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import subprocess
import sys
import time
import typing as t

import taps
from labkit import model, reach
from labkit.shell import LabError

BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = "00:00:5e:00:53:ff"  # RFC 7042: for documentation

Heard = t.List[t.Tuple[str, str]]  # who heard, and the words of the frame


class TalkError(Exception):
    """What went wrong, in one line."""


class Party:
    """A cell's links, served there."""

    def __init__(self, cell: str, argv: t.Sequence[str]) -> None:
        self.cell = cell
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, value: object) -> None:
        stdin = t.cast("t.IO[str]", self._process.stdin)
        stdin.write(json.dumps(value) + "\n")
        stdin.flush()

    def answer(self) -> t.Any:
        line = t.cast("t.IO[str]", self._process.stdout).readline()
        if not line:
            raise TalkError(f"taps.py on {self.cell} ended with status {self._process.wait()}")
        return json.loads(line)

    def end(self) -> None:
        t.cast("t.IO[str]", self._process.stdin).close()
        self._process.wait(timeout=10)


def talk(parties: t.Sequence[Party], settle: float) -> dict[str, dict[str, str]]:
    """Let each link of all parties speak to each, and to all, and draw up the table."""
    macs = {f"{party.cell}/{link}": mac for party in parties for link, mac in party.answer().items()}
    # Frames of another talk, still on their way, are none of ours.
    nonce = secrets.token_hex(4)
    # The broadcasts first, so that the switch has learnt where everybody is.
    for targets in ({"all": BROADCAST}, {**macs, "nobody": NOBODY}):
        for party in parties:
            frames = [
                (speaker.split("/")[1], mac, f"{nonce} {speaker} {name}")
                for speaker in macs
                for name, mac in targets.items()
                if speaker.split("/")[0] == party.cell and name != speaker
            ]
            party.say(frames)
            party.answer()
    return table(list(macs), nonce, settled(parties, settle))


def settled(parties: t.Sequence[Party], settle: float) -> Heard:
    """What was heard, once nothing more has come in for a while."""
    heard: Heard = []
    until = time.monotonic() + settle
    while time.monotonic() < until:
        time.sleep(0.05)
        now: Heard = []
        for party in parties:
            party.say([])
            now += [(f"{party.cell}/{link}", words) for link, words in party.answer()]
        if len(now) > len(heard):
            heard, until = now, time.monotonic() + settle
    return heard


def table(links: t.Sequence[str], nonce: str, heard: Heard) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, list[str]]] = {link: {} for link in links}
    for listener, words in heard:
        run, speaker, to = words.split(" ")
        if run == nonce:
            rows[speaker].setdefault(listener, []).append("own" if to == listener else to)

    def order(to: str) -> tuple[bool, bool, str]:
        return to != "own", to != "all", to

    return {
        speaker: {listener: " ".join(sorted(frames, key=order)) for listener, frames in sorted(row.items())}
        for speaker, row in rows.items()
    }


@contextlib.contextmanager
def parties_of(name: str, links: t.Sequence[str]) -> t.Iterator[list[Party]]:
    """The cells of a lab that these links, as CELL/LINK, are in."""
    # By its text, since a hypervisor need not see the checkout.
    with open(taps.__file__, encoding="utf-8") as file:
        source = file.read()
    by_cell: dict[str, list[str]] = {}
    for link in links:
        cell, _slash, link_name = link.partition("/")
        by_cell.setdefault(cell, []).append(link_name)
    parties: list[Party] = []
    try:
        lab = model.require(name)
        for cell, names in by_cell.items():
            where = lab.switch if cell == model.SWITCH else lab.hypervisor(cell)
            parties.append(Party(cell, reach.command(where, [model.PYTHON, "-c", source, "serve", *names])))
        yield parties
    except LabError as error:
        raise TalkError(str(error)) from error
    finally:
        for party in parties:
            party.end()


def talk_in_lab(name: str, links: t.Sequence[str], settle: float) -> None:
    with parties_of(name, links) as parties:
        print(json.dumps(talk(parties, settle), indent=2))


def main(argv: t.Sequence[str]) -> int:
    top = argparse.ArgumentParser(prog="taptalk.py", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = top.add_subparsers(required=True, dest="command")
    sub = commands.add_parser("talk", help="let links talk to each other, and print who heard whom as JSON")
    sub.add_argument("--name", required=True, metavar="LAB", help="the lab's name")
    sub.add_argument("--settle", type=float, default=0.5, help="seconds without a frame that end it (%(default)s)")
    sub.add_argument("links", nargs="+", metavar="CELL/LINK")
    args = top.parse_args(argv)
    try:
        talk_in_lab(args.name, args.links, args.settle)
    except TalkError as error:
        print(f"taptalk: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
