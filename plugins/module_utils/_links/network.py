# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the execution of a plan needs of the host's network, as a protocol."""

from __future__ import annotations

import socket
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links, Lost, Tap


class Network(t.Protocol):
    """The network namespaces of links, by their names in the options; None is our own."""

    sockets: dict[str | None, socket.socket]
    descriptors: dict[str | None, int]
    # What was removed together with links, by namespace and index.
    lost: dict[tuple[str | None, int], Lost]

    def observe(self, taps: t.Collection[str] | None = ..., *, parents: t.Collection[str] = ...) -> Links: ...

    def observe_on_links(self) -> dict[int, list[str]]: ...

    def taps(self, links: t.Sequence[Link]) -> dict[str, Tap]: ...

    def write_sysctl(self, link: Link, path: str, value: int) -> None: ...
