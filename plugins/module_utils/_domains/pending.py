# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Outstanding requests to release a NIC: recorded before they are made, and completed by the keeper."""

from __future__ import annotations

import contextlib
import datetime
import os
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, networks, outstanding
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import start_files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest, launch, links, records

_NAME = "linuxvirt.macvtap"
_RUN_BY_SYSTEMD = "/run/systemd/system"
# Where root's requests may be. Other users may not read them.
_OF_ROOT = (f"/run/{_NAME}", f"/var/lib/{_NAME}")
_UNWATCHED = (
    "The keeper process was not running: NICs that guests have released for an earlier run were not attached again, "
    "and guests whose pause was interrupted were not restored. It was started now"
)
_DAMAGED = (
    "{} is damaged. A guest may miss a NIC for which there was a request in it, or be saved and not restored. Compare "
    "the guest with its stored configuration, and remove the file"
)


def directory() -> str:
    """Return the directory of this user's requests; it outlives a reboot if a keeper can start at boot.

    :raises MacvtapError: no such directory belongs to this user alone.
    """
    lasting = os.geteuid() == 0 and os.path.isdir(_RUN_BY_SYSTEMD)
    return f"/var/lib/{_NAME}" if lasting else os.path.join(_lock.directory(), _NAME)


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


class Requests:
    """The outstanding requests of this host, for libvirt at ``uri``; ``local`` is whether its guests run here."""

    def __init__(self, uri: str, *, local: bool, library: str = "") -> None:
        self._uri = uri
        self._local = local
        self._library = library
        self._directory = directory()
        self._systemd = os.geteuid() == 0 and os.path.isdir(_RUN_BY_SYSTEMD)
        # The domains whose lock this run holds.
        self._held: set[str] = set()
        # The request for a NIC before this run recorded its own (None: none), by UUID and MAC address.
        self._was: dict[tuple[str, str], records.State | None] = {}
        places = {self._directory, *_OF_ROOT}
        self.warnings: list[str] = []
        # A request is outstanding, and no keeper runs.
        self._unwatched = False
        self.readable = all(not os.path.isdir(path) or os.access(path, os.R_OK | os.X_OK) for path in places)

    def outstanding(self) -> dict[str, records.State]:
        """Return the outstanding requests by domain UUID, {} where this user may not read them.

        :raises MacvtapError: it cannot be read.
        """
        if not self.readable:
            return {}
        with self._access():
            found = {uuid: records.load(self._directory, uuid) for uuid in records.uuids(self._directory)}
            lost = records.damaged(self._directory)
        self.warnings += [one for one in map(_DAMAGED.format, lost) if one not in self.warnings]
        self._unwatched = self._unwatched or bool(found and not self.keeper())
        return {uuid: state for uuid, state in found.items() if state is not None}

    def listed(self, host: Host) -> list[dict[str, t.Any]]:
        """Return the NICs of ``host`` with an outstanding request, of any run, as outstanding.py has them.

        :raises MacvtapError: they cannot be read.
        """
        return outstanding.listed(self.outstanding(), host, self.keeper())

    def register(self, asked: t.Sequence[tuple[Nic, Iface | None]]) -> None:
        """Record requests for these NICs, each with the NIC to attach afterwards (None: none).

        A rollback may make it come back after all.

        :raises MacvtapError: they cannot be recorded, or a keeper is needed and does not start.
        """
        if not asked:
            return
        for nic, _returned in asked:
            self._was.pop((nic.uuid, nic.mac), None)
        try:
            with self._recording() as start:
                for nic, returned in asked:
                    self._write(nic, returned)
                if any(returned is not None for _nic, returned in asked):
                    start()
        except MacvtapError:
            for nic, _returned in asked:
                self.withdraw(nic)
            raise

    def register_unguarded(self, nic: Nic, error: str) -> None:
        """Have the keeper put the guard on a NIC that this run has attached, which fails now because of ``error``.

        :raises MacvtapError: that cannot be recorded, or the keeper does not start.
        """
        with self._recording() as start:
            self._write(nic, None, error=error)
            start()

    @contextlib.contextmanager
    def _recording(self) -> t.Iterator[t.Callable[[], None]]:
        """Hold the lock of the list of files; the value starts a keeper if none runs.

        :raises MacvtapError: the directory cannot be prepared, or what is written there fails.
        """
        self._prepare()
        with self._access(), records.locked(self._directory, "all"):
            # A running keeper has to understand the records.
            command = self._install()
            yield lambda: None if self.keeper() else self._start(command)

    def catch_up(self, libvirt: t.Any, connection: t.Any, uuid: str, exclude: t.Container[str] = ()) -> None:
        """Look at a domain as the keeper does, so that the requests of a guest restored just now are known.

        The NICs with the MAC addresses ``exclude`` are left alone.
        """
        if os.path.exists(os.path.join(self._directory, f"{uuid}.json")):
            with contextlib.suppress(libvirt.libvirtError, OSError):
                guest.look(libvirt, connection, self._directory, uuid, exclude)

    def discard(self, nic: Nic) -> None:
        """Remove the request for a NIC that was released or attached again."""
        self._replace(nic, None)

    def withdraw(self, nic: Nic) -> None:
        """Remove this run's request for a NIC; that of an earlier run comes back."""
        if (nic.uuid, nic.mac) in self._was:
            self._replace(nic, self._was[nic.uuid, nic.mac])

    def _replace(self, nic: Nic, entry: records.State | None) -> None:
        with contextlib.suppress(MacvtapError):
            self._edit(nic, lambda nics: nics.update({nic.mac: entry}) if entry else nics.pop(nic.mac))

    def keep_after_release(self, nics: t.Sequence[Nic]) -> None:
        """Have the keeper attach these NICs again: as they are stored, or as they were if they are not.

        :raises MacvtapError: no keeper runs, and none starts.
        """
        for nic in nics:
            self._edit(nic, lambda entries, mac=nic.mac: entries[mac].update(returns=True, desired=None))
        self.ensure_keeper()

    def keep_released(self, nics: t.Iterable[Nic]) -> None:
        """Have the keeper attach these NICs only if they are stored again.

        :raises MacvtapError: the requests cannot be read or written.
        """
        for nic in nics:
            self._edit(nic, lambda entries, mac=nic.mac: entries[mac].update(returns=False))

    def _edit(self, nic: Nic, change: t.Callable[..., t.Any]) -> None:
        """Call ``change`` with the requests of this NIC's domain by MAC address, if it has one for the NIC."""
        with self.attach_lock(nic), self._access():
            state = records.load(self._directory, nic.uuid)
            if state is not None and nic.mac in state["nics"]:
                change(state["nics"])
                records.save(self._directory, nic.uuid, state)

    @contextlib.contextmanager
    def attach_lock(self, nic: Nic) -> t.Iterator[None]:
        """Hold the lock for attaching NICs to this domain, against the keeper and other runs.

        :raises MacvtapError: the lock cannot be taken.
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

    def ensure_keeper(self) -> None:
        """Start a keeper if any request is outstanding and none runs.

        :raises MacvtapError: it does not start.
        """
        with self._access():
            if not records.uuids(self._directory):
                return
            with records.locked(self._directory, "all"):
                if records.uuids(self._directory) and not self.keeper():
                    self._start(self._install())
                    if self._unwatched:
                        self.warnings.append(_UNWATCHED)

    @contextlib.contextmanager
    def _access(self) -> t.Iterator[None]:
        """Translate errors with the files of the requests.

        :raises MacvtapError: one cannot be read or written.
        """
        try:
            yield
        except OSError as exc:
            raise MacvtapError(
                f"cannot read or write the outstanding requests in {self._directory}: {exc.strerror or exc}"
            ) from exc

    def _install(self) -> list[str]:
        return launch.install(self._directory, self._library, unit=self._systemd)

    def _start(self, command: t.Sequence[str]) -> None:
        """Start a keeper; the caller holds the lock ``all``."""
        # Only this session may have what ssh needs to reach another host, so no unit then.
        launch.start(command, unit=self._systemd and self._local, is_running=lambda: self.keeper() is not None)

    def _prepare(self) -> None:
        """Create the directory, and check that it belongs to this user alone.

        :raises MacvtapError: it cannot be created, or is another user's.
        """
        with self._access(), contextlib.suppress(FileExistsError):
            os.mkdir(self._directory, 0o700)
        state = os.lstat(self._directory)
        if state.st_uid != os.geteuid() or state.st_mode & 0o077:
            raise MacvtapError(f"{self._directory} does not belong to this user alone (mode 0700). Move it away")

    def _write(self, nic: Nic, returned: Iface | None, *, error: str = "") -> None:
        """Write a request to release a NIC; with an ``error`` there is none, and the NIC has no guard because of it."""
        if (live := nic.live) is None:
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
            previous = state["nics"].get(nic.mac)
            if not error:
                self._was[nic.uuid, nic.mac] = previous
            # Asked for or not, it has no guard.
            former = previous.get("error") or "not known" if previous and previous.get("unguarded") else ""
            state["nics"][nic.mac] = {
                "asked": not error,
                **({"unguarded": True, "error": error or former} if error or former else {}),
                "since": previous["since"] if previous else now(),
                "returns": returned is not None,
                "element": element.for_hotplug(live),
                # If its network is not active any more.
                "off_network": element.for_hotplug(networks.off(live)) if networks.any_of([live]) else None,
                # If it is not stored. The element above is attached if this one fails.
                "desired": None if returned is None else element.for_hotplug(returned),
                "ifindex": links.ifindex(live.get("target")) if self._local else None,
                "allmulticast": live.get("allmulticast") == "yes",
                "target": live.get("target"),
                "guard": start_files.PROGRAM if self._local else None,
            }
            records.save(self._directory, nic.uuid, state)
