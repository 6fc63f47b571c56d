# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans the changes of direct networks, and their impact on running guests. Pure: no libvirt, no I/O."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import Resolved, comparable
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import NETWORK, PORTGROUP
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    ABSENT,
    ACTIVE,
    INACTIVE,
    Definition,
    Host,
    Network,
    User,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.warnings import warnings_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

# A field by its path: ("portgroups", "web", "vlan") is that of the portgroup web. Names may have any character.
Path = t.Tuple[str, ...]
_Fields = t.Dict[Path, t.Any]
_INTERFACES: Path = ("interfaces",)
_PORTGROUPS = "portgroups"


def plan_of(resolved: t.Sequence[Resolved], host: Host, *, force: bool) -> Plan[Network]:
    """Plan the steps to what is declared.

    :raises MacvtapError: libvirt would refuse a network, or guests use what would go.
    """
    for one in resolved:
        validate.network(one, host)
        validate.users(one, host, force=force)
    steps = tuple(
        Step(
            one.desired.name,
            one.before,
            one.after,
            changes_of(one),
            one.before.xml or one.before.live_xml if one.before else "",
            _view(one.after),
            path=one.desired.path,
        )
        for one in resolved
    )
    return Plan(steps, tuple(warning for one in resolved for warning in warnings_of(one, host)))


def changes_of(resolved: Resolved) -> tuple[Change, ...]:
    """Return what changes of one network, field by field."""
    before, after = resolved.before, resolved.after
    name = resolved.desired.name
    if before is None and after is None:
        return ()
    if before is None or after is None:
        return _whole(resolved)
    pairs = [(fields_of(before), fields_of(after))]
    if before.live is not None and after.live is not None:
        pairs.append((fields_of(comparable(before.live)), fields_of(comparable(after.live))))
    # What changes in both is one change.
    found = {field: (old.get(field), new.get(field)) for old, new in reversed(pairs) for field in _names(old, new)}
    changes = [Change(name, shown(field), *values, _impact(field, resolved)) for field, values in found.items()]
    if not before.persistent:
        changes.append(Change(name, "persistent", False, True, Impact.CONFIG))
    if before.autostart != after.autostart:
        changes.append(Change(name, "autostart", before.autostart, after.autostart, Impact.CONFIG))
    if before.active != after.active:
        impact = _impact_of_stop(resolved) if before.active else Impact.LIVE
        changes.append(Change(name, "state", state_of(before), state_of(after), impact))
    return tuple(changes)


def _whole(resolved: Resolved) -> tuple[Change, ...]:
    """Return the changes of a network that is new, or goes."""
    before, after = resolved.before, resolved.after
    name = resolved.desired.name
    states = state_of(before), state_of(after)
    if after is None:
        return (Change(name, "state", *states, _impact_of_stop(resolved)),)
    impact = Impact.LIVE if after.active else Impact.CONFIG
    values = {**fields_of(after), ("autostart",): after.autostart}
    return (
        Change(name, "state", *states, impact),
        *(Change(name, shown(field), None, value, impact) for field, value in values.items() if value is not None),
    )


def _impact_of_stop(resolved: Resolved) -> Impact:
    if resolved.before is None or not resolved.before.active:
        return Impact.CONFIG
    # They go on as they are until they stop, and do not start again.
    return Impact.RESTART if resolved.running else Impact.LIVE


def state_of(network: Network | None) -> str:
    if network is None:
        return ABSENT
    return ACTIVE if network.active else INACTIVE


def fields_of(definition: Definition) -> _Fields:
    """Return the fields of a network with the options' values, by path."""
    found: _Fields = {("mode",): definition.mode}
    if definition.pf is None:
        found[_INTERFACES] = list(definition.interfaces)
    else:
        found[("pf",)] = definition.pf
    found.update(((name,), NETWORK.by_name[name].value(text)) for name, text in definition.values.items())
    for portgroup in definition.portgroups:
        path = (_PORTGROUPS, portgroup.name)
        found[path] = "present"
        if portgroup.default:
            found[(*path, "default")] = True
        for name, text in portgroup.values.items():
            found[(*path, name)] = PORTGROUP.by_name[name].value(text)
    return found


def shown(path: Path) -> str:
    """Return a field's path as users see it."""
    return ".".join(path)


def _names(old: _Fields, new: _Fields) -> list[Path]:
    return [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]


def _impact(field: Path, resolved: Resolved) -> Impact:
    """Return what another value of ``field`` costs the guests on an existing network."""
    before, after = resolved.before, resolved.after
    if before is None or after is None or not before.active or not after.active or after.live is None:
        return Impact.CONFIG
    stored, live = fields_of(after).get(field), fields_of(after.live).get(field)
    reached = set(stored) == set(live) if isinstance(stored, list) and isinstance(live, list) else stored == live
    if resolved.restarts:
        return Impact.RECREATE
    had = before.live.interfaces if before.live is not None else ()
    if field == _INTERFACES and set(before.interfaces) == set(after.interfaces) == set(had):
        # The active network keeps their order.
        return Impact.CONFIG
    if not reached or any(_has(user, field, resolved) for user in resolved.running):
        return Impact.RESTART
    return Impact.LIVE


def _has(user: User, field: Path, resolved: Resolved) -> bool:
    """Whether a running guest has got the former value of ``field``, which it keeps until it restarts."""
    after = resolved.after
    if after is None:
        return True
    if field == _INTERFACES:
        return after.pf is None and user.uplink not in after.interfaces
    if field[0] != _PORTGROUPS:
        return True
    before = resolved.before.live if resolved.before else None
    chosen = before.portgroup(user.live_portgroup) if before is not None else None
    return chosen is not None and field[1] == chosen.name


def _view(after: Network | None) -> str:
    return after.xml if after is not None else ""
