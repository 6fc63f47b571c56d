# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What whole Ansible tasks cost, and how the module's cost grows with the number of links."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import typing as t

from figures import Figure, Size
from harness import ROOT, Bench, BenchmarkError, Cost, median
from links import absent, creation, declared, mac, names
from netns import UPLINK, LinkSession, bench

# A looped task takes a quarter of a second for each link.
LONG_ROUNDS = 3
# Steps below it are a few milliseconds long, and what else the machine does is as much.
_SLOPES_FROM = 100

Task = t.Dict[str, t.Any]
NOTHING: Task = {"ansible.builtin.meta": "noop"}


def tasks(session: LinkSession, size: Size) -> list[Figure]:
    rounds = min(size.rounds, LONG_ROUNDS)
    first: dict[str, list[float]] = {}
    again: dict[str, list[float]] = {}
    with bench(session, 3 * rounds * size.looped) as made:
        batch = session.scratch / "tasks-batch"
        batch.write_text("".join(f"{line}\n" for line in creation(size.looped)))
        play(made, NOTHING)  # has the controller's byte code written
        for _round in range(rounds):
            nothing = play(made, NOTHING).wall
            for way, task in _ways(batch, size.looped).items():
                first.setdefault(way, []).append(play(made, task).wall - nothing)
                _require_links(made, size.looped)
                again.setdefault(way, []).append(play(made, task).wall - nothing)
                made.clear()
    return [
        _tasks_figure("tasks_first", f"task that makes {size.looped} links, times faster than a loop", first),
        _tasks_figure("tasks_again", f"the same task again, {size.looped} links, times faster than a loop", again),
    ]


def growth(session: LinkSession, size: Size) -> list[Figure]:
    rounds = min(size.rounds, LONG_ROUNDS)
    costs: dict[str, dict[int, list[float]]] = {"create": {}, "again": {}, "ip -batch": {}}
    for _round in range(rounds):
        for links in size.growth:
            with bench(session, 2 * links) as made:
                batch = made.batch(creation(links)).wall
                made.clear()
                empty = made.empty().wall
                create = made.module(declared(links)).wall - empty
                again = made.module(declared(links)).wall - empty
                made.module(absent(links))
            for what, cost in (("create", create), ("again", again), ("ip -batch", batch)):
                costs[what].setdefault(links, []).append(cost)
    curves = {what: {links: median(values) for links, values in curve.items()} for what, curve in costs.items()}
    last = f"{size.growth[0]} to {size.growth[-1]} links; 1 = linear"
    ratios = {
        f"ratio at {links} links, ×": curves["create"][links] / curves["ip -batch"][links] for links in size.growth
    }
    return [
        # The kernel's own cost of a link grows with the links of a parent, so that this cannot be linear either.
        _growth_figure("growth_batch", f"growth of ip -batch making {last}", curves["ip -batch"], rounds),
        _growth_figure("growth_create", f"growth of making {last}", curves["create"], rounds, parts=ratios),
        _growth_figure("growth_again", f"growth of a second run on {last}", curves["again"], rounds, target=1.5),
    ]


def play(made: Bench, task: Task, *collections: pathlib.Path) -> Cost:
    """Run a play of one task with a connection of its own to the namespace; ``collections`` are more paths of them."""
    scratch = made.session.scratch
    path = scratch / "play.json"
    host = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": made.session.python},
        "tasks": [task],
    }
    path.write_text(json.dumps([host]))
    config = scratch / "ansible.cfg"
    config.write_text("[defaults]\n")
    env = {
        "ANSIBLE_CONFIG": str(config),  # none of the user's
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(map(str, (ROOT / ".collections", *collections))),
        "ANSIBLE_HOME": str(scratch / "home"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "PYTHONPATH": "",  # a task brings what it needs
    }
    playbook = pathlib.Path(sys.executable).parent / "ansible-playbook"
    return made.run([str(playbook), "-i", "localhost,", str(path)], env=env)


def _ways(batch: pathlib.Path, links: int) -> dict[str, Task]:
    add = ["ip", "link", "add", "{{ item.name }}", "link", UPLINK, "up", "address", "{{ item.mac }}"]
    add += ["type", "macvtap", "mode", "bridge"]
    return {
        # `creates` makes the commands idempotent, as far as a command can be.
        "loop over command": {
            "ansible.builtin.command": {"argv": add, "creates": "/sys/class/net/{{ item.name }}"},
            "loop": [{"name": name, "mac": mac(number)} for number, name in enumerate(names(links))],
        },
        "command: ip -batch": {
            "ansible.builtin.command": {
                "argv": ["ip", "-batch", str(batch)],
                "creates": f"/sys/class/net/{names(links)[-1]}",
            }
        },
        "macvtap_link": {"linuxvirt.macvtap.macvtap_link": declared(links)},
    }


def _require_links(made: Bench, count: int) -> None:
    shown = json.loads(made.run(["ip", "-j", "link", "show", "type", "macvtap", "up"]).output)
    if len([link for link in shown if link]) != count:
        raise BenchmarkError(f"the task should have made {count} links")


def _tasks_figure(key: str, what: str, costs: t.Mapping[str, t.Sequence[float]]) -> Figure:
    parts = {f"task, {way}": median(values) for way, values in costs.items()}
    pairs = list(zip(costs["loop over command"], costs["command: ip -batch"], costs["macvtap_link"]))
    against_batch = median(module / batch for _loop, batch, module in pairs)
    note = f"{against_batch:.2f} × one command: ip -batch"
    return Figure(
        key, what, median(loop / module for loop, _batch, module in pairs), "×", len(pairs), parts=parts, note=note
    )


def _growth_figure(key: str, what: str, curve: t.Mapping[int, float], rounds: int, **more: t.Any) -> Figure:
    steps = _slopes(curve)
    parts = {**{f"{links} links": cost for links, cost in curve.items()}, **more.pop("parts", {})}
    most = max((ratio for _step, ratio in steps), default=1.0)
    return Figure(key, what, most, "×", rounds, parts=parts, note=_linear(steps), **more)


def _slopes(curve: t.Mapping[int, float]) -> list[tuple[str, float]]:
    """Return for each step of the curve how much more a link costs there than in the step before it."""
    sizes = sorted(curve)
    slopes = [
        (low, high, (curve[high] - curve[low]) / (high - low))
        for low, high in zip(sizes, sizes[1:])
        if low >= _SLOPES_FROM
    ]
    return [
        (f"{low} to {high}", slope / before)
        for (_low, _high, before), (low, high, slope) in zip(slopes, slopes[1:])
        if before > 0
    ]


def _linear(steps: t.Sequence[tuple[str, float]]) -> str:
    steep = [f"from {step} links a link costs {ratio:.2f} × what it did before" for step, ratio in steps if ratio > 1.5]
    return "; ".join(steep) or "linear"
