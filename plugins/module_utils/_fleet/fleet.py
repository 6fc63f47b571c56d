# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Hosts to compare, made from the declarations and current states of a fleet. Pure."""

from __future__ import annotations

import contextlib
import json
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _forms
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.segments import by_links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import (
    disconnect,
    names,
    networks,
    nics,
    report,
    unchecked,
    vlans,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.declared import Values, Variables
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import (
    DEFECT,
    DeclaredLink,
    Host,
    Place,
    Problem,
    defect,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import OWNER_ALIAS, DesiredShim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import DEFAULT_MODE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import reported
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import choice, link_modes

# Raised if a host's result has an unexpected form.
MALFORMED = (AttributeError, KeyError, TypeError, ValueError)
_INFO = "macvtap_host_info"
DAMAGED = f"its data is not what {_INFO} returns"
_Read = t.Tuple[Host, t.Tuple[Desired, ...], bool]


def damaged(exc: Exception, module: str = _INFO) -> str:
    """Return what is said of a host whose result of ``module`` has an unexpected form."""
    return f"{DAMAGED.replace(_INFO, module)} ({type(exc).__name__}: {exc})"


def hosts(fleet: t.Any) -> tuple[Host, ...]:
    """Return the hosts of ``fleet``, which has ``declared`` and ``found`` for each host name.

    :raises MacvtapError: ``fleet`` is not a dictionary of dictionaries.
    """
    entries = [_read(name, data) for name, data in plain(fleet).items()]
    identity = nics.Identities([host for host, _declared, _purge in entries])
    return tuple(_with_nics(entry, identity) for entry in entries)


def gaps(fleet: t.Any) -> list[dict[str, str]]:
    """Return which hosts and domains could not be checked, and why.

    :raises MacvtapError: ``fleet`` is not a dictionary of dictionaries.
    """
    result = []
    hosts = plain(fleet)
    # A result of an unexpected form is reported as a conflict.
    for name, data in hosts.items():
        with contextlib.suppress(*MALFORMED):
            result += unchecked.of_host(name, data)
    with contextlib.suppress(*MALFORMED):
        result += unchecked.nowhere(hosts)
    return result


def declaring(fleet: t.Any, variable: str) -> dict[str, Values]:
    """Return the part of ``fleet`` in which a variable is declared."""
    return {name: data for name, data in plain(fleet).items() if (data.get("declared") or {}).get(variable)}


def plain(fleet: t.Any) -> dict[str, Values]:
    """Return ``fleet`` with each host's data, which may be JSON text, as a dictionary.

    :raises MacvtapError: ``fleet`` is not a dictionary of dictionaries.
    """
    expected = "the fleet must be a dictionary of hosts, each a dictionary with declared and found"
    if not isinstance(fleet, t.Mapping):
        raise MacvtapError(expected)
    plain = {}
    for name, text in fleet.items():
        data = text
        if isinstance(text, str):
            with contextlib.suppress(ValueError, RecursionError):
                data = json.loads(text)
        parts = (data.get("declared"), data.get("found")) if isinstance(data, t.Mapping) else (data or "nothing",)
        for part in parts:
            if part is not None and not isinstance(part, t.Mapping):
                raise MacvtapError(f"{expected}; {name} has {part!r}")
        plain[str(name)] = data
    return plain


def _read(name: str, data: Values) -> _Read:
    """Return the declarations and current state of one host. Errors in either become problems of this host."""
    variables = Variables(name, data.get("declared") or {})
    declared_vlans, declared_links, interfaces = variables.vlans(), variables.links(), variables.interfaces()
    permitted = variables.allowed()
    shims, (segment, of_links) = variables.shims(), variables.segments()
    declared_networks = variables.networks()
    if data.get("unreadable"):
        variables.problems.append(
            Problem(Place(name), f"a variable cannot be read: {unchecked.first_line(data['unreadable'])}")
        )
    variables.problems += [
        Problem(Place(name), message)
        for variable, message in (data.get("invalid") or {}).items()
        if not _is_named(variable, variables.problems)
    ]
    variables.problems += [
        Problem(Place(name), wrong, "Rename it") for wrong in names.misspelt(data.get("names") or ())
    ]
    host = Host(
        name=name,
        segment=segment,
        segments=of_links,
        kernel_required=variables.get("macvtap_kernel_required"),
        guests_keep="none" in variables.get("macvtap_domains_live"),
        skips_missing=variables.get("macvtap_domains_on_missing") == "skip",
        nics_follow=variables.get("macvtap_domains_auto") == "always",
        vlans=declared_vlans,
        declared_links=(*declared_links, *map(_as_link, shims)),
        shims=shims,
        guards=variables.all_guards(),
        networks=networks.made(declared_networks, {}, {}),
        declared_networks=declared_networks,
        problems=tuple(variables.problems),
        may_disconnect=frozenset(role for role in disconnect.ROLES if variables.get(f"{role}_{ALLOW}")),
        allowed=permitted,
        outside=bool(data.get("outside")),
    )
    found = data.get("found") or {}
    if not unchecked.host_error(found):
        try:
            host = _with_found(host, found, variables)
        except MALFORMED as exc:
            host = with_problem(host, damaged(exc), "Run macvtap_host_info of the same version on it")
        else:
            host = guarded(host, lambda: _with_vlans(host, variables))
    return host, interfaces, variables.get("macvtap_domains_purge")


def _is_named(variable: str, problems: t.Iterable[Problem]) -> bool:
    """Whether one of the ``problems`` is about this variable, or one of its entries."""
    return any(problem.message.startswith((f"{variable}:", f"{variable}[", f"{variable}.")) for problem in problems)


def _with_found(host: Host, found: Values, variables: Variables) -> Host:
    _forms.check_found(found)
    return replace(
        host,
        inspected=True,
        found_guards=report.read_guards(found.get("guards")),
        uri=(found.get("libvirt") or {}).get("uri") or "",
        kernel=found.get("kernel") or {},
        version=report.read_version((found.get("libvirt") or {}).get("version")),
        links=reported.links(found["links"]),
        unfit={link["name"]: link["unfit"] for link in found["links"] if link.get("unfit")},
        unfit_vlan={link["name"]: link["unfit_vlan"] for link in found["links"] if link.get("unfit_vlan")},
        reflects={link["name"]: link.get("reflective_relay") for link in found["links"]},
        functions=report.read_functions(found["links"]),
        domains=reported.domains(found.get("domains") or ()),
        networks=reported.networks(found.get("networks") or ()),
        networks_known=found.get("networks") is not None,
        purged_links=_purged(found["links"], variables),
        written=tuple(_written(found.get("written") or (), variables)),
        reach=reported.reach(found["links"], found.get("connections") or ()),
    )


def _with_vlans(host: Host, variables: Variables) -> Host:
    """Return the host with its links as they will be after its VLAN links are created."""
    # Macvlan shims are removed only after the VLAN links.
    shims = {shim.name for shim in host.shims}
    absent = {link.key for link in host.declared_links if link.absent and link.key in host.links}
    removed = absent - shims | host.purged_links
    force = bool(variables.get("macvtap_links_force"))
    links, problems = vlans.made(host.name, host.vlans, host.links, removed=removed, force=force)
    # Removed links stay known, so that they can be checked.
    links = {**{name: host.links[name] for name in removed}, **links}
    follow = variables.get("macvtap_links_auto") == "always"
    return replace(
        host,
        links=links,
        networks=networks.made(host.declared_networks, host.networks, links),
        pools=networks.exclusive(host, in_effect=True),
        segments=by_links(host.segments, links),
        declared_links=tuple(_with_final_mode(link, links, always=follow) for link in host.declared_links),
        problems=(*host.problems, *problems),
        lost_by_vlans=tuple(disconnect.by_vlans(host.vlans, host.links, host.reach)),
    )


def _with_nics(entry: _Read, identity: nics.Identities) -> Host:
    host, declared, purge = entry
    return guarded(host, lambda: nics.with_nics(host, declared, identity, purge=purge))


def guarded(host: Host, update: t.Callable[[], Host]) -> Host:
    """Return the result of ``update``, or the host with a problem if it fails.

    Not even a defect of this collection may prevent comparing the other hosts.
    """
    try:
        return update()
    except MacvtapError as exc:
        return with_problem(host, str(exc), "Correct the variable")
    except Exception as exc:  # pylint: disable=broad-except  # whatever it is
        return with_problem(host, defect(exc), DEFECT)


def with_problem(host: Host, message: str, remedy: str) -> Host:
    return replace(host, problems=(*host.problems, Problem(Place(host.name), message, remedy)))


def _as_link(shim: DesiredShim) -> DeclaredLink:
    absent = shim.state == "absent"
    return DeclaredLink(shim.name, shim.parent, "bridge", shim.mac, shim.mtu, absent, shim.path)


def _with_final_mode(link: DeclaredLink, links: Links, *, always: bool) -> DeclaredLink:
    """Return the declared link with the mode that it keeps or gets, unless the switch decides."""
    current = links.get(link.key)
    if link.mode is None:
        return replace(link, mode=current.mode if current is not None else DEFAULT_MODE)
    if link.mode != choice.AUTO or link.absent:
        return link
    # checks.py reports problems with its parent.
    with contextlib.suppress(MacvtapError):
        (case,) = link_modes.cases([DesiredLink(link.name, parent=link.parent, mode=link.mode)], links, check=False)
        return replace(link, mode=choice.left(case, always=always) or link.mode)
    return link


def _written(links: t.Iterable[Values], variables: Variables) -> t.Iterator[tuple[str, str]]:
    for link in links:
        kind = link.get("kind") or "macvtap"
        if kind not in ("macvtap", "macvlan", "vlan") or not isinstance(link["name"], str):
            raise ValueError(f"written is {repr(link)[:60]}")
        role = "macvtap_host_access" if kind == "macvlan" else "macvtap_links"
        if not variables.get(f"{role}_purge"):
            yield link["name"], kind


def _purged(links: t.Iterable[Values], variables: Variables) -> frozenset[str]:
    group = variables.get("macvtap_links_group")
    in_group = str(group) if group and variables.get("macvtap_links_purge") else None
    shims = variables.get("macvtap_host_access_purge")

    def is_purged(link: Values) -> bool:
        if link.get("kind") == "macvtap":
            return str(link.get("group")) == in_group
        return bool(shims) and link.get("kind") == "macvlan" and link.get("alias") == OWNER_ALIAS

    return frozenset(link["name"] for link in links if is_purged(link))
