# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""allmulticast, of which libvirt knows nothing: the link has it, and udev gives it to the next one."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import link_of_iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

from .planned import (
    LINKS,
    LIVE,
    MAC,
    OTHER,
    STORED,
    TRUSTS,
    changed,
    changes,
    heard,
    host,
    impacts,
    restart,
    running,
    stopped,
    udev_rules,
    want,
)


@pytest.mark.parametrize(
    ("given", "live", "macs", "level", "expected"),
    [
        ("yes", "no", [], "update", [("allmulticast", False, True, "live")]),
        ("yes", "no", [], "none", [("allmulticast", False, True, "restart")]),
        # Somebody has set it by hand: it is written down, and no more.
        ("yes", "yes", [], "update", [("allmulticast", False, True, "config")]),
        # A link that was made before its rule.
        ("yes", "no", [MAC], "update", [("allmulticast", False, True, "live")]),
        ("yes", "yes", [MAC], "update", []),
        ("no", "yes", [MAC], "update", [("allmulticast", True, False, "live")]),
        ("no", "yes", [], "update", [("allmulticast", True, False, "live")]),
        ("no", "no", [], "update", []),
        (None, "yes", [], "update", []),
        (None, "no", [MAC], "update", []),
    ],
)
def test_allmulticast_of_a_running_guest(
    given: str | None, live: str, macs: list[str], level: str, expected: list[t.Any]
) -> None:
    desired = replace(want(), given={"allmulticast": given} if given else {})
    on = udev_rules(running([STORED], [heard(LIVE, live)]), *macs)
    planned = planner.plan([desired], on, level=level)
    assert changes(planned) == expected
    assert planned.warnings == ()


def test_allmulticast_of_a_guest_that_does_not_run() -> None:
    planned = planner.plan([want(allmulticast="yes")], udev_rules(stopped(STORED)))
    assert changes(planned) == [("allmulticast", False, True, "config")]
    assert not planner.plan([want(allmulticast="yes")], udev_rules(stopped(STORED), MAC)).changed


def test_a_link_with_allmulticast_is_no_reason_to_restart_unless_declared() -> None:
    on = udev_rules(running([STORED], [heard(LIVE)]))
    assert restart(want(), on) == ()
    assert restart(want(allmulticast="no"), on, level="none") == ("allmulticast",)
    assert restart(want(), udev_rules(running([STORED], [heard(LIVE, "no")]), MAC)) == ("allmulticast",)


def test_allmulticast_lasts_until_the_guest_stops_where_rules_are_unsupported() -> None:
    on = host(running([STORED], [heard(LIVE, "no")]), links=LINKS, rules_unsupported="there is no udev")
    planned = planner.plan([want(allmulticast="yes")], on)
    assert changes(planned) == [("allmulticast", False, True, "live")]
    (warning,) = planned.warnings
    assert "lasts only until the guest stops: there is no udev" in warning
    done = host(running([STORED], [heard(LIVE)]), links=LINKS, rules_unsupported="there is no udev")
    again = planner.plan([want(allmulticast="yes")], done)
    assert (again.changed, again.warnings, restart(want(allmulticast="yes"), done)) == (False, (warning,), ())
    (off,) = planner.plan(
        [want(allmulticast="yes")], host(stopped(STORED), links=LINKS, rules_unsupported="no udev")
    ).warnings
    assert "is not set when the guest starts: no udev" in off


@pytest.mark.parametrize(("level", "live"), [("update", "yes"), ("none", None)])
def test_a_new_interface_is_made_with_it(level: str, live: str | None) -> None:
    (step,) = planner.plan(
        [want(mac=OTHER, source="eth0", mode="bridge", allmulticast="yes")],
        udev_rules(running([STORED], [LIVE]), macs={}),
        level=level,
    ).steps
    assert step.after is not None
    assert step.after.stored is not None
    assert step.after.stored.get("allmulticast") == "yes"
    assert (step.after.live and step.after.live.get("allmulticast")) == live


@pytest.mark.parametrize(
    "uri_and_links", [("qemu+ssh://far/system", None), ("file /x.xml", None), ("qemu:///session", LINKS)]
)
def test_allmulticast_is_refused_where_the_link_is_out_of_reach(uri_and_links: tuple[str, Links | None]) -> None:
    uri, links = uri_and_links
    on = replace(host(stopped(STORED)), uri=uri, links=links)
    with pytest.raises(MacvtapError, match=rf"^interfaces\[2\].allmulticast: .* with {re.escape(uri)}\. Leave it out"):
        planner.plan([want(allmulticast="yes")], on)


# A link of the guest's target's name that is not the guest's.


@pytest.mark.parametrize(
    ("mac", "mode", "message", "own"),
    [
        (MAC, "bridge", "bridge", True),
        (OTHER, "bridge", "bridge", False),
        (OTHER, "passthru", "passthrough", True),
        (OTHER, "passthru", "bridge", False),
        (MAC, None, "bridge", False),
    ],
)
def test_a_link_is_the_guests_by_its_address(mac: str, mode: str | None, message: str, own: bool) -> None:
    links = {**LINKS, "macvtap0": replace(LINKS["macvtap0"], mac=mac, mode=mode)}
    iface = changed(LIVE, mode=message)
    assert (link_of_iface(iface, links) is not None) is own
    if not own and message == "bridge":
        on = udev_rules(running([STORED], [iface]), links=links)
        for desired in (want(allmulticast="yes"), want(mode="private")):
            assert set(impacts(desired, on).values()) == {"restart"}


# Hosts without udev.


def test_a_warning_about_duration_needs_a_value_that_is_set() -> None:
    on = host(running([STORED], [heard(LIVE, "no")]), links=LINKS, rules_unsupported="there is no udev")
    (warning,) = planner.plan([want(allmulticast="yes")], on, level="none").warnings
    assert "is set neither now nor when the guest starts: there is no udev" in warning


@pytest.mark.parametrize(
    ("live", "given", "expected"),
    [
        ({"allmulticast": "yes"}, {}, True),
        ({"allmulticast": "yes"}, {"allmulticast": "no"}, False),
        ({"allmulticast": "no"}, {}, False),
        ({"allmulticast": "yes", **TRUSTS}, {}, False),
    ],
)
def test_a_replug_for_another_field_keeps_allmulticast_of_the_link(
    live: dict[str, str], given: dict[str, t.Any], expected: bool
) -> None:
    on = host(running([STORED], [changed(LIVE, **live)]), links=LINKS, rules_unsupported="there is no udev")
    (step,) = planner.plan([want(alias="ua-lan", **given)], on, level="replug").steps
    assert step.after is not None
    assert step.after.live is not None
    assert (step.after.live.get("allmulticast") == "yes") is expected
    assert Impact.REPLUG in {change.impact for change in step.changes}
