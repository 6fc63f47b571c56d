# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the execution of a plan needs of the host's network, as a protocol."""

from __future__ import annotations

import socket
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links, Lost, Tap

OnLinks = t.Callable[[t.Sequence[Link], bool], t.Mapping[str, MacvtapError]]


class Network(t.Protocol):
    """The network namespaces of links, by their names in the options; None is our own."""

    sockets: dict[str | None, socket.socket]
    descriptors: dict[str | None, int]
    # What was removed together with links, by namespace and index.
    lost: dict[tuple[str | None, int], Lost]

    # Called with new links before they come up, and with those that have got another MAC address. It returns which of
    # them must not be used, and why, by name.
    on_links: OnLinks

    def observe(self, taps: t.Collection[str] | None = ..., *, parents: t.Collection[str] = ...) -> Links:
        """Return the links, and the nodes of these ``taps`` (None: of all)."""

    def observe_on_links(self) -> dict[int, list[str]]:
        """Return what is on links, by their indexes."""

    def taps(self, links: t.Sequence[Link]) -> dict[str, Tap]:
        """Return the nodes of ``links``, by name."""

    def write_sysctl(self, link: Link, path: str, value: int) -> None:
        """Set a link's sysctl."""
