# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Every value of a number option is a number, or one clear error with the option's path."""

from __future__ import annotations

import json
import math
import subprocess
import typing as t

import pytest
from support import module_command, module_environment, module_input

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

WRONG: tuple[t.Any, ...] = (
    True,
    False,
    math.inf,
    -math.inf,
    math.nan,
    1500.5,
    "yes",
    "",
    "1e",
    "0x10",
    ".inf",
    [1],
    {},
)


@pytest.mark.parametrize(
    ("value", "number"), [(0, 0), (-1, -1), ("1500", 1500), (" 7 ", 7), (1500.0, 1500), ("1e3", 1000), (10**18, 10**18)]
)
def test_a_whole_number(value: t.Any, number: int) -> None:
    found = _values.whole(value, "mtu")
    assert (found, type(found)) == (number, int)


@pytest.mark.parametrize("value", WRONG)
def test_a_value_that_is_not_a_number(value: t.Any) -> None:
    with pytest.raises(MacvtapError, match=r"^mtu: .* is not a whole number$"):
        _values.whole(value, "mtu")


@pytest.mark.parametrize("value", [10**19, -(10**400), 1e300, "1e999999999", "9" * 5000])
def test_a_number_that_is_too_large(value: t.Any) -> None:
    with pytest.raises(MacvtapError, match=r"^mtu: the number is too large for any option$"):
        _values.whole(value, "mtu")


@pytest.mark.parametrize(
    ("module", "params", "path"),
    [
        ("macvtap_link", {"name": "mt0", "mtu": math.inf}, "mtu"),
        ("macvtap_link", {"links": [{"name": "mt0"}, {"name": "mt1", "queues": {"tx": True}}]}, "links[1].queues.tx"),
        ("macvtap_link", {"name": "mt0", "txqlen": "yes", "mtu": math.nan}, "mtu"),
        ("vlan_link", {"parent": "eth0", "id": math.inf}, "id"),
        ("vlan_link", {"vlans": [{"parent": "eth0", "id": 1, "mtu": 1.5}]}, "vlans[0].mtu"),
        ("macvtap_host_access", {"name": "host0", "parent": "eth0", "mtu": math.nan}, "mtu"),
        ("macvtap_persistence", {"links": [{"name": "mt0", "bclim": "many"}]}, "links[0].bclim"),
        ("reflective_relay_info", {"parent": "eth0", "timeout": math.inf}, "timeout"),
        ("macvtap_link_info", {"group": True}, "group"),
        (
            "libvirt_direct_iface",
            {"interfaces": [{"domain": "a", "mac": "b", "bandwidth": {"inbound": {"average": "1e99999999"}}}]},
            "interfaces[0].bandwidth.inbound.average",
        ),
        ("libvirt_direct_iface", {"domain": "a", "mac": "b", "lock_timeout": -math.inf}, "lock_timeout"),
    ],
)
def test_each_module_names_the_option(module: str, params: dict[str, t.Any], path: str) -> None:
    done = subprocess.run(
        module_command(module),
        input=module_input(params),
        env=module_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    result = json.loads(done.stdout)
    assert result["failed"]
    assert result["msg"].startswith(f"{path}: "), result["msg"]
    assert "number" in result["msg"]


def test_an_invalid_number_within_a_text_is_not_a_traceback() -> None:
    params = {"links": ['{"name": "mt0", "mtu": Infinity}']}
    done = subprocess.run(
        module_command("macvtap_link"),
        input=module_input(params),
        env=module_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "is not a whole number" in json.loads(done.stdout)["msg"]
