# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the controller's part of libvirt_guest_migrate takes from the inventory, and refuses."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.action.libvirt_guest_migrate import ActionModule
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

BAD = "qemu+ssh://[hv2]/system"
TASK = {"domain": "web1", "destination": "hv2"}


class HostVars(t.Dict[str, t.Dict[str, t.Any]]):
    raw_get = dict.__getitem__


class Action(ActionModule):
    """The action without Ansible: variables have no templates."""

    def __init__(self) -> None:
        pass

    def _reader(self, hostvars: t.Any, name: str) -> t.Any:
        variables = hostvars.raw_get(name)
        return SimpleNamespace(
            plain=lambda names: {one: variables[one] for one in names},
            uri=lambda: variables.get("macvtap_domains_uri", "qemu:///system"),
            stages=lambda of_run: [],  # noqa: ARG005
        )


def of_inventory(options: dict[str, t.Any], of_hv2: dict[str, t.Any]) -> dict[str, t.Any]:
    hosts = HostVars(hv1={}, hv2=of_hv2)
    return Action()._of_inventory({**TASK, **options}, {"hostvars": hosts, "inventory_hostname": "hv1"})


@pytest.mark.parametrize(
    ("of_hv2", "options", "path"),
    [
        ({"macvtap_migration_uri": BAD}, {}, "macvtap_migration_uri"),
        ({"ansible_host": "a]b"}, {}, "destination"),
        ({"macvtap_domains_uri": BAD}, {"prepared": True}, "macvtap_domains_uri"),
    ],
)
def test_a_malformed_uri_is_refused_with_the_variable(
    of_hv2: dict[str, str], options: dict[str, t.Any], path: str
) -> None:
    with pytest.raises(MacvtapError, match=rf"^{path}: '.*' is not a libvirt URI"):
        of_inventory(options, of_hv2)


@pytest.mark.parametrize(
    ("of_hv2", "options", "uri"),
    [
        ({}, {"prepared": True}, "qemu+ssh://hv2/system"),
        ({"ansible_host": "2001:db8::2"}, {}, "qemu+ssh://[2001:db8::2]/system"),
        # What the task sets itself is left to the module, and the inventory's is not used.
        ({"macvtap_migration_uri": BAD}, {"destination_uri": "qemu+tls://hv2/system"}, BAD),
    ],
)
def test_other_uris(of_hv2: dict[str, str], options: dict[str, t.Any], uri: str) -> None:
    assert of_inventory(options, of_hv2)["destination_uri"] == uri
