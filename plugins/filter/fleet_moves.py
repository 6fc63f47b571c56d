# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter fleet_moves: decides where guests go from hosts that are to be emptied, and back."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_moves
short_description: Decide where guests go from hosts that are to be emptied, and back
version_added: 0.2.0
description:
  - Decides for each running guest of some hosts which other host takes it, by their memory, and returns those that no
    host can take, with the reasons. The playbook C(evacuate) moves them so.
  - With O(homes), guests go back to where they were. The playbook C(return) moves them so.
  - A guest goes to a host on which the inventory declares it, if it can. Otherwise it goes to the one with the most
    memory left.
options:
  _input:
    description: For each host by its name what M(linuxvirt.macvtap.macvtap_host_info) returns.
    type: dict
    required: true
  sources:
    description: The hosts to be emptied. Either this or O(homes) is required.
    type: list
    elements: str
  targets:
    description: The hosts that take guests. By default all of the input.
    type: list
    elements: str
  given:
    description: The hosts of single guests, by their names.
    type: dict
    default: {}
  declared:
    description: For each host by its name, the variable C(macvtap_domains_interfaces).
    type: dict
    default: {}
  uplinks:
    description: For each host by its name, the variable C(macvtap_uplink), as far as it is set.
    type: dict
    default: {}
  segments:
    description:
      - For each host by its name, the variable C(macvtap_segment), as far as it is set. A guest does not go to a host
        on which one of its NICs would be in another segment, or in another mode that is not declared there.
    type: dict
    default: {}
  begun:
    description:
      - The hosts that guests were to leave by a run that has not been completed, by the guests' names. What is left of
        these there is among RV(_value.moves), to the host that has the guest.
    type: dict
    default: {}
  homes:
    description: The hosts that guests go back to, by the guests' names. A guest that runs nowhere is left alone.
    type: dict
  apart:
    description: Lists of guests of which no two may run on one host.
    type: list
    elements: list
    default: []
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show where the guests of hv1 go
  ansible.builtin.debug:
    msg: "{{ looks | linuxvirt.macvtap.fleet_moves(sources=['hv1'], apart=[['db1', 'db2']]) }}"
  # {"moves": [{"domain": "db1", "source": "hv1", "destination": "hv2"}], "stuck": []}
"""

RETURN = r"""
_value:
  description: What is to be moved, and what cannot be.
  type: dict
  contains:
    moves:
      description:
        - The guests that go, each with C(domain), C(source) and C(destination), the largest one first. At last come
          those that have gone, and of which something may be left.
      type: list
      elements: dict
    lines:
      description: The moves as the lines of a table, without those that were made before.
      type: list
      elements: str
    rests:
      description:
        - In words, for each guest that runs elsewhere already, which domain is removed from the host that it has left.
      type: list
      elements: str
    stuck:
      description: The guests that cannot go, each with C(domain), C(source) and C(reason).
      type: list
      elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import aligned
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted

if t.TYPE_CHECKING:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import moves

_NICS = "macvtap_domains_interfaces"


def fleet_moves(  # noqa: PLR0913  # each is an option of the filter
    looks: t.Mapping[str, t.Mapping[str, t.Any]],
    sources: t.Sequence[str] | None = None,
    *,
    targets: t.Sequence[str] | None = None,
    given: t.Mapping[str, str] | None = None,
    declared: t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]] | None = None,
    apart: t.Sequence[t.Sequence[str]] = (),
    homes: t.Mapping[str, str] | None = None,
    uplinks: t.Mapping[str, str] | None = None,
    segments: t.Mapping[str, t.Any] | None = None,
    begun: t.Mapping[str, str] | None = None,
) -> dict[str, t.Any]:
    """Return the moves, and the guests that are stuck."""
    # Whoever uses one filter of a collection has Ansible import all of them, and this is most of that.
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import arrival, fleet, moves

    if (sources is None) == (homes is None):
        raise AnsibleFilterError("fleet_moves: set either sources or homes")
    try:
        under_way = _names(begun or {}, "macvtap_migration_file")
        if homes is not None:
            found = moves.home(looks, _names(homes, "macvtap_migration_file"), under_way)
        else:
            groups = tuple(
                frozenset(_texts(group, f"macvtap_migration_apart[{index}]"))
                for index, group in enumerate(_list(apart, "macvtap_migration_apart"))
            )
            options = arrival.Options(
                tuple(sources or ()),
                tuple(looks if targets is None else _texts(targets, "macvtap_migration_to")),
                _names(given or {}, "macvtap_migration_targets"),
                {host: _entries(listed) for host, listed in _dict(declared or {}, _NICS).items()},
                groups,
                {host: str(link) for host, link in _set(uplinks, "macvtap_uplink").items()},
                _set(segments, "macvtap_segment"),
                under_way,
            )
            found = moves.plan(looks, options)
            for text in moves.unknown_apart(looks, groups):
                Display().warning(f"fleet_moves: {text}")
    except MacvtapError as exc:
        raise AnsibleFilterError(f"fleet_moves: {exc}") from exc
    except fleet.MALFORMED as exc:
        raise AnsibleFilterError(f"fleet_moves: of a host, {fleet.damaged(exc)}") from exc
    return _shown(found)


def _shown(found: moves.Moves) -> dict[str, t.Any]:
    return {
        "moves": [one._asdict() for one in (*found.moves, *found.rests, *found.completed)],
        "stuck": [one._asdict() for one in found.stuck],
        "lines": aligned([(one.domain, one.source, "→", one.destination) for one in found.moves]),
        "rests": [
            f"{one.domain}: what is left of it on {one.source} is removed. It runs on {one.destination}"
            for one in found.rests
        ],
    }


def _entries(listed: t.Any) -> list[t.Mapping[str, t.Any]]:
    return [dict(one) for one in listed if isinstance(one, t.Mapping)] if isinstance(listed, list) else []


def _set(values: t.Any, path: str) -> dict[str, t.Any]:
    """Return what is set, by host."""
    return {host: value for host, value in _dict(values or {}, path).items() if value not in (None, "")}


def _list(value: t.Any, path: str) -> list[t.Any]:
    if isinstance(value, (str, t.Mapping)) or not isinstance(value, t.Iterable):
        raise MacvtapError(f"{value!r} is not a list", path=path)
    return list(value)


def _texts(value: t.Any, path: str) -> list[str]:
    return [_text(one, f"{path}[{index}]") for index, one in enumerate(_list(value, path))]


def _names(value: t.Any, path: str) -> dict[str, str]:
    """Return hosts by the names of guests."""
    return {str(guest): _text(host, f"{path}.{guest}") for guest, host in _dict(value, path).items()}


def _text(value: t.Any, path: str) -> str:
    # A name that YAML reads as a number is one.
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    raise MacvtapError(f"{value!r} is not a name. Put a name that YAML takes for something else in quotes", path=path)


def _dict(value: t.Any, path: str) -> t.Mapping[str, t.Any]:
    if not isinstance(value, t.Mapping):
        raise MacvtapError(f"{value!r} is not a dictionary", path=path)
    return value


class FilterModule:
    """The entry point for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return untrusted.filters(fleet_moves)
