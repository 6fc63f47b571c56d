# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One of the lab's hypervisors, to measure libvirt_direct_iface on."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import tempfile
import typing as t
from dataclasses import dataclass

from harness import ROOT, Bench, BenchmarkError, Cost, Session, undisturbed

sys.path += [str(ROOT / "tests"), str(ROOT / "extensions" / "molecule" / "lab")]

from labkit import cells, guest
from labkit.shell import LabError
from libvirtd_fixture import Hypervisor, hypervisor

UPLINK = "eth0"
NICS = 2
_BARE = pathlib.Path(__file__).parent / "bare_libvirt.py"


@dataclass
class DomainSession(Session):
    """A session with a hypervisor, which is used for one measurement after the other."""

    hypervisor: Hypervisor


@dataclass(frozen=True)
class DomainBench(Bench):
    """The hypervisor's network, with the machine's file system: its own need not have this checkout."""

    hypervisor: Hypervisor

    @property
    def uri(self) -> str:
        # What libvirt makes of it is its own qemu:///system.
        return f"qemu+unix:///system?socket={cells.root_of(self.hypervisor.cell)}/run/libvirt/libvirt-sock"

    def declared(self, count: int, mode: str = "bridge") -> dict[str, t.Any]:
        """Return the options that declare all interfaces of the first ``count`` domains."""
        interfaces = [
            {"domain": name(number), "mac": mac(number, nic)} for number in range(count) for nic in range(NICS)
        ]
        return {"uri": self.uri, "source": UPLINK, "mode": mode, "interfaces": interfaces}

    def bare(self, action: str, documents: t.Sequence[str] = ()) -> Cost:
        """Run bare_libvirt.py."""
        path = self.session.scratch / "documents.json"
        path.write_text(json.dumps(list(documents)))
        return self.run([self.session.python, str(_BARE), self.uri, action, str(path)])

    def stored(self) -> list[str]:
        """Return the XML of all domains, as libvirt has it stored."""
        documents: list[str] = json.loads(self.bare("dump").output)
        return documents


def name(number: int) -> str:
    return f"web{number:03d}"


def mac(number: int, nic: int) -> str:
    return f"52:54:00:{nic:02x}:{number >> 8:02x}:{number & 255:02x}"


def nic_xml(address: str, mode: str = "bridge") -> str:
    return (
        f"<interface type='direct'><mac address='{address}'/><source dev='{UPLINK}' mode='{mode}'/>"
        "<model type='virtio'/></interface>"
    )


@contextlib.contextmanager
def session(python: str) -> t.Iterator[DomainSession]:
    with tempfile.TemporaryDirectory(prefix="macvtap-bench-") as scratch, contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(hypervisor(f"bench{os.getpid()}"))
        except LabError as exc:
            raise BenchmarkError(str(exc)) from exc
        in_session = DomainSession(python, pathlib.Path(scratch), made)
        _warm_up(in_session)
        yield in_session


@contextlib.contextmanager
def bench(in_session: DomainSession, domains: int) -> t.Iterator[DomainBench]:
    """Give the hypervisor with so many domains, shut off and with two interfaces each, and no others."""
    made = DomainBench(in_session.hypervisor.cell.netns, in_session, "libvirt_direct_iface", in_session.hypervisor)
    try:
        documents = [
            guest.domain_xml(name(number), interfaces=[nic_xml(mac(number, nic)) for nic in range(NICS)])
            for number in range(domains)
        ]
        made.bare("define", documents)
        yield made
    finally:
        with undisturbed():
            made.bare("undefine")


def _warm_up(in_session: DomainSession) -> None:
    """Have the byte code of everything that is measured written, as it is where a collection is installed."""
    with bench(in_session, 1) as made:
        for mode in ("private", "bridge"):
            made.module(made.declared(1, mode))
        made.empty()
