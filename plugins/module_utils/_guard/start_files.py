# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The files that start the program of loader.py, for libvirt, udev and systemd, and the program itself: their texts."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import types
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    checksum_program,
    checksums,
    guard_commands,
    guard_library,
    guard_links,
    guard_loader,
    guard_parts,
    guard_recorders,
    guard_table,
    loader,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER

PROGRAM = "/etc/linuxvirt-macvtap/guard"
# What the program is made of: the last one is the program, and imports the others.
MODULES = (
    checksum_program,
    checksums,
    guard_commands,
    guard_library,
    guard_links,
    guard_loader,
    guard_parts,
    guard_recorders,
    guard_table,
    loader,
)
# What former versions have written beside it, for it to import.
FORMER_PARTS = tuple(
    f"/etc/linuxvirt-macvtap/{name}.py"
    for name in (
        "checksum_program",
        "checksums",
        "guard_commands",
        "guard_library",
        "guard_links",
        "guard_loader",
        "guard_recorders",
        "guard_table",
    )
)
# What starts the program, but for the hook.
START = "/etc/linuxvirt-macvtap/guard-start"
HOOK = "/etc/libvirt/hooks/qemu.d/macvtap-guard"
RULES = "/etc/udev/rules.d/91-macvtap-guard.rules"
UNIT = "/etc/systemd/system/macvtap-guard.service"
WANTS = "/etc/systemd/system/multi-user.target.wants/macvtap-guard.service"
NFTABLES = "/etc/systemd/system/nftables.service.d/macvtap-guard.conf"
# The distribution's Python, by the name that it keeps over an upgrade.
_PYTHON = "/usr/bin/python3"

# One file, which is replaced at once. With several, a guest that starts meanwhile, and each one after a kill, would
# have parts of two versions. What lies beside it has no effect.
_PROGRAM = """{header}
import importlib.machinery
import sys

SOURCES = {{
{sources}}}


class Parts:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in SOURCES else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__], module.__name__ + ".py", "exec"), vars(module))

    def get_source(self, name):
        return SOURCES[name]


if __name__ == "__main__":
    sys.meta_path.insert(0, Parts())
    import loader

    raise SystemExit(loader.main(sys.argv[1:]))
"""
# libvirt refuses to start a guest if its hook fails, so it fails only for a guest that must have a guard.
_HOOK = r"""#!/bin/sh
{header}
# A guest starts only if its guard is on its links. Other guests are not affected.
case "$2 $3" in
"start begin") ;;
*) exit 0 ;;
esac
[ -e {store} ] || exit 0
if [ -e {program} ]; then
    for python in {pythons}; do
        [ -x "$python" ] && exec "$python" {program} qemu "$@"
    done
fi
# As after an upgrade of the distribution. Guests without a guard, and those that are only watched, start all the same.
found=$(grep -Eo "<mac address='[0-9a-f:]+'")
[ $? -le 1 ] || exit 1
for word in $found; do
    mac=${{word#*\'}}
    mac=${{mac%\'}}
    grep -qE "\"$mac\": [{{]" {store}
    [ $? -eq 1 ] && continue
    grep -qE "\"$mac\": [{{][^{{}}]*[{{][^{{}}]*[}}], \"required\": false" {store} && continue
    echo "linuxvirt.macvtap: no guard for $mac: {program} or its Python is missing. Run macvtap_guard on this host" >&2
    exit 1
done
exit 0
"""
_START = """#!/bin/sh
{header}
# The Python that has installed the program may be gone after an upgrade of the distribution.
for python in {pythons}; do
    [ -x "$python" ] && exec "$python" {program} "$@"
done
echo "linuxvirt.macvtap: no guards are loaded: the Python of {program} is missing. Run macvtap_guard on this host" >&2
exit 1
"""
_UNIT = """{header}
[Unit]
Description=Guards of guests on macvtap links
Before=libvirtd.service virtqemud.service libvirt-guests.service
After=nftables.service
ConditionPathExists={store}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {start} load
ExecReload=/bin/sh {start} load

[Install]
WantedBy=multi-user.target
"""
# That service removes all tables whenever it starts, stops or is reloaded, and firewalld stops it to take its place.
# This is a part of it, so that no job ends before the guards are back. It runs outside of the service's sandbox (+),
# and whether it fails does not matter to the service (-).
_NFTABLES = """{header}
[Service]
ExecStartPost=-+/bin/sh {start} load
ExecReload=-+/bin/sh {start} load
ExecStopPost=-+/bin/sh {start} load
"""


def texts(macs: t.Iterable[str], python: str) -> dict[str, tuple[str, int]]:
    """Return the files with their texts and modes, for guards of these NICs, in the order in which they are written.

    The program is first, and so there before anything starts it.
    """
    pythons = " ".join(shlex.quote(one) for one in dict.fromkeys((python, _PYTHON)))
    values = {"header": HEADER, "store": loader.STORE, "program": PROGRAM, "start": START, "pythons": pythons}
    command = f"/bin/sh {START}"
    run = f'RUN+="{command} link $id"'
    # A kernel takes the chain off a link that gets another name.
    renamed = f'ACTION=="move", SUBSYSTEM=="net", TEST=="macvtap", RUN+="{command} link $name"\n'
    rules = renamed + "".join(
        f'ACTION=="add", SUBSYSTEM=="macvtap", SUBSYSTEMS=="net", ATTRS{{address}}=="{mac}", {run}\n'
        for mac in sorted(macs)
    )
    return {
        PROGRAM: (_program(), 0o644),
        START: (_START.format(**values), 0o644),
        HOOK: (_HOOK.format(**values), 0o755),
        RULES: (f"{HEADER}\n{rules}", 0o644),
        UNIT: (_UNIT.format(**values), 0o644),
        NFTABLES: (_NFTABLES.format(**values), 0o644),
    }


def _program() -> str:
    found = {module.__name__.rpartition(".")[2]: _source(module) for module in MODULES}
    # As it is, so that it can be read; no source has these quotation marks.
    sources = "".join(f"    {name!r}: r'''{source}''',\n" for name, source in found.items())
    return _PROGRAM.format(header=HEADER, sources=sources)


def _source(module: types.ModuleType) -> str:
    source: t.Any = module.__loader__
    return str(source.get_source(module.__name__))


def interpreter() -> str:
    """Return the Python that runs this, by the distribution's own name if it is that one.

    An upgrade of the distribution removes the name with the version.
    """
    with contextlib.suppress(OSError):
        if sys.prefix == sys.base_prefix and os.path.samefile(_PYTHON, sys.executable):
            return _PYTHON
    return sys.executable
