# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The keeper brings back the guest of a run that was killed while it paused the guest.

On a model of one domain: what libvirt 9.0 was seen to do with saved guests.
"""

from __future__ import annotations

import pathlib
import types
import typing as t
from dataclasses import dataclass, field

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest, paused, records

UUID = "00000000-0000-4000-8000-000000000001"
TOKEN = "0123456789abcdef"  # noqa: S105
MAC = "52:54:00:00:00:0a"


class LibvirtError(Exception):
    def get_error_message(self) -> str:
        return str(self)

    def get_error_code(self) -> int:
        return 1


LIBVIRT = types.SimpleNamespace(
    libvirtError=LibvirtError,
    VIR_DOMAIN_METADATA_ELEMENT=2,
    VIR_DOMAIN_AFFECT_LIVE=1,
    VIR_DOMAIN_SAVE_IMAGE_XML_SECURE=1,
    VIR_DOMAIN_XML_INACTIVE=2,
    VIR_ERR_NO_DOMAIN=42,
    VIR_ERR_NO_SUPPORT=3,
)


def xml(source: str, mark: str = "", number: int | None = None) -> str:
    return (
        f"<domain{'' if number is None else f' id={chr(39)}{number}{chr(39)}'} xmlns:qemu='urn:qemu'><name>web1</name>"
        f"<metadata>{mark and f'<l:pause xmlns:l={chr(34)}urn:l{chr(34)} token={chr(34)}{mark}{chr(34)}/>'}</metadata>"
        f"<devices><disk/>{element(source)}</devices><qemu:commandline/></domain>"
    )


def element(source: str) -> str:
    return f"<interface type='direct'><mac address='{MAC}'/><source dev='{source}'/></interface>"


@dataclass
class Domain:
    """A domain with its managed save (``image``), and a host whose uplinks are ``there``."""

    live: str | None = None
    number: int = 3
    image: str | None = None
    job: int = 0
    reason: tuple[int, int] = (1, 1)
    there: set[str] = field(default_factory=lambda: {"eth0", "up1"})
    calls: list[str] = field(default_factory=list)

    def name(self) -> str:
        return "web1"

    def isActive(self) -> int:  # noqa: N802
        return int(self.live is not None)

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        return self.live or xml("eth0")

    def state(self) -> list[int]:
        return [*self.reason]

    def jobStats(self) -> dict[str, int]:  # noqa: N802
        return {"type": self.job}

    def hasManagedSaveImage(self) -> int:  # noqa: N802
        return int(self.image is not None)

    def managedSaveGetXMLDesc(self, _flags: int) -> str:  # noqa: N802
        assert self.image is not None
        return self.image

    def managedSaveDefineXML(self, text: str, _flags: int) -> None:  # noqa: N802
        self.calls.append("define")
        self.image = text

    def managedSaveRemove(self, _flags: int) -> None:  # noqa: N802
        assert self.live is not None, "the image of a guest that does not run is all that is left of it"
        self.calls.append("remove")
        self.image = None

    def create(self) -> None:
        self.calls.append("create")
        assert self.image is not None, "it would be booted"
        if not any(f"dev='{name}'" in self.image.replace('"', "'") for name in self.there):
            raise LibvirtError("no such device")
        self.number += 1
        self.live, self.image, self.reason = self.image.replace("<domain", f"<domain id='{self.number}'"), None, (1, 3)

    def resume(self) -> None:
        self.calls.append("resume")
        self.reason = (1, 5)

    def setMetadata(self, _kind: int, text: str | None, *_more: t.Any) -> None:  # noqa: N802
        assert text is None
        if self.live is None:
            raise LibvirtError("domain is not running")
        self.live = self.live.replace(TOKEN, "")


@pytest.fixture
def look(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[Domain], bool]:
    """Let the keeper look at the domain, of which a killed run has left this record; return whether one is left."""
    monkeypatch.setattr(paused, "is_host_stopping", lambda: False)
    monkeypatch.setattr(guest, "_SECONDS", -1.0)
    state = {"uri": "", "local": False, "domain": "web1", "uuid": UUID, "instance": "3", "boot": guest.boot_id()}
    pause = paused.record(TOKEN, running=True)
    directory = str(tmp_path)
    records.save(directory, UUID, {**state, "nics": {}, "pause": pause})

    def looked(domain: Domain | None) -> bool:
        def found(_uuid: str) -> Domain:
            assert domain is not None
            return domain

        guest.look(LIBVIRT, types.SimpleNamespace(lookupByUUIDString=found), directory, UUID)
        return records.load(directory, UUID) is not None

    looked.directory = directory  # type: ignore[attr-defined]
    return looked


def swap(look: t.Any, old: str, new: str) -> None:
    """Record that the image gets a NIC on another uplink."""
    state = records.load(look.directory, UUID)
    assert state is not None
    state["pause"] = paused.changed(state["pause"], {MAC: element(old)}, {MAC: element(new)})
    records.save(look.directory, UUID, state)


def test_a_guest_that_the_run_has_saved_is_restored(look: t.Callable[[Domain], bool]) -> None:
    domain = Domain(image=xml("eth0", TOKEN))
    assert not look(domain)
    assert domain.live is not None
    assert "eth0" in domain.live
    assert TOKEN not in domain.live
    assert domain.calls == ["create"]


@pytest.mark.parametrize(("there", "expected"), [({"eth0", "up1"}, "up1"), ({"eth0"}, "eth0"), ({"up1"}, "up1")])
def test_it_gets_the_old_nic_if_the_new_one_cannot_be(
    look: t.Callable[[Domain], bool], there: set[str], expected: str
) -> None:
    swap(look, "eth0", "up1")
    domain = Domain(image=xml("up1", TOKEN), there=there)
    assert not look(domain)
    assert domain.live is not None
    assert f"dev={expected}" in domain.live.replace('"', "").replace("'", "")
    # Everything else is as it was.
    assert "qemu:commandline" in domain.live


def test_it_is_tried_again_for_as_long_as_neither_can_be(look: t.Callable[[Domain], bool]) -> None:
    swap(look, "eth0", "up1")
    domain = Domain(image=xml("up1", TOKEN), there={"else"})
    for _time in range(3):
        assert look(domain)
        assert domain.image is not None
    domain.there = {"up1"}
    assert not look(domain)
    assert domain.live is not None


def test_what_others_have_saved_is_theirs(look: t.Callable[[Domain], bool]) -> None:
    domain = Domain(image=xml("eth0"))
    assert not look(domain)
    assert (domain.calls, domain.image) == ([], xml("eth0"))


def test_a_guest_that_was_destroyed_stays_so(look: t.Callable[[Domain], bool]) -> None:
    domain = Domain()
    assert not look(domain)
    assert domain.calls == []


def test_a_save_that_goes_on_without_the_run_is_awaited(look: t.Callable[[Domain], bool]) -> None:
    domain = Domain(live=xml("eth0", TOKEN, 3), job=2)
    assert look(domain)
    domain.live, domain.job, domain.image = None, 0, xml("eth0", TOKEN)
    assert not look(domain)
    assert domain.calls == ["create"]


def test_a_request_that_libvirt_has_not_seen_yet_is_awaited(
    look: t.Callable[[Domain], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "_SECONDS", 1e9)
    domain = Domain(live=xml("eth0", TOKEN, 3))
    assert look(domain)
    # The image needs the mark.
    assert TOKEN in str(domain.live)
    domain.live, domain.image = None, xml("eth0", TOKEN)
    assert not look(domain)
    assert domain.live is not None


def test_an_image_of_a_guest_that_runs_is_removed(look: t.Callable[[Domain], bool]) -> None:
    # libvirtd was killed during the save, and has let the guest go on.
    domain = Domain(live=xml("eth0", TOKEN, 3), image="partial")
    assert not look(domain)
    assert (domain.calls, domain.image) == (["remove"], None)
    assert TOKEN not in str(domain.live)


def test_a_guest_that_libvirtd_has_left_stopped_goes_on(look: t.Callable[[Domain], bool]) -> None:
    domain = Domain(live=xml("eth0", TOKEN, 3), reason=(3, 3))
    assert not look(domain)
    assert domain.calls == ["resume"]


def test_no_guest_is_started_while_the_host_shuts_down(
    look: t.Callable[[Domain], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paused, "is_host_stopping", lambda: True)
    domain = Domain(image=xml("eth0", TOKEN))
    assert look(domain)
    assert domain.calls == []
