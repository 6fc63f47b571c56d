# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the roles take in their variables and in the entries of these, read as Ansible reads options. Pure."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.validation import check_type_bool, check_type_dict, check_type_list

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import options as access_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, impact
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlan_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import BACKENDS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay.choice import SCOPES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, suggest

Spec = t.Mapping[str, t.Mapping[str, t.Any]]
Said = t.Mapping[str, t.Any]

_TEXT: dict[str, t.Any] = {"type": "str"}
_FLAG: dict[str, t.Any] = {"type": "bool"}
_NUMBER: dict[str, t.Any] = {"type": "int"}
_PRESENCE: dict[str, t.Any] = {"type": "str", "choices": ["present", "absent"]}
_SCOPE: dict[str, t.Any] = {"type": "str", "choices": list(SCOPES)}
_PERSISTENCE: dict[str, t.Any] = {"type": "str", "choices": list(BACKENDS)}
# The link below, which the modules take by each of these names, and the roles by one of the first two.
_UPLINK = ("parent", "source", "dev", "link", "lower", "uplink", "base_iface")
# Of the entries of each list. The roles know no aliases.
LINK: Spec = {"name": _TEXT, **LINK_OPTIONS, "persistence": _PERSISTENCE}
VLAN: Spec = {**vlan_options.VLAN_OPTIONS, "persistence": _PERSISTENCE}
COMPANION: Spec = {**access_options.COMPANION_OPTIONS, "persistence": _PERSISTENCE}
INTERFACE: Spec = {
    "domain": _TEXT,
    "mac": _TEXT,
    "state": _PRESENCE,
    **fields.specification(),
    "mtu": _NUMBER,
    "convert": _FLAG,
    "mac_prefix": _TEXT,
}
# What an interface may leave to a variable of the role's that has no default itself.
NIC_DEFAULTS = ("model", "allmulticast", "trust_guest_rx_filters")
# The variables that are no lists of entries, and no defaults of an entry's lists.
VARIABLES: Spec = {
    "macvtap_preflight_allow": {"type": "list"},
    "macvtap_kernel_required": _FLAG,
    "macvtap_links_state": LINK_OPTIONS["state"],
    "macvtap_links_parent": _TEXT,
    "macvtap_links_mode": LINK_OPTIONS["mode"],
    "macvtap_links_auto": _SCOPE,
    "macvtap_links_mtu": _NUMBER,
    "macvtap_links_group": _NUMBER,
    "macvtap_links_purge": _FLAG,
    "macvtap_links_force": _FLAG,
    "macvtap_links_allow_host_disconnect": _FLAG,
    "macvtap_domains_state": _PRESENCE,
    "macvtap_domains_source": _TEXT,
    "macvtap_domains_mode": fields.specification()["mode"],
    "macvtap_domains_auto": _SCOPE,
    **{f"macvtap_domains_{name}": fields.specification()[name] for name in NIC_DEFAULTS},
    "macvtap_domains_live": {"type": "str", "choices": list(impact.LEVELS)},
    "macvtap_domains_purge": _FLAG,
    "macvtap_domains_allow_host_disconnect": _FLAG,
    "macvtap_host_access_state": _PRESENCE,
    "macvtap_host_access_parent": _TEXT,
    "macvtap_host_access_mtu": _NUMBER,
    "macvtap_host_access_dhcp4": _FLAG,
    "macvtap_host_access_purge": _FLAG,
    "macvtap_host_access_allow_host_disconnect": _FLAG,
}


def read(path: str, said: Said, spec: Spec, unknown: list[str]) -> dict[str, t.Any]:
    """Return what is ``said`` of the options of ``spec``, less what is None; ``unknown`` gets an error for each other.

    :raises MacvtapError: a value that is none of its option.
    """
    found = {}
    for name, value in said.items():
        option = spec.get(name)
        if option is None:
            hint = did_you_mean(_near(str(name), spec))
            unknown.append(str(MacvtapError(f"there is no such option{hint}", path=join_path(path, str(name)))))
        elif value is not None:
            found[name] = convert(value, option, join_path(path, name), unknown)
    return found


def _near(name: str, spec: Spec) -> list[str]:
    """Return the option that is meant by a name that is no option's, or only in another list's entries."""
    words = {**{uplink: option for uplink in _UPLINK for option in _UPLINK if option in spec}, **{n: n for n in spec}}
    words.update((word, "id") for word in ("vlan_id", "vlanid", "vid") if "id" in spec)
    return [words[near] for near in suggest(name, words, most=1)]


def convert(value: t.Any, option: t.Mapping[str, t.Any], path: str, unknown: list[str]) -> t.Any:
    """Return ``value`` as Ansible makes it of the option's type.

    :raises MacvtapError: it is none.
    """
    kind = option["type"]
    made: t.Any = value
    if kind == "str":
        if isinstance(value, (t.Mapping, list, tuple)):
            raise MacvtapError(f"a text is needed, and found is {value!r}", path=path)
        made = str(value)
    elif kind == "int":
        made = _values.whole(value, path)
    elif kind == "bool":
        made = _checked(check_type_bool, value, "is neither true nor false", path)
    elif kind == "list":
        made = [str(one) for one in _checked(check_type_list, value, "", path)]
    elif kind == "dict":
        made = read(path, _checked(check_type_dict, value, "", path), option["options"], unknown)
    if "choices" in option and made not in option["choices"]:
        raise MacvtapError(f"{value!r} is none of {', '.join(option['choices'])}", path=path)
    return made


def _checked(check: t.Callable[[t.Any], t.Any], value: t.Any, refusal: str, path: str) -> t.Any:
    try:
        return check(value)
    except (ArithmeticError, TypeError, ValueError) as exc:
        what = {check_type_list: "list", check_type_dict: "dictionary"}.get(check)
        said = f"a {what} is needed, and found is {value!r}" if what else f"{value!r} {refusal}"
        raise MacvtapError(said, path=path) from exc
