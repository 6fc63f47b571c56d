# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads and writes sysctl settings of a link, in files below /proc/sys/net."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import SETTINGS, Done, Shim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

_SYSCTL = "/proc/sys/net"


def of(name: str) -> dict[str, int]:
    found = {setting: read(name, setting) for setting in SETTINGS}
    return {setting: value for setting, value in found.items() if value is not None}


def read(name: str, setting: str) -> int | None:
    try:
        with open(_file(name, setting), encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):  # no such link, no IPv6, or no number
        return None


def apply(step: Step[Shim], journal: Journal[Shim], *, there: bool = False) -> None:
    """Write the settings; with ``there`` only those whose file already exists."""
    shim = t.cast("Shim", step.after)
    now = of(step.target)
    for setting, value in shim.settings.items():
        path = _file(step.target, setting)
        try:
            if now.get(setting) != value and (setting in now or not there):
                journal.record(step, Done.setting(setting))
                with open(path, "w", encoding="ascii") as file:
                    file.write(str(value))
        except OSError as exc:
            raise MacvtapError(f"cannot set {path} to {value}: {exc.strerror}", path=step.path) from exc


def _file(name: str, setting: str) -> str:
    family_name, _slash, file = setting.partition("/")
    return f"{_SYSCTL}/{family_name}/conf/{name}/{file}"
