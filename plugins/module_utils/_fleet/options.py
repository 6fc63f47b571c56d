# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options in the roles' variables and their entries, converted like module options. Pure."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.validation import (
    check_type_bool,
    check_type_dict,
    check_type_float,
    check_type_list,
)

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import declare, fields, impact
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.options import GUARD, OPTIONS, RULES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import options as access_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlan_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import fields as network_fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.choose_backend import PERSISTENCE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.choice import SCOPES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, suggest

Spec = t.Mapping[str, t.Mapping[str, t.Any]]
Values = t.Mapping[str, t.Any]

_TEXT: dict[str, t.Any] = {"type": "str"}
_FLAG: dict[str, t.Any] = {"type": "bool"}
_NUMBER: dict[str, t.Any] = {"type": "int"}
_PRESENCE: dict[str, t.Any] = {"type": "str", "choices": ["present", "absent"]}
_SCOPE: dict[str, t.Any] = {"type": "str", "choices": list(SCOPES)}
# Ansible's own checks of types, and what is said of a value that does not pass.
_CHECKS: dict[str, tuple[t.Callable[[t.Any], t.Any], str]] = {
    "bool": (check_type_bool, "is neither true nor false"),
    "float": (check_type_float, "is not a number"),
}
# Names of the uplink. The modules accept all of them, the roles one of the first two.
_UPLINK = ("parent", "source", "dev", "link", "lower", "uplink", "base_iface", "vlandev")
# The options of each list's entries. The roles have no aliases.
LINK: Spec = {"name": _TEXT, **LINK_OPTIONS, "persistence": PERSISTENCE, "guard": GUARD}
VLAN: Spec = {**vlan_options.VLAN_OPTIONS, "persistence": PERSISTENCE}
SHIM: Spec = {**access_options.SHIM_OPTIONS, "persistence": PERSISTENCE}
INTERFACE: Spec = {
    "domain": _TEXT,
    "mac": _TEXT,
    "state": _PRESENCE,
    **declare.OPTIONS,
    "guard": GUARD,
}
# A link need not be there yet.
GUARDS: Spec = {name: option for name, option in OPTIONS.items() if name != "link"}
NETWORK: Spec = {
    "name": _TEXT,
    "state": {"type": "str", "choices": ["active", "inactive", "absent"]},
    **network_fields.NETWORK.specification(),
    "mode": fields.TABLE.specification()["mode"],
    "interfaces": {"type": "list"},
    "portgroups": {
        "type": "list",
        "options": {"name": _TEXT, "state": _PRESENCE, **network_fields.PORTGROUP.specification()},
    },
    "autostart": _FLAG,
}
# Options of an interface whose default is a role variable that is unset by default.
TRUST = "trust_guest_rx_filters"
NIC_DEFAULTS = ("model", "allmulticast", TRUST)
# The variables other than lists of entries and defaults of an entry's lists.
VARIABLES: Spec = {
    "macvtap_preflight_allow": {"type": "list"},
    "macvtap_uplink": _TEXT,
    "macvtap_kernel_required": _FLAG,
    "macvtap_guard_policy": RULES["policy"],
    "macvtap_guard_rate": RULES["rate"],
    "macvtap_links_state": LINK_OPTIONS["state"],
    "macvtap_links_parent": _TEXT,
    "macvtap_links_mode": LINK_OPTIONS["mode"],
    "macvtap_links_auto": _SCOPE,
    "macvtap_links_mtu": _NUMBER,
    "macvtap_links_group": _NUMBER,
    "macvtap_links_purge": _FLAG,
    "macvtap_links_force": _FLAG,
    "macvtap_links_allow_host_disconnect": _FLAG,
    "macvtap_networks_uplink": {"type": "list"},
    "macvtap_networks_mode": NETWORK["mode"],
    "macvtap_networks_auto": _SCOPE,
    "macvtap_networks_allow_host_disconnect": _FLAG,
    "macvtap_domains_state": _PRESENCE,
    "macvtap_domains_source": _TEXT,
    "macvtap_domains_network": _TEXT,
    "macvtap_domains_portgroup": _TEXT,
    "macvtap_domains_mode": fields.TABLE.specification()["mode"],
    "macvtap_domains_auto": _SCOPE,
    **{f"macvtap_domains_{name}": fields.TABLE.specification()[name] for name in NIC_DEFAULTS},
    "macvtap_domains_live": {"type": "list", "elements": "str", "choices": list(impact.LEVELS)},
    "macvtap_domains_purge": _FLAG,
    "macvtap_domains_on_missing": {"type": "str", "choices": ["fail", "skip"]},
    "macvtap_domains_allow_host_disconnect": _FLAG,
    "macvtap_host_access_state": _PRESENCE,
    "macvtap_host_access_parent": _TEXT,
    "macvtap_host_access_mtu": _NUMBER,
    "macvtap_host_access_dhcp4": _FLAG,
    "macvtap_host_access_purge": _FLAG,
    "macvtap_host_access_allow_host_disconnect": _FLAG,
}


def read(path: str, values: Values, spec: Spec, unknown: list[str]) -> dict[str, t.Any]:
    """Return the ``values`` of the options in ``spec`` that are not None. Errors for others are added to ``unknown``.

    :raises MacvtapError: a value is invalid.
    """
    result = {}
    for name, value in values.items():
        option = spec.get(name)
        if option is None:
            hint = did_you_mean(_suggestion(str(name), spec))
            unknown.append(str(MacvtapError(f"unknown option{hint}", path=join_path(path, str(name)))))
        elif value is not None:
            result[name] = convert(value, option, join_path(path, name), unknown)
    return result


def _suggestion(name: str, spec: Spec) -> list[str]:
    """Return the option that an unknown name most likely stands for."""
    words = {**{uplink: option for uplink in _UPLINK for option in _UPLINK if option in spec}, **{n: n for n in spec}}
    words.update((word, "id") for word in ("vlan_id", "vlanid", "vid") if "id" in spec)
    return [words[match] for match in suggest(name, words, most=1)]


def convert(value: t.Any, option: t.Mapping[str, t.Any], path: str, unknown: list[str]) -> t.Any:
    """Return ``value`` converted to the option's type, as Ansible does.

    :raises MacvtapError: it cannot be converted.
    """
    kind = option["type"]
    converted: t.Any = value
    if kind == "str" and isinstance(value, str):
        # The most frequent case by far.
        pass
    elif kind == "str":
        if isinstance(value, (t.Mapping, list, tuple)):
            raise MacvtapError(f"must be a text, not {value!r}", path=path)
        converted = str(value)
    elif kind == "int":
        converted = _values.whole(value, path)
    elif kind in _CHECKS:
        check, message = _CHECKS[kind]
        converted = _checked(check, value, message, path)
    elif kind == "list" and "options" in option:
        converted = [
            read(f"{path}[{index}]", _checked(check_type_dict, one, "", f"{path}[{index}]"), option["options"], unknown)
            for index, one in enumerate(_checked(check_type_list, value, "", path))
        ]
    elif kind == "list":
        converted = [str(one) for one in _checked(check_type_list, value, "", path)]
    elif kind == "dict":
        converted = read(path, _checked(check_type_dict, value, "", path), option["options"], unknown)
    values = converted if kind == "list" else [converted]
    if "choices" in option and any(one not in option["choices"] for one in values):
        raise MacvtapError(f"{value!r} is not one of {', '.join(option['choices'])}", path=path)
    return converted


def _checked(check: t.Callable[[t.Any], t.Any], value: t.Any, message: str, path: str) -> t.Any:
    try:
        return check(value)
    except (ArithmeticError, TypeError, ValueError) as exc:
        what = {check_type_list: "list", check_type_dict: "dictionary"}.get(check)
        raise MacvtapError(f"must be a {what}, not {value!r}" if what else f"{value!r} {message}", path=path) from exc
