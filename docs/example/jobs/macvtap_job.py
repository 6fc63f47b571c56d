# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Run verify or preflight, and exit with a code for each state.

    python3 macvtap_job.py verify [options of ansible-playbook]

MACVTAP_JSON is the file to which the outcome is written. By default it is macvtap-verify.json, or
macvtap-preflight.json, in the current directory.
"""

import json
import os
import pathlib
import subprocess
import sys

CODES = {"ok": 0, "failed": 1, "drift": 10, "conflict": 11, "unreachable": 12}
# What ansible-playbook exits with if it could not connect to a host.
UNREACHABLE = 4


def main(playbook: str, options: list[str]) -> int:
    file = pathlib.Path(os.environ.get("MACVTAP_JSON", f"macvtap-{playbook}.json")).absolute()
    # An earlier outcome must not be taken for this one.
    file.unlink(missing_ok=True)
    # As JSON, since -e splits key=value at blanks.
    variables = json.dumps({f"macvtap_{playbook}_json": str(file)})
    command = ["ansible-playbook", f"linuxvirt.macvtap.{playbook}", "-e", variables, *options]
    code = subprocess.run(command, check=False).returncode
    try:
        outcome = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Not even the first task has run.
        outcome = {"state": "failed", "counts": {}}
    state = outcome["state"]
    if outcome["counts"].get("hosts") == 0 and code == UNREACHABLE:
        state = "unreachable"
    elif code and not CODES[state]:
        # The outcome does not know of everything that ended the run.
        state = "failed"
    print(f"{playbook}: {state}")
    return CODES[state]


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in {"verify", "preflight"}:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
