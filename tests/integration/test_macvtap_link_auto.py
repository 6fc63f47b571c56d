# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links in mode auto, and in mode vepa, before a switch that reflects and before one that does not."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from namespaces import Namespace
    from reflecting import Switch


def mode_of(netns: Namespace, link: str) -> str:
    return str(netns.link(link)["linkinfo"]["info_data"]["mode"])


def test_auto_gives_new_links_the_mode_that_suits_the_switch(switch: Switch) -> None:
    netns = switch.netns
    for number, on in enumerate((False, True)):
        switch.hairpin(on)
        wanted = {"parent": "eth0", "mode": "auto", "links": [{"name": f"mt{number}{n}"} for n in range(3)]}
        predicted = netns.run(wanted, check=True)
        done = netns.run(wanted)
        mode = "vepa" if on else "bridge"
        assert [link["mode"] for link in predicted["links"]] == [link["mode"] for link in done["links"]] == [mode] * 3
        assert mode_of(netns, f"mt{number}2") == mode
        assert [one["reflective_relay"] for one in done["reflective_relay"]] == [on]
        assert not done.get("warnings")
    # What exists keeps its mode, and nobody is asked.
    again = netns.run({"parent": "eth0", "mode": "auto", "links": [{"name": name} for name in ("mt00", "mt10")]})
    assert (again["changed"], [link["mode"] for link in again["links"]]) == (False, ["bridge", "vepa"])
    assert "reflective_relay" not in again
    always = {"parent": "eth0", "mode": "auto", "auto": "always", "links": [{"name": "mt00"}, {"name": "mt10"}]}
    assert [change["target"] for change in netns.run(always)["changes"]] == ["mt00"]
    assert mode_of(netns, "mt00") == "vepa"
    assert not netns.run(always)["changed"]


def test_auto_where_nothing_can_be_found_out(netns: Namespace, lower: str) -> None:
    netns.ip("link", "set", lower, "down")
    done = netns.run({"name": "mt0", "parent": lower, "mode": "auto"})
    assert mode_of(netns, "mt0") == "bridge"
    assert "whether its switch port reflects frames is unknown (low0 is down)" in str(done["warnings"])
    netns.run({"name": "mt0", "mode": "vepa"})
    kept = netns.run({"name": "mt0", "mode": "auto", "auto": "always"})
    assert not kept["changed"]
    assert "keep their mode" in str(kept["warnings"])
    netns.refuses({"name": "mt1", "parent": "nowhere", "mode": "auto"}, "^parent: there is no link nowhere")
    netns.refuses({"name": "mt1", "mode": "auto"}, "^parent: is required, since the link mt1 does not exist yet")


def test_vepa_behind_a_switch_that_does_not_reflect(switch: Switch) -> None:
    links = {"parent": "eth0", "mode": "vepa", "links": [{"name": "mt0"}, {"name": "mt1"}]}
    assert "warnings" not in switch.netns.run(links)
    for on in (False, True):
        switch.hairpin(on)
        done = switch.netns.run({**links, "check_relay": True})
        assert ("eth0: its switch port does not reflect" in str(done.get("warnings", ""))) == (not on)
        assert ("cannot reach each other: mt0, mt1" in str(done.get("warnings", ""))) == (not on)
        assert not done["changed"]
    # Where the switch is asked anyway, it is said anyway.
    switch.hairpin(False)
    done = switch.netns.run({**links, "links": [{"name": "mt0"}, {"name": "mt2", "mode": "auto"}]})
    assert "cannot reach each other: mt0." in str(done["warnings"])
