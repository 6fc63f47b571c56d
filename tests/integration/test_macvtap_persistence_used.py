# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What macvtap_link leaves because a process holds its tap, the next boot creates again."""

from __future__ import annotations

import contextlib
import json
import typing as t

import pytest
from managed import MAC, Host
from support import ROOT_ONLY

pytestmark = ROOT_ONLY
LINK: dict[str, t.Any] = {"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": MAC, "group": 7}
OTHER: dict[str, t.Any] = {"name": "mt1", "parent": "eth0", "mode": "bridge", "mac": "52:54:00:00:00:02", "group": 7}
PURGE: dict[str, t.Any] = {"links": [OTHER], "purge": True, "group": 7}


@contextlib.contextmanager
def held(host: Host) -> t.Iterator[None]:
    """Hold the tap of the link open, as a guest does."""
    # It has neither the output nor the input of the shell that starts it.
    hold = "sleep 600 9<>/dev/tap$(cat /sys/class/net/mt0/ifindex) </dev/null >/dev/null 2>&1 & echo $!"
    process = host.sh(hold).strip()
    try:
        yield
    finally:
        host.sh(f"kill {process}; while kill -0 {process} 2>/dev/null; do sleep 0.05; done")


@pytest.mark.parametrize(
    ("gone", "path"),
    [
        ({**LINK, "state": "absent"}, ""),
        ({"links": [{"name": "mt0", "state": "absent"}]}, "links[0]: "),
        (PURGE, "purge: "),
    ],
)
def test_the_configuration_of_a_held_link_stays(host: Host, gone: dict[str, t.Any], path: str) -> None:
    host.systemd()
    for module in ("macvtap_link", "macvtap_persistence"):
        host.done(module, links=[LINK, OTHER])
    before = host.files()
    with held(host):
        for check in (True, False):
            refused = host.run(**gone, check=check)["msg"]
            assert refused.startswith(
                f"{path}mt0 is in use, and removing its configuration would break that at the next "
            )
            assert "holds its tap open" in refused
            # Which is what the module for the links says.
            assert "holds its tap open" in host.run("macvtap_link", **gone, check=check)["msg"]
        assert host.files() == before
        # Another link may go, and something else may create it.
        host.done(name="mt1", state="absent")
        host.done(**LINK, persistence="none")
        host.done(**LINK)
        forced = host.done(**gone, force=True, check=True)
        assert forced["changed"]
    assert host.done(**gone)["changed"]
    assert "mt0" not in json.dumps(host.done(**OTHER)["written"])
