# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whose links libvirt's answers are about: those of another host have the same names."""

from __future__ import annotations

import contextlib
import types
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris

ASKED = [guests.Asked("guards[0]", "web1", "52:54:00:00:0a:01")]
# What libvirt reports for the aliases of a host.
ALIASES = {"here": "qemu:///system", "there": "qemu+ssh://hv2/system"}


class Links:
    """libvirt, with what was opened, and a domain whose NIC has the link macvtap0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[str] = []
        monkeypatch.setattr(guests, "opened", self._open)
        monkeypatch.setattr(guests, "_link", lambda _connection, _asked: "macvtap0")

    @contextlib.contextmanager
    def _open(self, uri: str, _kind: t.Any, **_how: t.Any) -> t.Iterator[t.Any]:
        self.opened.append(uri)
        yield types.SimpleNamespace(local=uris.is_local(ALIASES.get(uri, uri)))


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch) -> Links:
    return Links(monkeypatch)


@pytest.mark.parametrize("uri", ["qemu:///system", "qemu+unix:///system?socket=/run/other", "here"])
def test_the_links_of_this_hosts_guests_are_known(uri: str, libvirt: Links) -> None:
    assert guests.links(ASKED, uri) == {"guards[0]": "macvtap0"}
    assert libvirt.opened == [uri]


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("qemu+ssh://root@hv2/system", False),
        ("qemu+tls://[2001:db8::1]/system", False),
        # It may be a tunnel.
        ("qemu+tcp://localhost/system", False),
        ("there", True),
        ("qemu+ext:///system?command=/usr/bin/elsewhere", True),
        ("test:///default", True),
    ],
)
def test_those_of_another_host_are_refused(uri: str, opened: bool, libvirt: Links) -> None:
    with pytest.raises(MacvtapError, match="is not known to be this host's own libvirt") as caught:
        guests.links(ASKED, uri)
    assert caught.value.path == "uri"
    # No host is waited for that cannot be this one.
    assert libvirt.opened == ([uri] if opened else [])
    assert guests.links([], uri) == {}


def test_what_is_no_uri_is_told_as_such(libvirt: Links) -> None:
    with pytest.raises(MacvtapError, match="is not a libvirt URI"):
        guests.links(ASKED, "qemu://[hv2/system")
    assert libvirt.opened == []


class GoneError(Exception):
    def get_error_code(self) -> int:
        return 42


class Domain:
    """A domain with NICs of these MAC addresses in its stored configuration, and now if it runs; None if it is gone."""

    def __init__(self, name: str, stored: t.Sequence[str] | None, live: t.Sequence[str] | None = None) -> None:
        self._name, self._stored, self._live = name, stored, live

    def name(self) -> str:
        return self._name

    def isPersistent(self) -> bool:  # noqa: N802  # libvirt's
        return True

    def XMLDesc(self, flags: int) -> str:  # noqa: N802  # libvirt's
        if self._stored is None:
            raise GoneError
        macs = self._stored if flags or self._live is None else self._live
        nics = "".join(f"<interface type='direct'><mac address='{mac}'/></interface>" for mac in macs)
        return f"<domain><devices>{nics}</devices></domain>"


def translated(*_what: str) -> t.ContextManager[None]:
    return contextlib.nullcontext()


@pytest.mark.parametrize("uri", ["qemu:///system", ""])
def test_whose_an_address_is_is_known_of_all_domains(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (f"52:54:00:00:0a:0{number}" for number in (1, 2, 3))
    domains = [Domain("web3", [one]), Domain("web1", [two], [one]), Domain("gone", None), Domain("web2", [two, three])]
    libvirt = types.SimpleNamespace(VIR_DOMAIN_XML_INACTIVE=2, VIR_ERR_NO_DOMAIN=42, libvirtError=GoneError)
    handle = types.SimpleNamespace(listAllDomains=lambda: domains)

    @contextlib.contextmanager
    def opened(uri: str, _kind: t.Any, **_how: t.Any) -> t.Iterator[t.Any]:
        assert uri == "qemu:///system"
        yield types.SimpleNamespace(libvirt=libvirt, handle=handle, translate_errors=translated)

    monkeypatch.setattr(guests, "opened", opened)
    assert guests.owners([one, two, "52:54:00:00:0a:09"], uri) == {one: ("web1", "web3"), two: ("web1", "web2")}


def test_where_no_libvirt_is_named_there_need_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_what: t.Any, **_how: t.Any) -> t.Any:
        raise MacvtapError("no daemon")

    monkeypatch.setattr(guests, "opened", opened)
    assert guests.owners(["52:54:00:00:0a:01"], "") == {}
    with pytest.raises(MacvtapError, match="no daemon"):
        guests.owners(["52:54:00:00:0a:01"], "qemu:///system")
    # Nobody is asked for nothing.
    assert guests.owners([], "qemu:///system") == {}
