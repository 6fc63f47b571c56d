# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Of several guards those that are damaged are found without a look at the host, or a transaction, for each."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_parts

MACS = [f"52:54:00:00:0a:{number:02x}" for number in range(256)]
WHOLE: dict[str, t.Any] = {"chain": "guard_x", "sets": [], "rules": [{"comment": "mac", "expr": []}]}


class Host:
    """A host that loads all guards together or none, and not these ``damaged`` ones, which it ``refuses`` so often."""

    def __init__(self, damaged: t.Collection[str], error: type[Exception] = ValueError, refuses: int = 999) -> None:
        self._damaged, self._error, self._refuses = damaged, error, refuses
        self.loaded: list[str] = []
        self.looks, self.sizes = 0, list[int]()

    def look(self) -> int:
        self.looks += 1
        return self.looks

    def put(self, macs: t.Collection[str], _look: int) -> None:
        self.sizes.append(len(macs))
        if self.looks <= self._refuses and any(mac in self._damaged for mac in macs):
            raise self._error(f"{len(macs)} refused")
        self.loaded += macs

    def load(self, guards: t.Mapping[str, t.Any]) -> dict[str, str]:
        """Have guards loaded, and return why which are not."""
        try:
            guard_parts.load(guards, guards, self.look, self.put)
        except guard_parts.PartError as exc:
            return {mac: str(reason) for mac, reason in exc.reasons.items()}
        return {}


@pytest.mark.parametrize("damaged", [MACS[:1], MACS[77:78], MACS[-1:], [MACS[3], MACS[200]]])
def test_a_damaged_guard_costs_little_more_than_none(damaged: list[str]) -> None:
    host = Host(damaged)
    assert host.load(dict.fromkeys(MACS, WHOLE)) == dict.fromkeys(damaged, "1 refused")
    assert sorted(host.loaded) == [mac for mac in MACS if mac not in damaged]
    assert host.looks == 1
    # All of them once, and each half twice at most.
    assert sum(host.sizes) <= 3 * len(MACS) * len(damaged)
    assert len(host.sizes) <= 2 * len(damaged) * 9


def test_if_all_are_damaged_the_host_is_not_looked_at_for_each() -> None:
    host = Host(MACS, RuntimeError)
    assert host.load(dict.fromkeys(MACS, WHOLE)) == dict.fromkeys(MACS, "1 refused")
    assert host.looks == 4


def test_what_was_refused_because_something_came_between_is_loaded_after_another_look() -> None:
    host = Host([MACS[5]], RuntimeError, refuses=3)
    assert host.load(dict.fromkeys(MACS[:8], WHOLE)) == {}
    assert (host.looks, sorted(host.loaded)) == (4, MACS[:8])
    # Any other error stays.
    host = Host([MACS[5]], ValueError, refuses=1)
    assert host.load(dict.fromkeys(MACS[:8], WHOLE)) == {MACS[5]: "1 refused"}


def test_a_host_that_cannot_be_looked_at_is_the_reason_for_all() -> None:
    host = Host([])

    def look() -> int:
        host.look()
        raise RuntimeError("busy")

    with pytest.raises(guard_parts.PartError, match="busy") as error:
        guard_parts.load(dict.fromkeys(MACS[:3], WHOLE), MACS[:3], look, host.put)
    assert (sorted(error.value.reasons), host.looks, host.sizes) == (MACS[:3], 4, [])


def test_the_error_of_the_only_one_is_raised_as_it_is() -> None:
    host = Host(MACS[:1])
    with pytest.raises(ValueError, match="1 refused"):
        guard_parts.load({MACS[0]: WHOLE}, MACS[:1], host.look, host.put)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({key: one for key, one in WHOLE.items() if key != "sets"}, "'sets' is missing"),
        ({key: one for key, one in WHOLE.items() if key != "chain"}, "'chain' is missing"),
        ({**WHOLE, "rules": 5}, "'rules' is int, and not list"),
        ({**WHOLE, "chain": None}, "'chain' is NoneType, and not str"),
        ({**WHOLE, "sets": ["x"]}, "a set or a rule is no object"),
        ({**WHOLE, "rules": [{"comment": "mac"}]}, "a rule has no expressions"),
    ],
)
def test_what_has_not_the_form_of_a_guard_is_left_out_first(entry: dict[str, t.Any], why: str) -> None:
    host = Host([])
    assert host.load({**dict.fromkeys(MACS[:4], WHOLE), MACS[1]: entry}) == {MACS[1]: why}
    assert (host.looks, host.sizes) == (1, [3])
    with pytest.raises(guard_parts.FormError, match=why):
        guard_parts.load({MACS[1]: entry}, MACS[1:2], host.look, host.put)
    assert host.looks == 1
