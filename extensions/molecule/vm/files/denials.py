# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""On the virtual machine: what its kernel has denied, or would have, since it has booted; as JSON.

``denials.py MODULE``: apparmor or selinux. First it does what must be denied. Without that in the log, the log
shows nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

# What a profile or a domain may not do, and what is in the log of that alone.
FORBIDDEN = {
    "apparmor": (["aa-exec", "-p", "virt-aa-helper", "--", "cat", "/etc/gshadow"], 'name="/etc/gshadow"'),
    "selinux": (["runcon", "system_u:system_r:ping_t:s0", "cat", "/etc/gshadow"], ":ping_t:"),
}
DENIED = ('apparmor="DENIED"', "avc:  denied")


def denials() -> list[str]:
    words = ["--boot", "--output", "cat", "_TRANSPORT=kernel", "+", "_TRANSPORT=audit"]
    journal = subprocess.run(["journalctl", *words], capture_output=True, check=True).stdout.decode(errors="replace")
    return [line for line in journal.splitlines() if any(word in line for word in DENIED)]


def main(module: str) -> None:
    command, own = FORBIDDEN[module]
    subprocess.run(command, capture_output=True, check=False)
    deadline = time.monotonic() + 60
    found = denials()
    while not any(own in line for line in found):
        if time.monotonic() > deadline:
            sys.exit(f"{' '.join(command)} is not denied, or the log lacks it")
        time.sleep(0.5)
        found = denials()
    print(json.dumps(sorted({line for line in found if own not in line})))


main(*sys.argv[1:])
