# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Tags of a run, with which something is done or nothing."""

from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.block import Block
from ansible.playbook.play import Play
from ansible.playbook.task import Task

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.tags import RunTags

PARTS = [frozenset({"kernel"}), frozenset({"links"}), frozenset({"links", "vlans"}), frozenset({"host_access"})]
WORDS = ("all", "always", "never", "tagged", "untagged", "links", "vlans", "other")


@pytest.mark.parametrize("run", WORDS)
@pytest.mark.parametrize("skip", [None, *WORDS])
def test_a_part_is_selected_as_ansible_selects_its_tasks(run: str, skip: str | None) -> None:
    for tags in PARTS:
        task = Task(block=Block(play=Play()))
        task._loader = DataLoader()
        task.tags = sorted(tags)
        skipped = [skip] if skip else []
        expected = task.evaluate_tags([run], skipped, {})
        assert RunTags([run], skipped).selects(tags) == bool(expected), tags


@pytest.mark.parametrize(
    ("run", "skip", "message"),
    [
        (["all"], [], ""),
        (["tagged"], [], ""),
        (["lnks", "links"], [], ""),
        (["always", "links"], [], ""),
        (["all"], ["links", "never"], ""),
        (["lnks"], [], "'lnks' selects nothing of site, verify and teardown; did you mean links?"),
        (["lnks", "kernl"], [], "'kernl', 'lnks' select nothing of site, verify and teardown; did you mean kernel or"),
        (["web"], [], "'web' selects nothing of site, verify and teardown. Their tags are kernel, links, vlans, host"),
        (["never"], [], "'never' selects nothing"),
        (["always"], [], "'always' selects nothing"),
        (["untagged"], [], "'untagged' selects nothing"),
        (["all"], ["all"], "--skip-tags all leaves nothing of site, verify and teardown"),
        (["links"], ["links", "web"], "--skip-tags links,web leaves nothing"),
    ],
)
def test_tags_that_select_nothing_are_named(run: list[str], skip: list[str], message: str) -> None:
    found = RunTags(run, skip).nothing_of(PARTS)
    assert found.startswith(f"tags: {message}" if message else "")
    assert bool(found) == bool(message)


@pytest.mark.parametrize(
    ("run", "skip", "maybe"),
    [
        (["web"], [], True),
        (["web", "lnks"], [], True),
        (["lnks"], [], False),
        (["kernal"], [], False),
        # Words of others that are like ours.
        *(([word], [], True) for word in ("network", "networking", "link", "linux", "domain_join", "kernel_modules")),
        (["never"], [], False),
        (["always"], [], False),
        (["all"], ["all"], False),
        # The own parts are left out on purpose.
        (["all"], ["kernel", "links", "host_access"], True),
    ],
)
def test_tags_may_be_those_of_other_plays_of_the_run(run: list[str], skip: list[str], maybe: bool) -> None:
    tags = RunTags(run, skip)
    assert tags.nothing_of(PARTS)
    assert tags.may_be_for_others(PARTS) == maybe
