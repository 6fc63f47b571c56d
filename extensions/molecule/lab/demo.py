# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The main job, shown on the lab: two bare hypervisors, then guests on the LAN through macvtap.

demo.py up      make the lab, put the example project with the built collection there, run its site.yml twice, start the
                guests and show what they can do
demo.py down    remove all of it
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from labkit import cells, collection, guest, image, indexes, lifecycle, model, shell

# Another name lets a second demo run beside the first.
NAME = os.environ.get("MACVTAP_DEMO_NAME", "macvtap-demo")
GUESTS = {"hv1": "web1", "hv2": "web2"}
EXAMPLE = "ansible_collections/linuxvirt/macvtap/docs/example"
LAN = "192.0.2.0/24"


@dataclass(frozen=True)
class Nic:
    """A guest's network card, seen from its hypervisor and from the LAN."""

    hypervisor: str
    guest: str
    link: str
    parent: str
    mode: str
    mac: str
    tap: str
    ipv4: str
    ipv6: str


def main(argv: t.Sequence[str]) -> int:
    started = time.monotonic()
    try:
        if argv == ["down"]:
            lifecycle.destroy(NAME)
            print("The demo's hypervisors, guests and switch are gone.")
        elif argv == ["up"]:
            up()
            print(f"\n(all of this took {time.monotonic() - started:.0f} s)")
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except shell.LabError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, lifecycle.Interrupted):
        print("demo: interrupted", file=sys.stderr)
        return 1
    return 0


def up() -> None:
    existed = model.load(NAME) is not None
    try:
        _up()
    except BaseException:
        if not existed:
            shell.say("that failed; removing what the demo made")
            lifecycle.destroy(NAME)
        raise


def _up() -> None:
    heading("Two hypervisors and a switch")
    lab = lifecycle.create(model.declare(NAME, tuple(GUESTS)), index_count=indexes.COUNT)
    cache = image.cache_dir(None)
    for hv, name in GUESTS.items():
        guest.define(lab.hypervisor(hv), name, cache, memory=192)

    heading("The collection, as it is published, and its example project")
    was_there = (lab.dir / "project/inventory").exists()
    project = prepare(lab)
    kept = "is there already, and its inventory is kept" if was_there else "has what docs/example has"
    print(f"{project}\n{kept}, with the collection's archive and what Ansible has installed of it.")
    heading("ansible-playbook site.yml: guests onto the LAN")
    play(project)
    heading("The same again: nothing may change")
    if (changed := play(project)) != 0:
        raise shell.LabError(f"the second run changed {changed} things; it should have changed nothing")

    heading("The guests start (emulated without KVM: some seconds)")
    for hv, name in GUESTS.items():
        guest.start(lab.hypervisor(hv), name)
    nics = [look(lab, hv, name) for hv, name in GUESTS.items()]
    heading("What there is now")
    for nic in nics:
        print(
            f"{nic.guest} on {nic.hypervisor}\n"
            f"  link  {nic.link} on {nic.parent}, mode {nic.mode}, MAC {nic.mac}\n"
            f"  tap   {nic.tap}\n"
            f"  DHCP  {nic.ipv4}, leased by the LAN's own server\n"
            f"  IPv6  {nic.ipv6}, from the LAN's router advertisements\n"
        )
    for here, there in (nics, nics[::-1]):
        traffic(lab, here, there)
    heading("ansible-playbook report.yml: all of it on one page")
    report = lab.dir / "report"
    play(project, "report", "-e", json.dumps({"macvtap_report": str(report), "macvtap_probe_networks": [LAN]}))
    heading("Go on, or end it")
    onward(lab, project, report)


def onward(lab: model.Lab, project: Path, report: Path) -> None:
    """Print what to look at, and which commands go on from here."""
    print(f"The page, for a browser: {report}.html\n\ncd {project} && . {collection.ROOT}/.venv/bin/activate")
    lines = (
        ("ansible-playbook verify.yml", "is all as the inventory declares it?"),
        ("ansible-playbook show.yml", "what there is, as a table"),
        ("ansible-playbook site.yml", "after a change in inventory/host_vars/hv1.yml"),
        (f"ssh -F {lab.ssh_config} hv1", "a hypervisor"),
        (f"ssh -F {lab.ssh_config} -t hv1 virsh console web1", "a guest (leave it with Ctrl-])"),
        (f"make -C {collection.ROOT} demo-down", "the end"),
    )
    width = max(len(command) for command, _what in lines)
    print("\n".join(f"{command:<{width}}  {what}" for command, what in lines))


def prepare(lab: model.Lab) -> Path:
    """Put the example project beside the lab, with the collection as a user installs it there; return its path.

    What it already has but the collection stays: somebody may have changed it.
    """
    project = lab.dir / "project"
    project.mkdir(exist_ok=True)
    archive = collection.build(project)
    collection.install(archive.name, to=project / "collections", cwd=project)
    for path in (project / "collections" / EXAMPLE).iterdir():
        there = project / path.name
        if path.is_dir() and (path.name == "collections" or not there.exists()):
            shutil.copytree(path, there, dirs_exist_ok=True)
        elif not there.exists():
            shutil.copy2(path, there)
    # How to reach the hypervisors; read after hosts.yml.
    reached = project / "inventory/lab.yml"
    if not (reached.is_symlink() or reached.exists()):
        reached.symlink_to(lab.inventory)
    return project


def play(project: Path, playbook: str = "site", *options: str) -> int:
    """Run a playbook of the example project on the lab; return how many tasks changed something.

    :raises LabError: a host failed.
    """
    programs = collection.ROOT / ".venv/bin"
    argv = [str(programs / "ansible-playbook"), f"{playbook}.yml", *options]
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0"}
    changed = 0
    failed = False
    with subprocess.Popen(argv, cwd=project, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in t.cast("t.IO[str]", process.stdout):
            print(line, end="", flush=True)
            found = re.search(r"\bchanged=(\d+).*unreachable=(\d+).*failed=(\d+)", line)
            if found:
                changed += int(found[1])
                failed = failed or found[2] != "0" or found[3] != "0"
    if process.returncode or failed:
        raise shell.LabError(f"ansible-playbook ended with status {process.returncode}")
    return changed


def look(lab: model.Lab, hypervisor: str, name: str) -> Nic:
    """Return the guest's network card; waits until it has its addresses."""
    hv = lab.hypervisor(hypervisor)
    card = guest.wait(lab, hv, name)[0]
    found = ET.fromstring(guest.virsh(hv, "dumpxml", name).stdout).find("devices/interface")  # noqa: S314
    target = found.find("target") if found is not None else None
    if target is None:
        raise shell.LabError(f"{name} on {hypervisor} has no network card")
    link = json.loads(shell.run([*cells.enter(hv), "ip", "-d", "-j", "link", "show", "dev", target.attrib["dev"]]))[0]
    node = shell.run([*cells.enter(hv), "stat", "-c", "%n, device %Hr:%Lr, %U:%G %a", f"/dev/tap{link['ifindex']}"])
    return Nic(
        hypervisor,
        name,
        link["ifname"],
        link["link"],
        link["linkinfo"]["info_data"]["mode"],
        link["address"],
        node.strip(),
        card["ipv4"],
        card["ipv6"],
    )


def traffic(lab: model.Lab, here: Nic, there: Nic) -> None:
    hv = lab.hypervisor(here.hypervisor)
    guest.execute(lab.hypervisor(there.hypervisor), there.guest, ["etherping", "serve"])
    print(f"{here.guest} → {there.guest}, from {here.hypervisor} across the switch to {there.hypervisor}")
    for what, argv in (
        ("IPv4", ["ping", "-c", "3", "-i", "0.2", there.ipv4]),
        ("IPv6", ["ping", "-6", "-c", "3", "-i", "0.2", there.ipv6]),
        ("layer 2, ethertype 0x88b5 (not IP)", ["etherping", "send", "--to", there.mac]),
    ):
        answer = guest.execute(hv, here.guest, argv)
        message = [line for line in answer["stdout"].splitlines() if "packets" in line or "answered" in line]
        if answer["status"] != 0 or not message:
            raise shell.LabError(
                f"{what} from {here.guest} to {there.guest} fails: {answer['stdout']}{answer['stderr']}"
            )
        print(f"  {what}: {message[0]}")
    print()


def heading(text: str) -> None:
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
