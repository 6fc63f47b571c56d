# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The lab's virtual machine, as far as it is words: QEMU's command, the image's key, names, and the way in."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support import ROOT

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

import tapgap
import vlantag
from labkit import debian, guest, model, ssh, switch, variants, vm, vmimage
from labkit.shell import LabError

LAB = model.declare("unit-lab", ("hv1",), ("vm1", "vm2"))
ONE, TWO = LAB.vms


def qemu(machine: model.Vm = ONE, variant: str = "") -> list[str]:
    return vm.qemu(machine, vmimage.VmImage(Path("/cache/vmlinuz"), Path("/cache/disk.raw")), variant)


def values(option: str, machine: model.Vm = ONE) -> list[str]:
    argv = qemu(machine)
    return [argv[n + 1] for n, word in enumerate(argv) if word == option]


def test_it_is_emulated_and_can_be_rebooted() -> None:
    assert [accelerator.split(",")[0] for accelerator in values("-accel")] == ["tcg"]
    assert "kvm" not in " ".join(qemu())
    assert "-no-reboot" not in qemu()


def test_its_disk_is_not_written_to() -> None:
    root, seed = values("-drive")
    assert "file=/cache/disk.raw," in root
    assert "snapshot=on" in root
    assert "readonly=on" in seed


def test_its_kernel_has_a_security_module_if_asked_for() -> None:
    def words(module: str) -> set[str]:
        argv = qemu(variant=module)
        return set(argv[argv.index("-append") + 1].split())

    assert {"apparmor=0", "selinux=0", "audit=0"} <= words("")
    for module in ("apparmor", "selinux"):
        assert {f"security={module}", "audit=1"} <= words(module)
        # The first of them would stay.
        assert not {f"{module}=0", "audit=0"} & words(module)
    with pytest.raises(LabError, match="'tomoyo' is none of the variants apparmor, selinux, netplan"):
        variants.required("tomoyo")


def test_each_variant_has_an_image_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[tuple[str, str]] = []

    def cached(_cache: Path, kind: str, of: str, _make: object) -> Path:
        made.append((kind, of))
        return tmp_path

    monkeypatch.setattr(debian, "cached", cached)
    for variant in variants.VARIANTS:
        vmimage.build(tmp_path, variant=variant)
    kinds, keys = zip(*made)
    assert len(set(keys)) == len(variants.VARIANTS)
    # One kind's old images are removed by the beginning of its name.
    assert not [(one, two) for one in kinds for two in kinds if one != two and two.startswith(f"{one}-")]


def test_only_ssh_goes_in_and_nothing_out() -> None:
    user = [netdev for netdev in values("-netdev") if netdev.startswith("user,")]
    assert user == ["user,id=mgmt0,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:2200-10.0.2.15:22"]
    assert "127.0.0.1:2201-" in " ".join(values("-netdev", TWO))


def test_its_cards_are_where_its_files_name_them() -> None:
    files = {}
    for path in vmimage.FILES.glob("etc/systemd/network/*.link"):
        found = re.search(r"Path=pci-0000:00:(\w+)\.0\n.*Name=(\w+)\n", path.read_text(), re.DOTALL)
        assert found, path
        files[found[2]] = int(found[1], 16)
    cards = {}
    for device in values("-device"):
        found = re.search(r"virtio-net-pci,netdev=(\w+),.*addr=0x(\w+)", device)
        if found:
            cards[found[1]] = int(found[2], 16)
    assert cards == files
    assert set(cards) == {"mgmt0", *model.VM_UPLINKS}


def test_each_uplink_is_a_tap_of_its_own() -> None:
    taps = [netdev for machine in LAB.vms for netdev in values("-netdev", machine) if netdev.startswith("tap,")]
    names = [re.search("ifname=([^,]+)", tap) for tap in taps]
    assert len({name[1] for name in names if name}) == 2 * len(model.VM_UPLINKS)
    macs = {machine.mac(uplink) for machine in LAB.vms for uplink in machine.ports}
    assert len(macs) == 2 * len(model.VM_UPLINKS)
    assert all(re.fullmatch("02(:[0-9a-f]{2}){5}", mac) for mac in macs)


def test_each_uplink_has_one_manager() -> None:
    etc = vmimage.FILES / "etc"
    networkd = re.findall(r"^Name=(.+)$", "".join(p.read_text() for p in etc.glob("systemd/network/*.network")), re.M)
    unmanaged = re.search(r"^unmanaged-devices=(.*)$", (etc / "NetworkManager/conf.d/lab.conf").read_text(), re.M)
    assert unmanaged
    manager = re.findall(r"except:interface-name:(uplink\d)", unmanaged[1])
    ifupdown = re.findall(r"^iface (uplink\d)", (etc / "network/interfaces").read_text(), re.M)
    found = [*" ".join(networkd).split(), *manager, *ifupdown]
    assert sorted(link for link in found if link.startswith("uplink")) == list(model.VM_UPLINKS)


def test_each_vlan_has_addresses_of_its_own() -> None:
    lab = model.declare("unit-lab", (), ("vm1",), (15, 20, 4094))
    assert switch.vlan_addresses(lab) == {15: "198.51.100.1/26", 20: "198.51.100.65/26", 4094: "198.51.100.129/26"}
    words = switch.dnsmasq_conf(lab).splitlines()
    assert "interface=lan20" in words
    assert "dhcp-range=198.51.100.74,198.51.100.126,255.255.255.192,3600" in words
    assert "" not in words


@pytest.mark.parametrize("vlans", [(0,), (4095,), (20, 20), (1, 2, 3, 4, 5)])
def test_vlans_that_there_are_not(vlans: tuple[int, ...]) -> None:
    with pytest.raises(LabError, match="VLANs"):
        model.declare("unit-lab", (), ("vm1",), vlans)


def test_a_frame_gets_its_tag_behind_the_addresses() -> None:
    header, addresses, rest = b"\1" * vlantag.VNET_HDR, bytes(range(12)), b"\x08\x00data"
    assert vlantag.tagged(header + addresses + rest, 20) == (
        bytes(vlantag.VNET_HDR) + addresses + b"\x81\x00\x00\x14" + rest
    )


@pytest.mark.parametrize(
    ("status", "tci", "tpid", "vlan"),
    [
        (vlantag.VLAN_VALID, 20, 0x8100, 20),
        (vlantag.VLAN_VALID, 0xE014, 0x8100, 20),  # with a priority
        (0, 20, 0x8100, None),
        (vlantag.VLAN_VALID, 20, 0x88A8, None),
    ],
)
def test_a_frame_is_of_the_vlan_that_the_kernel_says(status: int, tci: int, tpid: int, vlan: int | None) -> None:
    data = vlantag.AUXDATA.pack(status, 64, 64, 0, 14, tci, tpid)
    assert vlantag.vlan_of([(vlantag.SOL_PACKET, vlantag.PACKET_AUXDATA, data)]) == vlan
    assert vlantag.vlan_of([]) is None


def test_a_gap_is_between_frames_that_were_heard() -> None:
    sent = [number / 10 for number in range(40)]
    lost = {12, 13, 14, 20}
    heard = set(range(40)) - lost
    assert tapgap.summary(sent, heard) == {"sent": 40, "heard": 36, "gap_ms": 400, "resumed": True}
    assert tapgap.summary(sent, set(range(20)))["resumed"] is False
    assert tapgap.summary(sent, set(range(20)))["gap_ms"] == 2000
    assert tapgap.summary(sent, set()) == {"sent": 40, "heard": 0, "gap_ms": 3900, "resumed": False}


def test_it_lives_on_the_switch() -> None:
    assert ONE.netns == LAB.switch.netns
    assert ONE.dir != LAB.switch.dir


@pytest.mark.parametrize(
    ("hypervisors", "vms"),
    [((), ()), (("a",), ("a",)), ((), ("lan",)), ((), ("abcdefghij",)), (("vm10",), ("vm1",)), ((), ("VM",))],
)
def test_names_that_do_not_fit(hypervisors: tuple[str, ...], vms: tuple[str, ...]) -> None:
    with pytest.raises(LabError):
        model.declare("unit-lab", hypervisors, vms)


def test_the_longest_names_make_ports_that_fit() -> None:
    lab = model.declare("unit-lab", ("abcdefghij",), ("klmnopqrs",))
    assert all(len(port) <= 15 for cell in lab.cells[1:] for port in cell.ports.values())


def test_a_hypervisor_is_found_by_its_name() -> None:
    assert LAB.hypervisor("vm2") == TWO
    assert LAB.vm("vm2").number == 1
    with pytest.raises(LabError, match="hv1 of lab unit-lab is no virtual machine"):
        LAB.vm("hv1")
    with pytest.raises(LabError, match="it has hv1, vm1, vm2"):
        LAB.hypervisor("hv9")


def test_ssh_gets_a_connection_from_inside_the_namespace() -> None:
    config = ssh.client_config(LAB)
    blocks = {block.split()[0]: block for block in config.split("Host ")[1:]}
    assert "sshd -i" in blocks["hv1"]
    assert "ProxyUseFdpass yes" not in blocks["hv1"]
    for machine in LAB.vms:
        assert "ProxyUseFdpass yes" in blocks[machine.name]
        assert f"('127.0.0.1', {ssh.vm_port(machine)})" in blocks[machine.name]


def test_a_guest_of_firmware_alone_boots_from_the_network() -> None:
    root = ET.fromstring(guest.domain_xml("web1", firmware=True))  # noqa: S314
    assert root.find("os/kernel") is None
    boot = root.find("os/boot")
    assert boot is not None
    assert boot.get("dev") == "network"


def test_a_command_that_fails_or_hangs_ends_the_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapgap.reach, "command", lambda _cell, argv: list(argv))

    def ended(command: str, seconds: float) -> None:
        has_ended = tapgap.run(LAB, "vm1", command, seconds)
        while not has_ended():
            pass

    ended("true", 60)
    with pytest.raises(tapgap.TalkError, match="'exit 3' has failed with status 3"):
        ended("sh -c 'exit 3'", 60)
    with pytest.raises(tapgap.TalkError, match="sleep 60 has failed with status 124"):
        ended("sleep 60", 0.01)
