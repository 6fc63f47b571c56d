# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for links: whose the guarded ones are, as it is recorded until the boot, and which there are.

A guest with trust_guest_rx_filters may change the address of its link, even to that of another guest, and when nftables
is flushed nothing else tells whose link it is. It is a part of the program of loader.py, so it
imports the standard library alone.

A record is a symbolic link, of which there is never a half. Its name is the link's identity, its target the text.
"""

from __future__ import annotations

import contextlib
import os
import re
import typing as t
from dataclasses import dataclass
from xml.parsers import expat

DIRECTORY = "/run/linuxvirt-macvtap/links"
SYSFS = "/sys/class/net"
_TEXT = re.compile(r"(\S+) ([0-9]+) ([0-9]+) ([0-9a-f:]{17}) (.+)")


@dataclass(frozen=True)
class Record:
    """What a link was when its guard was put on: the index, the MAC address of the guard, and the name."""

    index: int
    mac: str
    link: str


class Known(t.NamedTuple):
    """What the records say of links, by name.

    ``replaced`` are links whose index was that of another guarded link: what is bound to that index is not theirs.
    ``warnings`` are of files that are not records.
    """

    owners: t.Dict[str, Record]
    replaced: t.Set[str]
    warnings: t.List[str]


def index_of(link: str) -> int | None:
    """Return the index of a link, None without it."""
    with contextlib.suppress(OSError, ValueError), open(f"{SYSFS}/{link}/ifindex", encoding="ascii") as file:
        return int(file.read())
    return None


def identity(link: str, index: int | None) -> str:
    """Return what tells a link from all others since the boot, whatever its name and address are; "" if it is gone.

    It is the number of its directory in sysfs, which the kernel gives to nothing else. If the link of that name has
    another ``index``, it is another link.
    """
    with contextlib.suppress(OSError):
        own = os.stat(f"{SYSFS}/{link}").st_ino
        if index is not None and index_of(link) == index:
            return str(own)
    return ""


def loadable(rules: t.Sequence[t.Dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Return rules without those that send copies to a link that does not exist, which the kernel refuses.

    A guard without its mirror is better than none.
    """

    def links(rule: dict[str, t.Any]) -> list[str]:
        return [one["dup"]["addr"] for one in rule["expr"] if "dup" in one]

    return [one for one in rules if all(index_of(link) is not None for link in links(one))]


def known(links: t.Mapping[str, int]) -> Known:
    """Return what is recorded of links, which are given with their indexes."""
    found, damaged = _read()
    warnings = [f"{path} is damaged. The link that it is of is known by its MAC address alone" for path in damaged]
    result = Known({}, set(), warnings)
    indexes = {one.index for one in found.values()}
    for link, index in links.items() if found else ():
        own = identity(link, index)
        if own in found:
            result.owners[link] = found[own]
        elif own and index in indexes:
            result.replaced.add(link)
    return result


def _read() -> tuple[dict[str, Record], list[str]]:
    """Return the records of this boot and network namespace by identity, also of links that are gone."""
    found: dict[str, Record] = {}
    damaged: list[str] = []
    with contextlib.suppress(OSError):
        boot, netns = _place()
        for name in os.listdir(DIRECTORY):
            # Others are not complete.
            match = _TEXT.fullmatch(_target(name) or "") if name.isdigit() else None
            if match is None and name.isdigit():
                damaged.append(f"{DIRECTORY}/{name}")
            elif match is not None and (match[1], match[2]) == (boot, netns):
                found[name] = Record(int(match[3]), match[4], match[5])
    return found, damaged


def write(owners: t.Mapping[t.Tuple[str, int], str | None]) -> dict[str, str | None]:
    """Record the guards of links, by name and index: a MAC address, or None for a link without a guard.

    Records of links that are gone are removed. Return what there was before, for :func:`restore`.

    :raises OSError: a record cannot be written.
    """
    former: dict[str, str | None] = {}
    boot, netns = _place()
    for (link, index), mac in owners.items():
        own = identity(link, index)
        if own:
            former[own] = _target(own)
            _write(own, None if mac is None else f"{boot} {netns} {index} {mac} {link}")
    _clean()
    return former


def _clean() -> None:
    """Remove the records of links that are gone, and what killed runs have left.

    Those of indexes that others have now stay: they tell what is bound to the former link.
    """
    indexes = {link: index_of(link) for link in os.listdir(SYSFS)}
    present = {identity(link, index) for link, index in indexes.items()}
    found, damaged = _read()
    gone = {own for own, one in found.items() if one.index not in indexes.values()}
    for name in os.listdir(DIRECTORY) if os.path.isdir(DIRECTORY) else ():
        own = name.partition(".")[0]
        if own not in present and (own in gone or own != name or f"{DIRECTORY}/{name}" in damaged):
            with contextlib.suppress(OSError):
                _write(name, None)


def restore(former: t.Mapping[str, str | None]) -> None:
    for own, text in former.items():
        with contextlib.suppress(OSError):
            _write(own, text)


@contextlib.contextmanager
def recorded(owners: t.Mapping[tuple[str, int], str | None], warnings: list[str]) -> t.Iterator[None]:
    """Record the guards of links, by name and index, before they are put on. If that fails, nothing is recorded.

    A guard without a record is on its link all the same, and is found by the link's address.
    """
    former: dict[str, str | None] = {}
    try:
        former = write(owners) if owners else {}
    except OSError as exc:
        warnings.append(f"cannot record whose links the guarded ones are, in {DIRECTORY}: {exc}")
    try:
        yield
    except BaseException:
        restore(former)
        raise


def _write(own: str, text: str | None) -> None:
    path = f"{DIRECTORY}/{own}"
    if text is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    elif _target(own) != text:
        os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
        temporary = f"{path}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(text, temporary)
        os.replace(temporary, path)


def _target(name: str) -> str | None:
    with contextlib.suppress(OSError):
        return os.readlink(f"{DIRECTORY}/{name}")
    return None


def _place() -> tuple[str, str]:
    """Return the boot and the network namespace: records of others say nothing here."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip(), str(os.stat("/proc/self/ns/net").st_ino)


def nics(document: str) -> list[tuple[str, str]]:
    """Return the links and MAC addresses of the direct interfaces in a domain's XML."""
    found: list[tuple[str, str]] = []
    path: list[str] = []
    current: dict[str, str] = {}

    def started(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        if path == ["domain", "devices", "interface"]:
            current.clear()
        if path[:-1] == ["domain", "devices", "interface"]:
            current.update({f"{name}.{key}": value for key, value in attributes.items()})

    def ended(_name: str) -> None:
        if path == ["domain", "devices", "interface"] and "target.dev" in current and "mac.address" in current:
            found.append((current["target.dev"], current["mac.address"].lower()))
        path.pop()

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = started, ended
    parser.Parse(document, True)
    return [(link, mac) for link, mac in found if is_macvtap(link)]


def is_macvtap(link: str) -> bool:
    """Whether a link is a macvtap link."""
    with contextlib.suppress(OSError):
        return any(re.fullmatch(r"tap[0-9]+", name) for name in os.listdir(f"{SYSFS}/{link}"))
    return False


def attribute(link: str, name: str) -> str:
    """Return an attribute of a link in sysfs, "" without it."""
    with contextlib.suppress(OSError), open(f"{SYSFS}/{link}/{name}", encoding="ascii") as file:
        return file.read().strip()
    return ""
