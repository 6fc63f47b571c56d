# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How libvirt is asked to move a guest, and what is done if that takes too long."""

from __future__ import annotations

import threading
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import transfer
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Desired

FLAGS = (
    "PEER2PEER",
    "UNDEFINE_SOURCE",
    "PERSIST_DEST",
    "OFFLINE",
    "LIVE",
    "TUNNELLED",
    "TLS",
    "POSTCOPY",
    "NON_SHARED_DISK",
    "NON_SHARED_INC",
)


class Libvirt:
    """libvirt's flags, each a power of two, and its parameters."""

    class libvirtError(Exception):  # noqa: N801  # libvirt's name
        pass

    VIR_MIGRATE_PARAM_DEST_XML = "destination_xml"
    VIR_MIGRATE_PARAM_PERSIST_XML = "persistent_xml"
    VIR_MIGRATE_PARAM_BANDWIDTH = "bandwidth"

    def __getattr__(self, name: str) -> int:
        return 1 << FLAGS.index(name.replace("VIR_MIGRATE_", ""))


class Domain:
    """A guest whose migration ends with an error, or as soon as it is aborted, suspended or in post-copy."""

    def __init__(self, error: BaseException | None = None, *, ends: bool = True) -> None:
        self._error = error
        self._ended = threading.Event()
        self.called: list[str] = []
        if ends:
            self._ended.set()

    def migrateToURI3(self, uri: str, parameters: t.Mapping[str, t.Any], _flags: int) -> None:  # noqa: N802
        assert (uri, parameters["destination_xml"]) == (SENT.uri, SENT.live)
        assert self._ended.wait(10)
        if self._error is not None:
            raise self._error

    def abortJob(self) -> None:  # noqa: N802
        self.called.append("abort")
        self._error = Libvirt.libvirtError("operation aborted")
        self._ended.set()

    def suspend(self) -> None:
        self.called.append("suspend")
        self._ended.set()

    def migrateStartPostCopy(self, _flags: int) -> None:  # noqa: N802
        self.called.append("post-copy")
        self._ended.set()


SENT = transfer.Sent("<domain/>", "<domain/>", "qemu+ssh://hv2/system")


def flags(desired: Desired, *, running: bool = True, stored: bool = True) -> set[str]:
    found = transfer.flags_of(Libvirt(), desired, running=running, stored=stored)
    return {name for bit, name in enumerate(FLAGS) if found >> bit & 1}


def test_a_guest_that_runs_is_sent_as_declared() -> None:
    always = {"PEER2PEER", "UNDEFINE_SOURCE"}
    assert flags(Desired("web1")) == {*always, "PERSIST_DEST", "LIVE", "TUNNELLED"}
    assert flags(Desired("web1", live=False, transport="tcp"), stored=False) == always
    post_copy = Desired("web1", transport="tls", on_timeout="post_copy", storage="copy")
    assert flags(post_copy) == {*always, "PERSIST_DEST", "LIVE", "TLS", "POSTCOPY", "NON_SHARED_DISK"}
    assert flags(Desired("web1", transport="tls", storage="copy"), running=False) == {
        *always,
        "PERSIST_DEST",
        "OFFLINE",
    }


def test_only_what_is_declared_is_a_parameter() -> None:
    libvirt = Libvirt()
    assert transfer.parameters_of(libvirt, Desired("web1"), SENT._replace(stored=None)) == {
        "destination_xml": "<domain/>"
    }
    assert transfer.parameters_of(libvirt, Desired("web1", bandwidth=7), SENT)["bandwidth"] == 7


def test_how_it_ends_is_returned() -> None:
    assert transfer.transfer(Libvirt(), Domain(), Desired("web1"), SENT, running=True) == transfer.Ended(None)
    error = Libvirt.libvirtError("no")
    assert transfer.transfer(Libvirt(), Domain(error), Desired("web1"), SENT, running=True) == transfer.Ended(error)


def test_an_error_of_another_kind_is_no_success() -> None:
    with pytest.raises(OverflowError):
        transfer.transfer(Libvirt(), Domain(OverflowError()), Desired("web1"), SENT, running=True)


@pytest.mark.parametrize(
    ("way", "called", "aborted"),
    [
        ("abort", "abort", "it took longer than the timeout of 1 s"),
        ("suspend", "suspend", ""),
        ("post_copy", "post-copy", ""),
    ],
)
def test_after_the_timeout_is_done_once_what_is_declared(
    monkeypatch: pytest.MonkeyPatch, way: str, called: str, aborted: str
) -> None:
    monkeypatch.setattr(transfer, "_POLL_SECONDS", 0.001)
    clock = iter(range(1000))
    monkeypatch.setattr(transfer.time, "monotonic", lambda: next(clock))
    domain = Domain(ends=False)
    ended = transfer.transfer(Libvirt(), domain, Desired("web1", timeout=1, on_timeout=way), SENT, running=True)
    assert domain.called == [called]
    assert ended.aborted == aborted


def test_a_destination_that_no_longer_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_POLL_SECONDS", 0.001)
    answers = iter([True, True, False])
    domain = Domain(ends=False)
    ended = transfer.transfer(
        Libvirt(), domain, Desired("web1"), SENT, running=True, answers=lambda: next(answers, False)
    )
    assert (ended.is_under_way, ended.error) == (True, None)
    assert domain.called == []
    domain.suspend()
