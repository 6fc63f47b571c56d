# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for nftables on the real kernel, with the distribution's library."""

from __future__ import annotations

import json
import subprocess
import typing as t

import pytest
from support import ROOT_ONLY, ansible_path, module_environment

pytestmark = ROOT_ONLY

# The library is the distribution's, so the interpreter is too.
PROGRAM = """
import json, sys
sys.path.append(sys.argv[1])
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table
table = Table()
results = []
for method, argument in json.load(sys.stdin):
    try:
        result = getattr(table, method)(*argument)
        results.append([vars(one) for one in result] if method == "elements" else result)
    except MacvtapError as exc:
        results.append(str(exc))
table.close()
print(json.dumps(results))
"""
OURS = {"family": "netdev", "table": "linuxvirt_macvtap"}
SET = {
    "add": {"set": {**OURS, "name": "seen", "type": ["ether_addr", "ipv4_addr"], "flags": ["timeout"], "timeout": 90}}
}
ELEMENTS = [
    {"concat": ["52:54:00:00:00:01", "192.0.2.1"]},
    {"elem": {"val": {"concat": ["52:54:00:00:00:02", "192.0.2.2"]}, "timeout": 500, "expires": 400}},
]
FILL = {"add": {"element": {**OURS, "name": "seen", "elem": ELEMENTS}}}
INVALID = {"add": {"rule": {**OURS, "chain": "missing", "expr": [{"drop": None}]}}}


@pytest.fixture
def table(other_netns: str) -> t.Callable[..., t.Any]:
    def call(*calls: t.Any) -> t.Any:
        command = ["ip", "netns", "exec", other_netns, "/usr/bin/python3", "-c", PROGRAM, ansible_path()]
        done = subprocess.run(
            command,
            input=json.dumps([[method, list(arguments)] for method, *arguments in calls]),
            check=True,
            capture_output=True,
            text=True,
            env=module_environment(),
        )
        return json.loads(done.stdout)

    return call


def test_a_transaction_is_carried_out_as_a_whole_or_not_at_all(table: t.Callable[..., t.Any]) -> None:
    before, error, still, added, after = table(
        ("read",), ("replace", [SET, INVALID]), ("read",), ("replace", [SET]), ("read",)
    )
    assert (before, still, added) == (None, None, None)
    assert error.startswith("nftables refused it: ")
    assert "\n" not in error
    assert [next(iter(one)) for one in after] == ["table", "set"]


def test_elements_have_their_ages(table: t.Callable[..., t.Any]) -> None:
    *_done, found, none = table(("replace", [SET, FILL]), ("elements", "seen"), ("elements", "missing"))
    assert none == []
    assert [(one["value"], one["timeout"]) for one in found] == [
        (["52:54:00:00:00:01", "192.0.2.1"], 90),
        (["52:54:00:00:00:02", "192.0.2.2"], 500),
    ]
    assert 80 <= found[0]["expires"] <= 90
    assert 390 <= found[1]["expires"] <= 400
