# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The playbooks with the oldest ansible-core that the collection says it runs with.

Its templates are not those of the newest: what is None as a whole is an empty string there.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import typing as t

import installed
import pytest
import yaml
from direct_iface import domain
from installed import Fleet, changed
from support import ROOT

# As little as each role can be told, so that its own defaults are what is tried.
DECLARED: dict[str, t.Any] = {
    "macvtap_links_parent": "eth0",
    "macvtap_links_links": [{"name": "spare0"}],
    "macvtap_domains_source": "eth0",
    "macvtap_domains_interfaces": [{"domain": "web1", "mac": "52:54:00:00:01:01"}],
    "macvtap_host_access_parent": "eth0",
    "macvtap_host_access_addresses": ["198.51.100.250"],
    "macvtap_host_access_guests": ["198.51.100.77"],
    "macvtap_host_access_shims": [{"name": "host0"}],
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for the lab")
    with installed.fleet(tmp_path_factory, ("hv1",)) as made:
        if "MACVTAP_TEST_CONTROLLER" not in os.environ:
            made.core = installed.BIN.parent / "oldest-core"
        made.on("hv1", "virsh", "define", "/dev/stdin", stdin=domain("web1"))
        yield made


@pytest.fixture
def inventory(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "hosts.yml"
    path.write_text(json.dumps({"hypervisors": {"hosts": {"hv1": {}}, "vars": DECLARED}}))
    return path


def test_it_is_the_oldest(fleet: Fleet) -> None:
    message = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["requires_ansible"]
    assert fleet.core is not None
    release = (fleet.core / "ansible/release.py").read_text()
    (version,) = re.findall(r"__version__ = '(\d+\.\d+)\.", release)
    assert message == f">={version}.0"


def test_the_playbooks_do_with_it_what_they_are_for(fleet: Fleet, inventory: pathlib.Path) -> None:
    assert changed(fleet.play("site", inventory=inventory))[0] > 0
    shown = fleet.on("hv1", "ip", "-d", "link") + fleet.on("hv1", "virsh", "dumpxml", "web1")
    for what in ("spare0@eth0", "host0@eth0", "52:54:00:00:01:01"):
        assert what in shown
    assert changed(fleet.play("site", inventory=inventory)) == [0]
    fleet.play("verify", inventory=inventory)
    fleet.play("teardown", inventory=inventory)
    shown = fleet.on("hv1", "ip", "link") + fleet.on("hv1", "virsh", "dumpxml", "web1")
    for what in ("spare0", "host0", "52:54:00:00:01:01"):
        assert what not in shown
