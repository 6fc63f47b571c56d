# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Since which release there is each plugin, role and option, so that `version_added` can be checked.

changelogs/options.json has the release in which each plugin, role and option came, by names such as
"module macvtap_link tap.mode". `make release` adds what is new.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import typing as t

RECORD = "changelogs/options.json"
_COLLECTION = "linuxvirt.macvtap."
ADDED = "version_added"
# As many are shown of what is wrong.
_MOST = 10
Versions = t.Dict[str, str]


class SinceError(Exception):
    """The documentation or the record cannot be read. The message says why."""


def _ansible_doc() -> str:
    """Return the program of this Python's ansible-core, or the name of the one in PATH."""
    beside = pathlib.Path(sys.executable).with_name("ansible-doc")
    return str(beside) if beside.exists() else beside.name


def documented(root: pathlib.Path) -> Versions:
    """Return the release in which each plugin, role and option came, as the documentation has it, by name."""
    argv = [_ansible_doc(), "--metadata-dump", "--no-fail-on-errors", _COLLECTION.rstrip(".")]
    with tempfile.TemporaryDirectory(prefix="macvtap-since-") as work:
        namespace = pathlib.Path(work, "ansible_collections/linuxvirt")
        namespace.mkdir(parents=True)
        (namespace / "macvtap").symlink_to(root.resolve())
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": work}
        try:
            done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        except FileNotFoundError as exc:
            raise SinceError("ansible-doc is missing. Install ansible-core") from exc
    if done.returncode or "[ERROR]" in done.stderr or "[WARNING]: Error" in done.stderr:
        raise SinceError(f"ansible-doc: {done.stderr.strip()}")
    found: Versions = {}
    for kind, plugins in json.loads(done.stdout)["all"].items():
        for name, one in plugins.items():
            if name.startswith(_COLLECTION) and not ("doc" in one or "entry_points" in one):
                raise SinceError(f"{kind} {name} has no documentation that can be read: {one.get('error', one)}")
            if name.startswith(_COLLECTION):
                entries = one.get("entry_points") or {"main": one["doc"]}
                for entry, text in entries.items():
                    of_entry = f" ({entry})" if entry != "main" else ""
                    title = f"{kind} {name.removeprefix(_COLLECTION)}{of_entry}"
                    found.update(_of(title, text, str(text.get(ADDED, ""))))
    # What it cannot read of a role, it leaves out.
    roles = {f"role {path.name}" for path in (root / "roles").iterdir()}
    if not roles <= found.keys():
        raise SinceError(f"ansible-doc cannot read {', '.join(sorted(roles - found.keys()))}")
    return found


def _of(title: str, text: t.Mapping[str, t.Any], inherited: str, above: str = "") -> Versions:
    added = str(text.get(ADDED, inherited))
    found = {f"{title} {above}" if above else title: added}
    for name, option in (text.get("suboptions" if above else "options") or {}).items():
        if not option.get("version_added_collection", _COLLECTION).startswith(_COLLECTION.rstrip(".")):
            # Of a fragment of ansible-core's, with its versions.
            continue
        # The suboptions of a role's option are its options.
        nested = {"suboptions": option.get("suboptions", option.get("options"))}
        path = f"{above}.{name}" if above else str(name)
        found.update(_of(title, {**option, **nested}, added, path))
    return found


def recorded(root: pathlib.Path) -> Versions:
    """Return what the record has."""
    try:
        found: Versions = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise SinceError(f"{RECORD}: {exc}") from exc
    return found


def wrong(there: Versions, before: Versions, version: str) -> list[str]:
    """Return how ``there`` differs from the record, and from ``version`` for what is new."""
    new = final(version)
    lines = [
        f"{name}: {ADDED} is {added or 'missing'}, and must be {before.get(name, new)}"
        for name, added in there.items()
        if added != before.get(name, new)
    ]
    return lines + [
        f"{name}: {added} had it. Keep it. After its deprecation, remove it from {RECORD}"
        for name, added in _gone(there, before)
    ]


def _gone(there: Versions, before: Versions) -> list[tuple[str, str]]:
    return [(name, added) for name, added in before.items() if name not in there]


def final(version: str) -> str:
    """Return the release that a version before it, such as 1.0.0-rc.1, leads to."""
    return version.partition("-")[0]


def record(root: pathlib.Path, there: Versions) -> None:
    """Write the record of a release that has what is ``there``."""
    text = json.dumps(dict(sorted(there.items())), indent=1)
    (root / RECORD).write_text(text + "\n", encoding="utf-8")


def shown(lines: t.Sequence[str]) -> str:
    """Return the first lines, and how many more there are."""
    more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return "\n".join([*lines[:_MOST], *more])
