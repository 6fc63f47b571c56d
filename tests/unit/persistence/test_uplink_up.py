# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program sets up an uplink that no manager has, until one is known to have it."""

from __future__ import annotations

import pathlib
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host as adapter
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR, Host

from .planned import HOST, LINKS, after, link, vlan
from .planned_shims import shim

UNITS = "/etc/systemd/system/multi-user.target.wants"


def written(host: Host, key: str) -> bool:
    return "\nuplink up\n" in host.files[f"{LINKS_DIR}/{key}"].text


@pytest.mark.parametrize("manager", ["systemd-networkd", "NetworkManager"])
@pytest.mark.parametrize("what", [link("mt0", "eth2"), vlan("eth2"), shim("eth2"), link("mt5", "eth2", mac=None)])
def test_an_uplink_stays_up_while_a_manager_is_not_known(tmp_path: pathlib.Path, manager: str, what: t.Any) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / UNITS[1:]).mkdir(parents=True)

    def observed(host: Host | None = None) -> Host:
        now = adapter.observe(LINKS, str(tmp_path))
        return replace(now, files=host.files) if host else now

    host = after(observed(), link("mt0", "eth2"))
    assert written(host, "eth2")
    # It is enabled, and has not run yet.
    (tmp_path / UNITS[1:] / f"{manager}.service").symlink_to("/nowhere")
    assert observed().enabled
    host = after(observed(host), what)
    assert written(host, "eth2")
    # An uplink that was never set up is not.
    assert not written(after(host, link("mt9", "eth1", mac=None)), "eth1")
    # By another name it is the same one.
    assert written(after(host, link("mt0", str(LINKS["eth2"].mac))), str(LINKS["eth2"].mac))


@pytest.mark.parametrize("path", ["run/systemd/netif/links/4", "run/NetworkManager/devices/4"])
def test_an_uplink_that_one_manager_has_is_left_to_it(tmp_path: pathlib.Path, path: str) -> None:
    """Even while another one is not known."""
    (tmp_path / UNITS[1:]).mkdir(parents=True)
    for name in ("systemd-networkd", "NetworkManager"):
        (tmp_path / UNITS[1:] / f"{name}.service").symlink_to("/nowhere")
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text("ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/x.network\nmanaged=true\n")
    before = after(replace(HOST, unmanaged=frozenset({"eth2"})), link("mt0", "eth2"))
    now = replace(adapter.observe(LINKS, str(tmp_path)), files=before.files, systemd=True)
    assert (now.unmanaged, "eth2" in now.unclear, "eth1" in now.unclear) == (frozenset(), False, True)
    assert written(before, "eth2")
    assert not written(after(now, link("mt0", "eth2")), "eth2")
