# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Observes a run's calls: lets others act before and after each, and records what the run does."""

from __future__ import annotations

import typing as t

from torture.guests import OPERATION_FAILED, OPERATION_TIMEOUT, Guest, RefusedError
from torture.nics import Document, Nic
from torture.scene import Killed, Run, Scene

# More calls than any finite run needs.
_ENDLESS = 5000
_SECONDS_A_CALL = 0.001
# The calls right before a domain is stored: its stored XML, whether it is persistent, and its job.
_LOOKS = 3
_SECONDS_UNTIL_A_JOB_IS_IN_THE_WAY = 30


class Stage(Scene):
    """A host on which each call of a run is seen."""

    def call(self, name: str, about: str, effect: t.Callable[[], t.Any]) -> t.Any:
        """Carry out one call of the run, with actions of others before and after it."""
        run = self.run
        if run.dead:
            raise Killed
        nth = run.counts.get(name, 0)
        run.counts[name] = nth + 1
        number = run.calls
        run.calls += 1
        if number > _ENDLESS:
            del self.trace[200:]
            self.violate("endless", "the run does not end")
        self._point(run, name, nth, number, "before")
        self.now += _SECONDS_A_CALL
        self._tick()
        try:
            result = effect()
        except Exception as exc:
            self.note(f"{name} {about}: {exc}")
            raise
        if name not in {"sleep", "read", "state"}:
            self.note(f"{name} {about}".rstrip())
        self._point(run, name, nth, number, "after")
        return result

    def _point(self, run: Run, name: str, nth: int, number: int, side: str) -> None:
        due = [e for e in run.events if e.side == side and (e.call, e.nth) in {(name, nth), ("any", number)}]
        for event in due:
            run.events.remove(event)
            self.act(event.action)

    def sleep(self, seconds: float) -> None:
        def slept() -> None:
            self.now += seconds
            self.keeper()
            self.run.window = [self.world.copy()]

        self.call("sleep", "", slept)

    def looks(self, guest: Guest, what: str) -> None:
        if not self.runs:
            return
        self._moment += 1
        self.run.looked_at[what, guest.uuid] = self.run.calls, self._moment

    def _begin(self, what: str, uuid: str, mac: str, *, live: bool) -> None:
        """Record that the run is about to change something."""
        run = self.run
        run.tried += 1
        if run.check:
            self.violate("check-mode", f"{what} {mac} in check mode")
        if live and run.params.get("live") == "none" and not self._is_owed(what, uuid, mac):
            self.violate("live-none", f"{what} {mac} with live: none")
        if run.refuse:
            run.refuse -= 1
            run.refused.append((what, uuid, mac))
            raise RefusedError(OPERATION_FAILED, f"internal error: libvirt refuses to {what}")

    def _is_owed(self, what: str, uuid: str, mac: str) -> bool:
        """Whether the run attaches, as the keeper would, what the guest has released for an earlier run."""
        gone = self.world.departures
        return what == "attach" and any(
            (one.uuid, one.mac) == (uuid, mac) and one.by != self.run.number for one in gone
        )

    def _do(self, what: str, uuid: str, mac: str, effect: t.Callable[[], t.Any]) -> None:
        try:
            effect()
        except RefusedError as exc:
            self.run.refused.append((what, uuid, mac))
            if exc.code == OPERATION_TIMEOUT:
                self.now += _SECONDS_UNTIL_A_JOB_IS_IN_THE_WAY
                # No client can know whether it was carried out.
                self.interrupted = True
            raise
        self.run.done.append((what, uuid, mac))
        self.run.window = [self.world.copy()]

    def _unseen(self, what: str, uuid: str, *, within: int = 1) -> bool:
        """Whether others have changed a domain since the run read this property, at most so many calls ago."""
        call, moment = self.run.looked_at.get((what, uuid), (-_ENDLESS, 0))
        return call >= self.run.calls - within and self.run.others_at.get(uuid, -1) > moment

    def defines(self, document: Document) -> None:
        uuid = document.uuid
        self._begin("define", uuid, "", live=False)
        guest = self.world.guests.get(uuid)
        run = self.run
        # Nothing can be read between two consecutive calls, and each call shows one of three properties.
        excused = self._unseen("stored", uuid)
        unseen = {what: self._unseen(what, uuid, within=_LOOKS) for what in ("persistent", "job")}
        gone = guest is None or guest.stored is None
        if excused or (gone and unseen["persistent"]):
            run.excused.add(uuid)
            self.diverged.add(document.name)
        if guest is None or guest.stored is None:
            if not (excused or unseen["persistent"]):
                self.violate("resurrected", f"{document.name} was undefined, and is defined again")
        elif not excused:
            self._check_edit(guest, document)
        if guest is not None and guest.job and not unseen["job"]:
            self.violate("job", f"{document.name} is stored while a job (migration, say) is under way")
        self._do("define", uuid, "", lambda: self.world.define(document))

    def _check_edit(self, guest: Guest, document: Document) -> None:
        """Compare what the run stores with the current stored state. Only what the run selects may differ."""
        if document.memory != guest.memory:
            self.violate("lost-update", f"{guest.name}: memory {guest.memory} becomes {document.memory} again")
        was, new = {nic.mac: nic for nic in guest.stored or ()}, {nic.mac: nic for nic in document.nics}
        for mac in {*was, *new}:
            if was.get(mac) != new.get(mac) and not self.run.scope.means(guest.uuid, mac):
                kind = "lost-update" if (guest.uuid, mac) in self.run.others_nics else "not-meant"
                self.violate(kind, f"{guest.name} {mac}: {was.get(mac)} becomes {new.get(mac)}, which nobody declared")

    def asks(self, guest: Guest, alias: str) -> None:
        run = self.run
        found = next((one for one in guest.live or () if one.nic.alias == alias), None)
        mac = found.nic.mac if found else ""
        self._begin("detach", guest.uuid, mac, live=True)
        allowed = run.scope.may_go(guest.uuid, mac) or (found is not None and found.by == run.number)
        if found is not None and not allowed and not self._unseen("live", guest.uuid):
            kind = "unasked-detach" if run.scope.means(guest.uuid, mac) else "not-meant"
            self.violate(kind, f"{guest.name} is asked for {mac}, which nobody declared to go")
        self._do("detach", guest.uuid, mac, lambda: self.world.ask(guest, alias, run.number))

    def attaches(self, guest: Guest, nic: Nic) -> None:
        self._begin("attach", guest.uuid, nic.mac, live=True)
        self._do("attach", guest.uuid, nic.mac, lambda: self.world.attach(guest, nic, self.run.number))

    def updates(self, guest: Guest, nic: Nic) -> None:
        self._begin("update", guest.uuid, nic.mac, live=True)
        self._do("update", guest.uuid, nic.mac, lambda: self.world.update(guest, nic))

    def saves(self, guest: Guest) -> None:
        self._begin("save", guest.uuid, "", live=True)
        self._do("save", guest.uuid, "", lambda: self.world.managed_save(guest))

    def restores(self, guest: Guest) -> None:
        # It is looked for right before.
        if not guest.running and not (guest.saved_by_run and guest.saved is not None) and not self._unsaved:
            self.violate("booted", f"{guest.name} was not saved by a run, and is started")
        self._do("restore", guest.uuid, "", lambda: self.world.restore(guest))

    def discards(self, guest: Guest) -> None:
        if not guest.running:
            self.violate("lost", f"the image of {guest.name} is removed, and it does not run")
        guest.saved = None

    def sets_mode(self, name: str, index: int, mac: str, mode: str) -> bool:
        """Set the mode of a link; return whether there is one."""
        self._begin("link", "", mac, live=True)
        found = self.world.set_link_mode(name, index, mode)
        if found:
            self.run.done.append(("link", "", mac))
            self.run.window = [self.world.copy()]
        return found
