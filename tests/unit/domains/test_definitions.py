# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Another editor stores a domain at the very moment when a run does, on libvirt's own test driver."""

from __future__ import annotations

import contextlib
import signal
import threading
import typing as t
from concurrent import futures

import pytest
from moments import Moment

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _signals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    definitions,
    hypervisor,
    planner,
    rollback,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import STORED, Desired, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import writes

libvirt = pytest.importorskip("libvirt")

MAC = "52:54:00:00:00:01"
URI = "test:///default"
DOMAIN = "<domain type='test'><name>{}</name><memory>{}</memory><os><type>hvm</type></os></domain>"


@contextlib.contextmanager
def domains(count: int) -> t.Iterator[tuple[t.Any, list[str]]]:
    """Have that many stopped domains."""
    with contextlib.closing(libvirt.open(URI)) as connection:
        names = [f"web{number}" for number in range(count)]
        made = [connection.defineXML(DOMAIN.format(name, 8192)) for name in names]
        try:
            yield connection, names
        finally:
            for domain in made:
                domain.undefine()


@pytest.mark.parametrize("count", [1, 12], ids=["one", "in threads"])
@pytest.mark.parametrize("signalled", [False, True])
def test_an_update_that_is_lost_is_reported_whatever_ends_the_run(*, count: int, signalled: bool) -> None:
    with domains(count) as (connection, names), hypervisor.connect(URI, timeout=1) as hv:

        def others() -> None:
            for name in names:
                document = connection.lookupByName(name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
                connection.defineXML(document.replace(">8192<", ">16384<"))
            if signalled:
                signal.raise_signal(signal.SIGTERM)

        given = {"source": "eth0", "mode": "bridge"}
        desired = [Desired(f"interfaces[{name}]", name, key=MAC, mac=MAC, given=given) for name in names]
        journal = Moment[Nic](STORED, others)
        with _signals.raising(), pytest.raises((MacvtapError, _signals.Interrupted)) as failed:
            hv.apply(planner.plan(desired, hv.observe(names)).steps, journal)
        overwritten = [name for name, domain in hv.observe(names).domains.items() if domain.overwritten]
        assert overwritten
        for name in overwritten:
            # The only word of it where changes are kept.
            assert f"domain '{name}' was changed by another editor at the moment" in str(failed.value)
            warning = f"What the other editor has stored of domain '{name}' may be lost. Check its configuration"
            assert warning in rollback.undo(journal, hv.observe(names)).warnings
        assert isinstance(failed.value, _signals.Interrupted) is signalled


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set as soon as a run waits for what has begun, after something has failed."""
    cancel, begun = futures.Future.cancel, threading.Event()

    def noticed(future: futures.Future[t.Any]) -> bool:
        begun.set()
        return cancel(future)

    monkeypatch.setattr(futures.Future, "cancel", noticed)
    return begun


def test_a_signal_that_arrives_after_a_first_failure_says_what_was_overwritten(collecting: threading.Event) -> None:
    def store(number: int) -> None:
        if number:
            assert collecting.wait(60)
            if number == 1:
                signal.raise_signal(signal.SIGTERM)
        if number < 2:
            raise writes.OverwrittenError(f"domain 'web{number}'", path="")

    with _signals.raising(), pytest.raises(_signals.Interrupted) as failed:
        vars(definitions)["_in_parallel"](store, range(12))
    assert [name for name in ("web0", "web1") if f"'{name}' was changed by another" in str(failed.value)] == [
        "web0",
        "web1",
    ]


def test_a_signal_after_a_refusal_does_not_hide_it(collecting: threading.Event) -> None:
    def store(number: int) -> None:
        if number == 0:
            raise MacvtapError("domain 'web0' was undefined while this ran")
        assert collecting.wait(60)
        if number == 1:
            signal.raise_signal(signal.SIGTERM)

    with _signals.raising(), pytest.raises(_signals.Interrupted, match="'web0' was undefined"):
        vars(definitions)["_in_parallel"](store, range(12))
