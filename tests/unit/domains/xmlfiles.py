# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A domain's XML file, and the way from options to its bytes."""

from __future__ import annotations

import pathlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _plan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import declare, planner, rollback, xmlfile
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Nic

MAC = "52:54:00:00:00:01"
DOMAIN = f"""<?xml version='1.0'?>
<domain type="kvm">
  <name>web1</name><!-- mine -->
  <uuid>0123456789ABCDEF0123456789abcdef</uuid>
  <devices>
    <interface type='bridge'>
      <mac address='{MAC}'/>
      <source bridge='br0'/>
      <model type='virtio'/>
    </interface>
  </devices>
</domain>
"""
TO_DIRECT = {"mac": MAC, "source": "eth0", "mode": "bridge", "convert": True}


def put(path: str, content: bytes) -> None:
    pathlib.Path(path).write_bytes(content)


def never(path: str, content: bytes) -> None:
    raise AssertionError(f"{path} is written: {content!r}")


def converge(
    file: xmlfile.DomainFile, *options: dict[str, t.Any], check_mode: bool = False, **more: t.Any
) -> _plan.Outcome[Nic, Host]:
    declared = declare.declare(
        [(f"interfaces[{n}]", one) for n, one in enumerate(options)], only_domain=file.only_domain
    )
    return _plan.converge(
        lambda: file.with_macs(
            file.observe(
                {one.domain for one in declared}, (), {n for one in declared if (n := one.given.get("network"))}
            )
        ),
        lambda host, _answers: planner.plan(declared, host, file.unanswered, **more),
        file.apply,
        rollback.undo,
        revert=file.revert,
        check_mode=check_mode,
    )
