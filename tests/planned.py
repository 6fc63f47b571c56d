# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A hypervisor with a declaration of everything, as stages of macvtap_host_plan in the order of the playbook site."""

from __future__ import annotations

import os
import re
import typing as t

from direct_iface import A, B, domain
from managed import ETC, FAKE, TAKE_AWAY
from support import PYTHON, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

Result = t.Dict[str, t.Any]
Options = t.Dict[str, t.Any]

LINKS = [{"name": "mt0", "mac": "52:54:00:00:01:01"}, {"name": "mt1", "mac": "52:54:00:00:01:02"}]
SHIM = {"name": "host-0", "mac": "52:54:00:00:01:09", "addresses": ["198.51.100.1"], "guests": ["198.51.100.7"]}
NICS = [{"domain": "web1", "mac": A}, {"domain": "web2", "mac": B}]
# By name of a stage: its module, and what is declared.
DECLARED: t.Mapping[str, tuple[str, Options]] = {
    "kernel": ("kernel_macvtap_check", {"state": "loaded"}),
    "guards": ("macvtap_guard", {"guards": [{"mac": A}], "nic_required": False}),
    "links at boot": ("macvtap_persistence", {"links": LINKS, "parent": "eth0"}),
    "links": ("macvtap_link", {"links": LINKS, "parent": "eth0", "mode": "bridge"}),
    "networks": ("libvirt_direct_network", {"name": "lan", "interfaces": ["eth0"], "mode": "bridge"}),
    "domains": ("libvirt_direct_iface", {"interfaces": NICS, "source": "eth0", "mode": "bridge"}),
    "shims at boot": ("macvtap_persistence", {"shims": [{**SHIM, "parent": "eth0"}]}),
    "shims": ("macvtap_host_access", {**SHIM, "parent": "eth0"}),
}
KEYS = ("changed", "changes", "diff", "warnings", "restart_required", "pending", "missing_packages")
# What of a link changes only if it is changed.
# Without counters: libvirt's own rules, once there are any, count what runs beside.
_RULES = "import nftables; n = nftables.Nftables(); n.set_stateless_output(True); print(n.cmd('list ruleset')[1])"
# Without operational states, and IPv6 addresses: some come later by themselves.
_STATE = f"""
ip -d -o link | sed 's/<[^>]*>//; s/ state [A-Z]*//; s/ qdisc [a-z]*//'
ip -4 -o address; ip -4 route
{PYTHON} -c "{_RULES}"
find /etc /run/linuxvirt* /var/lib/linuxvirt* -type f -exec md5sum {{}} + 2>/dev/null | sort -k2
virsh="virsh --quiet --connect qemu:///system"
for one in $($virsh list --all --name); do echo "dumpxml $one; dumpxml --inactive $one"; done >/run/state
for one in $($virsh net-list --all --name); do echo "net-dumpxml $one; net-dumpxml --inactive $one"; done >>/run/state
$virsh </run/state
"""


def stages(**changed: Options) -> list[Result]:
    """Return the stages; ``changed`` has options of some, by the first letters of their names."""
    return [
        {"name": name, "module": module, "options": {**options, **changed.get(name.replace(" ", "_"), {})}}
        for name, (module, options) in DECLARED.items()
    ]


def warnings_of(result: Result) -> list[str]:
    """Return a module's warnings as texts. Newer versions of ansible-core have each as a dictionary."""
    return [one if isinstance(one, str) else one["event"]["msg"] for one in result.get("warnings", ())]


class Planned:
    """The hypervisor. ``clear`` takes away what DECLARED has made."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv

    def as_declared(self, **how: t.Any) -> None:
        """Make the host what DECLARED says, with the guest web1 running."""
        self.hv.run("sh", "-ec", f"mkdir -p {ETC} /etc/udev/rules.d /run/systemd/system")
        self.hv.run("install", "-D", "-m", "755", "/dev/stdin", f"{FAKE}/systemctl", stdin="#!/bin/sh\n")
        for name in ("web1", "web2"):
            self.hv.define(domain(name))
        for stage in stages():
            self.done(stage, **how)
        self.hv.virsh("start", "web1")
        # There is no udev, which would have put it on the guest's link.
        self.done(stages()[1], **how)

    def clear(self) -> None:
        self.run("macvtap_guard", {"guards": [{"mac": A, "state": "absent"}]})
        self.hv.run("sh", "-ec", TAKE_AWAY)

    def run(self, module: str, options: Options, **how: t.Any) -> Result:
        return run_module(module, options, prefix=[*self.hv.prefix, "env", f"PATH={FAKE}:{os.environ['PATH']}"], **how)

    def done(self, stage: Result, **how: t.Any) -> None:
        result = self.run(stage["module"], stage["options"], **how)
        assert result["rc"] == 0, result

    def plan(self, declared: t.Sequence[Result], **options: t.Any) -> Result:
        how = {key: options.pop(key) for key in ("python", "patch") if key in options}
        result = self.run("macvtap_host_plan", {"stages": declared, **options}, diff=True, **how)
        assert (result["rc"], result["changed"]) == (0, False), result
        return result

    def of_modules(self, planned: Result, declared: t.Sequence[Result]) -> tuple[Result, Result]:
        """Return of each stage that was planned what it says, and what its module does in check mode with a diff."""
        found, expected = {}, {}
        for index, (stage, given) in enumerate(zip(planned["stages"], declared)):
            if stage["skipped"] is None:
                # As Ansible calls it, which is part of a message.
                options = {**given["options"], "_ansible_module_name": f"linuxvirt.macvtap.{given['module']}"}
                result = self.run(given["module"], options, check=True, diff=True)
                expected[stage["name"]] = {key: result.get(key) or None for key in KEYS} | {"error": result.get("msg")}
                expected[stage["name"]]["warnings"] = warnings_of(result) or None
                found[stage["name"]] = {key: stage.get(key) or None for key in (*KEYS, "error")}
                if stage["error"]:
                    found[stage["name"]]["error"] = re.sub(rf"^stages\[{index}\]\.options(\.|: )", "", stage["error"])
        return found, expected

    def state(self) -> list[str]:
        """Return all that a module could have changed, as lines."""
        return self.hv.run("sh", "-c", _STATE).splitlines()
