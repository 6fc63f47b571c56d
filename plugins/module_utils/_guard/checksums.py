# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that puts programs of BPF at the egress of links (tcx, Linux 6.6), by the system call bpf(2).

A program stays with its link until it is taken off, and goes with the link. It is a part of the program of loader.py,
and imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import struct
import typing as t

# The kernel's own types.
BTF = "/sys/kernel/btf/vmlinux"
# linux/bpf.h: commands, types, and where a program is attached.
_MAP_CREATE, _MAP_LOOKUP, _PROG_LOAD, _PROG_ATTACH, _PROG_DETACH = 0, 1, 5, 8, 9
_PROG_FD, _MAP_FD, _INFO, _PROG_QUERY = 13, 14, 15, 16
_ARRAY, _SCHED_CLS, _TCX_EGRESS = 2, 3, 47
# Of each architecture with 64 bits, the number of the system call.
_SYSCALLS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}
# As many programs as are looked at on one link, those of others among them.
_MOST = 64
_ATTEMPTS = 100


class Counted(t.NamedTuple):
    """What a program has dropped or counted; ``last`` is when, in nanoseconds of CLOCK_MONOTONIC, 0 for never."""

    packets: int
    bytes: int
    last: int


class _StaleError(OSError):
    """Others have changed the programs on a link meanwhile."""


class Links:
    """The programs on the links of this network namespace.

    ``prefix`` is how all names of this collection's programs begin, ``names`` are those of this version by policy, and
    ``compiler`` returns from a kernel's types what makes a program of a policy and the file of its counters.
    """

    def __init__(
        self,
        prefix: str,
        names: t.Mapping[str, str],
        compiler: t.Callable[[bytes], t.Callable[[str, int], bytes]],
    ) -> None:
        self._prefix, self._names, self._compiler = prefix, names, compiler
        self._program: t.Callable[[str, int], bytes] | None = None

    def policy(self, index: int) -> str | None:
        """Return the policy of the program on a link, None if it has not just one of this version, or is gone.

        :raises OSError: the kernel has no such programs.
        """
        return self._policy(self._on(index)[0])

    def _policy(self, programs: t.Mapping[int, str]) -> str | None:
        policies = {one: policy for policy, one in self._names.items()}
        return policies.get(*programs.values()) if len(programs) == 1 else None

    def put_on(self, index: int, policy: str) -> None:
        """Put the program on a link if it is not there, in place of whatever program of this collection's.

        :raises OSError: the kernel refuses it. :raises ValueError: it lacks what is needed.
        """
        for _attempt in range(_ATTEMPTS):
            former, revision = self._on(index)
            if self._policy(former) == policy:
                return
            # libvirt's hook, udev and a task may do this at the same time: not if something has changed meanwhile.
            with _file(self.load(policy)) as new:
                try:
                    with _may_be_gone():
                        _bpf(_PROG_ATTACH, struct.pack("=IIIIIIQ", index, new, _TCX_EGRESS, 0, 0, 0, revision))
                except _StaleError:
                    continue
            self._remove(index, former)
            return
        raise OSError(errno.ESTALE, "the programs on the link change all the time")

    def take_off(self, index: int) -> None:
        self._remove(index, self._on(index)[0])

    def load(self, policy: str) -> int:
        """Load the program, and return its file. It goes if it is not attached.

        :raises OSError: the kernel refuses it. :raises ValueError: it lacks what is needed.
        """
        if self._program is None:
            with open(BTF, "rb") as file:
                self._program = self._compiler(file.read())
        named = self._names[policy].encode()
        array = struct.pack("=IIIIIII16s", _ARRAY, 4, 24, 1, 0, 0, 0, named)
        with _file(_bpf(_MAP_CREATE, array)) as counters:
            code = ctypes.create_string_buffer(self._program(policy, counters))
            text = ctypes.create_string_buffer(b"GPL")
            head = struct.pack("=IIQQ", _SCHED_CLS, len(code) // 8, ctypes.addressof(code), ctypes.addressof(text))
            return _bpf(_PROG_LOAD, head + struct.pack("=IIQII16s", 0, 0, 0, 0, 0, named))

    def counted(self, index: int) -> Counted:
        """Return what the program on a link has dropped or counted."""
        found = [Counted(0, 0, 0)]
        for number in self._on(index)[0]:
            with _may_be_gone(), _file(_by_number(_PROG_FD, number)) as file:
                maps = (ctypes.c_uint32 * 1)()
                _info(file, struct.pack("=52xIQ", 1, ctypes.addressof(maps)))
                with _file(_by_number(_MAP_FD, maps[0])) as counters:
                    key, value = ctypes.c_uint32(0), (ctypes.c_uint64 * 3)()
                    places = (ctypes.addressof(key), ctypes.addressof(value))
                    _bpf(_MAP_LOOKUP, struct.pack("=IxxxxQQQ", counters, *places, 0))
                    found.append(Counted(*value))
        return Counted(sum(one.packets for one in found), sum(one.bytes for one in found), max(o.last for o in found))

    def _on(self, index: int) -> tuple[dict[int, str], int]:
        """Return the names of this collection's programs on a link, by number, and the revision of all on it."""
        numbers = (ctypes.c_uint32 * _MOST)()
        query = struct.pack("=IIIIQI36x", index, _TCX_EGRESS, 0, 0, ctypes.addressof(numbers), _MOST)
        count = revision = 0
        try:
            with _may_be_gone():
                count, revision = struct.unpack("=24xI28xQ", _bpf_buffer(_PROG_QUERY, query))
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise OSError(exc.errno, "its kernel has no tcx, which Linux has from 6.6 on") from exc
            raise
        found = {}
        for number in numbers[:count]:
            with _may_be_gone(), _file(_by_number(_PROG_FD, number)) as file:
                text = _info(file, bytes(80))[64:80].rstrip(b"\0").decode()
                if text.startswith(self._prefix):
                    found[number] = text
        return found, revision

    def _remove(self, index: int, numbers: t.Iterable[int]) -> None:
        for number in numbers:
            with _may_be_gone(), _file(_by_number(_PROG_FD, number)) as file:
                _bpf(_PROG_DETACH, struct.pack("=IIIIII8x", index, file, _TCX_EGRESS, 0, 0, 0))


def why_not(exc: Exception) -> str:
    """Return why the kernel does not take the program, by the error of any method of :class:`Links`."""
    if isinstance(exc, FileNotFoundError):
        return f"its kernel has no {BTF} (CONFIG_DEBUG_INFO_BTF)"
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)


@contextlib.contextmanager
def _may_be_gone() -> t.Iterator[None]:
    """Let a link or a program be gone by now."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENODEV, errno.ENOENT):
            raise


def _info(file: int, info: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(info, 80)
    _bpf(_INFO, struct.pack("=IIQ", file, 80, ctypes.addressof(buffer)))
    return buffer.raw


def _by_number(command: int, number: int) -> int:
    return _bpf(command, struct.pack("=III", number, 0, 0))


@contextlib.contextmanager
def _file(number: int) -> t.Iterator[int]:
    try:
        yield number
    finally:
        os.close(number)


def _bpf(command: int, attributes: bytes) -> int:
    return _call(command, ctypes.create_string_buffer(attributes, max(len(attributes), 144)))


def _bpf_buffer(command: int, attributes: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    _call(command, buffer)
    return buffer.raw


def _call(command: int, buffer: t.Any) -> int:
    number = _SYSCALLS.get(os.uname().machine)
    if number is None or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"the programs do not know {os.uname().machine}")
    found = int(_libc().syscall(number, command, ctypes.byref(buffer), len(buffer)))
    if found < 0:
        error = ctypes.get_errno()
        if error == errno.ESTALE:
            raise _StaleError(error, os.strerror(error))
        raise OSError(error, os.strerror(error))
    return found


@functools.cache
def _libc() -> t.Any:
    return ctypes.CDLL(None, use_errno=True)
