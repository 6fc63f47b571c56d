# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for what was once read and understood, so that it need not be again: a file that lasts until the boot.

For each chain of a guard it has a digest of the rules, and the guard that these are of. For the file of stored guards
it has the same. Whatever differs by a bit is read again, and nothing but time is lost with the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    guard_library,
    guard_recorders,
    loader,
    model,
    parsing,
    rules,
    store,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard

FILE = "/run/linuxvirt-macvtap/guards.json"


class Known:
    """What is known of chains and of the file of stored guards. With ``keeps`` false, the file is not written."""

    def __init__(self, root: str = "/", *, keeps: bool = True) -> None:
        self._path, self._keeps = os.path.join(root, FILE.lstrip("/")), keeps
        # Another version understands rules in another way.
        self._version = _version()
        self._chains: dict[str, tuple[str, Guard]] = {}
        self._store: tuple[str, dict[str, Guard]] = ("", {})
        self._changed = False
        self._read()

    def guard(self, mac: str, digest: str | None) -> Guard | None:
        """Return the guard that rules with this digest are of, None if that is not known."""
        known, guard = self._chains.get(mac, ("", None))
        return guard if digest and digest == known else None

    def contradicts(self, mac: str, digest: str | None, guard: Guard | None) -> bool:
        """Whether this guard is known to have rules with another digest: somebody has changed a value in them."""
        known, former = self._chains.get(mac, ("", None))
        return bool(digest and known) and guard == former and digest != known

    def learn(self, mac: str, digest: str | None, guard: Guard | None) -> None:
        if digest and guard is not None and self._chains.get(mac) != (digest, guard):
            self._chains[mac] = (digest, guard)
            self._changed = True

    def stored(self, text: str) -> dict[str, Guard] | None:
        """Return the guards of the file of stored guards, None if this text of it is not known."""
        return dict(self._store[1]) if self._store[0] == _sha(text) else None

    def learn_stored(self, text: str, guards: t.Mapping[str, Guard]) -> None:
        self._store, self._changed = (_sha(text), dict(guards)), True

    def save(self, macs: t.Collection[str]) -> None:
        """Write the file, without guards that have no chain any more: ``macs`` are those that have one."""
        kept = {mac: one for mac, one in self._chains.items() if mac in macs}
        if not self._keeps or not (self._changed or len(kept) < len(self._chains)):
            return
        chains = {mac: [digest, guard.options] for mac, (digest, guard) in kept.items()}
        stored = [self._store[0], {mac: _values(guard) for mac, guard in self._store[1].items()}]
        text = json.dumps({"version": self._version, "chains": chains, "store": stored})
        # Where it cannot be written, all is read at the next time too.
        with contextlib.suppress(MacvtapError):
            _files.write(self._path, text if chains or stored[1] else None, mode=0o600)
        self._changed = False

    def _read(self) -> None:
        try:
            found = json.loads(_files.read(self._path) or "{}")
            if found.get("version") != self._version:
                return
            chains = {mac: (str(digest), _guard(mac, one)) for mac, (digest, one) in found["chains"].items()}
            sha, guards = found["store"]
            self._store = (str(sha), {mac: _guard(mac, one) for mac, one in guards.items()})
            self._chains = chains
        except (MacvtapError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # As if there were none.
            return


def _values(guard: Guard) -> dict[str, t.Any]:
    """Return what :func:`_guard` makes the guard of."""
    return {**guard.options, **({"entry": guard.entry} if guard.entry else {})}


def _guard(mac: str, options: t.Mapping[str, t.Any]) -> Guard:
    return model.from_options(mac, options)


def _version() -> str:
    """Return what tells this version of the code from others."""
    found = hashlib.sha256()
    for module in (guard_library, guard_recorders, loader, model, parsing, rules, store):
        source: t.Any = module.__loader__
        found.update(str(source.get_source(module.__name__)).encode())
    return found.hexdigest()


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
