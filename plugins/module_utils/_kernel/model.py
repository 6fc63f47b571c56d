# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is known of a kernel and what is wanted of it, as plain values."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

MODULE = "macvtap"
MACVTAP = "CONFIG_MACVTAP"
MACVLAN = "CONFIG_MACVLAN"
TAP = "CONFIG_TAP"
MODULES: t.Mapping[str, str] = {MACVTAP: MODULE, MACVLAN: "macvlan", TAP: "tap"}
# Beside those, what is reported: macvtap does not need it, but those who use it often do.
REPORTED: t.Mapping[str, str] = {**MODULES, "CONFIG_VLAN_8021Q": "8021q", "CONFIG_VHOST_NET": "vhost_net"}
# What CONFIG_MACVTAP depends on beside CONFIG_MACVLAN (drivers/net/Kconfig).
PARENTS = ("CONFIG_NETDEVICES", "CONFIG_NET_CORE", "CONFIG_INET")

LOAD_FILE = "/etc/modules-load.d/macvtap.conf"

PROBE = "probe"

ProvidedBy = t.Literal["builtin", "module", "missing", "unknown"]


@dataclass(frozen=True)
class Source:
    """One file that can tell, and what it tells.

    ``options`` holds y, m or n for each option that the file knows of. A list of modules (built in, or
    loadable) knows only of those that it lists. ``problem`` says why a file tells nothing at all.
    """

    path: str
    options: t.Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Obstacle:
    """One line that keeps a module from being loaded.

    The kernel itself refuses what is in its ``module_blacklist=``. modprobe runs an ``install`` command instead of
    loading the module. A ``blacklist``, in modprobe.d or as ``modprobe.blacklist=``, is obeyed by who asks libkmod to
    (systemd-modules-load, udev) and where the module goes by an alias (the kernel's own requests), and not by
    ``modprobe macvtap``.
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
    """What came of making a macvtap; ``works`` is None where it could not be tried."""

    works: bool | None
    reason: str


@dataclass(frozen=True)
class Host:
    """Everything that was read of a kernel ``release``; the sources are in the order in which they count."""

    release: str
    running: str
    configs: tuple[Source, ...]
    builtin_lists: tuple[Source, ...]
    dep: Source
    active: tuple[str, ...]
    """The files in which the running kernel shows that macvtap is in it, or PROBE where only that has shown it."""
    modules_dir: str = ""
    """Empty where there is none for this release."""
    config_path: str | None = None
    """What the user named as the only source."""
    installed: tuple[str, ...] = ()
    load_file: str | None = None
    """The text of LOAD_FILE, None where there is none."""
    load_target: str | None = None
    """Where LOAD_FILE points to, None where it is no symbolic link: /dev/null masks a file of the vendor's."""
    distribution: frozenset[str] = frozenset()
    """ID and ID_LIKE of os-release."""
    loaded_modules: frozenset[str] = frozenset()
    """Those of /proc/modules."""
    obstacles: tuple[Obstacle, ...] = ()
    """For any of MODULES, whether or not it is a module here."""
    modules_disabled: bool = False
    """Whether the running kernel takes no more modules, whoever asks."""
    probe: Probe | None = None

    @property
    def is_running(self) -> bool:
        return self.release == self.running

    @property
    def loaded(self) -> bool:
        return self.is_running and bool(self.active)


@dataclass(frozen=True)
class Wanted:
    state: str
    persistent: bool = False
    required: bool = True
    probe: bool = False

    @property
    def loading(self) -> bool:
        """Whether the module is to be loaded: a probe needs it."""
        return self.state == "loaded" or self.probe


@dataclass(frozen=True)
class Verdict:
    provided_by: ProvidedBy
    source: str | None
    tried: tuple[Source, ...]
    options: t.Mapping[str, str]
    reason: str = ""
    remedy: str = ""
    refuted: bool = False
    """Whether a probe has failed, whatever the files say."""

    @property
    def supported(self) -> bool:
        return self.provided_by in ("builtin", "module") and not self.refuted

    def as_dict(self) -> dict[str, t.Any]:
        """Return the verdict as the module returns it."""
        told = {
            "supported": self.supported,
            "provided_by": self.provided_by,
            "source": self.source,
            "sources_tried": [{"path": source.path, "found": said_by(source)} for source in self.tried],
            "config": dict(self.options),
        }
        return told if self.supported else {**told, "reason": self.reason, "remedy": self.remedy}


@dataclass(frozen=True)
class LoadedModule:
    name: str


@dataclass(frozen=True)
class LoadFile:
    """A file of modules-load.d; ``target`` is where it points to, None where it is no symbolic link."""

    path: str
    text: str
    target: str | None = None


Thing = t.Union[LoadedModule, LoadFile]


def said_by(source: Source) -> str:
    if source.problem:
        return source.problem
    setting = source.options.get(MACVTAP)
    return f"{MACVTAP}={setting}" if setting else f"does not list {MODULE}"


def needed_options(release: str) -> tuple[str, ...]:
    """Return the options that macvtap needs: CONFIG_TAP was split off it only in the 4.1x kernels."""
    version = re.match(r"(\d+)\.(\d+)", release)
    if version and (int(version[1]), int(version[2])) < (4, 12):
        return (MACVTAP, MACVLAN)
    return (MACVTAP, MACVLAN, TAP)
