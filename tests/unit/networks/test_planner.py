# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What changes of a network, what that costs its guests, and what is refused."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import (
    declare,
    live,
    report,
    sources,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    Definition,
    Portgroup,
    User,
)

from .planned import DB, LAN, LINKS, RUNNING, SAVED, STOPPED, WEB, host, impacts, network, plan


@pytest.mark.parametrize(
    ("options", "quiet", "running", "forced"),
    [
        ({"mode": "vepa"}, "recreate", "restart", "recreate"),
        ({"virtualport": {"type": "802.1Qbh", "profileid": "x"}}, "recreate", "restart", "recreate"),
        ({"interfaces": ["eth0", "eth1", "eth2"]}, "live", "live", "live"),
        ({"interfaces": ["eth0"]}, "live", "live", "live"),
        ({"interfaces": ["eth1"]}, "live", "restart", "restart"),
        ({"interfaces": ["eth1", "eth0"]}, "config", "config", "config"),
        ({"portgroups": [{"name": "web", "trust_guest_rx_filters": True}]}, "live", "restart", "restart"),
        ({"portgroups": [{"name": "db", "trust_guest_rx_filters": True}]}, "live", "live", "live"),
        ({"portgroups": [{"name": "new"}]}, "live", "live", "live"),
        ({"autostart": False}, "config", "config", "config"),
    ],
)
def test_what_a_change_costs(options: dict[str, t.Any], quiet: str, running: str, forced: str) -> None:
    for users, force, impact in (
        ((), False, quiet),
        ((STOPPED,), False, quiet),
        ((RUNNING,), False, running),
        (
            (RUNNING,),
            True,
            forced,
        ),
    ):
        assert set(impacts(plan(host(network(), *users), force=force, **options)).values()) == {impact}
    # A network that is not active has nothing but what is stored.
    assert set(impacts(plan(host(network(current=None, active=False)), **options)).values()) - {"live"} == {"config"}


@pytest.mark.parametrize(
    "options", [{"interfaces": ["eth0", "eth1", "eth2"]}, {"portgroups": [{"name": "new"}]}, {"mode": "bridge"}]
)
def test_a_pool_in_use_is_only_stored(options: dict[str, t.Any]) -> None:
    pool = replace(LAN, mode="passthrough")
    busy = host(network(pool, pool), replace(RUNNING, mode="passthrough"))
    (step,) = plan(busy, **options).steps
    assert set(impacts(plan(busy, **options)).values()) == {"restart"}
    assert step.before is not None
    assert step.after is not None
    assert step.after.live == replace(pool, forward="passthrough")
    assert set(impacts(plan(busy, force=True, **options)).values()) == {"recreate"}


def test_the_run_after_guests_have_left_completes_what_was_stored() -> None:
    later = network(replace(LAN, mode="vepa"), LAN)
    assert impacts(plan(host(later, RUNNING))) == {}
    assert [entry["fields"] for entry in report.due(later, [RUNNING])] == [["mode"], ["mode"]]
    assert impacts(plan(host(later))) == {"mode": "recreate"}
    assert impacts(plan(host(later, unreadable=("secret",)))) == {}


def test_an_uplink_that_a_guest_is_on_stays_in_the_active_network() -> None:
    (step,) = plan(host(network(), RUNNING), interfaces=["eth2"]).steps
    assert step.after is not None
    assert step.after.live is not None
    assert (step.after.interfaces, step.after.live.interfaces) == (("eth2",), ("eth2", "eth0"))


@pytest.mark.parametrize("user", [RUNNING, STOPPED, SAVED])
@pytest.mark.parametrize("state", ["inactive", "absent"])
def test_a_network_in_use_is_neither_stopped_nor_removed(user: User, state: str) -> None:
    with pytest.raises(MacvtapError, match=r"^state: network 'lan' is used by web1 \(52:54:00:00:00:0a, "):
        plan(host(network(), user), state=state)
    with pytest.raises(MacvtapError, match="perhaps secret, which this user may not read"):
        plan(host(network(), unreadable=("secret",)), state=state)
    planned = plan(host(network(), user), state=state, force=True)
    assert impacts(planned) == {"state": "restart" if user.live else "live"}
    assert bool(user.live) == any("go on" in warning for warning in planned.warnings)


def test_a_portgroup_in_use_is_not_removed() -> None:
    gone = [{"name": "web", "state": "absent"}]
    with pytest.raises(
        MacvtapError, match=r"^portgroups\[0\]\.state: portgroup 'web' of network 'lan' is used by web1"
    ):
        plan(host(network(), STOPPED), portgroups=gone)
    assert "portgroups.web" in impacts(plan(host(network(), STOPPED), portgroups=gone, force=True))
    # A NIC that chooses none has the default one, whichever that is.
    assert impacts(plan(host(network(), replace(STOPPED, portgroup=None)), portgroups=gone)) == {
        "portgroups.web": "live"
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interfaces": ["eth9"]}, r"^interfaces\[0\]: there is no link eth9 on this host; did you mean"),
        ({"interfaces": ["eth0", "lan1"]}, r"^interfaces\[1\]: lan1 and eth0 are the same link"),
        ({"interfaces": []}, "^interfaces: a direct network needs an uplink"),
        ({"interfaces": ["a b"]}, r"^interfaces\[0\]: 'a b' cannot be the name"),
        ({"pf": "eth0", "mode": "bridge"}, "^mode: a pool of virtual functions"),
        ({"pf": "eth0", "interfaces": ["eth0"]}, "^pf: set either"),
        ({"pf": "eth9"}, "^pf: there is no link eth9"),
        ({"portgroups": [{"name": ""}]}, r"^portgroups\[0\]\.name: "),
        ({"portgroups": [{"name": "it's"}]}, r"^portgroups\[0\]\.name: .* could not read its own XML"),
        (
            {"virtualport": {"type": "802.1Qbh", "profileid": "a&b"}},
            r"^virtualport\.profileid: 'a&b' has one of .* could not read its own XML",
        ),
        ({"portgroups": [{"name": "a"}, {"name": "a"}]}, r"^portgroups\[1\]\.name: the portgroup a is declared twice"),
        (
            {"portgroups": [{"name": "a", "default": True}, {"name": "b", "default": True}]},
            r"^portgroups\[1\]\.default: ",
        ),
        ({"portgroups": [{"name": "a", "vlan": 5}]}, r"^portgroups\[0\]\.vlan: libvirt refuses a VLAN .* mode bridge"),
        (
            {"mode": "passthrough", "portgroups": [{"name": "a", "vlan": 5}]},
            r"^portgroups\[0\]\.vlan: eth0 is not an SR-IOV virtual function",
        ),
        ({"portgroups": [{"name": "a", "vlan": 5000}]}, r"^portgroups\[0\]\.vlan: 5000 is not between"),
        ({"portgroups": [{"name": "a", "bandwidth": {"inbound": {"average": 1}}}]}, r"^portgroups\[0\]\.bandwidth: "),
        ({"virtualport": {"profileid": "x"}}, r"^virtualport\.type: a virtual port with parameters needs a type"),
        ({"virtualport": {"type": "802.1Qbh", "managerid": 1}}, r"^virtualport\.managerid: 802.1Qbh has no such"),
        ({"name": "a/b"}, "^name: 'a/b' cannot be"),
        ({"name": " "}, "^name: the name of a network is required"),
        ({"name": "n" * 300}, "^name: the name of a network has up to"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(MacvtapError, match=message):
        plan(host(network()), **options)


def test_an_uplink_that_is_gone_is_reported_and_no_obstacle() -> None:
    gone = replace(host(network()), links={"eth0": LINKS["eth0"]})
    message = "network 'lan': there is no link eth1 on this host, so a guest that gets it as uplink does not start"
    assert plan(gone).warnings == (message,)
    assert plan(gone, mode="vepa").warnings == (message,)
    assert plan(gone, interfaces=["eth0"]).warnings == ()
    assert plan(replace(gone, links=None)).warnings == ()


def test_a_new_network_needs_an_uplink() -> None:
    with pytest.raises(MacvtapError, match=r"^interfaces: is required, since the network 'lan' does not exist yet"):
        plan(host())
    made = plan(host(), interfaces=["eth0"], state="inactive")
    assert impacts(made) == dict.fromkeys(("state", "mode", "interfaces", "autostart"), "config")
    assert [change.after for change in made.changes] == ["inactive", "bridge", ["eth0"], False]
    assert impacts(plan(host(), state="absent")) == {}


def test_an_uplink_keeps_the_name_that_the_network_has_for_it() -> None:
    assert impacts(plan(host(network()), interfaces=["lan1", "52:54:00:00:01:02"])) == {}
    remote = replace(host(), links=None, links_unknown="uri qemu+ssh://x may lead to another host")
    with pytest.raises(MacvtapError, match="is not a name that libvirt can use, and uri qemu"):
        plan(remote, interfaces=["52:54:00:00:01:02"])
    assert plan(remote, interfaces=["eth7"]).changed


def test_a_veth_link_gets_no_virtual_port() -> None:
    veths = {"eth0": replace(LINKS["eth0"], kind="veth")}
    with pytest.raises(MacvtapError, match=r"^virtualport\.type: eth0 is a veth link"):
        plan(replace(host(), links=veths), interfaces=["eth0"], virtualport={"type": "802.1Qbh", "profileid": "x"})


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (("vepa", "vepa"), "vepa"),
        (("vepa", "bridge"), "bridge"),
        (("bridge", "bridge"), "bridge"),
        ((None, None), None),
        ((None, "vepa"), "bridge"),
    ],
)
def test_auto_is_what_works_on_all_uplinks(modes: tuple[str | None, ...], expected: str | None) -> None:
    where = host(network())
    declared = sources.named(declare.declare([("", {"name": "lan", "mode": "auto"})]), where)
    cases = sources.cases(declared, where, check=False)
    assert [case.parent for case in cases] == ["eth0", "eth1"]
    (resolved,) = sources.with_modes(declared, {case.path: mode for case, mode in zip(cases, modes)}, where)
    assert resolved.mode == expected


def test_the_updates_of_an_active_network() -> None:
    class Constants:
        VIR_NETWORK_UPDATE_COMMAND_ADD_LAST = "add"
        VIR_NETWORK_UPDATE_COMMAND_DELETE = "delete"
        VIR_NETWORK_UPDATE_COMMAND_MODIFY = "modify"
        VIR_NETWORK_SECTION_FORWARD_INTERFACE = "uplink"
        VIR_NETWORK_SECTION_PORTGROUP = "portgroup"

    after = Definition(
        "bridge", ("eth1", "eth2"), portgroups=(Portgroup("new", default=True), replace(DB, default=False))
    )
    found: list[t.Any] = [(command, where, xml) for command, where, _index, xml in live.updates(LAN, after, Constants)]
    assert found == [
        ("add", "uplink", "<interface dev='eth2'/>"),
        ("delete", "uplink", "<interface dev='eth0'/>"),
        ("delete", "portgroup", "<portgroup name='web'/>"),
        # No two defaults at any moment.
        ("modify", "portgroup", "<portgroup name='db'/>"),
        ("add", "portgroup", "<portgroup name='new' default='yes'/>"),
    ]
    assert live.updates(LAN, LAN, Constants) == []


def test_a_guest_differs_by_what_it_got_and_not_by_what_it_sets_itself() -> None:
    after = replace(LAN, mode="vepa", portgroups=(replace(WEB, values={"trust_guest_rx_filters": "yes"}),))
    assert report.differing(RUNNING, after) == ["mode", "trust_guest_rx_filters"]
    assert report.differing(replace(RUNNING, own=frozenset({"trust_guest_rx_filters"})), after) == ["mode"]
    assert report.differing(replace(RUNNING, uplink="eth9"), LAN) == ["interfaces"]
    assert report.differing(replace(RUNNING, portgroup=None), LAN) == []
