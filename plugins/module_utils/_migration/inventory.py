# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What an inventory says of a migration: the destination's URI, and its NICs there. Pure."""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import BOOLEANS_FALSE

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import CONNECTION
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, suggest

_URI, _UPLINK, _HOST = "macvtap_migration_uri", "macvtap_uplink", "ansible_host"
_SEGMENT = segments.VARIABLE
_MODULE = "libvirt_direct_iface"
# The options in which the roles' modules have MAC addresses with guards, or rules for multicast.
_OF_MACS = ("interfaces", "guards", "links")
_ALL = "allmulticast"
_Rule = t.Mapping[str, t.Any]


class _Stage(t.Protocol):
    """A task of a role: its module and options, or the error why they are unknown."""

    @property
    def module(self) -> str:
        """The module's name without its collection."""

    @property
    def options(self) -> t.Mapping[str, t.Any]:
        """What the role gives it."""

    @property
    def error(self) -> str | None:
        """Why they are unknown, or None."""


def check(name: str, own: str, hosts: t.Sequence[str]) -> None:
    """Refuse a destination that is not another host of the inventory.

    :raises MacvtapError: it is not.
    """
    if name == own:
        raise MacvtapError(f"{name!r} is the host that the task runs on", path="destination")
    if name not in hosts:
        hint = did_you_mean(suggest(name, hosts))
        raise MacvtapError(
            f"the inventory has no host {name!r}{hint}. Set destination_uri for a host that it does not have",
            path="destination",
        )


def check_own(name: str, uri: str) -> None:
    """Refuse a destination whose roles do not use its own libvirt: what goes with NICs cannot be put there.

    :raises MacvtapError: ``uri`` is of another libvirt.
    """
    if not uris.is_local(uri) or uris.is_session(uri):
        raise MacvtapError(
            f"{uri!r} is not {name}'s own libvirt, which guests would move to. Set it to qemu:///system for {name}, "
            "and the URI by which other hosts reach that in macvtap_migration_uri",
            path="macvtap_domains_uri",
        )


def known(variables: t.Mapping[str, t.Any]) -> list[str]:
    """Return the variables of a host that matter here."""
    return [name for name in (_URI, _UPLINK, _HOST, _SEGMENT) if name in variables]


def uri(name: str, variables: t.Mapping[str, t.Any]) -> str:
    """Return the URI by which the libvirt of other hosts reaches that of the host ``name``."""
    return str(variables.get(_URI) or f"qemu+ssh://{_in_uri(str(variables.get(_HOST) or name))}/system")


def _in_uri(host: str) -> str:
    # An IPv6 address.
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def declared(stages: t.Iterable[_Stage]) -> list[dict[str, t.Any]]:
    """Return the NICs that a host's roles declare, each with the defaults of its task.

    :raises MacvtapError: a variable cannot be read, or is no list.
    """
    found: list[dict[str, t.Any]] = []
    for stage in stages:
        if stage.module != _MODULE:
            continue
        if stage.error is not None:
            raise MacvtapError(f"its variables cannot be read: {stage.error}", path="destination")
        entries = stage.options.get("interfaces") or ()
        if isinstance(entries, (str, t.Mapping)) or not isinstance(entries, t.Iterable):
            raise MacvtapError(f"its macvtap_domains_interfaces is not a list, but {entries!r}", path="destination")
        found += declared_of(entries, stage.options)
    return found


def declared_of(entries: t.Iterable[t.Any], options: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return the NICs of a list of the role macvtap_domains, each with what ``options`` say of all."""
    return [
        _with_defaults(entry, options)
        for entry in entries
        if isinstance(entry, dict) and (entry.get("state") or options.get("state")) != "absent"
    ]


class _Declared(t.NamedTuple):
    """What a host's roles declare: by MAC address guards, NICs, and those NICs that are not to receive all multicast.

    ``any_nic`` is whether an entry does not say which NIC of the domain it is for, and ``any_silent`` whether one of
    these is not to receive all.
    """

    guards: set[str]
    nics: set[str]
    silent: set[str]
    any_nic: bool = False
    any_silent: bool = False


def undeclared(left: t.Iterable[_Rule], stages: t.Iterable[_Stage], domain: str) -> list[dict[str, t.Any]]:
    """Return what of ``left`` a host's roles do not declare; ``domain`` is the one that the NICs are of.

    What they may declare counts as declared: if a variable cannot be read, or has something else than it must have; if
    they declare a NIC of the domain without its address.
    """
    known = _declared_macs(stages, domain)
    if known is None:
        return []
    found = []
    for rule in left:
        own = mac(rule["mac"])
        of_nic = known.any_nic or own in known.nics
        guard = None if own in known.guards else rule["guard"]
        found.append({**rule, "guard": guard, "allmulticast": rule["allmulticast"] and not of_nic})
    return [rule for rule in found if _is_any(rule)]


def there(rules: t.Iterable[_Rule], stages: t.Iterable[_Stage], domain: str) -> list[dict[str, t.Any]]:
    """Return what of ``rules`` a destination gets, by what its roles declare; ``domain`` is the one that they are of.

    A guard that is declared there stays as the destination has it.
    """
    known = _declared_macs(stages, domain)
    found = []
    for rule in rules:
        own = mac(rule["mac"])
        is_silent = known is not None and (own in known.silent or (known.any_silent and own not in known.nics))
        keeps = rule["guard"] is not None and (known is None or own in known.guards)
        found.append({**rule, "allmulticast": rule["allmulticast"] and not is_silent, "keep_guard": keeps})
    return [rule for rule in found if _is_any(rule)]


def _is_any(rule: _Rule) -> bool:
    return rule["guard"] is not None or rule["allmulticast"]


def _declared_macs(stages: t.Iterable[_Stage], domain: str) -> _Declared | None:
    """Return what is declared, None if that is not known."""
    found = _Declared(set(), set(), set())
    for stage in stages:
        if stage.error is not None:
            return None
        for name in _OF_MACS:
            entries = stage.options.get(name) or []
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                return None
            for entry in entries:
                if _is_present(entry, stage.options):
                    unclear = _may_concern(entry, name, domain)
                    silent = unclear and _is_silent(entry, stage.options)
                    found = found._replace(any_nic=found.any_nic or unclear, any_silent=found.any_silent or silent)
                    _note(found, name, entry, stage.options)
    return found


def _note(found: _Declared, name: str, entry: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]) -> None:
    own, guard = mac(entry.get("mac")), entry.get("guard")
    if name == "guards" or (guard is not None and not (isinstance(guard, dict) and guard.get("state") == "absent")):
        found.guards.add(own)
    if name != "guards":
        found.nics.add(own)
    if name == "interfaces" and _is_silent(entry, options):
        found.silent.add(own)


def _is_silent(entry: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]) -> bool:
    """Whether a NIC is declared not to receive all multicast; what is not set says nothing."""
    value = options.get(_ALL) if entry.get(_ALL) is None else entry[_ALL]
    text = value.lower() if isinstance(value, str) else value
    # A list is none of them, and in no set.
    return any(text == false for false in BOOLEANS_FALSE)


def _is_present(entry: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]) -> bool:
    return (entry.get("state") or options.get("state")) != "absent"


def _may_concern(entry: t.Mapping[str, t.Any], name: str, domain: str) -> bool:
    """Whether an entry of the option ``name`` is for an address that it does not say, and may be the domain's."""
    return name == "interfaces" and not entry.get("mac") and str(entry.get("domain")) == domain


def mac(value: t.Any) -> str:
    """Return a declared MAC address as others are compared with it, however it is written."""
    text = str(value)
    return _mac.canonical(text) or text


def _with_defaults(entry: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return a NIC with what its task says of all, unless the NIC excludes that."""
    own = {name for name in CONNECTION if entry.get(name)}
    excluded = ("source", "mode") if "network" in own else ("network", "portgroup") if "source" in own else ()
    defaults = {name: options[name] for name in CONNECTION if options.get(name) and name not in excluded}
    found = {**defaults, **{name: entry[name] for name in ("domain", "mac", *own) if entry.get(name)}}
    if found.get("network"):
        return {name: value for name, value in found.items() if name not in ("source", "mode")}
    return found


def interfaces(domain: str, entries: t.Iterable[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Return the option ``interfaces`` for a domain; ``entries`` are the NICs that the destination declares."""
    ours = [entry for entry in entries if str(entry.get("domain")) == domain and entry.get("mac")]
    return [{name: value for name, value in entry.items() if name != "domain"} for entry in ours]


def uplinks(here: t.Mapping[str, t.Any], there: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return the option ``uplinks``, by the variables of the two hosts."""
    return between(here.get(_UPLINK), there.get(_UPLINK))


def between(own: t.Any, other: t.Any) -> dict[str, str]:
    """Return the option ``uplinks`` of a host whose uplink is ``own``, for one whose uplink is ``other``, if known."""
    return {str(own): str(other)} if own and other else {}


def segments_of(here: t.Mapping[str, t.Any], there: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options ``segment`` and ``destination_segment``, {} if neither host declares any."""
    if _SEGMENT not in here and _SEGMENT not in there:
        return {}
    return {
        "segment": here.get(_SEGMENT, segments.COMMON),
        "destination_segment": there.get(_SEGMENT, segments.COMMON),
    }
