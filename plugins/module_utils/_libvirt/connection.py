# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The connection to libvirt: opens it, reconnects, and translates libvirt's errors."""

from __future__ import annotations

import contextlib
import errno
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import silence, uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

_T = t.TypeVar("_T")
_C = t.TypeVar("_C", bound="Connection")
# How long to wait for libvirtd after its restart.
_RECONNECT_SECONDS = 20
# And for one that did not come back in this time.
_AGAIN_SECONDS = 2
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
        # Of a network with a pf. libvirt misspells it.
        "No usable Vf",
        "The link that pf names has no virtual functions that are bound to a network driver. Create some first "
        "(sriov_numvfs in the directory of its device in sysfs), or set pf to another link",
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

    def __init__(self, libvirt: t.Any, handle: t.Any, uri: str, *, read_only: bool, bounded: bool = False) -> None:
        self.libvirt = libvirt
        self.handle = handle
        self.uri = uri
        self._read_only = read_only
        self._bounded = bounded
        self._has_given_up = False
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

    def free_memory(self) -> int | None:
        """Return the bytes of memory that are free, or that the host's caches would give away; None if unknown."""
        try:
            found = self.handle.getMemoryStats(self.libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
        except self.libvirt.libvirtError:
            return None
        parts = [found[name] for name in ("free", "buffers", "cached") if name in found]
        return sum(parts) << 10 if "free" in found else None

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
        until = time.monotonic() + (_AGAIN_SECONDS if self._has_given_up else _RECONNECT_SECONDS)
        while True:
            try:
                self.handle = self._reopened(until - time.monotonic())
            except MacvtapError:
                if time.monotonic() > until:
                    self._has_given_up = True
                    raise
                time.sleep(0.1)
            else:
                self._has_given_up = False
                return

    def _reopened(self, seconds: float) -> t.Any:
        bound = max(1.0, seconds) if self._bounded else None
        return _open(self.libvirt, self.uri, read_only=self._read_only, seconds=bound)

    @contextlib.contextmanager
    def recorded(self, journal: Journal[t.Any], steps: t.Sequence[Step[t.Any]], action: str) -> t.Iterator[None]:
        """Record an action of ``steps``, and withdraw the records if libvirt has refused it.

        Whatever looks like the action then is another editor's.
        """
        for step in steps:
            journal.record(step, action)
        try:
            yield
        except self.libvirt.libvirtError as exc:
            if not self.lost and exc.get_error_code() not in self._unknown():
                for step in steps:
                    journal.withdraw(step, action)
            raise

    def _unknown(self) -> set[t.Any]:
        """Return the errors after which a request may have been carried out nevertheless."""
        return {getattr(self.libvirt, f"VIR_ERR_{name}", None) for name in ("OPERATION_TIMEOUT", "RPC", "SYSTEM_ERROR")}

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
def opened(uri: str, kind: type[_C], *, read_only: bool, bounded: bool = False) -> t.Iterator[_C]:
    """Connect to libvirt at ``uri``, with a connection of this ``kind``.

    A ``bounded`` one waits for no host without an end: see silence.py.

    :raises MacvtapError: there is no daemon, or it refuses.
    """
    uris.validate(uri)
    libvirt = _deps.load("libvirt")
    # Otherwise libvirt prints every error to stderr as well.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    bounded = bounded and uris.names_host(uri)
    handle = _open(libvirt, uri, read_only=read_only, seconds=silence.CONNECT_SECONDS if bounded else None)
    connection = kind(libvirt, handle, uri, read_only=read_only, bounded=bounded)
    try:
        yield connection
    finally:
        with contextlib.suppress(libvirt.libvirtError):
            connection.handle.close()


def _open(libvirt: t.Any, uri: str, *, read_only: bool, seconds: float | None = None) -> t.Any:
    connect = libvirt.openReadOnly if read_only else libvirt.open
    try:
        return connect(uri) if seconds is None else silence.connect(libvirt, lambda: connect(uri), uri, seconds)
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
