# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The model of the kernel refuses and ignores what the kernel does: it is not why the properties of plans hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Step

from .kernel_model import LOWERS, MACS, MT0, USUAL, FakeKernel, RefusedError

MT1 = replace(MT0, name="mt1", index=11, mac=MACS[1], altnames=frozenset({"alt0"}))
PT0 = replace(MT0, name="pt0", index=12, mode="passthru", parent="eth1", parent_index=3, mac=USUAL[1].mac, up=False)
NEW = Link("new0", kind="macvtap", parent="eth0", parent_index=2, mode="bridge", up=True)


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        (MT0, replace(MT0, mode="passthru"), "EINVAL"),
        (MT0, replace(MT0, mtu=1501), "EINVAL"),
        (MT0, replace(MT0, mac=USUAL[0].mac), "EADDRINUSE"),
        (MT0, replace(MT0, mac=MT1.mac), "EADDRINUSE"),
        (MT0, replace(MT0, altnames=MT1.altnames), "EEXIST"),
        (None, replace(NEW, name="mt0"), "EEXIST"),
        (None, replace(NEW, name="alt0"), "EEXIST"),
        (None, replace(NEW, mac=MT1.mac), "EADDRINUSE"),
        (None, replace(NEW, mode="passthru"), "EINVAL"),
        (None, replace(NEW, parent_index=3), "EINVAL"),
        (None, replace(NEW, parent_index=1), "EINVAL"),
        (None, replace(NEW, parent_index=5), "EBUSY"),
        (None, replace(NEW, parent_index=9), "ENODEV"),
        (None, replace(NEW, source_macs=frozenset(MACS)), "EINVAL"),
    ],
)
def test_the_model_refuses_what_the_kernel_refuses(before: Link | None, after: Link, code: str) -> None:
    """So that it is not for a model that lets everything pass that the properties hold."""
    kernel = FakeKernel({link.name: link for link in (*LOWERS, MT0, MT1, PT0)})
    change = Change(after.name, "any", None, None, Impact.IN_PLACE)
    with pytest.raises(RefusedError, match=code):
        kernel.apply([Step(after.name, before, after, (change,))])


def test_the_model_ignores_in_silence_what_the_kernel_ignores_and_has_its_bug() -> None:
    kernel = FakeKernel({link.name: link for link in (*LOWERS, MT0, PT0)})
    change = Change("any", "any", None, None, Impact.IN_PLACE)
    elsewhere = replace(MT0, parent="eth1", parent_index=3, tx_queues=4)
    kernel.apply([Step("mt0", MT0, elsewhere, (change,))])
    assert kernel.links["mt0"] == MT0
    kernel.apply([Step("pt0", PT0, replace(PT0, promiscuous=False), (change,))])
    assert kernel.links["eth1"].promiscuity == 4294967295
