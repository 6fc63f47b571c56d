# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Carries out one step of a Plan of networks. A part of the libvirt adapter."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _signals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import writes
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection, message_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import live, reader
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    AUTOSTART,
    DEFINED,
    RESTARTED,
    STARTED,
    STOPPED,
    UNDEFINED,
    UPDATED,
    Network,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.restart_watch import RestartWatch
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

Confirm = t.Callable[[Step[Network]], None]


class Execution:
    """One step that is carried out."""

    def __init__(
        self,
        connection: Connection,
        step: Step[Network],
        journal: Journal[Network],
        counts: writes.Writes,
        watch: RestartWatch,
    ) -> None:
        self._connection = connection
        self._step = step
        self._journal = journal
        self._counts = counts
        self._watch = watch
        self._count = 0

    def apply(self, stored: t.Callable[[str, str], None], confirm: Confirm | None) -> None:
        """Carry the step out; ``stored`` gets the UUID, and the XML or "" if another editor stored it as well.

        :raises StaleError: another editor has changed the network since it was observed.
        :raises MacvtapError: libvirt refuses.
        """
        before, after = self._step.before, self._step.after
        name = self._step.target
        with self._connection.translate_errors(f"libvirt refuses to change network {name!r}", self._step.path):
            # Before the last look at it: a define in between is one that is overwritten.
            self._count = self._counts.count((after or before or Network()).uuid)
            handle: t.Any = self._unchanged(before) if before is not None else None
            if after is None:
                self._remove(handle, before, confirm)
            elif after.persistent:
                if before is None or after.xml != before.xml or not before.persistent:
                    handle = self._store(after, stored)
                self._activate(handle, before, after, confirm)
                if bool(handle.autostart()) != after.autostart:
                    self._do(AUTOSTART, lambda: handle.setAutostart(int(after.autostart)), handle)
            else:
                self._bring_back_transient(handle, before, after, confirm)

    def _remove(self, handle: t.Any, before: Network | None, confirm: Confirm | None) -> None:
        if handle is None or before is None:
            return
        if before.active:
            self._confirm(confirm)
            self._do(STOPPED, handle.destroy, handle)
        if before.persistent:
            self._do(UNDEFINED, handle.undefine, handle)

    def _store(self, after: Network, stored: t.Callable[[str, str], None]) -> t.Any:
        def define() -> t.Any:
            handle = self._do(DEFINED, lambda: self._connection.handle.networkDefineXML(after.xml))
            stored(after.uuid, handle.XMLDesc(self._connection.libvirt.VIR_NETWORK_XML_INACTIVE))
            return handle

        error = writes.OverwrittenError(f"network {after.name!r}", path=self._step.path)
        return self._counts.define(after.uuid, self._count, define, lambda: stored(after.uuid, ""), error)

    def _activate(self, handle: t.Any, before: Network | None, after: Network, confirm: Confirm | None) -> None:
        was_active = before is not None and before.active
        if was_active and not after.active:
            self._confirm(confirm)
            self._do(STOPPED, handle.destroy, handle)
        elif was_active and self._step.recreates:
            self._restart(handle, handle.create, confirm)
        elif was_active:
            self._update(handle, before, after, confirm)
        elif after.active:
            self._do(STARTED, handle.create, handle)

    def _update(self, handle: t.Any, before: Network | None, after: Network, confirm: Confirm | None) -> None:
        if before is None or before.live is None or after.live is None:
            return
        updates = live.updates(before.live, after.live, self._connection.libvirt)
        if updates:
            self._confirm(confirm)
        affect_live = self._connection.libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
        for update in updates:
            self._do(UPDATED, lambda update=update: handle.update(*update, affect_live), handle)  # type: ignore[misc]

    def _restart(self, handle: t.Any, create: t.Callable[[], t.Any], confirm: Confirm | None) -> None:
        libvirt = self._connection.libvirt
        self._confirm(confirm)
        # No signal comes between the two requests.
        with self._watch.restarting(handle.UUIDString(), self._step.target) as stopped, _signals.deferred():
            self._do(RESTARTED, handle.destroy, handle)
            stopped()
            try:
                create()
            except libvirt.libvirtError as exc:
                # Another editor may have started it in between. The verification looks at what it has.
                if not handle.isActive():
                    name = self._step.target
                    raise MacvtapError(
                        f"network {name!r} was stopped to be restarted, and libvirt refuses to start it: "
                        f"{message_of(exc)}",
                        path=self._step.path,
                    ) from exc

    def _bring_back_transient(
        self, handle: t.Any, before: Network | None, after: Network, confirm: Confirm | None
    ) -> None:
        """Make the network one that is not stored. Only a rollback does that."""

        def create() -> t.Any:
            return self._connection.handle.networkCreateXML(after.live_xml)

        if before is None or not before.active:
            self._do(STARTED, create, handle)
        elif self._step.recreates:
            self._restart(handle, create, confirm)
        else:
            self._update(handle, before, after, confirm)
        if before is not None and before.persistent:
            self._do(UNDEFINED, handle.undefine, handle)

    def _unchanged(self, before: Network) -> t.Any:
        """Return the libvirt network ``before``, right before it is changed.

        :raises StaleError: it has gone, or another editor has changed it.
        """
        libvirt = self._connection.libvirt
        try:
            handle = self._connection.handle.networkLookupByUUIDString(before.uuid)
            now = reader.read(self._connection, handle)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                raise
            now = None
        if now is None or now.name != before.name:
            raise StaleError(f"network {before.name!r} was removed while this ran. Run again", path=self._step.path)
        if (now.xml, now.active, now.persistent) != (before.xml, before.active, before.persistent) or (
            now.live != before.live
        ):
            raise self._stale()
        return handle

    def _stale(self) -> StaleError:
        return StaleError(
            f"network {self._step.target!r} was changed by another editor while this ran. Run again",
            path=self._step.path,
        )

    def _confirm(self, confirm: Confirm | None) -> None:
        if confirm is not None:
            confirm(self._step)

    def _do(self, action: str, request: t.Callable[[], t.Any], handle: t.Any = None) -> t.Any:
        """Make a request and return its result; ``handle`` is the network, None for one that is new.

        :raises StaleError: libvirt refuses, because another editor has changed the network right before.
        :raises libvirtError: libvirt refuses.
        """
        try:
            with self._connection.recorded(self._journal, [self._step], action):
                return request()
        except self._connection.libvirt.libvirtError as exc:
            if self._is_stale(action, handle):
                raise self._stale() from exc
            raise

    def _is_stale(self, action: str, handle: t.Any) -> bool:
        """Whether a refused ``action`` is explained by what the network is now."""
        libvirt, before = self._connection.libvirt, self._step.before
        try:
            if handle is None:
                # Another network has got the name or the UUID.
                networks = self._connection.handle.listAllNetworks()
                return before is None and self._step.target in {network.name() for network in networks}
            if action == STARTED:
                return bool(handle.isActive())
            if action in {STOPPED, RESTARTED}:
                return not handle.isActive()
            if action == UPDATED and before is not None:
                now = reader.read(self._connection, handle)
                return now is None or now.live is None
        except libvirt.libvirtError as exc:
            return bool(exc.get_error_code() == libvirt.VIR_ERR_NO_NETWORK)
        return False
