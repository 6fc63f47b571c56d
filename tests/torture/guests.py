# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The model's domains and their guests, as values, and the errors that libvirt answers with."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from torture.nics import Nic

# The origin of an action: the number of a run, or others.
OTHERS = 0

# Why a guest runs: virDomainRunningReason of libvirt-domain.h.
BOOTED, RESTORED, UNPAUSED = 1, 3, 5
# libvirt's error codes (include/libvirt/virterror.h).
INTERNAL_ERROR, OPERATION_FAILED, CONFIG_UNSUPPORTED = 1, 9, 67
RPC, NO_DOMAIN, OPERATION_INVALID, OPERATION_TIMEOUT, OPERATION_UNSUPPORTED, DEVICE_MISSING = 39, 42, 55, 68, 84, 99


class RefusedError(Exception):
    """An error of libvirt, with its code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class LiveNic:
    """A NIC that a running guest has. ``mode`` is the kernel's; ``asked`` who has asked the guest to release it."""

    nic: Nic
    index: int
    mode: str
    by: int = OTHERS
    asked: int | None = None


@dataclass
class Guest:
    """A domain. ``stored`` is None where it is transient, ``live`` where it does not run.

    ``saved`` are the NICs of its managed save image, ``saved_asked`` who has asked for which of them; ``boot`` tells
    one start from another, and ``reason`` is libvirt's for its running; ``job`` is that of a migration or dump under
    way. A guest that does not answer (``answers``) keeps what it was asked to release.
    """

    name: str
    uuid: str
    stored: list[Nic] | None
    memory: int = 1024
    live: list[LiveNic] | None = None
    saved: list[Nic] | None = None
    saved_asked: t.Mapping[str, int] = field(default_factory=dict)
    answers: bool = True
    paused: bool = False
    job: bool = False
    boot: int = 0
    reason: int = BOOTED
    slots: int = 0
    # What is in the metadata of the running guest, and of its image; and whether a run has made the image.
    mark: str = ""
    saved_mark: str = ""
    saved_by_run: bool = False
    # Who has attached which NIC of that image. One that a run has attached stays the run's over its own pause.
    saved_origins: t.Mapping[str, int] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        return self.live is not None

    def live_nic(self, mac: str) -> LiveNic | None:
        return next((one for one in self.live or () if one.nic.mac == mac), None)

    def stored_nic(self, mac: str) -> Nic | None:
        return next((one for one in self.stored or () if one.mac == mac), None)


class Departure(t.NamedTuple):
    """A NIC that a guest has released because ``by`` requested that; ``made_by`` has attached it."""

    uuid: str
    boot: int
    mac: str
    by: int
    made_by: int
