# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Installs and starts the keeper: its program lies beside its state files, and runs alone or as a systemd unit."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import (
    guards,
    guest,
    links,
    paused,
    process,
    records,
)

_PROGRAM = "keeper.pyz"
_SECONDS = 20
_PACKAGE = process.__name__.rpartition(".")[0]
_MAIN = f"import sys\nfrom {_PACKAGE} import process\nprocess.main(sys.argv[1:])\n"
_UNIT = """\
# Written by the Ansible collection linuxvirt.macvtap, and removed again when no request is outstanding.
[Unit]
Description=Attaches NICs again that guests release late
After=libvirtd.service virtqemud.service
Before=libvirt-guests.service
StartLimitIntervalSec=60
StartLimitBurst=60

[Service]
ExecStart={command}
Restart=always
RestartPreventExitStatus=0
RestartSec=100ms
"""


def outlives_boot() -> bool:
    """Return whether the keeper is started again at the next boot, if it is needed then."""
    return os.path.lexists(f"{process.UNIT_DIRECTORIES[0]}/{process.WANTS}/{process.UNIT}")


def install(directory: str, library: str, *, unit: bool) -> list[str]:
    """Write the keeper's program to ``directory``, with ``unit`` also its systemd unit; return its command.

    ``library`` is the directory of libvirt's Python bindings, "" if Python finds them. A running keeper switches to the
    new program by itself.

    :raises OSError: the program cannot be written.
    """
    program = os.path.join(directory, _PROGRAM)
    made = _program()
    if _bytes(program) != made:
        temporary = f"{program}.{os.getpid()}"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, program)
    command = [sys.executable, program, directory, *([library] if library else [])]
    if unit:
        _install_unit(command)
    return command


def start(command: t.Sequence[str], *, unit: bool, is_running: t.Callable[[], bool]) -> None:
    """Start the installed keeper, and wait until it runs.

    :raises MacvtapError: it does not start.
    """
    # systemd may still be stopping the unit, so that "start" would do nothing. The unit may also have failed too often.
    attempts = (
        ((_systemctl("restart"),), 5.0),
        ((_systemctl("daemon-reload"), _systemctl("reset-failed"), _systemctl("restart")), 5.0),
    )
    for commands, seconds in attempts if unit else ():
        started = [_run(one) for one in commands][-1]
        if started and _wait(is_running, seconds):
            return
    # Not waited for: it outlives this process.
    quiet = subprocess.DEVNULL
    by_itself = [*command[:3], process.BY_TWO, *command[3:]]
    subprocess.Popen(  # pylint: disable=consider-using-with,ansible-bad-function
        by_itself, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, cwd="/"
    )
    if not _wait(is_running, _SECONDS):
        raise MacvtapError(
            f"the keeper process, which attaches released NICs again, does not start: {' '.join(by_itself)}"
        )


def _program() -> bytes:
    """Return the program as one zip file with its modules of this package, under their own names."""
    # Imported here: most runs start no keeper.
    import zipfile

    made = io.BytesIO()
    package = _PACKAGE.split(".")
    sources = {"/".join([*package[:depth], "__init__.py"]): "" for depth in range(1, len(package) + 1)}
    for module in (guards, guest, links, paused, process, records):
        loader: t.Any = module.__loader__
        sources[module.__name__.replace(".", "/") + ".py"] = loader.get_source(module.__name__)
    with zipfile.ZipFile(made, "w") as file:
        for name, source in {"__main__.py": _MAIN, **sources}.items():
            # Without a timestamp, so that the same program gives the same file.
            file.writestr(zipfile.ZipInfo(name), source)
    return made.getvalue()


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _install_unit(command: t.Sequence[str]) -> None:
    """Write the unit to /etc, or to /run, which lasts until the next boot."""
    text = _UNIT.format(command=" ".join(map(_quoted, [*command[:3], process.BY_SYSTEMD, *command[3:]])))
    for directory in process.UNIT_DIRECTORIES:
        path, link = f"{directory}/{process.UNIT}", f"{directory}/{process.WANTS}/{process.UNIT}"
        if _files.target(path) is not None:
            # The unit is masked.
            return
        with contextlib.suppress(MacvtapError):
            if _files.read(path) != text:
                _files.write(path, text)
            if _files.target(link) != f"../{process.UNIT}":
                _files.write_link(link, f"../{process.UNIT}")
            return


def _quoted(word: str) -> str:
    """Return a word of a unit's command line as systemd reads it."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'


def _systemctl(verb: str) -> list[str]:
    return ["systemctl", "--quiet", verb, *([] if verb == "daemon-reload" else [process.UNIT])]


def _run(command: t.Sequence[str]) -> bool:
    try:
        # The keeper has no module.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            command, capture_output=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _wait(is_true: t.Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True
