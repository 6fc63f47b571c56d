# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which guests are paused to change their NICs, and for how long they stand still."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    impact,
    pausing,
    planner,
    resolution,
    save_blockers,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface, PauseFacts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

from . import networked
from .planned import LINKS, LIVE, MAC, OTHER, STORED, host, running, want

GIB = 1 << 30
# A guest that uses 1 GiB, on a disk that writes 0.5 GiB and reads 2 GiB a second.
KNOWN = PauseFacts(memory=GIB, total=4 * GIB, free=100 * GIB, write_rate=GIB / 2, read_rate=2 * GIB)
SECONDS = pausing.BASE_SECONDS + 2.5
BOTH = ["pause", "replug"]
RUNNING = host(running([STORED], [LIVE]), links=LINKS)
BRIDGED = Iface(MAC, "bridge", {"model": "virtio", "link_state": "up", "pci_address": "0000:01:00.0"}, origin="br0")
VNET = replace(BRIDGED, values={**BRIDGED.values, "target": "vnet0", "alias": "net0"})


def impacts(desired: Desired, on: Host = RUNNING, level: impact.Level = "pause") -> dict[str, str]:
    return {c.field: c.impact.value for c in planner.plan([desired], on, level=level).changes}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"source": "eth1"}, {"source": "pause"}),
        ({"mode": "passthrough", "source": "eth1"}, {"source": "pause", "mode": "pause"}),
        ({"mode": "private"}, {"mode": "live"}),
        ({"target": "web0"}, {"target": "pause"}),
        ({"trust_guest_rx_filters": "yes"}, {"trust_guest_rx_filters": "pause"}),
        # What the guest sees stays.
        ({"model": "e1000e"}, {"model": "restart"}),
        ({"driver.queues": "4"}, {"driver.queues": "restart"}),
        ({"alias": "ua-lan"}, {"alias": "restart"}),
        ({"pci_address": "0000:02:00.0"}, {"pci_address": "restart"}),
        ({"acpi_index": "1"}, {"acpi_index": "restart"}),
        ({"boot_order": "1", "source": "eth1"}, {"boot_order": "restart", "source": "pause"}),
        ({"model": "e1000e", "source": "eth1"}, {"model": "restart", "source": "pause"}),
        # What would be live comes along.
        ({"link_state": "down", "source": "eth1"}, {"link_state": "pause", "source": "pause"}),
    ],
)
def test_a_pause_changes_what_the_guest_does_not_see(given: dict[str, t.Any], expected: dict[str, str]) -> None:
    assert impacts(want(**given)) == expected


def test_a_pause_leaves_the_rest_for_a_restart() -> None:
    (one,) = resolution.resolve([want(model="e1000e", source="eth1")], RUNNING, level="pause")
    assert one.restart_fields() == ("model",)
    assert one.after.live is not None
    assert one.after.live.values == {n: v for n, v in LIVE.values.items() if n not in ("target", "alias")} | {
        "source": "eth1"
    }


def test_a_type_is_converted_in_a_pause() -> None:
    on = host(running([BRIDGED], [VNET]), links=LINKS)
    desired = want(convert=True, source="eth0", mode="bridge")
    assert set(impacts(desired, on).values()) == {"pause"}
    assert resolution.resolve([desired], on, level="pause")[0].restart_fields() == ()
    assert set(impacts(desired, on, "update").values()) == {"restart"}
    # The device of a host interface is another one.
    vf = replace(VNET, type="hostdev")
    assert (
        "pause" not in impacts(desired, host(running([replace(BRIDGED, type="hostdev")], [vf]), links=LINKS)).values()
    )


def test_nothing_stored_is_paused_of_a_transient_domain() -> None:
    on = host(running([], [LIVE], persistent=False), links=LINKS)
    plan = planner.plan([want(source="eth1")], on, level="pause")
    assert not plan.changed
    assert "the domain is transient" in plan.warnings[0]


def choose(
    *desired: Desired, level: impact.Level = "pause", longest: float | None = None, facts: PauseFacts = KNOWN
) -> list[tuple[Impact, str, float | None]]:
    second = replace(STORED, mac=OTHER), replace(LIVE, mac=OTHER)
    on = host(running([STORED, second[0]], [LIVE, second[1]]), links=LINKS)
    resolved = resolution.resolve(desired, on, level=level)
    return [one[1:4] for one in pausing.choose(resolved, {"web1": facts}, level, longest)]


MOVED = want(source="eth1")


def test_the_forecast_has_a_fixed_part_and_one_for_the_memory() -> None:
    fixed = pausing.forecast(replace(KNOWN, memory=0))
    one, two = (t.cast("float", pausing.forecast(replace(KNOWN, memory=size * GIB))) for size in (1, 2))
    assert fixed == pausing.BASE_SECONDS
    assert one == SECONDS
    assert two - one == pytest.approx(one - fixed)
    # Half as fast a disk.
    assert pausing.forecast(replace(KNOWN, write_rate=GIB / 4)) == pytest.approx(SECONDS + 2)
    for facts in (replace(KNOWN, memory=None), replace(KNOWN, write_rate=None), replace(KNOWN, read_rate=0.0)):
        assert pausing.forecast(facts) is None


@pytest.mark.parametrize(("load", "times"), [(0.1, 1), (1.0, 1), (3.0, 3)])
def test_others_on_the_processors_make_a_pause_longer(load: float, times: int) -> None:
    # They were there when the disk was measured.
    assert pausing.forecast(replace(KNOWN, load=load)) == pytest.approx(2.5 + times * (SECONDS - 2.5))


def test_several_nics_of_a_guest_are_one_pause() -> None:
    assert choose(MOVED, want(mac=OTHER, source="eth1")) == [(Impact.PAUSE, "a replug is not allowed", SECONDS)]
    assert choose(want(mode="private")) == []
    assert choose(MOVED, level="update") == []
    assert choose(MOVED, level="replug") == []


@pytest.mark.parametrize(
    ("facts", "longest", "reason"),
    [
        (replace(KNOWN, blockers=("it has a device", "it has a job")), None, "it has a device, and it has a job"),
        (replace(KNOWN, free=GIB), None, "its image may need 1408 MiB, and 1024 MiB are free"),
        (KNOWN, 2.4, "it would stand still for about 2.9 s, and pause_max is 2.4 s"),
        (replace(KNOWN, write_rate=None, unknown="uri x"), 9, "how long it would stand still is unknown: uri x"),
        (replace(KNOWN, read_rate=0.0, unknown="no room"), 9, "how long it would stand still is unknown: no room"),
    ],
)
def test_a_pause_that_is_not_possible_is_refused_or_replaced(
    facts: PauseFacts, longest: float | None, reason: str
) -> None:
    with pytest.raises(MacvtapError, match="cannot be paused to change it") as caught:
        choose(MOVED, facts=facts, longest=longest)
    assert reason in str(caught.value)
    assert str(caught.value).startswith("interfaces[2]: ")
    ((way, why, seconds),) = choose(MOVED, level=BOTH, facts=facts, longest=longest)
    assert (way, seconds) == (Impact.REPLUG, None)
    assert reason in why


def test_without_a_promise_an_unknown_time_is_no_obstacle() -> None:
    unknown = PauseFacts(unknown="uri x")
    assert choose(MOVED, facts=unknown) == [(Impact.PAUSE, "a replug is not allowed", None)]
    assert choose(MOVED, level=BOTH, facts=unknown)[0][0] is Impact.REPLUG


def test_of_both_ways_the_one_that_costs_less_is_taken() -> None:
    assert choose(MOVED, level=BOTH)[0][::2] == (Impact.PAUSE, SECONDS)
    slow = replace(KNOWN, write_rate=GIB / 10)
    ((way, why, _seconds),) = choose(MOVED, level=BOTH, facts=slow)
    assert way is Impact.REPLUG
    assert why == "a pause would take about 10.9 s, and a replug counts as 10 s"
    # One NIC of the guest loses its addresses in any case.
    ((way, why, _seconds),) = choose(MOVED, want(mac=OTHER, model="e1000e"), level=BOTH)
    assert (way, why) == (Impact.REPLUG, "it has a NIC that must be replugged in any case")


@pytest.mark.parametrize("way", [Impact.PAUSE, Impact.REPLUG])
def test_all_nics_of_a_guest_are_changed_in_the_chosen_way(way: Impact) -> None:
    for desired in (MOVED, want(mode="passthrough", source="eth1")):
        (one,) = resolution.resolve([desired], RUNNING, level=BOTH, ways={"web1": way})
        assert set(one.live_changes.values()) == {way}


@pytest.mark.parametrize("words", [["none"], ["update"], ["pause", "replug"], ["update", "pause", "pause"]])
def test_words_that_go_together(words: list[str]) -> None:
    impact.validate_level(words)


@pytest.mark.parametrize("words", [[], ["none", "update"], ["pause", "none"]])
def test_words_that_do_not(words: list[str]) -> None:
    with pytest.raises(MacvtapError, match=r"is not possible\. Set none alone"):
        impact.validate_level(words)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("<hostdev mode='subsystem' type='pci'/>", "hostdev"),
        ("<interface type='hostdev'/>", "interface of type hostdev"),
        ("<interface type='vdpa'/>", "vdpa"),
        ("<filesystem type='mount'><driver type='virtiofs'/></filesystem>", "shared file system"),
        ("<shmem name='x'/>", "shmem"),
        ("<tpm><backend type='passthrough'/></tpm>", "TPM"),
        ("<video><model type='virtio'><acceleration accel3d='yes'/></model></video>", "3D"),
        ("<disk><mirror/></disk>", "block job"),
    ],
)
def test_what_keeps_a_guest_from_being_saved(device: str, reason: str) -> None:
    (found,) = save_blockers.of(f"<domain><devices><interface type='direct'/>{device}</devices></domain>")
    assert reason in found


def test_what_does_not() -> None:
    devices = (
        "<disk type='file'><source file='/x'/><target dev='vda'/></disk><interface type='bridge'/>"
        "<tpm><backend type='emulator'/></tpm>"
        "<channel><target name='org.qemu.guest_agent.0' state='connected'/></channel>"
    )
    document = f"<domain><metadata><hostdev/></metadata><devices>{devices}</devices></domain>"
    assert save_blockers.of(document) == ()
    assert save_blockers.disks(document) == ["vda"]
    assert save_blockers.has_agent(document)
    assert not save_blockers.has_agent(document.replace("state='connected'", "state='disconnected'"))
    assert not save_blockers.has_huge_pages(document)
    encrypted: t.Any = "<domain><launchSecurity type='sev'/><devices/></domain>"
    assert save_blockers.of(encrypted) == ("its memory is encrypted (launchSecurity)",)


def test_a_save_is_aborted_in_time_for_the_restore() -> None:
    assert pausing.save_limit(KNOWN, 5) == 4.5
    assert pausing.save_limit(KNOWN, None) is None
    assert pausing.save_limit(replace(KNOWN, read_rate=None), 5) is None


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize(
    ("network", "change", "against"),
    [
        ("off", {}, "its NIC 52:54:00:00:00:0b is on the network 'off', which is not active"),
        ("lost", {}, "'lost', which does not exist any more"),
        ("was", {}, "'was', which would not give it a macvtap link any more"),
        ("lan", {}, ""),
        # It leaves that network.
        ("off", {"network": "lan1"}, ""),
        # In the running guest it stays on it, since the link would be the same.
        ("off", {"network": "lan"}, "'off', which is not active"),
        ("off", {"state": "absent"}, ""),
    ],
)
def test_a_guest_with_a_nic_that_would_not_get_its_link_again_is_not_paused(
    network: str, change: dict[str, t.Any], against: str, *, declared: bool
) -> None:
    stored = networked.stored(networked.B, network="lan").replace("'lan'", f"'{network}'")
    live = networked.live(networked.B, network="lan").replace("'lan'", f"'{network}'")
    here = networked.on(
        [networked.stored(networked.A, source="eth1", mode="bridge"), stored],
        [networked.live(networked.A, source="eth1", mode="bridge"), live],
    )
    wanted = [networked.want(target="lan7")]
    if (declared and network in ("off", "lan")) or change:
        wanted.append(networked.want(networked.B, **change))
    assert against in refused(wanted, here, "pause")
    assert bool(refused(wanted, here, "pause")) == bool(against)
    # The other NIC is not touched by a replug.
    ways = {one.way for one in chosen_of(wanted, here, BOTH)}
    assert ways == ({Impact.REPLUG} if against else {Impact.PAUSE})


def chosen_of(wanted: list[Desired], here: Host, level: impact.Level) -> tuple[pausing.Choice, ...]:
    return pausing.choose(resolution.resolve(wanted, here, level=level), {"web1": KNOWN}, level, None)


def refused(wanted: list[Desired], here: Host, level: impact.Level) -> str:
    try:
        chosen_of(wanted, here, level)
    except MacvtapError as exc:
        return str(exc)
    return ""
