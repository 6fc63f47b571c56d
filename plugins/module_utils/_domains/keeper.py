# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The keeper: a process that attaches a NIC again which a guest releases after the run that asked for it has ended.

A guest cannot be asked to forget a request to release a NIC: it answers late, or QEMU carries it out at the next reset.
So each request is written to a state file before it is made, one for each domain, and as long as there is one a keeper
runs, one for each host: when such a NIC is gone and still stored, it is attached as it is stored. It ends when nothing
is outstanding: a NIC is settled when it is another one than was asked for, or when its guest has ended. A guest that
was saved has not: QEMU saves what it was asked for as well, and carries it out when the guest was restored.

This file is also the program, copied to where the state files are: it needs nothing but Python and libvirt, since
a module's own code is gone when the run ends. A second process of it starts the first again if that is killed, and the
other way round.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
import tempfile
import threading
import time
import typing as t
from xml.etree import ElementTree

LOCK = "keeper.lock"
_SECONDS = 0.25
_SUFFIX = ".json"
_ALLMULTI = 0x200
State = t.Dict[str, t.Any]
# What becomes of a guest.
_ENDED, _SAVED, _RESTORED = "ended", "saved", "restored"
# libvirt's states with their reasons: virDomainState and vir…Reason of libvirt-domain.h. One that is restored is paused
# first, as one that migrates here is, and so is what was saved while it was paused.
_RUNNING_BOOTED, _STARTING_UP, _SHUT_OFF_SAVED = (1, 1), (3, 11), (5, 5)
_RUNNING_RESTORED = ((1, 3), (1, 4), (3, 2), (3, 7))


@contextlib.contextmanager
def locked(directory: str, name: str) -> t.Iterator[None]:
    """Hold one of the directory's locks: of one domain by its UUID, or ``all`` for which files there are.

    Each is one byte of the same file, so that nothing is left of domains that are gone. The locks are those of the open
    file (F_OFD_SETLKW), not of the process: the keeper has a thread for each domain.
    """
    start = 0 if name == "all" else 1 + int(name.replace("-", "")[:15], 16)
    file = os.open(os.path.join(directory, "locks"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # struct flock: l_type, l_whence, l_start, l_len, l_pid
        fcntl.fcntl(file, fcntl.F_OFD_SETLKW, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0))
        yield
    finally:
        os.close(file)


def uuids(directory: str) -> list[str]:
    """Return the UUIDs of the domains of which something is outstanding."""
    try:
        return sorted(name[: -len(_SUFFIX)] for name in os.listdir(directory) if name.endswith(_SUFFIX))
    except OSError:
        return []


def load(directory: str, uuid: str) -> State | None:
    """Return a domain's state, None where nothing is outstanding or the file is none of ours."""
    try:
        with open(os.path.join(directory, uuid + _SUFFIX), encoding="utf-8") as file:
            state = json.load(file)
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) and isinstance(state.get("nics"), dict) else None


def save(directory: str, uuid: str, state: State | None) -> None:
    """Replace a domain's state at once and wholly; without any NIC in it, it goes."""
    path = os.path.join(directory, uuid + _SUFFIX)
    if not state or not state["nics"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    descriptor, temporary = tempfile.mkstemp(dir=directory)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(state, file)
        os.replace(temporary, path)
    except BaseException:
        # A signal may have come right after it has been put into its place.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def running(directory: str) -> int | None:
    """Return the process id of the keeper, None if there is none."""
    try:
        file = os.open(os.path.join(directory, LOCK), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(file, 32, 0).decode(errors="replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(file)
    return None


def instance(domain: t.Any, number: int, *, local: bool) -> str:
    """Name this run of a guest, "" where it does not run: by libvirt's number and, on this host, QEMU's own start.

    libvirt counts on from what runs when it starts, so that a number can come again.
    """
    if number < 0:
        return ""
    if local:
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/run/libvirt/qemu/{domain.name()}.pid", encoding="ascii") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                return f"{number} {pid} {file.read().rpartition(')')[2].split()[19]}"
    return str(number)


def ifindex(target: str | None) -> int | None:
    """Return the index of the host's link of this name, which no other link gets."""
    try:
        with open(f"/sys/class/net/{target}/ifindex", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _interfaces(document: str) -> dict[str, ElementTree.Element]:
    found = {}
    # It is libvirt's own.
    for one in ElementTree.fromstring(document).iterfind("devices/interface"):  # noqa: S314
        mac = one.find("mac")
        if mac is not None:
            found[mac.get("address", "").lower()] = one
    return found


def _target(one: ElementTree.Element) -> str | None:
    target = one.find("target")
    return None if target is None else target.get("dev")


def _passed_through(element: str) -> str | None:
    """Return the link that an interface has in mode passthrough, None if it has none so."""
    source = ElementTree.fromstring(element).find("source")  # noqa: S314  # libvirt's own, or ours
    return source.get("dev") if source is not None and source.get("mode") == "passthrough" else None


def look(libvirt: t.Any, connection: t.Any, directory: str, uuid: str) -> bool:
    """Look at a domain once: attach what has gone and is still stored, and strike off what is settled.

    Returns whether a NIC is to come back that libvirt does not take.
    """
    with locked(directory, uuid):
        state = load(directory, uuid)
        if state is None:
            save(directory, uuid, None)
            return False
        before = json.dumps(state)
        domain = None
        try:
            domain = connection.lookupByUUIDString(uuid)
            here, live = _running(domain, local=state["local"])
        except libvirt.libvirtError as exc:
            if exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            here = ""
        if here != state["instance"]:
            fate = _fate(libvirt, domain, here, saved=state.get("saved", False))
            if fate != _RESTORED:
                # The next start of one that has ended has what is stored.
                if fate == _ENDED or not state.get("saved"):
                    save(directory, uuid, {**state, "saved": True} if fate == _SAVED else None)
                return False
            _adopt(state, here, live)
        nics = {}
        for mac, nic in state["nics"].items():
            one = live.get(mac)
            if one is None:
                keeps = _attach(libvirt, domain, mac, nic, state)
            else:
                flags = _flags(_target(one) or "") if state["local"] else None
                if flags is not None:
                    # It may be changed until it goes, and libvirt has no word for it.
                    nic["allmulticast"] = bool(flags & _ALLMULTI)
                keeps = nic["ifindex"] is None or not state["local"] or ifindex(_target(one)) == nic["ifindex"]
            if keeps:
                nics[mac] = nic
        state["nics"] = nics
        if json.dumps(state) != before:
            save(directory, uuid, state)
        return any("error" in nic for nic in nics.values())


def _adopt(state: State, here: str, live: t.Mapping[str, ElementTree.Element]) -> None:
    """Go on with a restored guest, whose links are others."""
    state.update(instance=here, saved=False)
    for mac, nic in state["nics"].items():
        target = _target(live[mac]) if mac in live else None
        nic.update(target=target, ifindex=ifindex(target) if state["local"] else None)


def _fate(libvirt: t.Any, domain: t.Any, here: str, *, saved: bool) -> str:
    """Say what became of a guest that is not the instance which was asked; ``here`` is the one that runs now, if any.

    ``saved`` is whether it was seen saved before, ``domain`` None where there is none any more.
    """
    if domain is None:
        return _ENDED
    state, reason = domain.state()[:2]
    if not here:
        if (state, reason) == _SHUT_OFF_SAVED:
            return _SAVED
        try:
            return _SAVED if domain.hasManagedSaveImage() else _ENDED
        except libvirt.libvirtError as exc:
            if exc.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                raise
            return _ENDED
    if (state, reason) == _STARTING_UP:
        return _SAVED
    restored = (state, reason) != _RUNNING_BOOTED if saved else (state, reason) in _RUNNING_RESTORED
    return _RESTORED if restored else _ENDED


def _running(domain: t.Any, *, local: bool) -> tuple[str, dict[str, ElementTree.Element]]:
    """Return the name of the instance that runs, "" if none does, and its interfaces by their addresses."""
    document = domain.XMLDesc(0)
    # Without an id it is the stored XML of one that has just stopped.
    number = int(ElementTree.fromstring(document).get("id", -1))  # noqa: S314  # libvirt's own
    return instance(domain, number, local=local), _interfaces(document)


def _attach(libvirt: t.Any, domain: t.Any, mac: str, nic: State, state: State) -> bool:
    """Attach a NIC that has gone, if it is to come back; return whether that is still to be done."""
    elements, local = [], state["local"]
    if domain.isPersistent():
        stored = _interfaces(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).get(mac)
        if stored is None:
            return False
        elements = [ElementTree.tostring(stored, encoding="unicode")]
        address = stored.find("address")
        if address is not None:
            stored.remove(address)
            elements.append(ElementTree.tostring(stored, encoding="unicode"))
    elif not nic["returns"]:
        return False
    elif nic.get("desired"):
        elements = [nic["desired"]]
    for element in [*elements, nic["element"]]:
        # A guest that has just started anew has it, and would take it a second time where the first did not fit.
        here, live = _running(domain, local=local)
        if here != state["instance"] or mac in live:
            return True
        try:
            with address_kept(_passed_through(element) if local else None):
                domain.attachDeviceFlags(element, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except libvirt.libvirtError as exc:
            nic["error"] = str(exc.get_error_message() or exc).strip()
            if exc.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT:
                break
        else:
            made = _interfaces(domain.XMLDesc(0)).get(mac) if nic["allmulticast"] and local else None
            if made is not None:
                _set_allmulticast(_target(made) or "")
            return False
    return True


def _hardware_address(link: str, new: bytes = b"") -> bytes:
    """Return a link's address as an ifreq has it, b"" if unknown; ``new`` is set first if given."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        # SIOCSIFHWADDR, SIOCGIFHWADDR
        request = struct.pack("16s", link.encode()) + (new or bytes(16))
        return fcntl.ioctl(control, 0x8924 if new else 0x8927, request)[16:32]
    return b""


@contextlib.contextmanager
def address_kept(source: str | None) -> t.Iterator[None]:
    """Give the link ``source`` its address back if what is done in here fails.

    libvirt 9.0 leaves the guest's on it, for good, where it cannot attach a NIC in mode passthrough.
    """
    before = _hardware_address(source) if source else b""
    try:
        yield
    except BaseException:
        if source and before and _hardware_address(source) != before:
            _hardware_address(source, before)
        raise


def _flags(link: str) -> int | None:
    with contextlib.suppress(OSError, ValueError), open(f"/sys/class/net/{link}/flags", encoding="ascii") as file:
        return int(file.read(), 16)
    return None


def _set_allmulticast(link: str) -> None:
    # SIOCGIFFLAGS, SIOCSIFFLAGS
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name = struct.pack("16s", link.encode())
        flags = struct.unpack("16sH", fcntl.ioctl(control, 0x8913, name + bytes(16))[:18])[1]
        fcntl.ioctl(control, 0x8914, name + struct.pack("H14x", flags | _ALLMULTI))


def _watch(libvirt: t.Any, directory: str, uuid: str) -> None:
    """Look at one domain until nothing of it is outstanding; libvirtd may go and come back meanwhile."""
    connection = None
    while True:
        state = load(directory, uuid)
        refused = False
        # Whatever happens, the next look may find what is needed: nobody else would.
        with contextlib.suppress(Exception):
            if state is not None and (connection is None or not connection.isAlive()):
                connection = libvirt.open(state["uri"])
            refused = look(libvirt, connection, directory, uuid)
        if state is None:
            return
        time.sleep(4 * _SECONDS if refused else _SECONDS)


def _work(libvirt: t.Any, directory: str, lock: int, supervisor: int, again: t.Callable[[], None]) -> None:
    threads: dict[str, threading.Thread] = {}
    while True:
        with locked(directory, "all"):
            found = uuids(directory)
            if not found:
                # Whoever writes a file holds the other lock, and finds no keeper then.
                fcntl.flock(lock, fcntl.LOCK_UN)
                os._exit(0)
        for uuid in found:
            if uuid not in threads or not threads[uuid].is_alive():
                threads[uuid] = threading.Thread(target=_watch, args=(libvirt, directory, uuid), daemon=True)
                threads[uuid].start()
        if os.getppid() != supervisor:
            again()
        time.sleep(_SECONDS)


def _take_lock(directory: str) -> int | None:
    """Return the descriptor of the keeper's lock, None if there is a keeper already."""
    file = os.open(os.path.join(directory, LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    for _try in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return file
    os.close(file)
    return None


def main(arguments: t.Sequence[str]) -> None:
    """Run as ``keeper.py DIRECTORY LOCK PATH…``: LOCK is an inherited descriptor or ``-``, PATH where libvirt is."""
    directory, inherited, *paths = arguments
    sys.path += paths
    import libvirt  # pylint: disable=import-outside-toplevel  # only the program needs it, and must not run without

    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    lock = _take_lock(directory) if inherited == "-" else int(inherited)
    if lock is None:
        return
    os.set_inheritable(lock, True)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    def again() -> None:
        os.execv(sys.executable, [sys.executable, __file__, directory, str(lock), *paths])  # noqa: S606

    supervisor = os.getpid()
    while True:
        worker = os.fork()
        if worker == 0:
            _work(libvirt, directory, lock, supervisor, again)
        ended = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
        if ended or not os.path.isdir(directory):
            return
        time.sleep(_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
