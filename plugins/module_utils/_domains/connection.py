# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A connection to libvirt: how it is opened, and how libvirt's errors become ours."""

from __future__ import annotations

import contextlib
import errno
import re
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import jobs, uris, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest

_T = t.TypeVar("_T")
# A running domain's root element.
_ID = re.compile(r"""<domain\b[^>]*?\sid=['"]([0-9]+)['"]""")
# VIR_DOMAIN_JOB_OPERATION_… of libvirt-domain.h; a backup (9) lets a running guest be changed.
_JOBS = {
    1: "start",
    2: "save",
    3: "restore",
    4: jobs.INCOMING,
    5: jobs.MIGRATION,
    6: "snapshot",
    7: "snapshot",
    8: "dump",
    9: "backup",
    10: "snapshot",
}
# virDomainState and virDomainPausedReason.
_PAUSED_TO_MIGRATE = (3, 2)
# How long libvirtd has to come back when it was restarted.
_RECONNECT_SECONDS = 20
# What to do about errors that have no code of their own, by libvirt's words: in another language there is no hint.
_HINTS = (
    (
        "No more available PCI slots",
        "The running machine has no free slot that this NIC fits into: a q35 machine needs a spare <controller "
        "type='pci' model='pcie-root-port'/>, or a pcie-to-pci-bridge for rtl8139 and e1000, which it gets at its next "
        "start. Set live: none, or stop the domain first",
    ),
    (
        # QEMU's words, in no other language.
        "does not support hotplugging",
        "This machine takes no device as it runs; on x86 that needs <acpi/> in the domain's <features>. Set live: none "
        "and restart the domain",
    ),
    (
        "boot elements cannot be used together",
        "libvirt gives <boot dev='hd'/> to a domain none of whose devices has a place in the boot order; take the "
        "<boot dev=…/> out of the domain's <os> first (virsh edit), giving its disk a place",
    ),
)


_OF_SESSION = (
    "Only root can make macvtap links: a user's own libvirt (qemu:///session) stores such an interface, but has no "
    "running guest with one. That takes qemu:///system"
)
# No daemon answers at that address, or it ends meanwhile.
_SILENT = (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE)


class Connection:
    """What libvirt's own library gives (``libvirt``, ``handle``), and the address ``uri`` that it was asked for."""

    def __init__(self, libvirt: t.Any, handle: t.Any, uri: str, *, read_only: bool) -> None:
        self.libvirt = libvirt
        self.handle = handle
        self.uri = uri
        self._read_only = read_only
        with self.said("cannot ask libvirt what it is"):
            # libvirt's own word for it, where the address was an alias.
            self.url = str(handle.getURI())
        self.local = uris.is_local(self.url)

    @property
    def lost(self) -> bool:
        """Whether libvirtd has ended, or was restarted, since this connection was made."""
        try:
            return not self.handle.isAlive()
        except self.libvirt.libvirtError:
            return True

    def again(self, do: t.Callable[[], _T]) -> _T:
        """Return what ``do`` returns, which is done anew if libvirtd was restarted meanwhile.

        :raises MacvtapError: as ``do``.
        """
        self.ensure()
        try:
            return do()
        except MacvtapError:
            if not self.lost:
                raise
            self.ensure()
            return do()

    def ensure(self) -> None:
        """Connect again if libvirtd was restarted, waiting a moment until it is back.

        :raises MacvtapError: it is not.
        """
        if not self.lost:
            return
        until = time.monotonic() + _RECONNECT_SECONDS
        while True:
            try:
                self.handle = _open(self.libvirt, self.uri, read_only=self._read_only)
            except MacvtapError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return

    def guest(self, uuid: str) -> t.Any:
        """Return the libvirt domain of this UUID, None if there is none."""
        try:
            return self.handle.lookupByUUIDString(uuid)
        except self.libvirt.libvirtError as exc:
            if exc.get_error_code() != self.libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None

    def running(self, uuid: str, instance: str) -> t.Any:
        """Return the libvirt domain of this UUID if its guest runs and is this very instance, else None."""
        domain = self.guest(uuid)
        return domain if domain is not None and instance and self.instance(domain) == instance else None

    def instance(self, domain: t.Any) -> str:
        """Name this run of a guest, "" where it does not run."""
        return self._instance(domain, domain.ID())

    def _instance(self, domain: t.Any, number: int) -> str:
        try:
            return guest.instance(domain, number, local=self.local)
        except OSError as exc:
            raise MacvtapError(f"cannot find the process of domain {domain.name()!r}: {exc}") from exc

    def state(self, domain: t.Any) -> str:
        """Return the state of a running domain in Domain's words."""
        return {
            self.libvirt.VIR_DOMAIN_SHUTDOWN: jobs.SHUTTING_DOWN,
            self.libvirt.VIR_DOMAIN_CRASHED: jobs.CRASHED,
        }.get(domain.state()[0], "")

    def job(self, domain: t.Any) -> str:
        """Return the job that a running domain is under in Domain's words, "" where none is known."""
        try:
            job = domain.jobStats()
        except self.libvirt.libvirtError:
            # Not every driver has jobs, and QEMU's has no statistics of a migration where the guest arrives.
            job = {}
        if not job.get("type"):
            return jobs.INCOMING if tuple(domain.state()[:2]) == _PAUSED_TO_MIGRATE else ""
        return _JOBS.get(job.get("operation"), "unknown")

    def saved(self, domain: t.Any) -> tuple[Iface, ...] | None:
        """Return the interfaces of a domain's managed save, none if it cannot be read; None where there is none."""
        try:
            if not domain.hasManagedSaveImage():
                return None
        except self.libvirt.libvirtError as exc:
            if exc.get_error_code() != self.libvirt.VIR_ERR_NO_SUPPORT:
                raise
            return None
        try:
            return xml.interfaces(domain.managedSaveGetXMLDesc())
        except self.libvirt.libvirtError:
            if self.lost:
                raise
            return ()

    def may_be_the_slot(self, exc: t.Any) -> bool:
        """Whether an error in attaching a NIC may be about where it is to be, so that another place could do."""
        others = ("OPERATION_TIMEOUT", "OPERATION_INVALID", "OPERATION_DENIED", "NO_DOMAIN", "RPC", "SYSTEM_ERROR")
        return exc.get_error_code() not in {getattr(self.libvirt, f"VIR_ERR_{name}", None) for name in others}

    def stored_xml(self, domain: t.Any) -> str:
        """Return the stored XML of a libvirt domain, as it can be defined again."""
        flags = self.libvirt.VIR_DOMAIN_XML_INACTIVE
        if not self._read_only:
            # Without it libvirt leaves out the passwords of graphics devices, and defining that loses them.
            flags |= self.libvirt.VIR_DOMAIN_XML_SECURE
        return str(domain.XMLDesc(flags))

    def live(self, domain: t.Any, mac: str) -> Iface | None:
        """Return the interface that a running libvirt domain has by that address, None if there is none."""
        return next((iface for iface in self.interfaces(domain) if iface.mac == mac), None)

    def interfaces(self, domain: t.Any) -> tuple[Iface, ...]:
        """Return the interfaces that a running libvirt domain has, none if it does not run."""
        return xml.interfaces(document) if (document := self.live_xml(domain)[0]) else ()

    def live_xml(self, domain: t.Any) -> tuple[str, str]:
        """Return the XML of a running guest and the name of its instance, "" for both where it does not run.

        Both are of one moment: libvirt gives the stored XML of a domain that has just stopped, without an ``id``.
        """
        document = str(domain.XMLDesc(0))
        number = _ID.match(document)
        return (document, self._instance(domain, int(number[1]))) if number else ("", "")

    @contextlib.contextmanager
    def said(self, what: str, path: str = "") -> t.Iterator[None]:
        """Turn libvirt's errors into ours, which begin with ``what`` could not be done and say what to do.

        :raises MacvtapError: libvirt raised an error.
        """
        try:
            yield
        except self.libvirt.libvirtError as exc:
            said = words(exc)
            hints = [hint for pattern, hint in _HINTS if pattern in said]
            # The names are the same in every language.
            if "macvtap" in said and _failed_with(self.libvirt, exc, errno.EPERM) and uris.is_session(self.url):
                hints.append(_OF_SESSION)
            raise MacvtapError(". ".join([f"{what}: {said}", *hints]), path=path) from exc


@contextlib.contextmanager
def opened(uri: str, *, read_only: bool) -> t.Iterator[Connection]:
    """Connect to libvirt at ``uri``.

    :raises MacvtapError: there is no daemon, or it refuses.
    """
    if "\0" in uri:
        raise MacvtapError(f"{uri!r} is no address of libvirt's", path="uri")
    libvirt = _deps.load("libvirt")
    # libvirt prints every error to stderr otherwise, beside raising it.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    handle = _open(libvirt, uri, read_only=read_only)
    connection = Connection(libvirt, handle, uri, read_only=read_only)
    try:
        yield connection
    finally:
        with contextlib.suppress(libvirt.libvirtError):
            connection.handle.close()


def _open(libvirt: t.Any, uri: str, *, read_only: bool) -> t.Any:
    try:
        return (libvirt.openReadOnly if read_only else libvirt.open)(uri)
    except libvirt.libvirtError as exc:
        said = words(exc)
        advice = uris.advice(
            uri,
            said,
            denied=_is_denied(libvirt, exc),
            silent=_failed_with(libvirt, exc, *_SILENT),
            no_driver=exc.get_error_code() == getattr(libvirt, "VIR_ERR_NO_CONNECT", None),
        )
        what = [f"cannot connect to {uri!r}: {said}", advice]
        raise MacvtapError(". ".join(filter(None, what)), path="uri") from exc


def _is_denied(libvirt: t.Any, exc: t.Any) -> bool:
    codes = ("AUTH_FAILED", "AUTH_CANCELLED", "AUTH_UNAVAILABLE", "OPERATION_DENIED", "ACCESS_DENIED")
    if exc.get_error_code() in {getattr(libvirt, f"VIR_ERR_{name}", None) for name in codes}:
        return True
    return _failed_with(libvirt, exc, errno.EACCES, errno.EPERM)


def _failed_with(libvirt: t.Any, exc: t.Any, *numbers: int) -> bool:
    """Whether the kernel refused something to libvirt with one of these errors."""
    return bool(exc.get_error_code() == libvirt.VIR_ERR_SYSTEM_ERROR and exc.get_int1() in numbers)


def words(exc: t.Any) -> str:
    """Return what libvirt said, with nothing around it."""
    return str(exc.get_error_message() or exc).strip()
