# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Each name that is taken means one link alone, in every format in which it is written."""

from __future__ import annotations

import re

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    SYSCTL_FILE,
    UDEV_FILE,
    UNMANAGED_FILE,
    Host,
)

from .planned import HOST, after, link
from .planned_shims import shim

NAMES = ["web,1", "web.1", "web+1", "web@1", "web-1", "web_1", "1web", "a,b,", "a.,+@-_"]


def test_every_character_that_is_taken_is_in_a_name_here() -> None:
    taken = {char for char in map(chr, range(33, 127)) if validate._NAME.fullmatch(f"a{char}") and not char.isalnum()}
    assert taken <= set("".join(NAMES))
    # To one of the formats each of these is a pattern, a separator, a quote, a reference or a comment.
    assert not taken & set("*?[]!|\"'\\$%#;=`&()<>{}~^/:")


def split_by_networkmanager(value: str) -> list[str]:
    """As nm_match_spec_split() of NetworkManager 1.42: a backslash takes its meaning from a separator."""
    return [re.sub(r"\\([,;])", r"\1", one) for one in re.findall(r"(?:\\[,;]|[^,;])+", value)]


def unmanaged(host: Host) -> list[str]:
    (value,) = re.findall("^unmanaged-devices[+]=(.*)$", host.files[UNMANAGED_FILE].text, re.M)
    return split_by_networkmanager(value)


@pytest.mark.parametrize("name", NAMES)
def test_networkmanager_leaves_the_link_alone_and_no_other(name: str) -> None:
    assert unmanaged(after(HOST, link(name))) == [f"interface-name:{name}"]
    host = after(HOST, *(link(one, mac=None) for one in NAMES))
    assert unmanaged(host) == [f"interface-name:{one}" for one in sorted(NAMES)]
    assert not planner.plan([link(name, mac=None)], host).changed


@pytest.mark.parametrize("name", NAMES)
def test_networkd_and_udev_and_sysctl_match_the_link_alone(name: str) -> None:
    path = f"/etc/systemd/network/00-macvtap-{name}.network"
    # A list of patterns with white space between them.
    assert f"\nName={name}\n" in after(HOST, link(name)).files[path].text
    files = after(HOST, shim("eth1", name, "auto", dhcp4=True, addresses=(), guests=())).files
    assert set(re.findall('KERNEL=="(.*?)"', files[UDEV_FILE].text)) == {name}
    profile = files[f"/etc/NetworkManager/system-connections/macvtap-{name}.nmconnection"].text
    assert f"\nid=macvtap-{name}\n" in profile
    assert f"\ninterface-name={name}\n" in profile
    settings = [line for line in files[SYSCTL_FILE].text.splitlines() if line.startswith("-net/")]
    assert settings
    # A key ends at =. Slashes are its first separators, so a dot is a part of a name.
    assert {line.split("=")[0].split("/")[3] for line in settings} == {name}
