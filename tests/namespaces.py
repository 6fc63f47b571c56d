# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Network namespaces for tests of links, and what a test does there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import typing as t

import preloaded
import pytest
from support import ROOT, run_module

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import indexes


class Named:
    """A network namespace with a name; ``prefix`` is the command that runs another one in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix = ["ip", "netns", "exec", name]

    def ip(self, *words: str) -> str:
        """Run ``ip`` in the namespace and return what it says."""
        return subprocess.run(["ip", "-n", self.name, *words], check=True, capture_output=True, text=True).stdout


class Namespace(Named):
    """A network namespace with the uplink ``eth0``, a second one ``eth1``, and the ends behind them."""

    def links(self, *words: str) -> list[dict[str, t.Any]]:
        """Return ``ip -d link show`` as data, less what changes by itself."""
        shown: list[dict[str, t.Any]] = json.loads(self.ip("-d", "-j", "link", "show", *words))
        # The carrier and what follows from it come a moment after whatever brought them.
        drifting = {"NO-CARRIER", "LOWER_UP", "M-DOWN"}
        for link in shown:
            for data in ("info_data", "info_slave_data"):
                # A bridge's clocks.
                values = link.get("linkinfo", {}).get(data, {})
                values.update((name, 0) for name in values if name.endswith("_timer"))
        return [
            {**link, "operstate": "", "flags": [flag for flag in link["flags"] if flag not in drifting]}
            for link in shown
        ]

    def link(self, name: str) -> dict[str, t.Any]:
        return self.links("dev", name)[0]

    def names(self, kind: str = "macvtap") -> set[str]:
        return {link["ifname"] for link in json.loads(self.ip("-j", "link", "show", "type", kind)) if link}

    def run(self, params: t.Mapping[str, t.Any], module: str = "macvtap_link", **how: t.Any) -> dict[str, t.Any]:
        return run_module(module, params, prefix=self.prefix, **how)

    def refuses(self, params: t.Mapping[str, t.Any], message: str, **how: t.Any) -> str:
        """Run the module, which is to fail with ``message`` (a pattern) and to leave every link as it was."""
        before = self.links()
        failed = self.run(params, **how)
        assert failed.get("failed"), failed
        assert re.search(message, failed["msg"]), failed["msg"]
        after = self.links()
        assert after == before, [(one, other) for one, other in zip(before, after) if one != other]
        return str(failed["msg"])

    def clear(self) -> None:
        # A bridge last: the links on it would go with it.
        for kind in ("macvtap", "macvlan", "bridge"):
            for name in self.names(kind):
                self.ip("link", "del", name)


@contextlib.contextmanager
def empty(name: str, count: int = indexes.COUNT) -> t.Iterator[str]:
    """Make a namespace with nothing in it, and remove it afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces")
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        # /dev/tapN is named after the interface index, and /dev is one for all namespaces.
        indexes.reserve(name, count)
        yield name
        # The kernel ends a namespace, and the links in it, some time later. Their parents elsewhere would change then.
        Namespace(name).clear()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
        indexes.release([name])


@contextlib.contextmanager
def made(name: str, count: int = indexes.COUNT) -> t.Iterator[Namespace]:
    """Make a namespace with its uplinks, and remove it afterwards."""
    with empty(name, count):
        namespace = Namespace(name)
        for number in (0, 1):
            namespace.ip("link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
            namespace.ip("link", "set", f"eth{number}", "up")
            namespace.ip("link", "set", f"far{number}", "up")
        preloaded.allow(namespace.prefix)
        try:
            yield namespace
        finally:
            preloaded.end(namespace.prefix)
