# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Compare a fleet of so many hosts with so many NICs each, so many times, and print what each time cost."""

from __future__ import annotations

import json
import sys
import time

from fleet import many

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare


def main() -> None:
    hosts, nics, rounds = map(int, sys.argv[1:])
    # As the playbook hands them over.
    fleet = {name: json.dumps(message) for name, message in many(hosts, nics).items()}
    wall, cpu, found = [], [], 0
    for _round in range(rounds):
        started, started_cpu = time.perf_counter(), time.process_time()
        found = len(compare.conflicts(fleet))
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - started_cpu)
    started = time.perf_counter()
    for text in fleet.values():
        json.loads(text)
    reading = [time.perf_counter() - started]
    print(json.dumps({"wall": wall, "cpu": cpu, "json": reading, "conflicts": found}))


if __name__ == "__main__":
    main()
