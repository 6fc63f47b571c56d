# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Requests to release a NIC that guests have not answered: written down before they are made, and owned by a keeper."""

from __future__ import annotations

import contextlib
import datetime
import os
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    HELD,
    RELEASED,
    SAVED,
    Domain,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest, launch, links, records

_NAME = "linuxvirt.macvtap"
_RUN_BY_SYSTEMD = "/run/systemd/system"
_FORSAKEN = (
    "NICs that guests were asked to release before this run were not watched: the process that would attach them again "
    "did not run, and was started now"
)


def directory() -> str:
    """Return where this user's requests are: where they outlive a boot if a keeper can be started at boot.

    :raises MacvtapError: there is no such place that is this user's alone.
    """
    lasting = os.geteuid() == 0 and os.path.isdir(_RUN_BY_SYSTEMD)
    return f"/var/lib/{_NAME}" if lasting else os.path.join(_lock.directory(), _NAME)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


class Requests:
    """The outstanding requests of this host, for libvirt at ``uri``; ``local`` is whether its guests are here too."""

    def __init__(self, uri: str, *, local: bool, library: str = "") -> None:
        self._uri = uri
        self._local = local
        self._library = library
        self._directory = directory()
        self._systemd = os.geteuid() == 0 and os.path.isdir(_RUN_BY_SYSTEMD)
        # The domains that this run holds the lock of.
        self._held: set[str] = set()
        # What was outstanding of a NIC before this run wrote it down (None: nothing), by UUID and MAC address.
        self._was: dict[tuple[str, str], records.State | None] = {}
        # Those of root are no other user's to see.
        places = {self._directory, f"/run/{_NAME}", f"/var/lib/{_NAME}"}
        self.warnings: list[str] = []
        # Something is outstanding, and nothing runs that would attach it.
        self._forsaken = False
        self.readable = all(not os.path.isdir(path) or os.access(path, os.R_OK | os.X_OK) for path in places)

    def outstanding(self) -> dict[str, records.State]:
        """Return what is outstanding by the domains' UUIDs, nothing where this user may not see it.

        :raises MacvtapError: it cannot be read.
        """
        if not self.readable:
            return {}
        with self._access():
            found = {uuid: records.load(self._directory, uuid) for uuid in records.uuids(self._directory)}
        if found and not self.keeper():
            self._forsaken = True
        return {uuid: state for uuid, state in found.items() if state is not None}

    def listed(self, host: Host) -> list[dict[str, t.Any]]:
        """Return the NICs of ``host`` that guests were asked to release and that are not settled, by whichever run.

        ``returns`` is what the keeper attaches then, None if nothing, and ``error`` why it has not come back yet.

        :raises MacvtapError: they cannot be read.
        """
        states = self.outstanding()
        pid = self.keeper()
        return [
            {
                "domain": domain.name,
                "mac": mac,
                "target": next((i.get("target") for i in domain.live if i.mac == mac), None),
                "state": state,
                "error": nic.get("error") if state == RELEASED else None,
                "since": nic["since"],
                "pid": pid,
                "returns": returns,
            }
            for domain in host.domains.values()
            for mac, nic in sorted(states.get(domain.uuid, {"nics": {}})["nics"].items())
            if (state := _state(domain, mac, states[domain.uuid]))
            and ((returns := _returning(domain, mac, nic)) or state != RELEASED)
        ]

    def own(self, asked: t.Sequence[tuple[Nic, Iface | None]]) -> None:
        """Write down that these NICs are about to be asked for, and as what each is to come back, None if it is not.

        One that is not to come back may have to after all, when this run is rolled back.

        :raises MacvtapError: it cannot be written down, or there is nothing to bring one that is to come back.
        """
        if not asked:
            return
        for nic, _back in asked:
            self._was.pop((nic.uuid, nic.mac), None)
        try:
            self._prepare()
            with self._access(), records.locked(self._directory, "all"):
                # A keeper that runs is to understand what is written.
                command = self._install()
                for nic, back in asked:
                    self._write(nic, back)
                if any(back is not None for _nic, back in asked) and not self.keeper():
                    self._start(command)
        except MacvtapError:
            for nic, _back in asked:
                self.withdraw(nic)
            raise

    def catch_up(self, libvirt: t.Any, connection: t.Any, uuid: str) -> None:
        """Look at a domain as the keeper is about to: of a guest restored just now, its requests are to be known."""
        if os.path.exists(os.path.join(self._directory, f"{uuid}.json")):
            with contextlib.suppress(libvirt.libvirtError, OSError):
                guest.look(libvirt, connection, self._directory, uuid)

    def settle(self, nic: Nic) -> None:
        """Strike off a NIC that has gone for good, or come back."""
        self._replace(nic, None)

    def withdraw(self, nic: Nic) -> None:
        """Take back that a NIC was about to be asked for: the guest may have been asked for it by an earlier run."""
        if (nic.uuid, nic.mac) in self._was:
            self._replace(nic, self._was[nic.uuid, nic.mac])

    def _replace(self, nic: Nic, entry: records.State | None) -> None:
        with contextlib.suppress(OSError):
            if not os.path.exists(os.path.join(self._directory, f"{nic.uuid}.json")):
                return
            with self.attaching(nic):
                state = records.load(self._directory, nic.uuid)
                if state is None or nic.mac not in state["nics"]:
                    return
                del state["nics"][nic.mac]
                state["nics"].update({nic.mac: entry} if entry else {})
                records.save(self._directory, nic.uuid, state)

    def take_back(self, nics: t.Sequence[Nic], *, unstored: bool = False) -> None:
        """Have these NICs come back as they are if they go after all, of a domain too of which nothing is stored.

        ``unstored`` is whether they do so even where a domain's stored configuration does not have them.

        :raises MacvtapError: there is nothing to bring them.
        """
        for nic in nics:
            with self.attaching(nic), self._access():
                state = records.load(self._directory, nic.uuid)
                if state is not None and nic.mac in state["nics"]:
                    state["nics"][nic.mac].update(returns=True, desired=None, unstored=unstored)
                    records.save(self._directory, nic.uuid, state)
        self.keep()

    @contextlib.contextmanager
    def attaching(self, nic: Nic) -> t.Iterator[None]:
        """Let nobody else attach a NIC to this domain meanwhile: neither the keeper nor another run.

        :raises MacvtapError: that cannot be had.
        """
        if nic.uuid in self._held or not os.path.exists(os.path.join(self._directory, f"{nic.uuid}.json")):
            yield
            return
        with contextlib.ExitStack() as held:
            with self._access():
                held.enter_context(records.locked(self._directory, nic.uuid))
            self._held.add(nic.uuid)
            held.callback(self._held.discard, nic.uuid)
            yield

    def keeper(self) -> int | None:
        """Return the keeper's process ID, None if it does not run."""
        return records.running(self._directory)

    @property
    def outlives_boot(self) -> bool:
        """Whether what is outstanding is known and watched after a reboot of this host too."""
        return self._systemd and launch.outlives_boot()

    def keep(self) -> None:
        """Have a keeper where anything is outstanding.

        :raises MacvtapError: it does not start.
        """
        with self._access():
            if not records.uuids(self._directory):
                return
            with records.locked(self._directory, "all"):
                if records.uuids(self._directory) and not self.keeper():
                    self._start(self._install())
                    if self._forsaken:
                        self.warnings.append(_FORSAKEN)

    @contextlib.contextmanager
    def _access(self) -> t.Iterator[None]:
        """Turn what goes wrong with the files of what is outstanding into an error.

        :raises MacvtapError: one cannot be read or written.
        """
        try:
            yield
        except OSError as exc:
            raise MacvtapError(
                f"cannot keep in {self._directory} what guests were asked for and what is to come back: "
                f"{exc.strerror or exc}"
            ) from exc

    def _install(self) -> list[str]:
        return launch.install(self._directory, self._library, unit=self._systemd)

    def _start(self, command: t.Sequence[str]) -> None:
        """Start a keeper; whoever calls this holds the lock ``all``."""
        # What ssh needs to reach another host may be of this session alone.
        launch.start(command, unit=self._systemd and self._local, is_running=lambda: self.keeper() is not None)

    def _prepare(self) -> None:
        """Make the directory, and look whether it is this user's alone.

        :raises MacvtapError: it cannot be had.
        """
        with self._access(), contextlib.suppress(FileExistsError):
            os.mkdir(self._directory, 0o700)
        state = os.lstat(self._directory)
        if state.st_uid != os.geteuid() or state.st_mode & 0o077:
            raise MacvtapError(
                f"{self._directory} is not this user's alone (mode 0700): it is left alone. Move it away"
            )

    def _write(self, nic: Nic, back: Iface | None) -> None:
        live = nic.live
        if live is None:
            return
        with records.locked(self._directory, nic.uuid):
            state = records.load(self._directory, nic.uuid)
            if state is None or state["instance"] != nic.instance:
                state = {
                    "uri": self._uri,
                    "local": self._local,
                    "domain": nic.domain,
                    "uuid": nic.uuid,
                    "instance": nic.instance,
                    "boot": guest.boot_id(),
                    "nics": {},
                }
            was = state["nics"].get(nic.mac)
            self._was[nic.uuid, nic.mac] = was
            state["nics"][nic.mac] = {
                "since": was["since"] if was else _now(),
                "returns": back is not None,
                "element": element.pluggable(live),
                # Of a domain of which nothing is stored. The element before is what it goes back to if this fails.
                "desired": None if back is None else element.pluggable(back),
                "ifindex": links.ifindex(live.get("target")) if self._local else None,
                "allmulticast": live.get("allmulticast") == "yes",
                "target": live.get("target"),
            }
            records.save(self._directory, nic.uuid, state)


def _state(domain: Domain, mac: str, asked: records.State) -> str:
    """Return how far a NIC is that the guest of ``domain`` was ``asked`` for, "" where that is about another guest."""
    if not domain.running:
        if domain.saved and not any(iface.mac == mac for iface in domain.saved):
            # It had released the NIC before it was saved.
            return RELEASED
        return SAVED if domain.saved is not None or asked.get("saved") else ""
    if asked["instance"] != domain.instance:
        return ""
    return HELD if any(iface.mac == mac for iface in domain.live) else RELEASED


def _returning(domain: Domain, mac: str, nic: records.State) -> Iface | None:
    there: t.Sequence[Iface] = domain.stored if domain.persistent else ()
    stored = next((iface for iface in there if iface.mac == mac), None)
    if stored is None and nic.get("unstored" if domain.persistent else "returns"):
        there = xml.interfaces(f"<domain><devices>{nic.get('desired') or nic['element']}</devices></domain>")
        return next((iface for iface in there if iface.mac == mac), None)
    return stored
