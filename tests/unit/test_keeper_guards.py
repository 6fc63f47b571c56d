# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The keeper closes the link of a NIC that it attaches, and has its guard put on."""

from __future__ import annotations

import pathlib
import re
import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guards, guest, records

MAC, UUID = "52:54:00:00:00:0a", "11111111-2222-3333-4444-555555555555"
ELEMENT = f"<interface type='direct'><mac address='{MAC}'/><source dev='none0' mode='bridge'/></interface>"
NAMED = ELEMENT.replace("<source", "<target dev='none1'/><source")
PROGRAM = """
import os, sys
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == "open" and os.path.exists({failing!r}):
    sys.exit("no room")
if sys.argv[1] == "close" and {closes!r}:
    print(sys.argv[3] if sys.argv[3:] else "mvg0")
"""


class Error(Exception):
    def get_error_code(self) -> int:
        return 1

    def get_error_message(self) -> str:
        return "refused"


LIBVIRT = t.cast(
    "t.Any",
    SimpleNamespace(
        libvirtError=Error,
        VIR_ERR_NO_DOMAIN=42,
        VIR_ERR_OPERATION_TIMEOUT=68,
        VIR_DOMAIN_AFFECT_LIVE=1,
        VIR_DOMAIN_XML_INACTIVE=2,
    ),
)


class Domain:
    """A running guest that has released its NIC."""

    def __init__(self, stored: str, *, refuses: bool) -> None:
        self.stored, self.refuses = stored, refuses
        self.network = "<forward mode='bridge'><interface dev='none0'/></forward>"
        self.live = ""
        # The look at the running guest at which libvirtd has just ended.
        self.looks, self.fails_at = 0, 0
        self.attached: list[str] = []

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        inactive = bool(flags & 2)
        self.looks += not inactive
        if self.looks == self.fails_at:
            raise Error
        number = "" if inactive else "id='7'"
        return f"<domain {number}><devices>{self.stored if inactive else self.live}</devices></domain>"

    def name(self) -> str:
        return "linuxvirt-none"

    def connect(self) -> SimpleNamespace:
        network = SimpleNamespace(XMLDesc=lambda _flags: f"<network>{self.network}</network>")
        return SimpleNamespace(networkLookupByName=lambda _name: network)

    def isPersistent(self) -> int:  # noqa: N802
        return 1

    def attachDeviceFlags(self, text: str, _flags: int) -> None:  # noqa: N802
        self.attached.append((re.findall("<target dev=['\"](.*?)['\"]", text) or [""])[0])
        if self.refuses:
            raise Error
        self.live = text if "<target" in text else text.replace("<source", "<target dev='macvtap9'/><source")


class Host:
    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.program, self.log = path, path / "guard", path / "log"
        # While it exists, no guard can be put on.
        self.failing = path / "failing"

    def install(self, *, closes: bool = True) -> None:
        self.program.write_text(PROGRAM.format(log=str(self.log), closes=closes, failing=str(self.failing)))

    def look(self, domain: Domain, **more: t.Any) -> None:
        directory = str(self.path / "state")
        pathlib.Path(directory).mkdir(exist_ok=True)
        # The index of its former link.
        nic = {
            "since": "",
            "returns": True,
            "element": ELEMENT,
            "ifindex": 999,
            "allmulticast": False,
            "guard": str(self.program),
        }
        nic.update(more)
        state = {"uri": "", "uuid": UUID, "instance": "7", "local": True, "boot": guest.boot_id(), "nics": {MAC: nic}}
        records.save(directory, UUID, state)
        self.look_again(domain)

    def look_again(self, domain: Domain) -> None:
        connection = SimpleNamespace(lookupByUUIDString=lambda _uuid: domain)
        guest.look(LIBVIRT, connection, str(self.path / "state"), UUID)

    def record(self) -> t.Any:
        """Return what is written down of the NIC, None if nothing is outstanding."""
        state = records.load(str(self.path / "state"), UUID)
        return state and state["nics"][MAC]

    def words(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize(
    ("stored", "closes", "names", "words"),
    [
        (ELEMENT, True, ["mvg0"], [f"close {MAC}", f"open {MAC} mvg0"]),
        (NAMED, True, ["none1"], [f"close {MAC} none1", f"open {MAC} none1"]),
        (ELEMENT.replace("direct", "network"), True, ["mvg0"], [f"close {MAC}", f"open {MAC} mvg0"]),
        (ELEMENT.replace("direct", "bridge"), True, [""], [f"open {MAC} macvtap9"]),
        # It has no guard, or one that only counts, or the kernel cannot do it.
        (ELEMENT, False, [""], [f"close {MAC}", f"open {MAC} macvtap9"]),
    ],
)
def test_a_nic_that_is_attached_is_closed_until_its_guard_is_on(
    host: Host, stored: str, closes: bool, names: list[str], words: list[str]
) -> None:
    host.install(closes=closes)
    domain = Domain(stored, refuses=False)
    host.look(domain)
    assert (domain.attached, host.words()) == (names, words)


@pytest.mark.parametrize(
    "network",
    [
        "<forward mode='bridge'/><bridge name='br0'/>",
        "<forward mode='nat'/><bridge name='virbr0'/>",
        "<bridge name='virbr0'/>",
        "<forward mode='hostdev'><pf dev='none0'/></forward>",
    ],
)
def test_a_nic_on_a_network_that_is_not_direct_is_not_closed(host: Host, network: str) -> None:
    """What leaves its link is for the guest, if there is a link."""
    host.install()
    domain = Domain(ELEMENT.replace("direct", "network"), refuses=False)
    domain.network = network
    host.look(domain)
    assert (domain.attached, host.words()) == ([""], [f"open {MAC} macvtap9"])


def test_a_nic_that_libvirt_refuses_leaves_nothing_closed(host: Host) -> None:
    host.install()
    domain = Domain(ELEMENT, refuses=True)
    host.look(domain)
    assert domain.attached == ["mvg0"] * 2
    assert host.words() == [f"close {MAC}", f"open {MAC} mvg0"] * 2


def test_a_nic_that_was_attached_by_what_was_killed_then_is_opened(host: Host) -> None:
    host.install()
    domain = Domain(ELEMENT, refuses=False)
    domain.live = ELEMENT.replace("<source", "<target dev='lo'/><source")
    host.look(domain)
    assert (domain.attached, host.words()) == ([], [f"open {MAC} lo"])


def test_without_the_program_a_nic_is_attached_as_it_is_stored(host: Host) -> None:
    domain = Domain(ELEMENT, refuses=False)
    host.look(domain)
    assert domain.attached == [""]
    assert not guards.Guards(None, MAC).exists
    with guards.Guards(None, MAC).closed(None) as link:
        assert link == ""


@pytest.mark.parametrize(("at", "attached"), [(2, []), (3, ["mvg0"])])
def test_a_keeper_that_fails_leaves_nothing_closed(host: Host, at: int, attached: list[str]) -> None:
    host.install()
    domain = Domain(ELEMENT, refuses=False)
    domain.fails_at = at
    with pytest.raises(Error):
        host.look(domain)
    assert domain.attached == attached
    assert host.words() == [f"close {MAC}", f"open {MAC} mvg0"]


def test_a_guard_that_cannot_be_put_on_is_tried_again(host: Host) -> None:
    host.install()
    host.failing.touch()
    domain = Domain(ELEMENT, refuses=False)
    host.look(domain)
    domain.live = domain.live.replace("mvg0", "lo")
    for _look in range(2):
        assert (host.record()["unguarded"], host.record()["error"]) == (True, "no room")
        host.look_again(domain)
    host.failing.unlink()
    host.look_again(domain)
    assert host.record() is None
    assert domain.attached == ["mvg0"]
    assert host.words() == [f"close {MAC}", f"open {MAC} mvg0", *[f"open {MAC} lo"] * 3]


def test_a_nic_that_is_removed_before_it_has_its_guard_does_not_come_back(host: Host) -> None:
    host.install()
    host.failing.touch()
    domain = Domain(ELEMENT, refuses=False)
    host.look(domain)
    domain.live = ""
    host.look_again(domain)
    assert (host.record(), domain.attached) == (None, ["mvg0"])


def held(index: int) -> dict[str, t.Any]:
    """Return what is written down of a NIC without its guard that the guest was asked to release."""
    return {"asked": True, "unguarded": True, "error": "no room", "ifindex": index}


def test_a_nic_gets_its_guard_while_the_guest_is_asked_to_release_it(host: Host) -> None:
    host.install()
    host.failing.touch()
    domain = Domain(ELEMENT, refuses=False)
    domain.live = ELEMENT.replace("<source", "<target dev='lo'/><source")
    # It is the one that was asked for.
    host.look(domain, **held(1))
    assert (host.record()["unguarded"], host.record()["error"]) == (True, "no room")
    host.failing.unlink()
    host.look_again(domain)
    # It is still asked for.
    assert host.words() == [f"open {MAC} lo"] * 2
    assert host.record()["asked"]
    assert not {"unguarded", "error"} & {*host.record()}
    host.look_again(domain)
    assert host.words() == [f"open {MAC} lo"] * 2


def test_a_nic_without_its_guard_comes_back_when_the_guest_releases_it(host: Host) -> None:
    host.install()
    domain = Domain(ELEMENT, refuses=False)
    host.look(domain, **held(1))
    assert (domain.attached, host.record()) == (["mvg0"], None)
