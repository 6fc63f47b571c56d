# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program that puts guards on links: at boot, when a link appears, and before libvirt starts a guest.

It is installed on the host in one file with all that it imports: see start_files.py. It needs the standard library and
python3-nftables alone. The module itself carries out its plans by the same commands.

    guard load              all guards, on all links that there are
    guard link NAME         the guard of one link
    guard close MAC [NAME]  nothing out of the link that a NIC is about to get, until its guard is on it; prints the
                            name that the link must have, and nothing if the link would not be closed
    guard open MAC NAME     the guard of a NIC on its link, or the name free again if there is no such link
    guard qemu DOMAIN OPERATION SUBOPERATION EXTRA
                            libvirt's hook: the guards of a domain whose XML is on standard input
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
import typing as t

# Not __package__: before Python 3.10 it is None while a file is imported from an archive, as Ansible sends it.
if t.TYPE_CHECKING or "." in __name__:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
        guard_links,
        guard_loader,
        guard_parts,
        guard_table,
    )
else:
    # In the program on the host. Nothing that Python compiles is to be left anywhere.
    sys.dont_write_bytecode = True
    nft, guard_links, guard_loader, guard_parts, guard_table = map(
        importlib.import_module,
        ("guard_commands", "guard_links", "guard_loader", "guard_parts", "guard_table"),
    )

STORE = "/etc/linuxvirt-macvtap/guards.json"
# Seconds in which the program waits for a task to end where a chain has other rules than are stored.
PATIENCE = 2.0
_PAUSE = 0.05
_LEFT = (
    "the guard of {} has other rules than are stored, and keeps them, because tasks are changing guards. If it is not "
    "theirs, restart macvtap-guard.service when they have ended"
)
_DAMAGED = STORE + " is damaged ({}). Move it away, and run macvtap_guard for all guards of this host"
Object = t.Dict[str, t.Any]
Loader = guard_loader.Loader


def stored(path: str = STORE) -> dict[str, Object]:
    """Return the guards that are to be there at each start, by MAC address.

    :raises OSError, ValueError, KeyError, TypeError: the file cannot be read, or is damaged.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found: dict[str, Object] = json.load(file)["guards"]
    except FileNotFoundError:
        return {}
    except RecursionError as exc:
        raise ValueError("it is nested too deep") from exc
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise ValueError("it has no guards by MAC address")
    return found


def mentions(nics_of_guest: t.Iterable[tuple[str, str]], path: str = STORE) -> list[str]:
    """Return which of these NICs a file that is damaged has guards for, by its text."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        text = file.read().lower()
        return [mac for _link, mac in nics_of_guest if mac in text]
    return []


def lets_out(link: str) -> str:
    """Return in words what a link lets out whose guard cannot be put on it."""
    # What has no guard may not be known for the same reason.
    with contextlib.suppress(Exception):
        return nft.lets_out(guard_table.GuardTable().chain_on(link), time.time())
    return nft.ANYTHING


def _desired(words: t.Sequence[str]) -> list[tuple[str, str]] | None:
    """Return the NICs that a command is about, link and MAC address; None for all."""
    operation, *arguments = words
    if operation == "link":
        (link,) = arguments
        record = guard_links.known({link: guard_links.index_of(link) or 0}).owners.get(link)
        macs = (record.mac if record is not None else "", guard_links.attribute(link, "address"))
        return [(link, mac) for mac in macs if mac]
    if operation in ("close", "open"):
        mac, *names = arguments
        return [(names[0] if names else "", mac)]
    if operation == "qemu":
        moments = (("start", "begin"), ("started", "begin"), ("reconnect", "begin"))
        return guard_links.nics(sys.stdin.read()) if tuple(arguments[1:3]) in moments else []
    return None


def _carry_out(loader: Loader, operation: str, desired: t.Sequence[tuple[str, str]] | None) -> None:
    if desired is None:
        loader.load()
    elif operation == "link":
        loader.link(desired[0][0])
    elif operation == "open":
        loader.open(*desired[0])
    elif operation == "close":
        link = loader.close(desired[0][1], desired[0][0])
        sys.stdout.write(link + "\n" if link else "")
    else:
        loader.on(desired)


def main(words: t.Sequence[str]) -> int:
    desired = _desired(words)
    if desired == []:
        return 0
    give_up = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(guard_parts.ChangedError):
            # A guest that starts does not wait for a task that takes long, and may itself start the guest.
            return _run(words, desired, None if time.monotonic() > give_up else stored)
        time.sleep(_PAUSE)


def _run(
    words: t.Sequence[str], desired: t.Sequence[tuple[str, str]] | None, current: guard_table.Stored | None
) -> int:
    """Do what the command says by the guards that are stored, and return its exit code.

    :raises ChangedError: others are stored by now, or may be soon. Not without ``current``.
    """
    try:
        guards = stored()
    except (OSError, ValueError, KeyError, TypeError) as exc:
        # Guests that have no guard must start.
        why = f"cannot read {STORE}: {exc}" if isinstance(exc, OSError) else _DAMAGED.format(exc)
        what = f"{lets_out(desired[0][0])}: " if desired and words[0] == "open" else ""
        sys.stderr.write(f"linuxvirt.macvtap: {what}{why}\n")
        return int(desired is None or bool(mentions(desired)))
    macs = [mac for _link, mac in desired if mac in guards] if desired is not None else list(guards)
    unguarded = [link for link, mac in desired or () if mac not in guards]
    named = [link for link in unguarded if link and (words[0] == "open" or nft.may_be_declared(link))]
    if named and words[0] != "link":
        with contextlib.suppress(Exception):
            Loader(guards).free(named)
    if not macs:
        return 0
    try:
        loader = Loader(guards, current)
        _carry_out(loader, words[0], desired)
    except guard_parts.ChangedError:
        raise
    except Exception as exc:  # pylint: disable=broad-except  # whatever it is: the guest must not be let out unseen
        what = f", and {lets_out(desired[0][0])}" if desired and words[0] == "open" else ""
        reasons = guard_parts.reasons(exc, macs)
        for why in dict.fromkeys(map(_why, reasons.values())):
            found = [mac for mac, reason in reasons.items() if _why(reason) == why]
            sys.stderr.write(f"linuxvirt.macvtap: no guard for {', '.join(found)}{what}: {why}\n")
        return int(any(guards[mac].get("required", True) for mac in reasons))
    left = [_LEFT.format(mac) for mac in loader.left]
    sys.stderr.write("".join(f"linuxvirt.macvtap: {one}\n" for one in [*loader.warnings, *left]))
    return 0


def _why(reason: Exception) -> str:
    return _DAMAGED.format(reason) if isinstance(reason, guard_parts.FormError) else str(reason)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
