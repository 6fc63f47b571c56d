# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for one domain XML file, without libvirt; the counterpart of hypervisor.py.

The function that replaces the file is a parameter: :func:`writer` creates it from an AnsibleModule.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mountinfo, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks, schema, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    STORED,
    Domain,
    Host,
    Nic,
    Paused,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import uuid as uuid_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

Write = t.Callable[[str, bytes], None]
Backup = t.Callable[[str], str]

_OPTION = "xml_file"
# virsh 9.0 reads at most 10 MiB (VSH_MAX_XML_FILE); a domain's XML has a few KiB.
_MOST_MIB = 16
_DECLARED = re.compile(rb"""<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)""")
# Where libvirt's daemons store what they have in memory.
_DAEMONS = ("/etc/libvirt/", "~/.config/libvirt/")


def open_file(path: str, *, write: Write, backup: Backup | None = None, in_place: bool = False) -> DomainFile:
    """Read the domain XML file at ``path``; a symbolic link is followed, and stays.

    ``write`` replaces a file's content, ``backup`` copies a file before it is first written and returns the copy's
    name. Neither is called without a change. With ``in_place``, ``write`` may write into a file that it cannot replace.

    :raises MacvtapError: it cannot be read, or it is not the XML of a domain.
    """
    _values.check_path(path, _OPTION)
    return DomainFile(os.path.realpath(path), path, write, backup, in_place=in_place)


def writer(module: t.Any) -> Write:
    """Return a function that replaces a file atomically, with an AnsibleModule.

    The file keeps its owner, group, mode and SELinux context. A mount point cannot be renamed: the module's option
    ``unsafe_writes`` allows writing into it.
    """

    def write(path: str, content: bytes) -> None:
        was = os.stat(path)
        handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        try:
            # atomic_move() does the same, but ignores a failure, and the file gets another owner.
            os.chown(temporary, was.st_uid, was.st_gid)
        except PermissionError as exc:
            raise MacvtapError(
                f"{path} belongs to user {was.st_uid} and group {was.st_gid}, and only root can replace it without "
                "changing its owner. Set become: true",
                path=_OPTION,
            ) from exc
        module.atomic_move(temporary, path, unsafe_writes=bool(module.params.get("unsafe_writes")))

    return write


class DomainFile:
    """A domain XML file, and what this run has done to it: an adapter.Domains."""

    def __init__(self, path: str, shown: str, write: Write, backup: Backup | None, *, in_place: bool = False) -> None:
        self._path = path
        self._shown = shown
        self._write = write
        self._backup = backup
        self._in_place = in_place
        self.begin()
        self.backup_file: str | None = None
        # A file has no guest, so no request can be outstanding.
        self.unanswered: set[tuple[str, str]] = set()
        self.outlives_boot = True
        self.warnings: list[str] = []
        self.pauses: dict[str, Paused] = {}
        self.save_limits: t.Mapping[str, float] = {}
        self.removed: t.Sequence[Nic] = ()
        self.only_domain = self._domain().name
        if path.startswith(tuple(map(os.path.expanduser, _DAEMONS))):
            self.warnings.append(
                f"{shown} belongs to a libvirt daemon, which reads it only when it starts and may overwrite it. Use "
                "uri instead while the daemon runs"
            )

    def begin(self) -> None:
        # The file as this attempt wrote it, to detect another editor, and the file before, to the byte.
        self._written: str | None = None
        self._before: str | None = None

    def observe(
        self, names: t.Iterable[str], _sources: t.Collection[str] = (), declared: t.Collection[str] = ()
    ) -> Host:
        """Read the file again; its domain is in the Host if it is one of ``names``. ``declared`` networks count."""
        domain = self._domain()
        selected = domain.name in set(names)
        host = Host(
            uri=f"file {self._shown}",
            domains={domain.name: domain} if selected else {},
            known=(domain.name,),
            links_unknown="no host's links are read with xml_file",
            macs={},
        )
        return networks.with_direct(host, declared)

    def pause_facts(self, host: Host, names: t.Collection[str]) -> dict[str, t.Any]:  # noqa: ARG002
        return {}

    def outstanding(self, host: Host) -> list[dict[str, t.Any]]:  # noqa: ARG002
        """Return nothing: a file has no guest."""
        return []

    def settle_requests(self, removed: t.Iterable[Nic] = ()) -> None:
        """Do nothing: a file has no guest."""

    def with_macs(self, host: Host) -> Host:
        """Return ``host``: the file says nothing of other domains."""
        return host if host.macs is not None else replace(host, macs={})

    def apply(self, steps: t.Sequence[Step[Nic]], journal: Journal[Nic] | None = None) -> None:
        """Apply all steps at once: the file has all of them or none.

        :raises StaleError: another process has changed the file since it was observed.
        :raises MacvtapError: it cannot be written.
        """
        if not (changing := _changing(steps)):
            return
        journal = Journal() if journal is None else journal
        now = self._read()
        if now != changing[0][0].document:
            raise StaleError(
                f"{self._shown} was changed by another process while this ran: nothing was written to it. Run again",
                path=_OPTION,
            )
        self.require(steps)
        edited = self._edited(changing)
        for step in steps:
            journal.record(step, STORED)
        self._before = now
        self._replace(edited)

    def revert(self, steps: t.Sequence[Step[Nic]]) -> None:
        """Restore the file as it was before this run wrote it, to the byte.

        :raises MacvtapError: another process has changed it since, or it cannot be written.
        """
        if not steps or self._before is None:
            return
        if self._read() != self._written:
            raise StaleError(
                f"{self._shown} was changed by another process while this ran, and is left as it is now", path=_OPTION
            )
        self._replace(self._before)

    def require(self, steps: t.Sequence[Step[Nic]]) -> None:
        """Check whether libvirt could read what is written, and whether the file can be edited and written.

        :raises MacvtapError: it cannot.
        """
        if not steps:
            return
        if changing := _changing(steps):
            self._edited(changing)
        self._validate(steps)
        folder = os.path.dirname(self._path)
        for place, allowed in ((self._path, os.W_OK), (folder, os.W_OK | os.X_OK)):
            if not os.access(place, allowed):
                raise MacvtapError(f"cannot write {self._shown}: {place} is read-only for this user", path=_OPTION)
        if not self._in_place and self._path in _mounts():
            raise MacvtapError(
                f"cannot write {self._shown}: it is a mount point, as files in a container can be, and cannot be "
                "replaced. Set unsafe_writes: true to write into it, which is not atomic",
                path=_OPTION,
            )

    def _validate(self, steps: t.Sequence[Step[Nic]]) -> None:
        # libvirt itself never sees the file.
        for step in steps:
            before, after = (nic.stored if nic is not None else None for nic in (step.before, step.after))
            schema.validate(before, after, step.path)
        warning = f"not validated against libvirt's schema: {schema.missing()}"
        if schema.missing() is not None and warning not in self.warnings:
            self.warnings.append(warning)

    def _edited(self, changing: t.Sequence[tuple[Nic, Nic]]) -> str:
        """Return the edited document."""
        with self._naming_file():
            edited = xml.edit(changing[0][0].document, [(a.stored, b.stored) for a, b in changing], by_libvirt=False)
            # Check that it can be read back: otherwise it could not be restored either.
            xml.interfaces(edited, by_libvirt=False)
        return edited

    def _replace(self, document: str) -> None:
        try:
            if self._backup and self.backup_file is None:
                self.backup_file = self._backup(self._path)
            # Set before the write: a signal may arrive right after it.
            self._written = document
            self._write(self._path, document.encode())
        except MacvtapError:
            raise
        except Exception as exc:  # pylint: disable=broad-except  # atomic_move() raises what it likes, by version
            raise MacvtapError(f"cannot write {self._shown}: {exc}", path=_OPTION) from exc

    def _domain(self) -> Domain:
        document = self._read()
        with self._naming_file():
            name, uuid = xml.identity(document)
            if not name:
                raise MacvtapError("the domain has no <name>, which libvirt requires")
            # A new interface's address is generated from it, as with libvirt.
            stored = xml.interfaces(document, by_libvirt=False)
            return Domain(name, uuid_of(uuid) or uuid.strip(), document=document, stored=stored)

    def _read(self) -> str:
        try:
            if not stat.S_ISREG(os.stat(self._path).st_mode):
                raise MacvtapError(f"{self._shown} is not a file", path=_OPTION)
            with open(self._path, "rb") as file:
                content = file.read((_MOST_MIB << 20) + 1)
        except OSError as exc:
            where = "" if self._path == os.path.abspath(self._shown) else f" (it is {self._path})"
            raise MacvtapError(f"cannot read {self._shown}{where}: {exc.strerror}", path=_OPTION) from exc
        with self._naming_file():
            return _text(content)

    @contextlib.contextmanager
    def _naming_file(self) -> t.Iterator[None]:
        """Name the file in errors about what is in it."""
        try:
            yield
        except MacvtapError as exc:
            raise type(exc)(f"{self._shown}: {exc.message}", path=_OPTION, **exc.details) from exc


def _mounts() -> set[str]:
    """Return all mount points."""
    try:
        return {one.place for one in _mountinfo.read()}
    except OSError:
        return set()


def _text(content: bytes) -> str:
    """Decode a file's content; encoding it again gives the same bytes, with the byte order mark.

    Like libvirt 9.0, it reads every XML as UTF-8, whatever its declaration.
    """
    if not content.strip():
        raise MacvtapError("the file is empty")
    if len(content) > _MOST_MIB << 20:
        raise MacvtapError(f"the file is larger than {_MOST_MIB} MiB, which no domain's XML is: refused")
    declared = _DECLARED.match(content)
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        encoding = "UTF-32"
    elif content[:2] in {b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<"}:
        encoding = "UTF-16"
    elif b"\0" in content:
        raise MacvtapError("the file contains NUL bytes: it is not XML")
    else:
        try:
            return content.decode()
        except UnicodeDecodeError as exc:
            at = exc.start
        if not declared or declared[1].lower() in {b"utf-8", b"utf8"}:
            raise MacvtapError(f"the file is not UTF-8 at byte {at}, and libvirt reads nothing else")
        encoding = declared[1].decode()
    raise MacvtapError(
        f"the file is {encoding}, and libvirt reads UTF-8 only, whatever the declaration says: convert it "
        f"(iconv -f {encoding} -t UTF-8), and its declaration if it has one"
    )


def _changing(steps: t.Sequence[Step[Nic]]) -> list[tuple[Nic, Nic]]:
    return [
        (step.before, step.after)
        for step in steps
        if step.before and step.after and step.before.stored != step.after.stored
    ]
