# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The current and the desired state of a kernel, as plain values."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

MODULE = "macvtap"
MACVTAP = "CONFIG_MACVTAP"
MACVLAN = "CONFIG_MACVLAN"
TAP = "CONFIG_TAP"
MODULES: t.Mapping[str, str] = {MACVTAP: MODULE, MACVLAN: "macvlan", TAP: "tap"}
# Also reported: macvtap does not need these, but its users often do.
REPORTED: t.Mapping[str, str] = {**MODULES, "CONFIG_VLAN_8021Q": "8021q", "CONFIG_VHOST_NET": "vhost_net"}
# Dependencies of CONFIG_MACVTAP besides CONFIG_MACVLAN (drivers/net/Kconfig).
DEPENDENCIES = ("CONFIG_NETDEVICES", "CONFIG_NET_CORE", "CONFIG_INET")

LOAD_FILE = "/etc/modules-load.d/macvtap.conf"

PROBE = "probe"

ProvidedBy = t.Literal["builtin", "module", "missing", "unknown"]


@dataclass(frozen=True)
class Source:
    """One file with information about a kernel.

    ``options`` holds y, m or n for each option that the file covers. A list of modules (built in, or loadable) covers
    only those that it lists. ``problem`` is why a file could not be used.
    """

    path: str
    options: t.Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Blocker:
    """One line that prevents a module from being loaded.

    The kernel itself refuses modules in its ``module_blacklist=``. modprobe runs an ``install`` command instead of
    loading the module. A ``blacklist``, in modprobe.d or as ``modprobe.blacklist=``, is obeyed by systemd-modules-load
    and udev, and for requests by alias (the kernel's own), but not by ``modprobe macvtap``.
    """

    module: str
    kind: t.Literal["kernel", "install", "blacklist"]
    where: str
    """The file and line: ``/etc/modprobe.d/cis.conf:12``."""
    says: str

    @property
    def in_a_file(self) -> bool:
        return not self.where.startswith("/proc/")


@dataclass(frozen=True)
class Probe:
    """The result of creating a macvtap. ``works`` is None if it could not be tried."""

    works: bool | None
    reason: str


@dataclass(frozen=True)
class Host:
    """All that was read about a kernel ``release``. The sources are in order of precedence."""

    release: str
    running: str
    configs: tuple[Source, ...]
    builtin_lists: tuple[Source, ...]
    dep: Source
    active: tuple[str, ...]
    """The files in which the running kernel shows macvtap, or PROBE if only a probe has shown it."""
    modules_dir: str = ""
    """Empty if there is none for this release."""
    config_path: str | None = None
    """The only source to use, if the user set one."""
    installed: tuple[str, ...] = ()
    load_file: str | None = None
    """The text of LOAD_FILE, or None if it does not exist."""
    load_target: str | None = None
    """The target if LOAD_FILE is a symbolic link, else None. A link to /dev/null masks a vendor's file."""
    load_problem: str = ""
    """Why LOAD_FILE, which exists, cannot be read."""
    distribution: frozenset[str] = frozenset()
    """ID and ID_LIKE of os-release."""
    loaded_modules: frozenset[str] = frozenset()
    """The modules in /proc/modules."""
    blockers: tuple[Blocker, ...] = ()
    """Of any of MODULES, whether or not this kernel has it as a module."""
    modules_disabled: bool = False
    """Whether the running kernel loads no more modules."""
    probe: Probe | None = None

    @property
    def is_running(self) -> bool:
        return self.release == self.running

    @property
    def loaded(self) -> bool:
        return self.is_running and bool(self.active)


@dataclass(frozen=True)
class Desired:
    state: str
    persistent: bool = False
    required: bool = True
    probe: bool = False

    @property
    def loading(self) -> bool:
        """Whether to load the module. A probe needs it, too."""
        return self.state == "loaded" or self.probe


@dataclass(frozen=True)
class SupportResult:
    provided_by: ProvidedBy
    source: str | None
    tried: tuple[Source, ...]
    options: t.Mapping[str, str]
    reason: str = ""
    hint: str = ""
    refuted: bool = False
    """Whether a probe failed. It takes precedence over the files."""

    @property
    def supported(self) -> bool:
        return self.provided_by in ("builtin", "module") and not self.refuted

    def as_dict(self) -> dict[str, t.Any]:
        """Return the result as the module returns it."""
        values = {
            "supported": self.supported,
            "provided_by": self.provided_by,
            "source": self.source,
            "sources_tried": [{"path": source.path, "found": describe_source(source)} for source in self.tried],
            "config": dict(self.options),
        }
        return values if self.supported else {**values, "reason": self.reason, "remedy": self.hint}


@dataclass(frozen=True)
class LoadedModule:
    """The module and those that it needs. ``loaded_before`` are the modules that were loaded before it."""

    name: str
    loaded_before: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LoadFile:
    """A file of modules-load.d.

    ``target`` is set if it is a symbolic link, and ``text`` is None if that leads to no file.
    """

    path: str
    text: str | None
    target: str | None = None


Resource = t.Union[LoadedModule, LoadFile]


def describe_source(source: Source) -> str:
    if source.problem:
        return source.problem
    setting = source.options.get(MACVTAP)
    return f"{MACVTAP}={setting}" if setting else f"does not list {MODULE}"


def needed_options(release: str) -> tuple[str, ...]:
    """Return the options that macvtap needs. Kernels before 4.12 have no separate CONFIG_TAP."""
    version = re.match(r"(\d+)\.(\d+)", release)
    if version and (int(version[1]), int(version[2])) < (4, 12):
        return (MACVTAP, MACVLAN)
    return (MACVTAP, MACVLAN, TAP)
