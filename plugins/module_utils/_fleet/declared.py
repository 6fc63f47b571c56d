# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host's role variables as declarations, with the same defaults as the roles. Pure."""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Mapping

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import declare, segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import allowed, options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import (
    DEFECT,
    DeclaredGuard,
    DeclaredLink,
    Place,
    Problem,
    defect,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import options as guard_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import options as access_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import DesiredShim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import options as link_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import validate, vlan_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import declare as network_declare
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Desired as DesiredNetwork
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice

Values = t.Mapping[str, t.Any]

# A playbook that does not include the roles does not have their defaults.
DEFAULTS: Values = {
    "macvtap_preflight_allow": [],
    "macvtap_kernel_required": True,
    "macvtap_guard_guards": [],
    "macvtap_guard_policy": "drop",
    "macvtap_guard_rate": 0,
    "macvtap_links_links": [],
    "macvtap_links_state": "up",
    "macvtap_links_auto": "new",
    "macvtap_links_purge": False,
    "macvtap_links_force": False,
    "macvtap_links_vlans": [],
    "macvtap_links_allow_host_disconnect": False,
    "macvtap_networks_networks": [],
    "macvtap_networks_auto": "new",
    "macvtap_networks_allow_host_disconnect": False,
    "macvtap_domains_interfaces": [],
    "macvtap_domains_state": "present",
    "macvtap_domains_auto": "new",
    "macvtap_domains_allmulticast": True,
    "macvtap_domains_live": ["update"],
    "macvtap_domains_purge": False,
    "macvtap_domains_on_missing": "fail",
    "macvtap_domains_allow_host_disconnect": False,
    "macvtap_host_access_shims": [],
    "macvtap_host_access_state": "present",
    "macvtap_host_access_guests": [],
    "macvtap_host_access_dhcp4": False,
    "macvtap_host_access_purge": False,
    "macvtap_host_access_allow_host_disconnect": False,
}
# The default of each role's parent or source.
UPLINK = "macvtap_uplink"
_LINK, _NIC, _NETWORK = {"name": "link"}, {"domain": "domain", "mac": "nic"}, {"name": "network"}
_SHIM_LISTS = ("addresses", "guests")
_DEFAULTED = frozenset(("allmulticast",))


class Variables:
    """The variables of one host, and the problems with reading them."""

    def __init__(self, host: str, values: Values) -> None:
        self._host = host
        self._values = {}
        self.problems: list[Problem] = []
        # The guards of the NICs and links that were read so far.
        self.guards: list[DeclaredGuard] = []
        for name, value in values.items():
            # ansible-core before 2.19 passes an omitted value as an empty text.
            if value is not None and value != "":
                with self._noted(Place(host)):
                    option = options.VARIABLES.get(name)
                    self._values[name] = value if option is None else options.convert(value, option, name, [])

    def get(self, name: str) -> t.Any:
        return self._values.get(name, DEFAULTS.get(name))

    def segments(self) -> tuple[str, dict[str, str]]:
        """Return the host's segment, and the segments of its links if it declares any."""
        with self._noted(Place(self._host)):
            return segments.read(self.get(segments.VARIABLE))
        return segments.read(None)

    def allowed(self) -> tuple[str, ...]:
        """Return which conflicts are allowed."""
        with self._noted(Place(self._host)):
            return allowed.read(self.get(allowed.VARIABLE) or ())
        return ()

    def links(self) -> tuple[DeclaredLink, ...]:
        """Return the links of macvtap_links."""
        top = self._defaults("macvtap_links", "state", "parent", "mode", "mtu")
        result = []
        for path, values in self._entries("macvtap_links_links", top, options.LINK, _LINK):
            with self._noted(Place(self._host, link=values.get("name"), seen="declared")):
                _require(values, path, "name")
                # Only the host knows whether the owners of a tap exist.
                result.append(link_options.desired(path, {**dict.fromkeys(LINK_OPTIONS), **values}))
                self._guard(path, values, Place(self._host, link=values.get("name"), seen="declared"))
        self._note_duplicates(result)
        if top["state"] != "absent":
            own = {name: self.get(f"macvtap_links_{name}") for name in ("purge", "group")}
            with self._noted(Place(self._host)):
                link_options.purge_group(own, "macvtap_links_")
        return tuple(
            DeclaredLink(
                link.name,
                link.parent,
                link.mode,
                link.mac,
                link.mtu,
                link.state == "absent",
                link.path,
                link.state == "down",
                link.netns,
            )
            for link in result
        )

    def vlans(self) -> tuple[DesiredVlan, ...]:
        """Return the VLAN links of macvtap_links."""
        result = []
        for path, values in self._entries("macvtap_links_vlans", {"parent": self.get(UPLINK)}, options.VLAN, _LINK):
            with self._noted(Place(self._host, link=values.get("name"), seen="declared")):
                result.append(vlan_options.desired(path, values))
        return tuple(result)

    def networks(self) -> tuple[DesiredNetwork, ...]:
        """Return the libvirt networks of macvtap_networks."""
        uplinks = self.get("macvtap_networks_uplink") or ([self.get(UPLINK)] if self.get(UPLINK) else None)
        entries: dict[str, tuple[str, Values]] = {}
        result: list[DesiredNetwork] = []
        for path, own in self._entries("macvtap_networks_networks", {}, options.NETWORK, _NETWORK):
            # A pool of virtual functions takes no uplinks by default.
            top = {"mode": self.get("macvtap_networks_mode"), "interfaces": None if own.get("pf") else uplinks}
            entry = (path, {**top, **own})
            with self._noted(Place(self._host, network=own.get("name"), seen="declared")):
                network_declare.declare([*filter(None, [entries.get(str(own.get("name")))]), entry])
                entries[str(own.get("name"))] = entry
                result += network_declare.declare([entry])
        return tuple(result)

    def shims(self) -> tuple[DesiredShim, ...]:
        """Return the macvlan shims of macvtap_host_access."""
        top = self._defaults("macvtap_host_access", "state", "parent", "mtu", "dhcp4", *_SHIM_LISTS)
        result = []
        for path, values in self._entries("macvtap_host_access_shims", top, options.SHIM, _LINK):
            with self._noted(Place(self._host, link=values.get("name"), seen="declared")):
                for name in _SHIM_LISTS:
                    if values.get(name) is not None:
                        values[name] = options.convert(values[name], options.SHIM[name], join_path(path, name), [])
                result.append(access_options.desired(path, values))
        self._note_duplicates([DesiredLink(link.name, link.path) for link in result])
        return tuple(result)

    def interfaces(self) -> tuple[Desired, ...]:
        """Return the interfaces of macvtap_domains."""
        top = self._defaults(
            "macvtap_domains", "state", "source", "mode", "network", "portgroup", *options.NIC_DEFAULTS
        )
        if top["network"] and self.get("macvtap_domains_source") is None:
            # The uplink is only a default.
            top["source"] = None
        result: dict[tuple[str, str, str], tuple[Desired, Values]] = {}
        default = top.pop("allmulticast")
        for path, own in self._entries("macvtap_domains_interfaces", {}, options.INTERFACE, _NIC):
            ((_path, values),) = declare.with_own_place([(path, {**top, **own})], [own])
            defaults = frozenset[str]() if "allmulticast" in values else _DEFAULTED
            values.setdefault("allmulticast", default)
            with self._noted(functools.partial(self._nic, values)):
                desired = declare.declare_one(path, values, defaults)
                if values.get("guard") is not None:
                    self._guard(path, values, Place(self._host, desired.domain, desired.mac, seen="declared"))
                key = (desired.domain, desired.by, desired.key)
                if key in result:
                    # Raises a clear error about the two of them.
                    declare.declare([(result[key][0].path, result[key][1]), (path, values)])
                result[key] = (desired, values)
        return tuple(desired for desired, _values in result.values())

    def all_guards(self) -> tuple[DeclaredGuard, ...]:
        """Return the guards of macvtap_guard, and those of the NICs and links that were read before."""
        top = {name: self.get(f"macvtap_guard_{name}") for name in ("policy", "rate")}
        seen: dict[str, str] = {}
        for path, values in self._entries("macvtap_guard_guards", top, options.GUARDS, _NIC):
            with self._noted(Place(self._host, values.get("domain"), values.get("mac"), seen="declared")):
                _require(values, path, "mac")
                desired = guard_options.desired(path, values)
                mac = str(desired.mac)
                self._add_guard(desired, Place(self._host, desired.domain, mac, seen="declared"))
                if mac in seen:
                    raise declared_twice(f"the NIC {mac}", path, seen[mac])
                seen[mac] = path
        return tuple(self.guards)

    def _defaults(self, role: str, *names: str) -> dict[str, t.Any]:
        """Return what the entries of ``role`` have where they do not set these options."""
        values = {name: self.get(f"{role}_{name}") for name in names}
        for name in ("parent", "source"):
            if name in values and values[name] is None:
                values[name] = self.get(UPLINK)
        return values

    def _entries(
        self, variable: str, top: Values, spec: options.Spec, naming: t.Mapping[str, str]
    ) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
        """Yield the valid entries of ``variable`` with their paths. ``naming`` maps options to fields of a Place."""
        entries = self.get(variable)
        if isinstance(entries, (str, bytes)) or not isinstance(entries, t.Sequence):
            self.problems.append(Problem(Place(self._host), f"{variable}: must be a list, not {entries!r}"))
            return
        for index, entry in enumerate(entries):
            path = f"{variable}[{index}]"
            if not isinstance(entry, Mapping):
                self.problems.append(Problem(Place(self._host), f"{path}: must be a dictionary, not {entry!r}"))
                continue
            unknown: list[str] = []
            values: dict[str, t.Any] | None = None

            def place(entry: Values = entry) -> Place:
                named = {field: None if entry.get(name) is None else str(entry[name]) for name, field in naming.items()}
                return Place(self._host, **named, seen="declared")

            with self._noted(place):
                values = {**top, **options.read(path, entry, spec, unknown)}
            self.problems += [Problem(place(), message) for message in unknown]
            if values is not None:
                yield path, values

    def _nic(self, values: Values) -> Place:
        return Place(self._host, values.get("domain"), values.get("mac"), seen="declared")

    def _guard(self, path: str, values: Values, place: Place) -> None:
        if values.get("guard") is not None:
            self._add_guard(guard_options.declared(path, values, values.get("name")), place)

    def _add_guard(self, desired: guard_options.Desired, place: Place) -> None:
        if desired.mac is not None:
            self.guards.append(DeclaredGuard(desired.guard(desired.mac), place, desired.present))

    def _note_duplicates(self, links: t.Iterable[DesiredLink]) -> None:
        seen: dict[str, DesiredLink] = {}
        for link in links:
            if link.key in seen:
                with self._noted(Place(self._host, link=link.key, seen="declared")):
                    validate.check_declared_once([seen[link.key], link])
            seen[link.key] = link

    def _noted(self, place: Place | t.Callable[[], Place]) -> _Noted:
        return _Noted(self.problems, place)


class _Noted:
    """Records the error of a declaration, so that the others are still compared."""

    def __init__(self, problems: list[Problem], place: Place | t.Callable[[], Place]) -> None:
        self._problems = problems
        # Made only for an error, of which there are few among many thousands of entries.
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: t.Any, error: BaseException | None, _trace: t.Any) -> bool:
        if error is None:
            return False
        place = self._place if isinstance(self._place, Place) else self._place()
        if isinstance(error, MacvtapError):
            self._problems.append(Problem(place, str(error)))
        elif isinstance(error, Exception):
            self._problems.append(Problem(place, defect(error), DEFECT))
        return isinstance(error, Exception)


def _require(values: Values, path: str, name: str) -> None:
    if not values.get(name):
        raise MacvtapError("a value is required", path=join_path(path, name))
