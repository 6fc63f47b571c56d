# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The roles' variables of a host as what they declare, with the same defaults as the roles have. Pure."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.validation import check_type_list
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import options as access_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Wanted as Companion
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import declare, fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import options as link_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlan_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import DeclaredLink, Place

Said = t.Mapping[str, t.Any]
Entry = t.Tuple[Desired, Said]

# A playbook without the roles does not see their defaults.
DEFAULTS: Said = {
    "macvtap_kernel_required": True,
    "macvtap_links_links": [],
    "macvtap_links_state": "up",
    "macvtap_links_mode": "bridge",
    "macvtap_links_purge": False,
    "macvtap_links_vlans": [],
    "macvtap_domains_interfaces": [],
    "macvtap_domains_state": "present",
    "macvtap_domains_mode": "bridge",
    "macvtap_domains_live": "update",
    "macvtap_domains_purge": False,
    "macvtap_host_access_companions": [],
    "macvtap_host_access_state": "present",
    "macvtap_host_access_guests": [],
    "macvtap_host_access_dhcp4": False,
}
# What decides which NIC is meant and where it is; all else of an interface is libvirt_direct_iface's to refuse.
_TEXTS = ("domain", "mac", "state", "source", "mode", "target", "alias", "mac_prefix")


def changed_live_from(field: fields.Field) -> int:
    """Return libvirt's first version that changes the field in a running guest, 0 where no version is too old."""
    return 0 if field.not_with.start else field.not_with.stop


_VERSIONED = tuple({f.name.split(".")[0] for f in fields.FIELDS if f.added or changed_live_from(f)})
_LINK_TEXTS = ("name", "state", "parent", "mode", "mac")
_VLAN_TEXTS = ("name", "state", "parent", "mac", "protocol")
_COMPANION_TEXTS = ("name", "state", "parent", "mac")
_COMPANION_LISTS = ("addresses", "guests")


class Variables:
    """The variables of one host, and what could not be read of them."""

    def __init__(self, host: str, said: Said) -> None:
        self._host = host
        # ansible-core before 2.19 makes an empty text of a template that is none, so that it is as good as left out.
        self._said = {name: value for name, value in said.items() if value not in (None, "")}
        self.problems: list[tuple[Place, str]] = []

    def get(self, name: str) -> t.Any:
        return self._said.get(name, DEFAULTS.get(name))

    def flag(self, name: str) -> bool:
        return _flag(self.get(name))

    def links(self) -> tuple[DeclaredLink, ...]:
        """Return the links of macvtap_links."""
        top = {name: self.get(f"macvtap_links_{name}") for name in ("state", "parent", "mode", "mtu")}
        found = []
        for path, options in self._entries("macvtap_links_links", {**top}, (*_LINK_TEXTS, "mtu")):
            text = _texts(options, _LINK_TEXTS)
            place = Place(self._host, link=text["name"], seen="declared")
            with _Noted(self.problems, place):
                found.append(
                    DeclaredLink(
                        name=_needed(text["name"], join_path(path, "name")),
                        parent=text["parent"],
                        mode=text["mode"],
                        mac=text["mac"] and _mac.require(text["mac"], path=join_path(path, "mac")),
                        mtu=_number(options["mtu"], join_path(path, "mtu")),
                        absent=text["state"] == "absent",
                    )
                )
        return tuple(found)

    def vlans(self) -> tuple[WantedVlan, ...]:
        """Return the VLAN links of macvtap_links."""
        found = []
        for path, options in self._entries("macvtap_links_vlans", {}, (*_VLAN_TEXTS, "id", "mtu")):
            text = _texts(options, _VLAN_TEXTS)
            with _Noted(self.problems, Place(self._host, link=text["name"], seen="declared")):
                numbers = {name: _number(options[name], join_path(path, name)) for name in ("id", "mtu")}
                found.append(vlan_options.wanted(path, {**text, **numbers}))
        return tuple(found)

    def companions(self) -> tuple[Companion, ...]:
        """Return the companions of macvtap_host_access."""
        names = ("state", "parent", "mtu", "dhcp4", *_COMPANION_LISTS)
        top = {name: self.get(f"macvtap_host_access_{name}") for name in names}
        found = []
        for path, options in self._entries("macvtap_host_access_companions", top, access_options.COMPANION_OPTIONS):
            text = _texts(options, _COMPANION_TEXTS)
            with _Noted(self.problems, Place(self._host, link=text["name"], seen="declared")):
                lists = {name: _list(options[name], join_path(path, name)) for name in _COMPANION_LISTS}
                mtu, dhcp4 = _number(options["mtu"], join_path(path, "mtu")), _flag(options["dhcp4"])
                found.append(access_options.wanted(path, {**text, **lists, "mtu": mtu, "dhcp4": dhcp4}))
        return tuple(found)

    def interfaces(self) -> tuple[Entry, ...]:
        """Return the interfaces of macvtap_domains, each with all its options."""
        top = {name: self.get(f"macvtap_domains_{name}") for name in ("state", "source", "mode")}
        found = []
        for path, options in self._entries("macvtap_domains_interfaces", top, (*_TEXTS, "mtu", *_VERSIONED)):
            text = _texts(options, _TEXTS)
            place = Place(self._host, text["domain"], text["mac"], seen="declared")
            with _Noted(self.problems, place):
                options["mtu"] = _number(options["mtu"], join_path(path, "mtu"))
                (desired,) = declare.declare([(path, text)])
                found.append((desired, options))
        return tuple(found)

    def _entries(self, variable: str, top: Said, options: t.Iterable[str]) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
        said = self.get(variable)
        if isinstance(said, (str, bytes)) or not isinstance(said, t.Sequence):
            self.problems.append((Place(self._host), f"{variable}: a list is needed, and found is {said!r}"))
            return
        for index, entry in enumerate(said):
            if not isinstance(entry, t.Mapping):
                message = f"{variable}[{index}]: a dictionary is needed, and found is {entry!r}"
                self.problems.append((Place(self._host), message))
                continue
            ((_path, merged),) = _glue.entries({**top, "one": [entry]}, "one", options)
            yield f"{variable}[{index}]", merged


class _Noted:
    """Notes the error of a declaration, so that the others are compared all the same."""

    def __init__(self, problems: list[tuple[Place, str]], place: Place) -> None:
        self._problems = problems
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: t.Any, error: BaseException | None, _trace: t.Any) -> bool:
        if not isinstance(error, MacvtapError):
            return False
        self._problems.append((self._place, str(error)))
        return True


def wanted_versions(options: Said) -> t.Iterator[tuple[fields.Field, t.Any]]:
    """Return the fields given in ``options`` that not every libvirt has, with their values."""
    if any(options.get(name) is not None for name in _VERSIONED):
        given = fields.flat({name: value for name, value in options.items() if name in _VERSIONED})
        for name, value in given.items():
            field = fields.BY_NAME[name]
            if field.added or changed_live_from(field):
                yield field, _flag(value) if field.kind == "bool" else value


def _texts(options: Said, names: t.Iterable[str]) -> dict[str, t.Any]:
    return {name: None if options.get(name) is None else str(options[name]) for name in names}


def _needed(value: str | None, path: str) -> str:
    if not value:
        raise MacvtapError("say it", path=path)
    return value


def _number(value: t.Any, path: str) -> int | None:
    link_options.check_number(value, path)
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError) as exc:
        raise MacvtapError(f"{value!r} is no number", path=path) from exc


def _list(value: t.Any, path: str) -> list[str] | None:
    if value is None:
        return None
    try:
        return [str(one) for one in check_type_list(value)]
    except TypeError as exc:
        raise MacvtapError(f"a list is needed, and found is {value!r}", path=path) from exc


def _flag(value: t.Any) -> bool:
    return bool(boolean(value, strict=False))
