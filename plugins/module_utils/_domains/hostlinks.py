# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The macvtap links behind running guests' interfaces: their state in the kernel, and changes of it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    GUEST_MAC,
    LINK_DOWN,
    LINK_GONE,
    LINK_MAC,
    Domain,
    Host,
    Iface,
    has_lost_link,
    link_of_iface,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.udev_rules import Rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    holders,
    messages,
    netlink,
    process_table,
    sriov,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Step

# libvirt's names of the kernel's modes, where they differ.
_LIBVIRT_MODES = {"passthru": "passthrough"}
_CAP_NET_ADMIN = 12


def with_host_links(host: Host, sources: t.Collection[str], rules: Rules) -> Host:
    """Return ``host`` with this host's links, and with their state in its domains' interfaces.

    ``rules`` are the udev rules for links that libvirt creates later.
    """
    live = [iface for domain in host.domains.values() for iface in domain.live if iface.type == "direct"]
    stored = {name for d in host.domains.values() for i in d.stored for name in networks.uplinks(i, host.networks)}
    targets = {name for iface in live if (name := iface.get("target"))}
    links, held, complete = observe(targets, {*sources, *stored})
    domains = {
        name: replace(
            domain,
            stored=tuple(_with_rule(iface, rules) for iface in domain.stored),
            live=tuple(
                with_link_state(_with_faults(iface, domain, links, held.get(iface.get("target") or "", ())), links)
                for iface in domain.live
            ),
        )
        for name, domain in host.domains.items()
    }
    return replace(
        host,
        domains=domains,
        links=links,
        holders=held,
        all_holders=complete,
        non_vfs=sriov.non_vfs(links),
        **rules._asdict(),
    )


def without_links(host: Host) -> list[str]:
    """Return the domains with a running interface whose link is gone."""
    return [name for name, domain in host.domains.items() if any(LINK_GONE in iface.values for iface in domain.live)]


def without_claims(host: Host, names: t.Collection[str]) -> Host:
    """Return ``host`` without lost links of the domains ``names``, which have changed while they were read."""

    def known(domain: Domain) -> Domain:
        live = ({n: text for n, text in iface.values.items() if n != LINK_GONE} for iface in domain.live)
        return replace(domain, live=tuple(replace(one, values=values) for one, values in zip(domain.live, live)))

    domains = {name: known(domain) if name in names else domain for name, domain in host.domains.items()}
    return replace(host, domains=domains)


def _with_rule(iface: Iface, rules: Rules) -> Iface:
    # The effect of a modified rule is unknown.
    if iface.type != "direct" or rules.managed_rules is None or iface.mac in rules.modified_rules:
        return iface
    return replace(iface, values={**iface.values, "allmulticast": "yes" if iface.mac in rules.managed_rules else "no"})


def observe(
    targets: t.Collection[str], sources: t.Collection[str]
) -> tuple[Links, dict[str, tuple[Holder, ...]], bool]:
    """Return the host's links, who holds the taps of ``targets`` open, and whether all holders are known.

    Both dictionaries have the links' names as keys.
    """
    with netlink.session() as session:
        links = session.observe(targets, parents=sources)
    devices = {name: links[name].tap for name in targets if name in links}
    held, complete = holders.search({tap.device for tap in devices.values() if tap and tap.device})
    by_name = {name: tuple(held.get(tap.device, ())) for name, tap in devices.items() if tap and tap.device}
    return links, by_name, complete


def _with_faults(iface: Iface, domain: Domain, links: Links, held: tuple[Holder, ...]) -> Iface:
    """Return the running interface with the faults of its link (model.LINK_FAULTS, model.LINK_GONE).

    A link of that name is its own if it has the address, or if the guest holds its tap open.
    """
    if domain.running and has_lost_link(iface, links):
        return replace(iface, values={**iface.values, LINK_GONE: "absent"})
    link = links.get(iface.get("target") or "")
    if iface.type != "direct" or link is None or link.kind != "macvtap":
        return iface
    faults = {}
    if link.mac is not None and link_of_iface(iface, links) is None and link.mode != "passthru":
        if not any(holder.domain == domain.name for holder in held):
            return iface
        faults[GUEST_MAC if iface.may_be_trusted else LINK_MAC] = link.mac
    # libvirt sets the links of a paused guest down.
    if not link.up and not domain.paused and iface.get("link_state") != "down":
        faults[LINK_DOWN] = "down"
    return replace(iface, values={**iface.values, **faults}) if faults else iface


def with_link_states(ifaces: t.Iterable[Iface]) -> tuple[Iface, ...]:
    """As :func:`with_link_state`, with the host's links as they are now."""
    with netlink.session() as session:
        links = session.observe((), parents=())
    return tuple(with_link_state(iface, links) for iface in ifaces)


def with_link_state(iface: Iface, links: Links) -> Iface:
    """Return the running interface with its link's mode, which libvirt may not know, and allmulticast."""
    link = link_of_iface(iface, links)
    if link is None or link.mode is None:
        return iface
    mode = _LIBVIRT_MODES.get(link.mode, link.mode)
    libvirt_mode = iface.get("mode")
    values = {**iface.values, "mode": mode, "allmulticast": "yes" if link.allmulticast else "no"}
    return replace(iface, values=values, stale_mode=None if mode == libvirt_mode else libvirt_mode)


def require(path: str) -> None:
    """Load what :func:`change` needs, and check whether this user may do it.

    :raises MissingLibraryError: it is not installed.
    :raises MacvtapError: the kernel would refuse.
    """
    messages.require()
    if process_table.capable(_CAP_NET_ADMIN) is False:
        raise MacvtapError(
            "changing the macvtap link of a running guest needs root. Set become: true, or live: none", path=path
        )


def change(iface: Iface, values: t.Mapping[str, str | None], path: str) -> None:
    """Set the ``values`` (mode, allmulticast, faults) of the link of a running guest's interface.

    :raises MacvtapError: the kernel refuses, or there is no such link.
    """
    name = iface.get("target") or ""
    with netlink.session() as session:
        link = link_of_iface(iface, session.observe((), parents=()))
        if link is None:
            raise MacvtapError(
                f"the macvtap link {name} disappeared while this ran, or another link without the address "
                f"{iface.mac} has its name now",
                path=path,
            )
        desired: dict[str, t.Any] = {n: text == "yes" if n == "allmulticast" else text for n, text in values.items()}
        if LINK_DOWN in desired:
            desired["up"] = desired.pop(LINK_DOWN) != "down"
        if LINK_MAC in desired:
            desired["mac"] = desired.pop(LINK_MAC) or iface.mac
        changes = (Change(name, n, getattr(link, n), value, Impact.IN_PLACE) for n, value in desired.items())
        session.apply([Step(name, link, replace(link, **desired), tuple(changes), path=path)])


def link_fault(iface: Iface, domain: str, host: Host) -> str | None:
    """Return what is wrong with the link of an interface that was just attached or changed, None if nothing.

    The holder of its tap counts only if every process could be inspected.
    """
    name = iface.get("target") or ""
    link, held = (host.links or {}).get(name), host.holders
    if link is None:
        return f"libvirt reports {name} as its link, which does not exist"
    # A trusted guest may give its link another MAC address.
    if link.mac != iface.mac and link.mode != "passthru" and not iface.may_be_trusted:
        return f"its link {name} has the address {link.mac}"
    if host.all_holders and not any(holder.domain == domain for holder in held.get(name, ())):
        others = ", ".join(map(str, held.get(name, ()))) or "no process"
        return f"the domain's QEMU does not hold the tap of its link {name} open; {others} does{_tap_conflict(link)}"
    return None


def _tap_conflict(link: Link) -> str:
    fault = link.tap.fault if link.tap else None
    return f" ({link.tap.path} {fault})" if link.tap and fault else ""
