# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for this collection's table of nftables, through libnftables and its JSON (libnftables-json(5)).

No program is run. The library python3-nftables works in the network namespace of the process. Version 1.0.6 of Debian
12 is enough. 0.9.8 of Debian 11 does not know the hook egress.
"""

from __future__ import annotations

import contextlib
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child, _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.dump import Reader, Snapshot

# One table for all of this collection, so that what others have in nftables is never touched.
NAME, FAMILY = "linuxvirt_macvtap", "netdev"
# An object or a command as libnftables has it: {"rule": {...}}, {"add": {"rule": {...}}}
Object = t.Dict[str, t.Any]
_MISSING = "No such file or directory"
EGRESS = "Filtering what a link sends needs Linux 5.16 or newer, and nftables 1.0.1 or newer"
_EGRESS_SINCE = (1, 0, 1)
_HINTS = {
    "Operation not permitted": "this user may not change nftables. Set become: true",
    "Operation not supported": f"the kernel does not support it. {EGRESS}",
    "Protocol not supported": "the kernel has no nf_tables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_NETDEV)",
}


@dataclass(frozen=True)
class Element:
    """One element of a set. ``value`` has as many parts as the set's type: ``("52:54:00:00:00:01", "192.0.2.1")``.

    ``timeout`` and ``expires`` are in seconds, None for an element that stays.
    """

    value: tuple[str, ...]
    timeout: int | None = None
    expires: int | None = None

    @property
    def age(self) -> int | None:
        """Seconds since the element was last added or updated, None if the kernel does not know."""
        return None if self.timeout is None or self.expires is None else max(0, self.timeout - self.expires)


class Table:
    """The table ``name``. Several packages have their own chains and sets in it, and touch no others."""

    def __init__(self, name: str = NAME, family: str = FAMILY) -> None:
        self.name, self.family = name, family
        self._library: t.Any = None
        self._has_egress = False
        # As it was last read.
        self._dormant = False
        # Whether this object has woken it.
        self.woken = False

    def read(self) -> list[Object] | None:
        """Return the table's objects in the kernel's order, with handles and counters; None without such a table."""
        return self._listed({"table": {"family": self.family, "name": self.name}})

    def read_chain(self, name: str) -> list[Object] | None:
        """Return the objects of one chain; None without it."""
        return self._listed({"chain": {"family": self.family, "table": self.name, "name": name}})

    def snapshot(self, wanted: t.Callable[[str], bool] | None = None) -> Snapshot:
        """Return the table as the kernel has it, with the rules of the ``wanted`` chains, or of all."""
        # What is missing is to be said before anything is changed.
        self.library()
        try:
            found = Reader(self.name).snapshot(wanted)
        except OSError as exc:
            raise _refused(exc.strerror or str(exc)) from exc
        self._dormant = found.dormant
        return found

    def generation(self) -> int:
        """Return the number of changes of nftables that there were in this network namespace."""
        return Reader(self.name).generation()

    def keys(self, set_name: str) -> list[bytes]:
        """Return the keys of a set as the kernel has them; [] without that set."""
        return Reader(self.name).elements(set_name)

    def ages(self, set_name: str) -> dict[bytes, float]:
        """Return how many seconds ago each key of a set was last updated; {} without that set."""
        return Reader(self.name).ages(set_name)

    def replace(self, commands: t.Sequence[Object]) -> None:
        """Carry out ``commands`` in one transaction: all of them or none. The table is created if it is missing.

        One that was dormant is woken before: the kernel adds no chain at a hook in the same transaction. It stays awake
        also if the commands are refused, because a guest that has started meanwhile may rely on it by then. It stays
        dormant if they only take something away.

        A set that rules update is added in one transaction with such a rule, and only if it is missing: the JSON of
        1.0.6 has no flag dynamic, which the library sets by itself then, and the kernel refuses a set with other flags.

        :raises MacvtapError: nothing was changed, but that the table may have been woken.
        """
        # Without flags.
        table = {"add": {"table": {"family": self.family, "name": self.name}}}
        if self._dormant and all("delete" in one or "flush" in one for one in commands):
            self._run(commands)
        elif self._dormant:
            self._run([table])
            self._dormant, self.woken = False, True
            self._run([table, *commands])
        else:
            self._run([table, *commands])

    def _run(self, commands: t.Sequence[Object]) -> None:
        code, _output, error = self.library().json_cmd({"nftables": list(commands)})
        if code:
            raise _refused(error)

    def require_egress(self, snapshot: Snapshot) -> None:
        """Check, once, that what a link's guest sends can be filtered, unless the table has such a chain already.

        A child asks, in a network namespace of its own: the host's nftables are not changed for that.

        :raises MacvtapError: the library or the kernel does not know the hook. libnftables 0.9.8 aborts this process if
            it is asked for it.
        """
        if snapshot.hooked or self._has_egress:
            return
        # What is missing is to be said by this process.
        self.library()
        version, error = _child.run(_ask_for_egress) or ("", "")
        if version and _is_too_old(version):
            raise MacvtapError(f"this host has nftables {version}. {EGRESS}")
        if error:
            raise _refused(error)
        self._has_egress = True

    def elements(self, set_name: str) -> tuple[Element, ...]:
        """Return the elements of a set, in the kernel's order; () without that set."""
        what = {"set": {"family": self.family, "table": self.name, "name": set_name}}
        listed = self._listed(what) or []
        found: Object = next((one["set"] for one in listed if "set" in one), {})
        return tuple(element(one, found.get("timeout")) for one in found.get("elem", ()))

    def _listed(self, what: Object) -> list[Object] | None:
        # As JSON, which takes any name. In a text, words of the language are no names.
        code, output, error = self.library().json_cmd({"nftables": [{"list": what}]})
        if code and _MISSING in error:
            return None
        if code:
            raise _refused(error)
        return [one for one in output["nftables"] if "metainfo" not in one] if output else []

    def library(self) -> t.Any:
        """Return python3-nftables' own object."""
        if self._library is None:
            try:
                self._library = _deps.load("nftables").Nftables()
            except OSError as exc:
                raise MacvtapError(f"libnftables, which python3-nftables uses, cannot be loaded: {exc}") from exc
            self._library.set_json_output(True)
            self._library.set_handle_output(True)
        return self._library

    def close(self) -> None:
        """Close the library's socket now, and not when the object is collected."""
        with contextlib.suppress(AttributeError):
            del self._library
        self._library = None


def _ask_for_egress() -> tuple[str, str]:
    """Return the library's version, and the kernel's error if it does not know the hook; "" if there is none."""
    alone = True
    try:
        _child.unshare(_child.CLONE_NEWNET)
    except OSError:
        # A process that may not do that learns it when it loads the guards.
        alone = False
    library = _deps.load("nftables").Nftables()
    library.set_json_output(True)
    _code, output, error = library.json_cmd({"nftables": [{"list": {"tables": None}}]})
    version = next((one["metainfo"]["version"] for one in (output or {}).get("nftables", ()) if "metainfo" in one), "")
    if not alone or not version or _is_too_old(version):
        return version, error
    table = {"family": "netdev", "name": "probe"}
    hook = {"type": "filter", "hook": "egress", "prio": 0, "dev": "lo", "policy": "accept"}
    chain = {"family": "netdev", "table": "probe", "name": "probe", **hook}
    code, _output, error = library.json_cmd({"nftables": [{"add": {"table": table}}, {"add": {"chain": chain}}]})
    return version, error if code else ""


def _is_too_old(version: str) -> bool:
    return tuple(map(int, re.findall(r"\d+", version))) < _EGRESS_SINCE


def element(data: t.Any, timeout: int | None = None) -> Element:
    """Return one element of a set, from the JSON of libnftables. ``timeout`` is that of the set, its default."""
    inner = data.get("elem", data) if isinstance(data, dict) else data
    value = inner.get("val", inner) if isinstance(inner, dict) else inner
    parts = value["concat"] if isinstance(value, dict) and "concat" in value else [value]
    known = inner if isinstance(inner, dict) else {}
    return Element(tuple(_text(part) for part in parts), known.get("timeout", timeout), known.get("expires"))


def _text(part: t.Any) -> str:
    if isinstance(part, dict) and "prefix" in part:
        return f"{part['prefix']['addr']}/{part['prefix']['len']}"
    if isinstance(part, dict) and "range" in part:
        return "-".join(map(str, part["range"]))
    return str(part)


def _refused(error: str) -> MacvtapError:
    """Return the library's error as one line: it shows each command that was not carried out, and why."""
    lines = [line.strip() for line in error.splitlines() if "Error:" in line]
    message = lines[0].partition("Error:")[2].strip() if lines else " ".join(error.split())
    hint = next((hint for known, hint in _HINTS.items() if known in message), "")
    return MacvtapError(f"nftables refused it: {message}" + (f"; {hint}" if hint else ""))
