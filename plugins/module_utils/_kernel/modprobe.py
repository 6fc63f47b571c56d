# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""modprobe: what its configuration and the kernel's command line prevent from being loaded, and running it."""

from __future__ import annotations

import fnmatch
import os
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import modprobe_errors
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.config import under
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import MODULES, Blocker

Run = t.Callable[[t.List[str]], t.Tuple[int, str, str]]

# modprobe.d(5), in order of precedence: a file overrides files of the same name in later directories.
_DIRECTORIES = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
CMDLINE = "/proc/cmdline"
_DISABLED = "/proc/sys/kernel/modules_disabled"
_LOCKDOWN = "/sys/kernel/security/lockdown"
# Commands that load nothing. Any other command may run modprobe itself.
_IDLE = frozenset({"true", "false", ":", "exit", "nologin"})

_PART = re.compile(r"\\(?P<escaped>.)|\n|[^\\\n]+|\\", re.DOTALL)
_COMMAND = re.compile(r"[ \t]*([^ \t]+)[ \t]+([^ \t]+)(?:[ \t](.*))?", re.DOTALL)
_DASH = re.compile(r"\[[^\]]*|-")


class Line(t.NamedTuple):
    """A command of modprobe.d with its module (for ``install``, a pattern) and the rest."""

    number: int
    command: str
    module: str
    rest: str


def parse(text: str) -> list[Line]:
    """Return the commands of a modprobe.d file that name a module, parsed like libkmod does (getline_wrapped)."""
    found: list[Line] = []
    number = start = 1
    line = ""
    for part in _PART.finditer(text):
        number += part[0].count("\n")
        escaped = part["escaped"]
        if part[0] == "\n":
            found += _command(start, line)
            start, line = number, ""
        elif escaped is None:
            line += part[0]
        elif escaped != "\n":
            line += escaped
    return [*found, *_command(start, line)]


def _command(number: int, line: str) -> list[Line]:
    words = _COMMAND.fullmatch(line)
    if not words or line.startswith("#") or (words[1] == "install" and not words[3]):
        return []
    # Not within brackets, where a dash is a range.
    module = _DASH.sub(lambda match: "_" if match[0] == "-" else match[0], words[2])
    return [Line(number, words[1], module, (words[3] or "").strip())]


def parse_cmdline(text: str) -> dict[str, tuple[str, ...]]:
    """Return the modules that the kernel's command line blocks, by kind of blocker."""
    kernel: tuple[str, ...] = ()
    blacklist: tuple[str, ...] = ()
    words = text.split()
    # Arguments after -- are for init.
    parameters = words[: words.index("--")] if "--" in words else words
    for parameter in parameters:
        name, equals, value = parameter.replace('"', "").partition("=")
        modules = tuple(value.split(","))
        if equals and name.replace("-", "_") == "module_blacklist":
            # Of a string parameter, the last value counts (kernel/module/main.c, core_param).
            kernel = modules
        elif equals and name == "modprobe.blacklist":
            blacklist += modules
    return {"kernel": kernel, "blacklist": blacklist}


def find_blockers(root: str, *, running: bool) -> tuple[Blocker, ...]:
    """Return everything that prevents loading macvtap or its dependencies.

    The command line counts only for the ``running`` kernel.
    """
    lines = configuration(root)
    found: list[Blocker] = []
    for module in MODULES.values():
        found += [
            Blocker(module, "blacklist", f"{path}:{line.number}", f"blacklist {module}")
            for path, line in lines
            if line.command == "blacklist" and line.module == module
        ]
        command = install_command(lines, module)
        if command and _loads_nothing(command[1].rest):
            path, line = command
            says = f"install {line.module} {line.rest}"
            found.append(Blocker(module, "install", f"{path}:{line.number}", says))
    named = parse_cmdline(_text(CMDLINE, root)) if running else {}
    found += [
        Blocker(module, "kernel", CMDLINE, f"module_blacklist={module}")
        for module in named.get("kernel", ())
        if module in MODULES.values()
    ]
    found += [
        Blocker(module, "blacklist", CMDLINE, f"modprobe.blacklist={module}")
        for module in named.get("blacklist", ())
        if module in MODULES.values()
    ]
    return tuple(found)


def configuration(root: str) -> list[tuple[str, Line]]:
    """Return all commands of modprobe.d with their files, in order of precedence."""
    return [(path, line) for path in _effective_files(root) for line in parse(_text(path, root))]


def install_command(lines: t.Iterable[tuple[str, Line]], module: str) -> tuple[str, Line] | None:
    """Return the command that modprobe runs instead of loading ``module``: the first match."""
    return next((o for o in lines if o[1].command == "install" and fnmatch.fnmatchcase(module, o[1].module)), None)


def find_disabled(root: str) -> bool:
    """Return whether the kernel loads no more modules (kernel.modules_disabled, which cannot be unset)."""
    return _text(_DISABLED, root).strip() == "1"


def call(command: list[str], run: Run, root: str = "/") -> None:
    """Run modprobe.

    :raises MacvtapError: it failed. Known messages are explained.
    """
    try:
        code, out, err = run(command)
    except OSError as exc:
        raise MacvtapError(f"modprobe cannot be run ({exc.strerror}): install kmod", path="state") from exc
    if code:
        output = (err or out).strip() or "no output"
        meaning = modprobe_errors.explain(output, _lockdown(root), root_user=os.geteuid() == 0)
        raise MacvtapError(
            f"{' '.join(command)} failed with code {code}: {output}{'. ' if meaning else ''}{meaning}", path="state"
        )


def _effective_files(root: str) -> list[str]:
    """Return the files that are not overridden, in the order of their names, in which they are read."""
    files: dict[str, str] = {}
    for directory in _DIRECTORIES:
        try:
            names = os.listdir(under(root, directory))
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf") and not name.startswith("."):
                files.setdefault(name, f"{directory}/{name}")
    return [files[name] for name in sorted(files)]


def _loads_nothing(command: str) -> bool:
    words = command.replace(";", " ; ").replace("&", " & ").replace("|", " | ").split()
    if any(os.path.basename(word) in {"modprobe", "insmod", "kmod"} for word in words):
        return False
    return not words or os.path.basename(words[0]) in _IDLE


def _lockdown(root: str) -> str:
    """Return the kernel's lockdown mode ("none [integrity] confidentiality"), or "" for none."""
    mode = _text(_LOCKDOWN, root).partition("[")[2].partition("]")[0]
    return "" if mode == "none" else mode


def _text(path: str, root: str) -> str:
    try:
        return _files.read(under(root, path)) or ""
    except MacvtapError:
        return ""
