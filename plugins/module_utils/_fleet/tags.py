# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which parts the tags of a run select. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, join_names, suggest

# Tags with a meaning of their own for Ansible, and those of them that select all tasks that have any tag.
_EVERYTHING = frozenset(("all", "tagged"))
_RESERVED = _EVERYTHING | {"always", "never", "untagged"}


class RunTags:
    """The tags that are to ``run`` and to ``skip``, for tasks without the tags always and never.

    It decides as ansible.playbook.taggable does.
    """

    def __init__(self, run: t.Iterable[str], skip: t.Iterable[str]) -> None:
        self._run = frozenset(run)
        self._skip = frozenset(skip)

    def selects(self, tags: frozenset[str]) -> bool:
        """Whether tasks with these tags run."""
        return bool(self._run & (tags | _EVERYTHING)) and not self._skip & (tags | _EVERYTHING)

    def nothing_of(self, parts: t.Collection[frozenset[str]]) -> str:
        """Return that none of the ``parts`` runs, each of which has some tags, or "" if one does."""
        if any(self.selects(tags) for tags in parts):
            return ""
        if any(self._run & (tags | _EVERYTHING) for tags in parts):
            return f"tags: --skip-tags {','.join(sorted(self._skip))} leaves nothing of site, verify and teardown"
        names, known = sorted(self._run), _names(parts)
        similar = dict.fromkeys(tag for name in names for tag in _similar(name, known))
        hint = did_you_mean(list(similar)) or f". Their tags are {join_names(known, len(known))}"
        verb = "selects" if len(names) == 1 else "select"
        return f"tags: {join_names([repr(name) for name in names])} {verb} nothing of site, verify and teardown{hint}"

    def may_be_for_others(self, parts: t.Collection[frozenset[str]]) -> bool:
        """Whether tags that select none of the ``parts`` may be meant for other plays of the same run."""
        if self._skip & _EVERYTHING:
            return False
        known = _names(parts)
        return bool(self._run & {*_EVERYTHING, *known}) or any(
            tag not in _RESERVED and not _is_mistyped(tag, known) for tag in self._run
        )


def _names(parts: t.Iterable[frozenset[str]]) -> list[str]:
    return list(dict.fromkeys(tag for tags in parts for tag in sorted(tags)))


def _is_mistyped(tag: str, known: t.Sequence[str]) -> bool:
    """Whether a tag can hardly be meant for others: nearly one of ours, and not one in the singular or with more."""
    near = suggest(tag, known, most=len(known), cutoff=0.8)
    return bool(near) and not any(tag.startswith(one.rstrip("s")) for one in near)


def _similar(tag: str, known: t.Sequence[str]) -> list[str]:
    return [] if tag in _RESERVED else suggest(tag, known, most=1)
