# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How often a domain was stored, by libvirt's events: those of its test driver, which needs no daemon."""

from __future__ import annotations

import contextlib
import types
import typing as t
from concurrent import futures

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import writes

libvirt = pytest.importorskip("libvirt")
URI = "test:///default"


def test_each_define_of_a_domain_counts_and_nothing_else() -> None:
    with contextlib.closing(libvirt.open(URI)) as connection, writes.counted(libvirt, URI) as counts:
        domain = connection.lookupByName("test")
        uuid, document = domain.UUIDString(), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        assert counts.count(uuid) == 0
        domain.suspend()
        domain.resume()
        assert counts.count(uuid) == 0
        for number in (1, 2):
            connection.defineXML(document)
            assert counts.count(uuid) == number
        assert counts.count("another") == 0


def test_a_guest_that_starts_or_stops_is_known_at_the_next_count() -> None:
    with contextlib.closing(libvirt.open(URI)) as connection:
        domain = connection.lookupByName("test")
        for change in (domain.destroy, domain.create):
            with writes.counted(libvirt, URI) as counts:
                counts.count(domain.UUIDString())
                assert not counts.may_differ(domain.UUIDString())
                change()
                counts.count(domain.UUIDString())
                assert counts.may_differ(domain.UUIDString())


def test_an_undefined_domain_is_known_at_the_next_count() -> None:
    document = "<domain type='test'><name>web4</name><memory>8192</memory><os><type>hvm</type></os></domain>"
    with contextlib.closing(libvirt.open(URI)) as connection, writes.counted(libvirt, URI) as counts:
        domain = connection.defineXML(document)
        uuid = domain.UUIDString()
        counts.count(uuid)
        assert not counts.may_differ(uuid)
        domain.undefine()
        assert counts.count(uuid) == 1
        assert counts.may_differ(uuid)
        assert not counts.may_differ("another")


def gone(*_of: t.Any) -> t.NoReturn:
    raise libvirt.libvirtError("client socket is closed")


@pytest.mark.parametrize("name", ["virEventRegisterDefaultImpl", "openReadOnly"])
def test_where_libvirt_reports_nothing_nothing_is_counted(name: str) -> None:
    fake = types.SimpleNamespace(**{**vars(libvirt), name: gone})
    with writes.counted(fake, URI) as counts:
        assert counts.count("any") == 0
        assert counts.may_differ("any")


def test_a_daemon_that_ends_is_no_error_whichever_thread_finds_it() -> None:
    handle = types.SimpleNamespace(getLibVersion=gone)
    counts = writes.Writes(libvirt, handle)
    with futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(counts.count, ["any"] * 64)) == {0}
