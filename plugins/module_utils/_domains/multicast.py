# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which interfaces can hear multicast in which way, and what becomes of the rules for it. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import selection, uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import link_of

_ALL, _TRUST = "allmulticast", "trust_guest_rx_filters"


def check(  # noqa: PLR0913  # what each of the rules is about
    desired: Desired,
    before: Nic,
    stored: Iface,
    *,
    changed: t.Collection[str],
    host: Host,
    leaving: t.Collection[tuple[str, str]],
) -> None:
    """Refuse what would not be heard, or not last, of an interface that is to be ``stored``.

    ``changed`` are the fields that are to be otherwise than before, and ``leaving`` the interfaces, by domain and
    address, that go in this run.

    :raises MacvtapError: with the path of an option that was given.
    """
    _check_reach(desired, host)
    _check_source(desired, stored, changed, host)
    check_ways(desired, stored, changed)
    if desired.given.get(_ALL) == "no" and before.mac in host.rules:
        _check_others(desired, before, others(before, host, leaving))


def check_ways(desired: Desired, stored: Iface, changed: t.Collection[str]) -> None:
    """Refuse what would not be heard for what an interface is otherwise, that is to be ``stored``.

    :raises MacvtapError: with the path of an option that was given.
    """
    _check_mode(desired, stored, changed)
    _check_both(desired, stored)
    _check_card(desired, stored, changed)


def others(nic: Nic, host: Host, leaving: t.Collection[tuple[str, str]]) -> list[str]:
    """Return the other domains that have the address, and so the rule, and go on having it."""
    return [name for name in selection.owners(host, nic.mac, but=nic.domain) if (name, nic.mac) not in leaving]


def left_to(names: t.Sequence[str]) -> str:
    return (
        "the rule by which its link hears all multicast is left, since it goes by the address, which an interface of "
        f"domain {', '.join(names)} has too"
    )


def without_rule(nic: Nic) -> Nic:
    """Return the interface as if there were no rule for it."""
    stored = nic.stored
    if stored is not None:
        stored = replace(stored, values={name: text for name, text in stored.values.items() if name != _ALL})
    return replace(nic, stored=stored, left=False)


def is_left(desired: Desired, nic: Nic, host: Host) -> bool:
    """Whether there is a rule for an interface that is removed, of which what is stored of it does not tell."""
    told = nic.stored is not None and nic.stored.get(_ALL) == "yes"
    # What is not there has an address only if that was said.
    return nic.mac in host.rules and not told and (nic.stored is not None or desired.by == "mac")


def unkept(host: Host, live: Iface | None, *, running: bool) -> str:
    """Say how long a link that is to be ``live`` has it on a host where it cannot be written down."""
    lasts = "is not set when the guest starts"
    if running:
        hears = live is not None and live.get(_ALL) == "yes"
        lasts = "lasts only until the guest stops" if hears else "is set neither now nor when the guest starts"
    return f"{_ALL} {lasts}: {host.unkept}. Run again whenever it has started"


def hearing_as(live: Iface, stored: Iface, desired: Desired) -> Iface:
    """Return ``stored`` with what the running one's link hears, which nobody has asked to change.

    Not where libvirt sets it for the guest, or mode passthrough has no use for it.
    """
    passing = "passthrough" in (live.get("mode"), stored.get("mode"))
    trusted = "yes" in (live.get(_TRUST), stored.get(_TRUST))
    if _ALL in desired.given or live.get(_ALL) != "yes" or passing or trusted:
        return stored
    return replace(stored, values={**stored.values, _ALL: "yes"})


def _path(desired: Desired, *options: str) -> str:
    """Return the path of the first of ``options`` that was given."""
    return join_path(desired.path, next((name for name in options if name in desired.given), desired.by))


def _check_reach(desired: Desired, host: Host) -> None:
    if desired.given.get(_ALL) is not None and (host.links is None or uris.is_session(host.uri)):
        where = (
            "a user's own libvirt has no running guest with one" if host.links is not None else "that is out of reach"
        )
        raise MacvtapError(
            f"libvirt's configuration has no word for it: it is set on the running guest's link, and {where} with "
            f"{host.uri}. Leave it out",
            path=_path(desired, _ALL),
        )


def _check_mode(desired: Desired, stored: Iface, changed: t.Collection[str]) -> None:
    said = desired.given.get(_ALL) == "yes"
    if stored.get("mode") != "passthrough" or not (said or stored.get(_ALL) == "yes"):
        return
    if said or {_ALL, "mode"} & set(changed):
        ways = "trust_guest_rx_filters: true with a virtio card, or mode: bridge"
        raise MacvtapError(
            "in mode passthrough the source hears no more by allmulticast that a link gets before it is up, as it does "
            "when the guest starts, and its count of those who want it is broken when the link loses it. Say "
            + (ways if said else f"allmulticast: false, since there is a rule for {stored.mac}, and {ways}"),
            path=_path(desired, *([_ALL] if said else []), "mode"),
        )


def _check_source(desired: Desired, stored: Iface, changed: t.Collection[str], host: Host) -> None:
    link = link_of(stored.get("source"), host.links or {})
    if link is not None and _ALL in changed and desired.given.get(_ALL) == "yes":
        refusals.check_counts(_path(desired, _ALL), link)


def _check_both(desired: Desired, stored: Iface) -> None:
    asked = [name for name in (_ALL, _TRUST) if desired.given.get(name) == "yes"]
    hears = "yes" in (stored.get(_ALL), desired.given.get(_ALL))
    if not asked or not hears or stored.get(_TRUST) != "yes":
        return
    other = "" if len(asked) == 2 else f"; {_TRUST if asked == [_ALL] else _ALL} is what it has already"
    raise MacvtapError(
        "where libvirt trusts the guest's filters (trust_guest_rx_filters) it sets the link as the guest's card is "
        f"set, and takes allmulticast off again when that changes{other}. Say one of the two, and false for the other",
        path=_path(desired, *asked),
    )


def _check_card(desired: Desired, stored: Iface, changed: t.Collection[str]) -> None:
    model = stored.get("model") or "rtl8139"
    if stored.get(_TRUST) != "yes" or model.lower().startswith("virtio") or not {_TRUST, "model"} & set(changed):
        return
    raise MacvtapError(
        f"QEMU does not tell how the filters of a card of model {model} are set, so that nothing would come of "
        "trust_guest_rx_filters: only virtio does. Say model: virtio, or trust_guest_rx_filters: false, and "
        "allmulticast: true if it is to hear all groups",
        path=_path(desired, _TRUST, "model"),
    )


def _check_others(desired: Desired, before: Nic, names: t.Sequence[str]) -> None:
    if names:
        raise MacvtapError(
            f"the rule that would be removed goes by the address {before.mac}, which an interface of domain "
            f"{', '.join(names)} has too, and would hear all multicast no longer. Give one of the two another address, "
            "or leave this out",
            path=_path(desired, _ALL),
        )
