# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Requests to release a NIC that guests have not answered: written down before they are made, and owned by a keeper."""

from __future__ import annotations

import contextlib
import datetime
import os
import subprocess
import sys
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, keeper
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_NAME = "linuxvirt.macvtap"
_START_SECONDS = 20


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


class Requests:
    """The outstanding requests of this host, for libvirt at ``uri``; ``local`` is whether its guests are here too."""

    def __init__(self, uri: str, *, local: bool, library: str = "") -> None:
        self._uri = uri
        self._local = local
        self._library = library
        self._directory = os.path.join(_lock.directory(), _NAME)
        # The domains that this run holds the lock of.
        self._held: set[str] = set()
        # What was outstanding of a NIC before this run wrote it down (None: nothing), by UUID and MAC address.
        self._was: dict[tuple[str, str], keeper.State | None] = {}
        # Those of root are no other user's to see.
        places = {self._directory, f"/run/{_NAME}"}
        self.readable = all(not os.path.isdir(path) or os.access(path, os.R_OK | os.X_OK) for path in places)

    def outstanding(self) -> dict[str, keeper.State]:
        """Return what is outstanding by the domains' UUIDs."""
        found = {uuid: keeper.load(self._directory, uuid) for uuid in keeper.uuids(self._directory)}
        return {uuid: state for uuid, state in found.items() if state is not None}

    def own(self, asked: t.Sequence[tuple[Nic, Iface | None]]) -> None:
        """Write down that these NICs are about to be asked for, and as what each is to come back, None if it is not.

        :raises MacvtapError: one is to come back, and there is nothing to bring it.
        """
        if not asked:
            return
        for nic, _back in asked:
            self._was.pop((nic.uuid, nic.mac), None)
        returns = any(back is not None for _nic, back in asked)
        try:
            self._prepare()
            with keeper.locked(self._directory, "all"):
                for nic, back in asked:
                    self._write(nic, back)
                if returns and not self.keeper():
                    self._start()
        except MacvtapError as exc:
            for nic, _back in asked:
                self.withdraw(nic)
            raise MacvtapError(f"{exc.message}. No guest was asked to release a NIC") from exc
        except OSError as exc:
            if returns:
                raise MacvtapError(f"cannot write down in {self._directory} what is to come back: {exc}") from exc

    def settle(self, nic: Nic) -> None:
        """Strike off a NIC that has gone for good, or come back."""
        self._replace(nic, None)

    def withdraw(self, nic: Nic) -> None:
        """Take back that a NIC was about to be asked for: the guest may have been asked for it by an earlier run."""
        if (nic.uuid, nic.mac) in self._was:
            self._replace(nic, self._was[nic.uuid, nic.mac])

    def _replace(self, nic: Nic, entry: keeper.State | None) -> None:
        with contextlib.suppress(OSError):
            if not os.path.exists(os.path.join(self._directory, f"{nic.uuid}.json")):
                return
            with self.attaching(nic):
                state = keeper.load(self._directory, nic.uuid)
                if state is None or nic.mac not in state["nics"]:
                    return
                del state["nics"][nic.mac]
                state["nics"].update({nic.mac: entry} if entry else {})
                keeper.save(self._directory, nic.uuid, state)

    def take_back(self, nics: t.Sequence[Nic]) -> None:
        """Have these NICs come back as they are if they go after all, of a domain too of which nothing is stored.

        :raises MacvtapError: there is nothing to bring them.
        """
        for nic in nics:
            with self.attaching(nic):
                state = keeper.load(self._directory, nic.uuid)
                if state is not None and nic.mac in state["nics"]:
                    state["nics"][nic.mac].update(returns=True, desired=None)
                    keeper.save(self._directory, nic.uuid, state)
        self.keep()

    @contextlib.contextmanager
    def attaching(self, nic: Nic) -> t.Iterator[None]:
        """Let nobody else attach a NIC to this domain meanwhile: neither the keeper nor another run."""
        if nic.uuid in self._held or not os.path.exists(os.path.join(self._directory, f"{nic.uuid}.json")):
            yield
            return
        with keeper.locked(self._directory, nic.uuid):
            self._held.add(nic.uuid)
            try:
                yield
            finally:
                self._held.discard(nic.uuid)

    def keeper(self) -> int | None:
        """Return the keeper's process id, None if it does not run."""
        return keeper.running(self._directory)

    def keep(self) -> None:
        """Have a keeper where anything is outstanding.

        :raises MacvtapError: it does not start.
        """
        if not keeper.uuids(self._directory):
            return
        with keeper.locked(self._directory, "all"):
            if keeper.uuids(self._directory) and not self.keeper():
                self._start()

    def _prepare(self) -> None:
        with contextlib.suppress(FileExistsError):
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
        with keeper.locked(self._directory, nic.uuid):
            state = keeper.load(self._directory, nic.uuid)
            if state is None or state["instance"] != nic.instance:
                state = {
                    "uri": self._uri,
                    "local": self._local,
                    "domain": nic.domain,
                    "uuid": nic.uuid,
                    "instance": nic.instance,
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
                "ifindex": keeper.ifindex(live.get("target")) if self._local else None,
                "allmulticast": live.get("allmulticast") == "yes",
                "target": live.get("target"),
            }
            keeper.save(self._directory, nic.uuid, state)

    def _start(self) -> None:
        """Start a keeper; whoever calls this holds the lock ``all``."""
        program = os.path.join(self._directory, "keeper.py")
        loader: t.Any = keeper.__loader__
        # The module's own code is gone when the run ends.
        temporary = f"{program}.{os.getpid()}"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(loader.get_source(keeper.__name__))
        os.replace(temporary, program)
        command = [sys.executable, program, self._directory, "-", *([self._library] if self._library else [])]
        if not self._start_unit(command):
            quiet = subprocess.DEVNULL
            # Nobody waits for it: it is to outlive this process.
            subprocess.Popen(  # pylint: disable=consider-using-with
                command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, cwd="/"
            )
        until = time.monotonic() + _START_SECONDS
        while not self.keeper():
            if time.monotonic() > until:
                raise MacvtapError(
                    f"the process that would attach NICs again which guests release later does not start: "
                    f"{' '.join(command)}"
                )
            time.sleep(0.005)

    def _start_unit(self, command: t.Sequence[str]) -> bool:
        """Start it as a unit of systemd's, which outlives the session that Ansible runs in; say whether it could."""
        if not (self._local and os.geteuid() == 0 and os.path.isdir("/run/systemd/system")):
            return False
        unit = [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit=linuxvirt-macvtap-keeper-{os.getpid()}-{time.monotonic_ns()}",
            "--description=Attaches NICs again that guests release late",
            "--property=Restart=on-failure",
            "--property=RestartSec=100ms",
        ]
        try:
            done = subprocess.run([*unit, *command], capture_output=True, check=False, timeout=_START_SECONDS)
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0
