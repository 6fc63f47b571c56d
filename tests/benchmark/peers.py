# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Other ways to make a domain's interfaces what they should be. Run as a program, it fetches community.libvirt."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing as t
import zipfile

from harness import ROOT, Bench

# A collections path of its own.
COLLECTIONS = ROOT / ".cache" / "benchmark-peers"
COMMUNITY_LIBVIRT = COLLECTIONS / "ansible_collections" / "community" / "libvirt"
# The PyPI package that has it among many others: what PyPI has, .venv's pip can fetch.
_BUNDLE = "ansible>=12,<13"
_MISSING = {
    "virt-xml": "virt-xml is not installed: Debian package virtinst",
    "virsh": "virsh is not installed: Debian package libvirt-clients",
    "community.libvirt": "community.libvirt is not there: `python tests/benchmark/peers.py` fetches it",
}


def missing(peer: str) -> str:
    """Say why there can be no comparison with this peer; empty if there can be."""
    there = COMMUNITY_LIBVIRT.exists() if peer == "community.libvirt" else shutil.which(peer)
    return "" if there else _MISSING[peer]


def virt_xml(made: Bench, uri: str, domain: str) -> float:
    """Have virt-xml make the mode of all NICs of a domain what it is; return the seconds."""
    argv = ["virt-xml", "--connect", uri, domain, "--edit", "all", "--network", "source.mode=bridge", "--define"]
    return made.run(argv, env={"PYTHONPATH": ""}).wall


def virsh(made: Bench, uri: str, domain: str) -> float:
    """Have virsh define a domain as it is: what an edited dump would take."""
    connect = ["virsh", "--quiet", "--connect", uri]
    dump = made.run([*connect, "dumpxml", "--inactive", "--security-info", domain])
    path = made.session.scratch / "dump.xml"
    path.write_bytes(dump.output)
    return dump.wall + made.run([*connect, "define", str(path)]).wall


class Peer(t.NamedTuple):
    """A program, what is done with it in words, and the function that does it to a domain."""

    program: str
    words: str
    run: t.Callable[[Bench, str, str], float]


PEERS = (Peer("virt-xml", "virt-xml --edit", virt_xml), Peer("virsh", "virsh dumpxml and define", virsh))


def community_libvirt(uri: str, files: t.Sequence[pathlib.Path]) -> dict[str, t.Any]:
    """Return a task that defines the domains of these files, in a loop."""
    define = {"command": "define", "xml": "{{ lookup('ansible.builtin.file', item) }}", "uri": uri}
    return {"community.libvirt.virt": define, "loop": [str(file) for file in files]}


def fetch() -> None:
    """Unpack community.libvirt into the cache, unless it is there."""
    if COMMUNITY_LIBVIRT.exists():
        return
    COLLECTIONS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=COLLECTIONS) as work:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--only-binary", ":all:", "--dest", work, _BUNDLE], check=True)
        (wheel,) = pathlib.Path(work).glob("*.whl")
        inside = COMMUNITY_LIBVIRT.relative_to(COLLECTIONS)
        with zipfile.ZipFile(wheel) as bundle:
            bundle.extractall(work, [name for name in bundle.namelist() if name.startswith(f"{inside}/")])
        COMMUNITY_LIBVIRT.parent.mkdir(parents=True, exist_ok=True)
        (pathlib.Path(work) / inside).rename(COMMUNITY_LIBVIRT)


if __name__ == "__main__":
    fetch()
