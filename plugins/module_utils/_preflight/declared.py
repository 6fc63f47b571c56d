# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The roles' variables of a host as what they declare, with the same defaults as the roles have. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import options as access_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Wanted as Companion
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import declare
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import options as link_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals, vlan_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import allowed, options, segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import (
    DEFECT,
    DeclaredLink,
    Place,
    Problem,
    defect,
)

Said = t.Mapping[str, t.Any]

# A playbook without the roles does not see their defaults.
DEFAULTS: Said = {
    "macvtap_preflight_allow": [],
    "macvtap_kernel_required": True,
    "macvtap_links_links": [],
    "macvtap_links_state": "up",
    "macvtap_links_mode": "bridge",
    "macvtap_links_auto": "new",
    "macvtap_links_purge": False,
    "macvtap_links_force": False,
    "macvtap_links_vlans": [],
    "macvtap_links_allow_host_disconnect": False,
    "macvtap_domains_interfaces": [],
    "macvtap_domains_state": "present",
    "macvtap_domains_mode": "bridge",
    "macvtap_domains_auto": "new",
    "macvtap_domains_live": "update",
    "macvtap_domains_purge": False,
    "macvtap_domains_allow_host_disconnect": False,
    "macvtap_host_access_companions": [],
    "macvtap_host_access_state": "present",
    "macvtap_host_access_guests": [],
    "macvtap_host_access_dhcp4": False,
    "macvtap_host_access_purge": False,
    "macvtap_host_access_allow_host_disconnect": False,
}
_LINK, _NIC = {"name": "link"}, {"domain": "domain", "mac": "nic"}
_COMPANION_LISTS = ("addresses", "guests")


class Variables:
    """The variables of one host, and what could not be read of them."""

    def __init__(self, host: str, said: Said) -> None:
        self._host = host
        self._said = {}
        self.problems: list[Problem] = []
        for name, value in said.items():
            # Before 2.19 ansible-core makes an empty text of what is left out.
            if value is not None and value != "":
                with self._noted(Place(host)):
                    option = options.VARIABLES.get(name)
                    self._said[name] = value if option is None else options.convert(value, option, name, [])

    def get(self, name: str) -> t.Any:
        return self._said.get(name, DEFAULTS.get(name))

    def segments(self) -> tuple[str, dict[str, str]]:
        """Return the host's segment, and those of its links where it names them."""
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
        top = {name: self.get(f"macvtap_links_{name}") for name in ("state", "parent", "mode", "mtu")}
        found = []
        for path, given in self._entries("macvtap_links_links", top, options.LINK, _LINK):
            with self._noted(Place(self._host, link=given.get("name"), seen="declared")):
                _need(given, path, "name")
                # Whether there are the owners of a tap, only the host knows.
                found.append(link_options.wanted(path, {**dict.fromkeys(LINK_OPTIONS), **given}))
        self._note_twins(found)
        return tuple(
            DeclaredLink(
                want.name,
                want.parent,
                want.mode,
                want.mac,
                want.mtu,
                want.state == "absent",
                want.path,
                want.state == "down",
                want.netns,
            )
            for want in found
        )

    def vlans(self) -> tuple[WantedVlan, ...]:
        """Return the VLAN links of macvtap_links."""
        found = []
        for path, given in self._entries("macvtap_links_vlans", {}, options.VLAN, _LINK):
            with self._noted(Place(self._host, link=given.get("name"), seen="declared")):
                found.append(vlan_options.wanted(path, given))
        return tuple(found)

    def companions(self) -> tuple[Companion, ...]:
        """Return the companions of macvtap_host_access."""
        names = ("state", "parent", "mtu", "dhcp4", *_COMPANION_LISTS)
        top = {name: self.get(f"macvtap_host_access_{name}") for name in names}
        found = []
        for path, given in self._entries("macvtap_host_access_companions", top, options.COMPANION, _LINK):
            with self._noted(Place(self._host, link=given.get("name"), seen="declared")):
                for name in _COMPANION_LISTS:
                    if given.get(name) is not None:
                        given[name] = options.convert(given[name], options.COMPANION[name], join_path(path, name), [])
                found.append(access_options.wanted(path, given))
        self._note_twins([Wanted(want.name, want.path) for want in found])
        return tuple(found)

    def interfaces(self) -> tuple[Desired, ...]:
        """Return the interfaces of macvtap_domains."""
        names = ("state", "source", "mode", *options.NIC_DEFAULTS)
        top = {name: self.get(f"macvtap_domains_{name}") for name in names}
        found: dict[tuple[str, str, str], tuple[Desired, Said]] = {}
        for path, given in self._entries("macvtap_domains_interfaces", top, options.INTERFACE, _NIC):
            with self._noted(Place(self._host, given.get("domain"), given.get("mac"), seen="declared")):
                (desired,) = declare.declare([(path, given)])
                key = (desired.domain, desired.by, desired.key)
                if key in found:
                    # In words, what is wrong with two of one domain.
                    declare.declare([(found[key][0].path, found[key][1]), (path, given)])
                found[key] = (desired, given)
        return tuple(desired for desired, _given in found.values())

    def _entries(
        self, variable: str, top: Said, spec: options.Spec, naming: t.Mapping[str, str]
    ) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
        """Return the entries of ``variable`` as they can be read, each by its path; ``naming`` has the options that
        name what they are of, and as what.
        """
        said = self.get(variable)
        if isinstance(said, (str, bytes)) or not isinstance(said, t.Sequence):
            self.problems.append(Problem(Place(self._host), f"{variable}: a list is needed, and found is {said!r}"))
            return
        for index, entry in enumerate(said):
            path = f"{variable}[{index}]"
            if not isinstance(entry, t.Mapping):
                self.problems.append(
                    Problem(Place(self._host), f"{path}: a dictionary is needed, and found is {entry!r}")
                )
                continue
            unknown: list[str] = []
            given: dict[str, t.Any] | None = None
            place = Place(
                self._host,
                **{what: None if entry.get(name) is None else str(entry[name]) for name, what in naming.items()},
                seen="declared",
            )
            with self._noted(place):
                given = {**top, **options.read(path, entry, spec, unknown)}
            self.problems += [Problem(place, message) for message in unknown]
            if given is not None:
                yield path, given

    def _note_twins(self, wanted: t.Iterable[Wanted]) -> None:
        seen: dict[str, Wanted] = {}
        for want in wanted:
            if want.key in seen:
                with self._noted(Place(self._host, link=want.key, seen="declared")):
                    refusals.check_declared_once([seen[want.key], want])
            seen[want.key] = want

    def _noted(self, place: Place) -> _Noted:
        return _Noted(self.problems, place)


class _Noted:
    """Notes the error of a declaration, so that the others are compared all the same."""

    def __init__(self, problems: list[Problem], place: Place) -> None:
        self._problems = problems
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: t.Any, error: BaseException | None, _trace: t.Any) -> bool:
        if isinstance(error, MacvtapError):
            self._problems.append(Problem(self._place, str(error)))
        elif isinstance(error, Exception):
            self._problems.append(Problem(self._place, defect(error), DEFECT))
        return isinstance(error, Exception)


def _need(given: Said, path: str, name: str) -> None:
    if not given.get(name):
        raise MacvtapError("say it", path=join_path(path, name))
