# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From what was declared and found of each host to the Hosts that are compared. Pure."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import MARK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Wanted as Companion
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import (
    disconnect,
    names,
    nics,
    report,
    segments,
    vlans,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.declared import Said, Variables
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import (
    DEFECT,
    DeclaredLink,
    Host,
    Place,
    Problem,
    defect,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay import choice, link_modes

# What ansible-core puts before a failure from 2.19 on: it names the task and its argument, which are preflight's.
_BEFORE = re.compile(
    r"^(Task failed: )?(Finalization of task args for '[^']*' failed: )?(Error while resolving value for '[^']*': )?"
)
_COMPARED = "what is declared there was compared"
# How it shows that what a host has returned is another thing.
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)
_Read = t.Tuple[Host, t.Tuple[Desired, ...], bool]


def hosts(fleet: t.Any) -> tuple[Host, ...]:
    """Return the hosts of ``fleet``: what is ``declared`` and what was ``found`` of each, by its name.

    :raises MacvtapError: it is no dictionary of dictionaries.
    """
    read = [_read(name, said) for name, said in plain(fleet).items()]
    identity = nics.Identities([host for host, _declared, _purge in read])
    return tuple(_with_nics(host, declared, identity, purge=purge) for host, declared, purge in read)


def gaps(fleet: t.Any) -> list[dict[str, str]]:
    """Return which hosts, and whose domains, nothing was found of, and why.

    :raises MacvtapError: it is no dictionary of dictionaries.
    """
    found = []
    for name, said in plain(fleet).items():
        # That it is not what a host returns, is a conflict of it.
        with contextlib.suppress(*_MALFORMED):
            found += _gaps(name, said)
    return found


def declaring(fleet: t.Any, variable: str) -> dict[str, Said]:
    """Return the part of ``fleet`` in which a variable is declared."""
    return {name: said for name, said in plain(fleet).items() if (said.get("declared") or {}).get(variable)}


def plain(fleet: t.Any) -> dict[str, Said]:
    """Return ``fleet`` with what is said of each host, also where that is JSON text.

    :raises MacvtapError: it is no dictionary of dictionaries.
    """
    needed = "a dictionary of hosts is needed, each of them one with declared and found"
    if not isinstance(fleet, t.Mapping):
        raise MacvtapError(needed)
    plain = {}
    for name, text in fleet.items():
        said = text
        if isinstance(text, str):
            with contextlib.suppress(ValueError):
                said = json.loads(text)
        parts = (said.get("declared"), said.get("found")) if isinstance(said, t.Mapping) else (said or "nothing",)
        for part in parts:
            if part is not None and not isinstance(part, t.Mapping):
                raise MacvtapError(f"{needed}, and that of {name} has {part!r}")
        plain[str(name)] = said
    return plain


def _gaps(name: str, said: Said) -> list[dict[str, str]]:
    if said.get("outside"):
        unreadable = said.get("unreadable")
        told = f"not compared, since a variable cannot be read: {_first_line(unreadable)}" if unreadable else _COMPARED
        return [{"host": name, "what": "limit", "reason": f"outside of --limit; {told}"}]
    if said.get("unreadable"):
        # It is a conflict, and what was not found of it follows from that.
        return []
    found = said.get("found") or {}
    # Many a host is no hypervisor, or is to become one.
    declares = (said.get("declared") or {}).get("macvtap_domains_interfaces")
    reasons = [("host", _no_host(found)), ("libvirt", _no_libvirt(found) if declares else "")]
    reasons += [("domain", reason) for reason in _of_domains(found, declares)]
    return [{"host": name, "what": what, "reason": reason} for what, reason in reasons if reason]


def _of_domains(found: Said, declares: t.Any) -> t.Iterator[str]:
    """Say of which domains the declaration will not hold, or not yet, although nothing is wrong with it."""
    entries = declares if isinstance(declares, (list, tuple)) else ()
    names = {entry.get("domain") for entry in entries if isinstance(entry, t.Mapping)}
    for domain in found.get("domains") or ():
        name = domain["name"]
        if name not in names:
            continue
        if not domain.get("persistent", True):
            yield (
                f"domain {name} is transient: libvirt stores nothing of it that could be changed, so the role will "
                "fail on this host. Define it first (virsh define)"
            )
        if domain.get("saved"):
            yield (
                f"domain {name} has a managed save: its next start brings back the NICs that it was saved with. What "
                f"is declared holds when it is stopped and started after that, or after virsh managedsave-remove {name}"
            )


def _read(name: str, said: Said) -> _Read:
    """Return what is declared and was found of one host. What is wrong with either is its own problem."""
    variables = Variables(name, said.get("declared") or {})
    declared_vlans, declared_links, interfaces = variables.vlans(), variables.links(), variables.interfaces()
    permitted = variables.allowed()
    companions, (segment, of_links) = variables.companions(), variables.segments()
    if said.get("unreadable"):
        variables.problems.append(Problem(Place(name), f"a variable cannot be read: {_first_line(said['unreadable'])}"))
    variables.problems += [
        Problem(Place(name), wrong, "Rename it") for wrong in names.misspelt(said.get("names") or ())
    ]
    host = Host(
        name=name,
        segment=segment,
        segments=of_links,
        kernel_required=variables.get("macvtap_kernel_required"),
        guests_keep=variables.get("macvtap_domains_live") == "none",
        nics_follow=variables.get("macvtap_domains_auto") == "always",
        vlans=declared_vlans,
        declared_links=(*declared_links, *map(_as_link, companions)),
        companions=companions,
        problems=tuple(variables.problems),
        may_disconnect=frozenset(role for role in disconnect.ROLES if variables.get(f"{role}_{ALLOW}")),
        allowed=permitted,
        outside=bool(said.get("outside")),
    )
    found = said.get("found") or {}
    if not _no_host(found):
        try:
            host = _with_found(host, found, variables)
        except _MALFORMED as exc:
            problem = f"what was found of it is not what macvtap_host_info returns ({type(exc).__name__}: {exc})"
            host = with_problem(host, problem, "Look at it with macvtap_host_info of the same version")
        else:
            host = guarded(host, lambda: _with_vlans(host, variables))
    return host, interfaces, variables.get("macvtap_domains_purge")


def _with_found(host: Host, found: Said, variables: Variables) -> Host:
    return replace(
        host,
        found=True,
        uri=(found.get("libvirt") or {}).get("uri") or "",
        kernel=found.get("kernel") or {},
        version=_version((found.get("libvirt") or {}).get("version")),
        links=report.read_links(found["links"]),
        unfit={link["name"]: link["unfit"] for link in found["links"] if link.get("unfit")},
        unfit_vlan={link["name"]: link["unfit_vlan"] for link in found["links"] if link.get("unfit_vlan")},
        reflects={link["name"]: link.get("reflective_relay") for link in found["links"]},
        domains=report.read_domains(found.get("domains") or ()),
        purged_links=_purged(found["links"], variables),
        reach=report.read_reach(found["links"], found.get("connections") or ()),
    )


def _with_vlans(host: Host, variables: Variables) -> Host:
    """Return the host with its links as they are once its VLAN links are made."""
    # Companions go only after the VLAN links.
    shims = {companion.name for companion in host.companions}
    going = {one.key for one in host.declared_links if one.absent and one.key in host.links} - shims | host.purged_links
    force = bool(variables.get("macvtap_links_force"))
    links, problems = vlans.made(host.name, host.vlans, host.links, going=going, force=force)
    # What is to be absent is still there to be looked at.
    links = {**{name: host.links[name] for name in going}, **links}
    follow = variables.get("macvtap_links_auto") == "always"
    return replace(
        host,
        links=links,
        segments=segments.by_links(host.segments, links),
        declared_links=tuple(_settled(link, links, always=follow) for link in host.declared_links),
        problems=(*host.problems, *problems),
        lost_by_vlans=tuple(disconnect.by_vlans(host.vlans, host.links, host.reach)),
    )


def _with_nics(host: Host, declared: t.Sequence[Desired], identity: nics.Identities, *, purge: bool) -> Host:
    return guarded(host, lambda: nics.with_nics(host, declared, identity, purge=purge))


def guarded(host: Host, made: t.Callable[[], Host]) -> Host:
    """Return what is ``made`` of the host, or the host with the problem that it cannot be made.

    A defect of ours, or what nobody has thought of: it is to keep no other host from being compared.
    """
    try:
        return made()
    except MacvtapError as exc:
        return with_problem(host, str(exc), "Correct the variable")
    except Exception as exc:  # pylint: disable=broad-except  # whatever it is
        return with_problem(host, defect(exc), DEFECT)


def with_problem(host: Host, message: str, remedy: str) -> Host:
    return replace(host, problems=(*host.problems, Problem(Place(host.name), message, remedy)))


def _as_link(companion: Companion) -> DeclaredLink:
    absent = companion.state == "absent"
    return DeclaredLink(
        companion.name, companion.parent, "bridge", companion.mac, companion.mtu, absent, companion.path
    )


def _settled(link: DeclaredLink, links: Links, *, always: bool) -> DeclaredLink:
    """Return the declared link with the mode that it keeps where auto leaves it alone."""
    if link.mode != choice.AUTO or link.absent:
        return link
    # What is wrong with its parent is told by checks.py.
    with contextlib.suppress(MacvtapError):
        (case,) = link_modes.cases([Wanted(link.name, parent=link.parent, mode=link.mode)], links, check=False)
        return replace(link, mode=choice.left(case, always=always) or link.mode)
    return link


def _no_host(found: Said) -> str:
    if "links" in found:
        return ""
    words = "cannot be reached" if found.get("unreachable") else "could not be looked at"
    said = _first_line(found.get("msg"))
    return f"{words}: {said}" if said else words


def _first_line(message: t.Any) -> str:
    return (_BEFORE.sub("", str(message or "").strip()).splitlines() or [""])[0]


def _no_libvirt(found: Said) -> str:
    libvirt = found.get("libvirt") or {}
    if _no_host(found) or libvirt.get("available"):
        return ""
    return str(libvirt.get("reason") or "libvirt was not asked")


def _version(text: str | None) -> int | None:
    """Return a version as libvirt counts it, the contrary of inspection.version_text()."""
    parts = re.findall(r"\d+", text or "")[:3]
    return sum(int(part) * factor for part, factor in zip(parts, (1_000_000, 1_000, 1))) if parts else None


def _purged(links: t.Iterable[Said], variables: Variables) -> frozenset[str]:
    group = variables.get("macvtap_links_group")
    in_group = str(group) if group and variables.get("macvtap_links_purge") else None
    companions = variables.get("macvtap_host_access_purge")
    return frozenset(
        link["name"]
        for link in links
        if (link.get("kind") == "macvtap" and str(link.get("group")) == in_group)
        or (companions and link.get("kind") == "macvlan" and link.get("alias") == MARK)
    )
