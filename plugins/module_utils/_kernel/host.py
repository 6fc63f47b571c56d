# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter: reads a kernel's properties from the host, loads the module, writes the modules-load.d file."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files, _text, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import config, modprobe, modules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    LOAD_FILE,
    MACVTAP,
    PROBE,
    Host,
    LoadedModule,
    LoadFile,
    Probe,
    Resource,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step


def observe(
    release: str | None = None,
    config_path: str | None = None,
    *,
    probe: t.Callable[[], Probe] | None = None,
    root: str = "/",
    running: str | None = None,
) -> Host:
    """Read below ``root`` all that is known about the kernel ``release``, by default the running one.

    ``probe`` creates a macvtap on the running kernel. It is not called while the macvtap module is loadable but not
    loaded, because it would load it.
    """
    running = running or os.uname().release
    release = running if release is None else release
    _validate(release, running, config_path)
    text, target, problem = _read_load_file(root)
    tree = modules.find_tree(release, root)
    directory = tree or f"/lib/modules/{release}"
    paths = (config_path,) if config_path is not None else config.config_paths(release, running, root)
    loaded = modules.find_loaded(root)
    host = Host(
        release=release,
        running=running,
        configs=tuple(config.read_config(path, root) for path in paths),
        builtin_lists=modules.read_builtin(directory, root),
        dep=modules.read_dep(directory, root),
        active=modules.find_active(loaded, root),
        modules_dir=tree,
        config_path=config_path,
        installed=modules.find_installed(root),
        load_file=text,
        load_target=target,
        load_problem=problem,
        distribution=_distribution(root),
        loaded_modules=loaded,
        blockers=modprobe.find_blockers(root, running=release == running),
        modules_disabled=modprobe.find_disabled(root),
    )
    if probe and host.is_running and not config_path and (host.active or MACVTAP not in host.dep.options):
        return _probed(host, probe(), root)
    return host


def _validate(release: str, running: str, config_path: str | None) -> None:
    if not release or "/" in release or "\0" in release or release.startswith("."):
        raise MacvtapError(f"{release!r} is not a kernel release such as {running}", path="kernel")
    _values.check_path(release, "kernel")
    if config_path is not None:
        _values.check_path(config_path, "config_path")


def apply(
    steps: t.Sequence[Step[Resource]], journal: Journal[Resource] | None = None, *, run: modprobe.Run, root: str = "/"
) -> None:
    """Carry out ``steps``.

    :raises MacvtapError: a step failed, or something else has changed the file since it was read.
    """
    journal = journal or Journal()
    for step in steps:
        _check_unchanged(step, root)
        journal.record(step)
        if isinstance(step.after, LoadedModule):
            modprobe.call(["modprobe", step.after.name], run, root)
        elif isinstance(step.after, LoadFile) and step.after.target is not None:
            _files.write_link(config.under(root, step.path), step.after.target, option="persistent")
        else:
            text = step.after.text if isinstance(step.after, LoadFile) else None
            _files.write(config.under(root, step.path), text, option="persistent")


def _check_unchanged(step: Step[Resource], root: str) -> None:
    if isinstance(step.before, LoadFile) or isinstance(step.after, LoadFile):
        text, target, _problem = _read_load_file(root)
        if step.before != (None if text is None and target is None else LoadFile(step.path, text, target)):
            raise MacvtapError(
                f"{step.path} was changed by something else while this ran, and was left alone. Run the task again",
                path="persistent",
            )


def _probed(host: Host, probe: Probe, root: str) -> Host:
    """Add the result of a probe, and what the kernel shows after it."""
    loaded = modules.find_loaded(root)
    active = modules.find_active(loaded, root) or ((PROBE,) if probe.works else ())
    return replace(host, probe=probe, loaded_modules=loaded, active=active)


def _read_load_file(root: str) -> tuple[str | None, str | None, str]:
    """Return the text of LOAD_FILE, the target if it is a symbolic link, and why it cannot be read."""
    path = config.under(root, LOAD_FILE)
    target = _files.target(path)
    try:
        return _files.read(path), target, ""
    except MacvtapError as exc:
        return None, target, str(exc)


def _read(path: str) -> str | None:
    try:
        return _files.read(path)
    except MacvtapError:
        return None


def _distribution(root: str) -> frozenset[str]:
    text = _read(config.under(root, "/etc/os-release")) or _read(config.under(root, "/usr/lib/os-release")) or ""
    return _text.distribution(text)
