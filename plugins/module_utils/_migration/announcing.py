# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Announces guests on uplinks, so that switches learn where they are, and sees their frames leave. Adapter.

QEMU announces a guest that has moved too, through the guest's link. A guard drops that (it is RARP), and a frame may be
lost. These are sent on the uplink itself, as the guest's own frames are when they leave it, in every mode of its link.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import arp_frames
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import bpf, netlink, packets

_ETH_P_RARP, _REQUEST_REVERSE = 0x8035, 3
_MINIMUM = 60
# When they are sent, in seconds: a frame may be lost. So long after the last one may take what has to wait on the link.
_TIMES, _PATIENCE = (0.0, 0.1, 0.3), 0.7


class Announced(t.NamedTuple):
    """A guest's MAC address, its link and that link's index (``number``), and the uplink."""

    mac: str
    link: str
    number: int
    uplink: str


def frame(mac: bytes) -> bytes:
    """Return the frame by which QEMU too announces a NIC. It asks for an address, and no machine has an answer."""
    head = arp_frames.HEAD.pack(arp_frames.BROADCAST, mac, _ETH_P_RARP)
    none = arp_frames.NONE4
    return (head + arp_frames.ARP.pack(1, 0x0800, 6, 4, _REQUEST_REVERSE, mac, none, mac, none)).ljust(_MINIMUM, b"\0")


def socket_filter(mac: bytes) -> bytes:
    """Return a BPF program that accepts frames from this MAC address."""
    return bpf.program(
        (bpf.LD_WORD, 0, 0, 6),
        (bpf.JUMP_EQUAL, 0, 3, int.from_bytes(mac[:4], "big")),
        (bpf.LD_HALF, 0, 0, 10),
        (bpf.JUMP_EQUAL, 0, 1, int.from_bytes(mac[4:], "big")),
    )


def announce(asked: t.Sequence[Announced]) -> dict[str, str]:
    """Announce NICs for about a second, and return by MAC address why one was not seen to leave, "" if it was.

    :raises MacvtapError: this user may not send frames.
    """
    with contextlib.ExitStack() as stack:
        paths: list[_Path] = []
        failed: dict[str, str] = {}
        for one in asked:
            try:
                paths.append(stack.enter_context(_opened(one)))
            except PermissionError as exc:
                raise MacvtapError(f"announcing a guest requires root ({exc.strerror}). Set become: true") from exc
            except OSError as exc:
                failed[one.mac] = f"the uplink {one.uplink} takes no frames: {exc.strerror}"
        began = time.monotonic()
        for when in _TIMES:
            _receive(paths, began + when)
            _send(paths)
        # Whatever has left is seen at once, mostly.
        _receive([path for path in paths if not path.gone], time.monotonic() + _PATIENCE, until_all=True)
        return {**failed, **{path.asked.mac: path.reason() for path in paths}}


class _Path:
    """The sockets for one NIC. A socket does not see what it sends itself."""

    def __init__(self, asked: Announced, sending: socket.socket, receiving: socket.socket) -> None:
        self.asked = asked
        self.sending, self.receiving = sending, receiving
        self.seen = self.gone = False
        self._failure = ""

    def send(self) -> None:
        try:
            self.sending.send(frame(_bytes_of(self.asked.mac)))
        except OSError as exc:
            self._failure = exc.strerror or str(exc)

    def receive(self) -> None:
        """Look at what has arrived, until one frame was seen to leave."""
        with contextlib.suppress(OSError):
            self.seen = self.seen or any(outgoing for _data, outgoing in packets.received(self.receiving))

    def reason(self) -> str:
        """Return why the address is not heard, "" if it is."""
        if self.gone:
            return f"its link {self.asked.link} has gone, or is down: the guest has stopped, or left this host"
        if self.seen:
            return ""
        why = f" ({self._failure})" if self._failure else ""
        return f"no frame with its address was seen to leave {self.asked.uplink}{why}"


@contextlib.contextmanager
def _opened(asked: Announced) -> t.Iterator[_Path]:
    with packets.packet_socket() as sending, packets.packet_socket() as receiving:
        packets.attach_filter(receiving, socket_filter(_bytes_of(asked.mac)))
        receiving.bind((asked.uplink, packets.ETH_P_ALL))
        sending.bind((asked.uplink, 0))
        yield _Path(asked, sending, receiving)


def _send(paths: t.Iterable[_Path]) -> None:
    """Announce those whose links are still there."""
    with netlink.session() as session:
        links = session.observe((), parents=())
    for path in paths:
        link = links.get(path.asked.link)
        # libvirt sets the links of a guest down that is paused, and removes those of one that ends.
        path.gone = path.gone or link is None or link.index != path.asked.number or not link.up
        if not path.gone:
            path.send()


def _receive(paths: t.Sequence[_Path], until: float, *, until_all: bool = False) -> None:
    poll = select.poll()
    # Those that were seen have nothing more to say, and a socket that is not read does not wake the others.
    by_fd = {path.receiving.fileno(): path for path in paths if not path.seen}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    while by_fd or not until_all:
        remaining = until - time.monotonic()
        for fd, _events in poll.poll(max(0.0, remaining) * 1000):
            by_fd[fd].receive()
            if by_fd[fd].seen:
                poll.unregister(fd)
                del by_fd[fd]
        if remaining <= 0:
            return


def _bytes_of(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
