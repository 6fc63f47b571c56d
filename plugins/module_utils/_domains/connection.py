# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The connection to libvirt: opens it, reconnects, and translates libvirt's errors."""

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
# How long to wait for libvirtd after its restart.
_RECONNECT_SECONDS = 20
# Hints for errors without a code of their own, by libvirt's text. In another language there is no hint.
_HINTS = (
    (
        "No more available PCI slots",
        "The running machine has no free PCI slot for this NIC. A q35 machine needs a spare <controller "
        "type='pci' model='pcie-root-port'/>, or a pcie-to-pci-bridge for rtl8139 and e1000; it gets one "
        "at its next start. Set live: none, or stop the domain first",
    ),
    (
        # QEMU's text, which is never translated.
        "does not support hotplugging",
        "This machine does not support hotplug; on x86 it needs <acpi/> in the domain's <features>. Set "
        "live: none and restart the domain",
    ),
    (
        "boot elements cannot be used together",
        "libvirt adds <boot dev='hd'/> to a domain whose devices have no boot order. Remove <boot dev=…/> "
        "from the domain's <os> first (virsh edit), and give its disk a boot order",
    ),
)


_SESSION_HINT = (
    "Only root can create macvtap links: a user's own libvirt (qemu:///session) stores such an "
    "interface, but cannot start a guest with it. Use qemu:///system"
)
# No daemon listens at that address, or it ends meanwhile.
_NO_DAEMON = (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE)


class Connection:
    """libvirt's bindings (``libvirt``), their connection (``handle``), and the ``uri`` that was requested."""

    def __init__(self, libvirt: t.Any, handle: t.Any, uri: str, *, read_only: bool) -> None:
        self.libvirt = libvirt
        self.handle = handle
        self.uri = uri
        self._read_only = read_only
        with self.translate_errors("cannot query libvirt"):
            # The URI that libvirt reports: the requested one may be an alias.
            self.url = str(handle.getURI())
        self.local = uris.is_local(self.url)

    @property
    def lost(self) -> bool:
        """Whether libvirtd has ended, or was restarted, since this connection was made."""
        try:
            return not self.handle.isAlive()
        except self.libvirt.libvirtError:
            return True

    def retry(self, do: t.Callable[[], _T]) -> _T:
        """Call ``do`` and return its result; call it again if libvirtd was restarted meanwhile.

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
        """Reconnect if libvirtd was restarted, and wait until it is back.

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
        """Return the libvirt domain of this UUID if its guest still is this instance, else None."""
        domain = self.guest(uuid)
        return domain if domain is not None and instance and self.instance(domain) == instance else None

    def instance(self, domain: t.Any) -> str:
        """Return what identifies this start of a guest, "" where it does not run."""
        return self._instance(domain, domain.ID())

    def _instance(self, domain: t.Any, number: int) -> str:
        try:
            return guest.instance(domain, number, local=self.local)
        except OSError as exc:
            raise MacvtapError(f"cannot find the process of domain {domain.name()!r}: {exc}") from exc

    def state(self, domain: t.Any) -> str:
        """Return the state of a running domain, as in Domain.state."""
        return {
            self.libvirt.VIR_DOMAIN_SHUTDOWN: jobs.SHUTTING_DOWN,
            self.libvirt.VIR_DOMAIN_CRASHED: jobs.CRASHED,
        }.get(domain.state()[0], "")

    def job(self, domain: t.Any) -> str:
        """Return the job of a running domain, as in Domain.job; "" if none is known."""
        # First, so that the job is what is known last.
        state = tuple(domain.state()[:2])
        try:
            job = domain.jobStats()
        except self.libvirt.libvirtError:
            # Not every driver has jobs, and QEMU's has no statistics of a migration where the guest arrives.
            job = {}
        if not job.get("type"):
            return jobs.INCOMING if state == _PAUSED_TO_MIGRATE else ""
        return _JOBS.get(job.get("operation"), "unknown")

    def names_of_saved(self) -> frozenset[str] | None:
        """Return the names of the domains with a managed save, None if this driver cannot list them."""
        try:
            listed = self.handle.listAllDomains(self.libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
        except self.libvirt.libvirtError:
            if self.lost:
                raise
            return None
        return frozenset(domain.name() for domain in listed)

    def saved(self, domain: t.Any) -> tuple[Iface, ...] | None:
        """Return the interfaces of a domain's managed save, () if it is unreadable, None without a save."""
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
        """Whether an error in attaching a NIC may be about its PCI slot, so that another slot may work."""
        others = ("OPERATION_TIMEOUT", "OPERATION_INVALID", "OPERATION_DENIED", "NO_DOMAIN", "RPC", "SYSTEM_ERROR")
        return exc.get_error_code() not in {getattr(self.libvirt, f"VIR_ERR_{name}", None) for name in others}

    def stored_xml(self, domain: t.Any) -> str:
        """Return the stored XML of a libvirt domain, as it can be defined again."""
        flags = self.libvirt.VIR_DOMAIN_XML_INACTIVE
        if not self._read_only:
            # Without this flag libvirt omits the passwords of graphics devices, and defining the XML loses them.
            flags |= self.libvirt.VIR_DOMAIN_XML_SECURE
        return str(domain.XMLDesc(flags))

    def live(self, domain: t.Any, mac: str) -> Iface | None:
        """Return the interface of a running libvirt domain with that MAC address, None if there is none."""
        return next((iface for iface in self.interfaces(domain) if iface.mac == mac), None)

    def interfaces(self, domain: t.Any) -> tuple[Iface, ...]:
        """Return the interfaces of a running libvirt domain, () if it does not run."""
        return xml.interfaces(document) if (document := self.live_xml(domain)[0]) else ()

    def live_xml(self, domain: t.Any) -> tuple[str, str]:
        """Return the XML of a running guest and its instance, "" for both where it does not run.

        Both are of the same moment: for a domain that has just stopped, libvirt returns the stored XML, without an
        ``id``.
        """
        document = str(domain.XMLDesc(0))
        number = _ID.match(document)
        return (document, self._instance(domain, int(number[1]))) if number else ("", "")

    @contextlib.contextmanager
    def translate_errors(self, what: str, path: str = "") -> t.Iterator[None]:
        """Translate libvirt's errors into MacvtapError, with ``what`` failed and a hint.

        :raises MacvtapError: libvirt raised an error.
        """
        try:
            yield
        except self.libvirt.libvirtError as exc:
            message = message_of(exc)
            hints = [hint for pattern, hint in _HINTS if pattern in message]
            # The names are the same in every language.
            if "macvtap" in message and _failed_with(self.libvirt, exc, errno.EPERM) and uris.is_session(self.url):
                hints.append(_SESSION_HINT)
            raise MacvtapError(". ".join([f"{what}: {message}", *hints]), path=path) from exc


@contextlib.contextmanager
def opened(uri: str, *, read_only: bool) -> t.Iterator[Connection]:
    """Connect to libvirt at ``uri``.

    :raises MacvtapError: there is no daemon, or it refuses.
    """
    if "\0" in uri:
        raise MacvtapError(f"{uri!r} is not a libvirt URI", path="uri")
    libvirt = _deps.load("libvirt")
    # Otherwise libvirt prints every error to stderr as well.
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
        message = message_of(exc)
        advice = uris.advice(
            uri,
            message,
            denied=_is_denied(libvirt, exc),
            silent=_failed_with(libvirt, exc, *_NO_DAEMON),
            no_driver=exc.get_error_code() == getattr(libvirt, "VIR_ERR_NO_CONNECT", None),
        )
        what = [f"cannot connect to {uri!r}: {message}", advice]
        raise MacvtapError(". ".join(filter(None, what)), path="uri") from exc


def _is_denied(libvirt: t.Any, exc: t.Any) -> bool:
    codes = ("AUTH_FAILED", "AUTH_CANCELLED", "AUTH_UNAVAILABLE", "OPERATION_DENIED", "ACCESS_DENIED")
    if exc.get_error_code() in {getattr(libvirt, f"VIR_ERR_{name}", None) for name in codes}:
        return True
    return _failed_with(libvirt, exc, errno.EACCES, errno.EPERM)


def _failed_with(libvirt: t.Any, exc: t.Any, *numbers: int) -> bool:
    """Whether a system call of libvirt's failed with one of these errors."""
    return bool(exc.get_error_code() == libvirt.VIR_ERR_SYSTEM_ERROR and exc.get_int1() in numbers)


def message_of(exc: t.Any) -> str:
    """Return the text of libvirt's error."""
    return str(exc.get_error_message() or exc).strip()
