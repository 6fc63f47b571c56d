# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validates allmulticast and trust_guest_rx_filters, and plans the udev rules for them. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import validate as links_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import link_of, with_values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

_ALL, _TRUST = "allmulticast", "trust_guest_rx_filters"


def validate(  # noqa: PLR0913  # what each of the rules is about
    desired: Desired,
    before: Nic,
    stored: Iface,
    *,
    changed: t.Collection[str],
    host: Host,
    leaving: t.Collection[tuple[str, str]],
) -> None:
    """Refuse multicast options that would have no effect, or would not last, on the ``stored`` interface.

    ``changed`` are the fields that this run changes. ``leaving`` are the interfaces (domain, MAC address) that it
    removes.

    :raises MacvtapError: with the path of an option that was given.
    """
    _validate_reachable(desired, host)
    _validate_source(desired, stored, changed, host)
    check_ways(desired, stored, changed)
    if desired.given.get(_ALL) == "no" and before.mac in host.rules:
        _validate_others(desired, before, others(before, host, leaving))


def check_ways(desired: Desired, stored: Iface, changed: t.Collection[str]) -> None:
    """Refuse multicast options that do not fit the other fields of the ``stored`` interface.

    :raises MacvtapError: with the path of an option that was given.
    """
    _validate_mode(desired, stored, changed)
    _validate_both(desired, stored)
    _validate_model(desired, stored, changed)


def with_default(desired: Desired, nic: Nic | None, host: Host) -> Desired:
    """Return ``desired`` without an allmulticast that is only the default of the entries, where it is impossible.

    The default is then no: an interface that had it and becomes trusted, say, loses its rule. On a host without udev
    it would end with each start of the guest, so there it has to be asked for.
    """
    if _ALL not in desired.defaults or desired.given.get(_ALL) != "yes":
        return desired
    possible = host.links is not None and not uris.is_session(host.uri)
    if possible and _hears_what_it_asks_for(desired, nic, host):
        if host.managed_rules is not None:
            return desired
        possible = False
    given = dict(desired.given)
    if possible and nic is not None and nic.mac in host.rules:
        given[_ALL] = "no"
    else:
        del given[_ALL]
    return with_values(desired, given=given)


def _hears_what_it_asks_for(desired: Desired, nic: Nic | None, host: Host) -> bool:
    """Whether the NIC will neither be in mode passthrough nor be trusted."""
    current = (nic.stored or nic.live) if nic is not None else None
    known = current.values if current is not None and current.type == "direct" else {}
    values: t.Mapping[str, str | None] = {**known, **desired.given}
    if values.get("network") is not None:
        planned = {name: text for name, text in values.items() if text is not None}
        values = networks.effective(Iface("", values=networks.storable(planned, desired.given)), host.networks).values
    return values.get("mode") != "passthrough" and values.get(_TRUST) != "yes"


def default_warnings(nics: t.Iterable[tuple[Desired, Nic]], host: Host) -> t.Iterator[str]:
    """Warn of the NICs to which the default does not apply because the host cannot keep it; one warning for all.

    ``nics`` are the interfaces that resolution.py has resolved, and what becomes of them.
    """
    if host.managed_rules is not None or host.links is None or uris.is_session(host.uri):
        return
    left_out = [
        f"{nic.domain} {nic.mac}"
        for desired, nic in nics
        if desired.present and _ALL in desired.defaults and _ALL not in desired.given and nic.stored is not None
        for stored in (networks.effective(nic.stored, host.networks),)
        if stored.get("mode") != "passthrough" and stored.get(_TRUST) != "yes"
    ]
    if left_out:
        yield (
            f"{join_names(left_out)}: links do not receive all multicast, because {host.rules_unsupported}. Set "
            "allmulticast: true in an entry to have it until the guest stops, or false to silence this"
        )


def others(nic: Nic, host: Host, leaving: t.Collection[tuple[str, str]]) -> list[str]:
    """Return the other domains that keep the address, and so need its rule."""
    return [name for name in selection.owners(host, nic.mac, exclude=nic.domain) if (name, nic.mac) not in leaving]


def shared_rule_warning(names: t.Sequence[str]) -> str:
    return (
        "the udev rule for its address (allmulticast) is left, because an interface of domain "
        f"{', '.join(names)} has the same address"
    )


def without_rule(nic: Nic) -> Nic:
    """Return the NIC as if there were no rule for it."""
    stored = nic.stored
    if stored is not None:
        stored = replace(stored, values={name: text for name, text in stored.values.items() if name != _ALL})
    return replace(nic, stored=stored, has_orphan_rule=False)


def has_orphan_rule(desired: Desired, nic: Nic, host: Host) -> bool:
    """Whether an interface that is removed has a udev rule that its stored values do not show."""
    is_stored = nic.stored is not None and nic.stored.get(_ALL) == "yes"
    # A missing NIC has an address only if the user has set it.
    return nic.mac in host.rules and not is_stored and (nic.stored is not None or desired.by == "mac")


def unsupported_warning(host: Host, live: Iface | None, *, running: bool) -> str:
    """Return how long the ``live`` link keeps allmulticast on a host that does not support rules."""
    lasts = "is not set when the guest starts"
    if running:
        receives_all = live is not None and live.get(_ALL) == "yes"
        lasts = "lasts only until the guest stops" if receives_all else "is set neither now nor when the guest starts"
    return f"{_ALL} {lasts}: {host.rules_unsupported}. Run again after each start"


def with_link_allmulticast(live: Iface, stored: Iface, final: Iface, desired: Desired) -> Iface:
    """Return ``stored`` with the allmulticast of the running link, unless it is declared.

    ``final`` is what the guest gets of it: see networks.effective().

    Not if libvirt sets it for the guest, or in mode passthrough, where it has no effect.
    """
    passthrough = "passthrough" in (live.get("mode"), final.get("mode"))
    trusted = "yes" in (live.get(_TRUST), final.get(_TRUST))
    if _ALL in desired.given or live.get(_ALL) != "yes" or passthrough or trusted:
        return stored
    return replace(stored, values={**stored.values, _ALL: "yes"})


def _path(desired: Desired, *options: str) -> str:
    """Return the path of the first of ``options`` that is set."""
    return join_path(desired.path, next((name for name in options if desired.given.get(name) is not None), desired.by))


def _validate_reachable(desired: Desired, host: Host) -> None:
    if desired.given.get(_ALL) is not None and (host.links is None or uris.is_session(host.uri)):
        why = (
            "a rule of the host sets it, which guests of a user's own libvirt do not get"
            if host.links is not None
            else "it is set on the running guest's link, and that link is out of reach"
        )
        raise MacvtapError(
            f"libvirt cannot store it: {why} with {host.uri}. Leave it out",
            path=_path(desired, _ALL),
        )


def _validate_mode(desired: Desired, stored: Iface, changed: t.Collection[str]) -> None:
    is_desired = desired.given.get(_ALL) == "yes"
    if stored.get("mode") != "passthrough" or not (is_desired or stored.get(_ALL) == "yes"):
        return
    if is_desired or {_ALL, "mode"} & set(changed):
        alternatives = "trust_guest_rx_filters: true with model: virtio, or mode: bridge"
        if not is_desired:
            alternatives = f"allmulticast: false, because there is a rule for {stored.mac}, and {alternatives}"
        raise MacvtapError(
            "allmulticast has no effect in mode passthrough. The link gets it before it is up, so the source "
            "does not receive more. When the link loses it, the source's reference count underflows. Set "
            f"{alternatives}",
            path=_path(desired, *([_ALL] if is_desired else []), "mode"),
        )


def _validate_source(desired: Desired, stored: Iface, changed: t.Collection[str], host: Host) -> None:
    link = link_of(stored.get("source"), host.links or {})
    if link is not None and _ALL in changed and desired.given.get(_ALL) == "yes":
        links_validate.check_counts(_path(desired, _ALL), link)


def _validate_both(desired: Desired, stored: Iface) -> None:
    asked = [name for name in (_ALL, _TRUST) if desired.given.get(name) == "yes"]
    receives_all = "yes" in (stored.get(_ALL), desired.given.get(_ALL))
    if not asked or not receives_all or stored.get(_TRUST) != "yes":
        return
    other = "" if len(asked) == 2 else f"; it has {_TRUST if asked == [_ALL] else _ALL} already"
    raise MacvtapError(
        "allmulticast and trust_guest_rx_filters exclude each other. libvirt gives the link the filters of "
        f"a trusted guest, and so removes allmulticast when these change{other}. Set one of the two to "
        "true, and the other to false",
        path=_path(desired, *asked),
    )


def _validate_model(desired: Desired, stored: Iface, changed: t.Collection[str]) -> None:
    model = stored.get("model") or "rtl8139"
    if stored.get(_TRUST) != "yes" or model.lower().startswith("virtio") or not {_TRUST, "model"} & set(changed):
        return
    raise MacvtapError(
        f"QEMU does not report the filters of NIC model {model}, so trust_guest_rx_filters would have no "
        "effect. Set model: virtio, or trust_guest_rx_filters: false; allmulticast: true receives all "
        "groups",
        path=_path(desired, _TRUST, "model"),
    )


def _validate_others(desired: Desired, before: Nic, names: t.Sequence[str]) -> None:
    if names:
        raise MacvtapError(
            f"the udev rule to remove matches the address {before.mac}, which an interface of domain "
            f"{', '.join(names)} has too. That one would no longer receive all multicast. Give one of the two "
            "another address, or leave this out",
            path=_path(desired, _ALL),
        )
