# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libnftables alone, as `nft` has it: `bare_nft.py list` prints all, `bare_nft.py load FILE` loads it."""

from __future__ import annotations

import importlib
import sys


def main(action: str, path: str = "") -> None:
    library = importlib.import_module("nftables").Nftables()
    if action == "list":
        commands = "list ruleset"
    else:
        with open(path, encoding="utf-8") as file:
            commands = file.read()
    code, output, error = library.cmd(commands)
    if code:
        sys.exit(error)
    print(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
