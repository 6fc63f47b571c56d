# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The invariants that are checked when a run has ended: whether its result is true."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from torture import intent
from torture.drive import Outcome
from torture.guests import OTHERS, RESTORED, Guest, LiveNic
from torture.nics import Nic
from torture.scene import Run
from torture.stage import Stage
from torture.world import NETWORKS, World

AS_BEFORE = "The host is as it was before"
_ALARMS = ("The rollback failed", "The rollback is incomplete")
# The options that the model supports, and its names for them.
_FIELDS = {"network": "network", "source": "source", "mode": "mode", "model": "model", "link_state": "link"}


def after_run(stage: Stage, run: Run, outcome: Outcome) -> None:
    """Check the result of a run that was not killed.

    :raises ViolationError: it is not true.
    """
    if outcome.rc is None:
        return
    if "defect in the module" in outcome.message:
        stage.violate("defect", outcome.message + "\n" + str(outcome.result.get("exception", "")))
    _check_existence(stage, run)
    if outcome.rc:
        _check_failure(stage, run, outcome)
    elif not run.check:
        _check_changed(stage, run, outcome)
        for entry in outcome.result["interfaces"]:
            _check_interface(stage, run, outcome, entry)
        for entry, returned in zip(intent.entries(run.params), outcome.result["interfaces"]):
            _check_options(stage, run, entry, returned)


def _check_existence(stage: Stage, run: Run) -> None:
    """Only others create and remove domains. What a run does not manage stays as others have left it."""
    for uuid in {*stage.world.guests, *stage.shadow.guests} - run.excused:
        now, meant = stage.world.guests.get(uuid), stage.shadow.guests.get(uuid)
        name = (now or meant or Guest("", "", None)).name
        if name in stage.diverged:
            continue
        if now is None or meant is None or (now.stored is None) != (meant.stored is None):
            stage.violate("resurrected", f"{name} is {now}, and would be {meant}")
            continue
        if now.memory != meant.memory:
            stage.violate("lost-update", f"{name}: memory {now.memory}, another editor wrote {meant.memory}")
        for mac in {nic.mac for nic in (*(now.stored or ()), *(meant.stored or ()))}:
            if not run.scope.means(uuid, mac) and _stored(run, now).get(mac) != _stored(run, meant).get(mac):
                kind = "lost-update" if (uuid, mac) in run.others_nics else "not-meant"
                stage.violate(kind, f"{name} {mac}: {now.stored_nic(mac)}, others wrote {meant.stored_nic(mac)}")


def _check_failure(stage: Stage, run: Run, outcome: Outcome) -> None:
    differences = list(_differences(stage, run))
    if AS_BEFORE in outcome.message and differences:
        stage.violate("false-as-before", f"{outcome.message!r}, but {'; '.join(differences)}")
    if run.params.get("on_error") != "keep":
        _check_put_back(stage, run, outcome)
    # Changes by others to the same NICs may prevent a rollback.
    alarmed = any(alarm in outcome.message for alarm in _ALARMS) and run.restarts < 2 and not run.others_nics
    # There is nothing to roll back in a domain that others have undefined. The message says so.
    alarmed = alarmed and "undefined" not in outcome.message
    if alarmed and not differences and not stage.diverged and not _have_moved(stage):
        stage.violate("needless-alarm", f"{outcome.message!r}, but all is as it was before")


def _have_moved(stage: Stage) -> bool:
    """Whether any NIC of a running guest is in another slot than without the run, or off its network.

    A rollback may be unable to mend that.
    """
    slots = (
        {
            (guest.uuid, one.nic.mac): (one.nic.address, one.nic.network)
            for guest in world.guests.values()
            for one in guest.live or ()
        }
        for world in (stage.world, stage.shadow)
    )
    now, meant = slots
    return any(meant.get(nic, slot) != slot for nic, slot in now.items())


def _check_put_back(stage: Stage, run: Run, outcome: Outcome) -> None:
    """A failed run restores what it has stored, unless something prevents that."""
    for uuid, guest in stage.world.guests.items():
        meant = stage.shadow.guests.get(uuid)
        refused = any(one == uuid for what, one, _mac in run.refused if what == "define")
        hindered = refused and any(alarm in outcome.message for alarm in _ALARMS)
        if meant is None or guest.job or uuid in run.excused or hindered or run.restarts > 1:
            continue
        for mac in {nic.mac for nic in (*(guest.stored or ()), *(meant.stored or ()))}:
            if guest.stored_nic(mac) != meant.stored_nic(mac) and (uuid, mac) not in run.others_nics:
                stage.violate(
                    "not-put-back",
                    f"{outcome.message!r}: {guest.name} stores {guest.stored_nic(mac)}, not {meant.stored_nic(mac)}",
                )


def _differences(stage: Stage, run: Run) -> t.Iterator[str]:
    """Yield the differences between the host and the host without the run."""
    for guest in stage.world.guests.values():
        meant = stage.shadow.guests.get(guest.uuid)
        for one in guest.live or ():
            if one.asked == run.number:
                yield f"{guest.name} was asked for {one.nic.mac} and may release it any time"
        if meant is None or guest.name in stage.diverged:
            continue
        if _stored(run, guest) != _stored(run, meant):
            yield f"{guest.name} stores {guest.stored}, not {meant.stored}"
        there, without = (
            {mac: one for mac, one in _live(domain).items() if (guest.uuid, mac) not in run.outstanding}
            for domain in (guest, meant)
        )
        if there != without:
            yield f"{guest.name} runs with {there}, not {without}"


def _stored(run: Run, guest: Guest) -> dict[str, Nic]:
    """Return the stored NICs by address. The slots of NICs added by others depend on the NICs that a run has added."""
    others = {mac for uuid, mac in run.others_nics if uuid == guest.uuid}
    return {nic.mac: replace(nic, address=0) if nic.mac in others else nic for nic in guest.stored or ()}


def _live(guest: Guest) -> dict[str, tuple[str, ...]]:
    return {
        one.nic.mac: (one.nic.type, one.nic.source, one.mode, one.nic.model, one.nic.link, one.nic.average)
        for one in guest.live or ()
    }


def _check_changed(stage: Stage, run: Run, outcome: Outcome) -> None:
    changed = outcome.result["changed"]
    if changed and not run.tried:
        stage.violate("false-changed", "changed is returned, and nothing was asked for")
    differences = [text for text in _differences(stage, run) if "was asked for" not in text]
    if not changed and run.done and differences:
        stage.violate("silent-change", f"changed: false, but {'; '.join(differences)}")


def _check_interface(stage: Stage, run: Run, outcome: Outcome, returned: t.Mapping[str, t.Any]) -> None:
    """Each return value of an interface was true at some moment since the run's last change."""
    key = returned["domain"], returned["mac"]
    lists: dict[str, dict[tuple[str, str], t.Any]] = {
        name: {(one["domain"], one["mac"]): one for one in outcome.result[name]}
        for name in ("restart_required", "pending")
    }
    output = " ".join(outcome.warnings)
    moments = [_Moment(world, *key) for world in run.window]

    def check(kind: str, what: str, holds: t.Callable[[_Moment], bool]) -> None:
        if not any(holds(moment) for moment in moments):
            last = moments[-1]
            stage.violate(kind, f"{what} of {key} is not true: stored {last.stored}, live {last.live}")

    check("false-stored", f"stored: {returned['stored']}", lambda m: _same(returned["stored"], m.stored, None))
    # If a guest stops between the reads of its XML and of its links, the mode is that of the XML.
    ends = any(moment.live is None for moment in moments)

    def is_live(m: _Moment) -> bool:
        if m.live is None:
            return _same(returned["live"], None, None)
        modes = {m.live.mode, *([m.live.nic.mode] if ends else [])}
        return any(_same(returned["live"], m.live.nic, mode) for mode in modes)

    check("false-live", f"live: {returned['live']}", is_live)
    # The keeper needs a moment to find the requests to a restored guest from before it was saved.
    guest = stage.world.named(returned["domain"])
    restored = guest is not None and guest.reason == RESTORED and guest.boot != run.boots.get(guest.uuid)
    # A request that an interrupted run has recorded may never have been sent.
    unsure = key in lists["pending"] and stage.interrupted
    check(
        "false-pending",
        f"pending: {key in lists['pending']}",
        lambda m: (
            (key in lists["pending"]) == m.pending
            or m.asked_by_others
            or (unsure and (m.live is not None or m.saved))
            or (key in lists["pending"] and m.released)
            or restored
        ),
    )
    if key not in lists["pending"]:
        listed = key in lists["restart_required"]
        # Like with live values.
        fields = set(lists["restart_required"][key]["fields"]) if listed else set()
        of_xml = ends and listed and fields - {"network"} == {"mode"}
        check(
            "false-restart",
            f"restart_required: {listed}",
            lambda m: listed == m.restart or m.saved_otherwise or of_xml,
        )
    if key not in lists["restart_required"] and "save" not in output:
        check("saved-unsaid", "no word of the managed save", lambda m: not m.saved_otherwise)


class _Moment:
    """One NIC at one moment."""

    def __init__(self, world: World, domain: str, mac: str) -> None:
        guest = world.named(domain)
        self.stored: Nic | None = guest.stored_nic(mac) if guest else None
        self.live: LiveNic | None = guest.live_nic(mac) if guest else None
        self.saved = guest is not None and not guest.running and guest.saved is not None
        asked = {} if guest is None or guest.running or guest.saved is None else guest.saved_asked
        self.pending = (self.live is not None and self.live.asked is not None) or asked.get(mac, OTHERS) != OTHERS
        # It was requested and released, perhaps before the guest was saved, and will be attached again.
        has = [one.mac for one in (guest and not guest.running and guest.saved) or ()]
        there = guest is not None and (guest.running or guest.saved is not None) and mac not in has
        gone = any(guest is not None and (one.uuid, one.mac) == (guest.uuid, mac) for one in world.departures)
        self.released = there and self.live is None and (self.stored is not None or gone)
        # A save without NICs may be unreadable.
        self.released |= guest is not None and not guest.running and guest.saved == []
        # No client can detect this.
        self.asked_by_others = (self.live is not None and self.live.asked == OTHERS) or asked.get(mac) == OTHERS
        persistent = guest is not None and guest.stored is not None
        self.restart = bool(guest and guest.running and persistent and _differ(self.stored, self.live))
        self.saved_otherwise = False
        if guest is not None and not guest.running and guest.saved is not None:
            saved = next((nic for nic in guest.saved if nic.mac == mac), None)
            # At its next start it keeps its slot.
            self.saved_otherwise = _in_slot(saved) != _in_slot(self.stored)


def _in_slot(nic: Nic | None) -> Nic | None:
    return nic and replace(_connected(nic).plain, address=nic.address)


def _connected(nic: Nic) -> Nic:
    """Return a NIC with what its network gives it. A guest does not notice the name."""
    if not nic.network:
        return nic
    source, mode = NETWORKS[nic.network]
    return replace(nic, source=source, mode=mode, network="")


def _differ(stored: Nic | None, live: LiveNic | None) -> bool:
    """Whether a guest's live NIC differs from the stored one, apart from values that libvirt generates."""
    if stored is None or live is None:
        return (stored is None) != (live is None)
    nic = live.nic
    stored = _connected(stored)
    names = ("type", "source", "model", "link", "driver", "queues", "average", "address")
    if any(getattr(stored, name) != getattr(nic, name) for name in names) or stored.mode != live.mode:
        return True
    own = nic.alias if nic.alias.startswith("ua-") else ""
    return stored.alias != own or stored.target != nic.plain.target


def _same(returned: t.Mapping[str, t.Any] | None, nic: Nic | None, mode: str | None) -> bool:
    if returned is None or nic is None:
        return returned is None and nic is None
    values = {name: getattr(nic, own) or None for name, own in _FIELDS.items()}
    values["mode"] = mode or nic.mode or None
    values["link_state"] = values["link_state"] or "up"
    return nic.type != "direct" or all(returned.get(name) == value for name, value in values.items())


def _check_options(stage: Stage, run: Run, entry: t.Mapping[str, t.Any], returned: t.Mapping[str, t.Any]) -> None:
    """The returned stored values are the declared ones."""
    stored = returned["stored"]
    guests = [world.named(entry["domain"]) for world in run.window]
    if any(guest is not None and guest.stored is None for guest in guests):
        # A transient domain has no stored configuration, and may no longer exist.
        return
    if entry.get("state") == "absent":
        if stored is not None:
            stage.violate("not-as-declared", f"absent, but returned as stored: {returned}")
        return
    wrong = [name for name in _FIELDS if entry.get(name) and (stored or {}).get(name) != entry[name]]
    if wrong:
        stage.violate("not-as-declared", f"{', '.join(wrong)} of {dict(entry)}: {returned}")
