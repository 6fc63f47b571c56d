# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The macvtap links behind running guests' interfaces: what the kernel says of them, and their mode."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.keeping import Rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    GUESTS_MAC,
    LINK_DOWN,
    LINK_MAC,
    Domain,
    Host,
    Iface,
    own_link,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import holders, messages, netlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Link, Links, link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Step

# The kernel's words and libvirt's.
_LIBVIRTS = {"passthru": "passthrough"}
_CAP_NET_ADMIN = 12


def seen(host: Host, sources: t.Collection[str], rules: Rules) -> Host:
    """Return ``host`` with this host's links, and its domains' interfaces with what they have of these.

    ``rules`` is what is written down for the links to come.
    """
    live = [iface for domain in host.domains.values() for iface in domain.live if iface.type == "direct"]
    stored = {source for d in host.domains.values() for iface in d.stored if (source := iface.get("source"))}
    targets = {name for iface in live if (name := iface.get("target"))}
    links, held, complete = observe(targets, {*sources, *stored})
    domains = {
        name: replace(
            domain,
            stored=tuple(_with_kept(iface, rules) for iface in domain.stored),
            live=tuple(
                with_link(_with_faults(iface, domain, links, held.get(iface.get("target") or "", ())), links)
                for iface in domain.live
            ),
        )
        for name, domain in host.domains.items()
    }
    named = (link for source in {*sources, *stored} if (link := link_of(source, links)) is not None)
    whole = frozenset(link.name for link in named if link.pci and _is_no_function(link.pci))
    return replace(
        host,
        domains=domains,
        links=links,
        holders=held,
        all_holders=complete,
        no_functions=whole,
        **rules._asdict(),
    )


def _is_no_function(pci: str) -> bool:
    # sysfs has all PCI devices in whatever network namespace. Where it is not there, nothing is known.
    device = f"/sys/bus/pci/devices/{pci}"
    return os.path.isdir(device) and not os.path.lexists(f"{device}/physfn")


def _with_kept(iface: Iface, rules: Rules) -> Iface:
    # Of what somebody else has written it is not known what it does.
    if iface.type != "direct" or rules.kept is None or iface.mac in rules.edited:
        return iface
    return replace(iface, values={**iface.values, "allmulticast": "yes" if iface.mac in rules.kept else "no"})


def observe(
    targets: t.Collection[str], sources: t.Collection[str]
) -> tuple[Links, dict[str, tuple[Holder, ...]], bool]:
    """Return the host's links, who holds the taps of those among ``targets`` open, and whether all who do were seen.

    All by the links' names.
    """
    with netlink.session() as session:
        links = session.observe(targets, parents=sources)
    devices = {name: links[name].tap for name in targets if name in links}
    held, complete = holders.search({tap.device for tap in devices.values() if tap and tap.device})
    by_name = {name: tuple(held.get(tap.device, ())) for name, tap in devices.items() if tap and tap.device}
    return links, by_name, complete


def _with_faults(iface: Iface, domain: Domain, links: Links, held: tuple[Holder, ...]) -> Iface:
    """Return the running interface with what its link has otherwise than it must have.

    A link of its name is known to be its own by who holds its tap open, if not by its address.
    """
    link = links.get(iface.get("target") or "")
    if iface.type != "direct" or link is None or link.kind != "macvtap":
        return iface
    faults = {}
    if link.mac is not None and own_link(iface, links) is None and link.mode != "passthru":
        if not any(holder.domain == domain.name for holder in held):
            return iface
        faults[GUESTS_MAC if iface.get("trust_guest_rx_filters") == "yes" else LINK_MAC] = link.mac
    # libvirt sets down what belongs to a guest that is paused.
    if not link.up and not domain.paused and iface.get("link_state") != "down":
        faults[LINK_DOWN] = "down"
    return replace(iface, values={**iface.values, **faults}) if faults else iface


def with_link(iface: Iface, links: Links) -> Iface:
    """Return the running interface with what its link has: the mode, which libvirt may not know, and allmulticast."""
    link = own_link(iface, links)
    if link is None or link.mode is None:
        return iface
    mode = _LIBVIRTS.get(link.mode, link.mode)
    said = iface.get("mode")
    values = {**iface.values, "mode": mode, "allmulticast": "yes" if link.allmulticast else "no"}
    return replace(iface, values=values, stale_mode=None if mode == said else said)


def require(path: str) -> None:
    """Load what :func:`change` needs, and look whether this user may do it.

    :raises MissingLibraryError: it is not installed.
    :raises MacvtapError: the kernel would refuse.
    """
    messages.require()
    if holders.capable(_CAP_NET_ADMIN) is False:
        raise MacvtapError(
            "changing the macvtap link of a running guest needs root. Set become: true, or live: none", path=path
        )


def change(iface: Iface, values: t.Mapping[str, str | None], path: str) -> None:
    """Give the link under a running guest's interface another mode or allmulticast, whichever is in ``values``.

    :raises MacvtapError: the kernel refuses, or there is no such link.
    """
    name = iface.get("target") or ""
    with netlink.session() as session:
        link = own_link(iface, session.observe((), parents=()))
        if link is None:
            raise MacvtapError(
                f"the macvtap link {name} has gone while this ran, or is another one, without the address {iface.mac}",
                path=path,
            )
        wanted: dict[str, t.Any] = {n: text == "yes" if n == "allmulticast" else text for n, text in values.items()}
        if LINK_DOWN in wanted:
            wanted["up"] = wanted.pop(LINK_DOWN) != "down"
        if LINK_MAC in wanted:
            wanted["mac"] = wanted.pop(LINK_MAC) or iface.mac
        changes = (Change(name, n, getattr(link, n), value, Impact.IN_PLACE) for n, value in wanted.items())
        session.apply([Step(name, link, replace(link, **wanted), tuple(changes), path=path)])


def fault(iface: Iface, domain: str, host: Host) -> str | None:
    """Say what is wrong with the link behind an interface that was just attached or changed, None if nothing is.

    Who holds its tap is a matter of those only who may look into every process.
    """
    name = iface.get("target") or ""
    link, held = (host.links or {}).get(name), host.holders
    if link is None:
        return f"libvirt says that its link is {name}, and there is none"
    # A trusted guest gives its link the address that it has given its card.
    if link.mac != iface.mac and link.mode != "passthru" and iface.get("trust_guest_rx_filters") != "yes":
        return f"its link {name} has the address {link.mac}"
    if host.all_holders and not any(holder.domain == domain for holder in held.get(name, ())):
        others = ", ".join(map(str, held.get(name, ()))) or "nobody"
        return f"the domain's QEMU does not hold the tap of its link {name} open, but {others} does{_squatted(link)}"
    return None


def _squatted(link: Link) -> str:
    said = link.tap.fault if link.tap else None
    return f" ({link.tap.path} {said})" if link.tap and said else ""
