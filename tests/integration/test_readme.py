# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The README's commands, as they stand and where a reader types them, on the lab's hypervisors."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import typing as t

import pytest
import readme
import yaml
from labkit import cells, guest, image, indexes, lifecycle, model
from support import ROOT

HYPERVISORS = {"hv1": "web1", "hv2": "web2"}


@pytest.fixture(scope="module")
def lab() -> t.Iterator[model.Lab]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for the lab")
    made = lifecycle.create(model.declare(f"readme-{os.getpid()}", tuple(HYPERVISORS)), index_count=indexes.COUNT)
    try:
        for hv, name in HYPERVISORS.items():
            guest.define(made.hypervisor(hv), name, image.cache_dir(None), memory=192)
        yield made
    finally:
        lifecycle.destroy(made.name)


@pytest.fixture(scope="module")
def reader(lab: model.Lab, tmp_path_factory: pytest.TempPathFactory) -> readme.Reader:
    """A reader with the collection installed, and an inventory that has how to reach the hypervisors too."""
    made = readme.Reader(tmp_path_factory.mktemp("reader"))
    made.installs()
    shutil.copytree(ROOT / "docs/example/inventory", made.project / "inventory")
    shutil.copy(lab.inventory, made.project / "inventory" / f"lab{lab.inventory.suffix}")
    (made.project / "web1.yml").write_text(readme.file("A first playbook"), encoding="utf-8")
    return made


def interfaces(lab: model.Lab, hypervisor: str) -> list[str]:
    """Return the MAC addresses of the direct interfaces that the hypervisor's domain has stored."""
    argv = [*cells.enter(lab.hypervisor(hypervisor)), "virsh", "dumpxml", "--inactive", HYPERVISORS[hypervisor]]
    shown = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return re.findall(r"<interface type='direct'>\s*<mac address='([^']+)'", shown)


def test_the_first_playbook_puts_web1_on_the_lan(lab: model.Lab, reader: readme.Reader) -> None:
    ((prepare, look, change),) = readme.commands("A first playbook")
    reader.types(prepare, reader.project)
    assert re.search(r"changed=[1-9]", reader.types(look, reader.project).stdout)
    assert interfaces(lab, "hv1") == []
    reader.types(change, reader.project)
    assert interfaces(lab, "hv1") == ["52:54:00:00:01:01"]


def test_the_defaults_of_an_action_group_reach_all_its_modules(lab: model.Lab, reader: readme.Reader) -> None:
    (reader.project / "defaults.yml").write_text(readme.file("Defaults for several modules"), encoding="utf-8")
    shown = reader.types("ansible-playbook -i inventory defaults.yml -vvv", reader.project).stdout
    # What each module was called with.
    tasks = re.split(r"(?m)^TASK \[", shown)
    for name in ("Change the NIC model]", "Look at web1]"):
        (task,) = (one for one in tasks if one.startswith(name))
        assert '"timeout": 60' in task
    assert interfaces(lab, "hv1") == ["52:54:00:00:01:01"]
    absent = "domain=web1 mac=52:54:00:00:01:01 state=absent"
    reader.types(f"ansible -i inventory hv1 -b -m linuxvirt.macvtap.libvirt_direct_iface -a '{absent}'", reader.project)


def test_the_playbooks_put_the_fleet_on_the_lan_and_take_it_off(lab: model.Lab, reader: readme.Reader) -> None:
    (commands,) = readme.commands("A fleet")
    for command in commands:
        reader.types(command, reader.project)
    assert interfaces(lab, "hv2") == ["52:54:00:00:02:01"]
    ((teardown,),) = readme.commands("What happens when an entry is deleted")
    reader.types(teardown, reader.project)
    assert interfaces(lab, "hv1") + interfaces(lab, "hv2") == []


def test_a_new_guest_gets_its_nic_as_its_page_says(lab: model.Lab, reader: readme.Reader) -> None:
    page = "docs/new-guests.md"
    (later,), (site,), (at_once,) = readme.commands("With virt-install", page)
    hypervisor = lab.hypervisor("hv1")

    def on_hypervisor(line: str) -> None:
        # The machine may have no KVM.
        line = line.replace("virt-install", "virt-install --virt-type qemu")
        subprocess.run([*cells.enter(hypervisor), "sh", "-ec", line], check=True)

    declared = yaml.safe_load(readme.file("With virt-install", page))["macvtap_domains_interfaces"]
    # This host has no udev, so there is no rule for multicast to add.
    web4 = {"domain": "web4", "mac": re.findall("mac.address=([0-9a-f:]+)", at_once)[0]}
    # What the other tests declare is another matter.
    inventory = reader.project / "new"
    inventory.mkdir()
    shutil.copy(lab.inventory, inventory)
    site = site.replace("-i inventory", "-i new/ --limit hv1 -e @new.json")
    variables = {"macvtap_uplink": "eth0", "macvtap_hosts": "hv1", "macvtap_domains_interfaces": declared}
    new = reader.project / "new.json"
    new.write_text(json.dumps(variables), encoding="utf-8")
    on_hypervisor("mkdir -p /var/lib/libvirt/images && truncate -s 8M /var/lib/libvirt/images/web3.img")
    on_hypervisor("truncate -s 8M /var/lib/libvirt/images/web4.img")
    try:
        on_hypervisor(later)
        assert "(live)" in reader.types(f"{site} --diff", reader.project).stdout
        on_hypervisor(at_once)
        new.write_text(json.dumps({**variables, "macvtap_domains_interfaces": [*declared, web4]}), encoding="utf-8")
        shown = reader.types(f"{site} --diff", reader.project).stdout
        assert "+++ after" not in shown
        assert "changed=0" in shown
        # Defined once more, by a tool that does not know of the NIC.
        on_hypervisor("virsh dumpxml --inactive web3 | sed '/<interface/,/<.interface>/d' | virsh define /dev/stdin")
        checked = reader.types(site.replace("site", "verify"), reader.project, check=False)
        assert "web3 52:54:00:00:01:03" in checked.stdout + checked.stderr
        assert checked.returncode != 0
        reader.types(site, reader.project)
        reader.types(site.replace("site", "verify"), reader.project)
    finally:
        for name in ("web3", "web4"):
            subprocess.run([*cells.enter(hypervisor), "virsh", "destroy", name], check=False)
            subprocess.run([*cells.enter(hypervisor), "virsh", "undefine", name], check=False)


def test_the_example_project_runs_as_its_page_says(lab: model.Lab, reader: readme.Reader) -> None:
    project = reader.home / "example"
    shutil.copytree(ROOT / "docs/example", project)
    shutil.copy(reader.clone / "build" / readme.ARCHIVE, project)
    shutil.copy(lab.inventory, project / "inventory" / f"lab{lab.inventory.suffix}")
    ((*commands,),) = readme.commands("A project to copy", "docs/example/README.md")
    shown = [reader.types(command, project).stdout for command in commands]
    assert (project / "collections/ansible_collections/linuxvirt/macvtap/MANIFEST.json").exists()
    assert interfaces(lab, "hv2") == ["52:54:00:00:02:01"]
    assert "2 of 2 hosts ok" in shown[1]
    assert "2 of 2 hosts ok" in shown[-2]
    assert "0 not as declared" in (project / "macvtap-report.txt").read_text(encoding="utf-8")
    # As the timer would.
    job = reader.types("python3 jobs/macvtap_job.py verify -i inventory && cat macvtap-verify.json", project)
    assert "verify: ok" in job.stdout
    reader.types("ansible-playbook teardown.yml", project)
    assert interfaces(lab, "hv1") + interfaces(lab, "hv2") == []


FIRST_GUEST = "docs/first-guest.md"


class Demo:
    """A reader of the first guest's page, in a checkout and in the project of a demo with a name of its own."""

    def __init__(self, reader: readme.Reader, name: str) -> None:
        self.reader, self.name = reader, name
        self.project = model.BASE / name / "project"

    def types(self, *lines: str, check: bool = True) -> str:
        done = [self.reader.types(line, self.project, check=check) for line in lines]
        assert check or all(one.returncode != 0 for one in done)
        return "".join(one.stdout for one in done)

    def in_checkout(self, line: str) -> str:
        return self.reader.types(line.replace("macvtap-demo", self.name), self.reader.clone).stdout

    def declares(self, heading: str) -> None:
        """Edit the inventory as the page says."""
        path = self.project / "inventory/host_vars/hv1.yml"
        declared = yaml.safe_load(path.read_text(encoding="utf-8"))
        declared.update(yaml.safe_load(readme.file(heading, FIRST_GUEST)))
        path.write_text(yaml.safe_dump(declared), encoding="utf-8")


def as_shown(heading: str, output: str) -> bool:
    """Whether an output has the lines that the page shows under a heading, but for columns and leased addresses."""

    def plain(text: str) -> str:
        return " ".join(re.sub(r"192\.0\.2\.\d+", "LEASED", text).split())

    pages = "\n".join(text for under, text in readme.blocks("text", FIRST_GUEST) if under == heading)
    parts = [plain(part) for line in pages.splitlines() for part in line.split("…")]
    missing = [part for part in parts if part not in plain(output)]
    assert missing == []
    return bool(parts)


def test_the_demo_shows_guests_on_the_lan_and_goes_on_as_its_page_says(
    lab: model.Lab, reader: readme.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = Demo(reader, f"{lab.name}-demo")
    monkeypatch.setenv("MACVTAP_DEMO_NAME", demo.name)
    # What make has installed for this test need not be installed again.
    (reader.clone / ".venv").symlink_to(ROOT / ".venv")
    ((command, _test),) = readme.commands("Try it")
    (made,), (defined,) = readme.commands("Two hypervisors with guests", FIRST_GUEST)
    assert made == command
    try:
        shown = demo.in_checkout(made)
        assert len(re.findall(r"DHCP  [\d.]+, leased", shown)) == len(HYPERVISORS)
        demo.in_checkout(defined)
        _there, change = readme.commands("On the LAN", FIRST_GUEST)
        demo.declares("On the LAN")
        assert as_shown("On the LAN", demo.types(*change))
        # A reader goes on when it has booted.
        there = model.require(demo.name)
        guest.wait(there, there.hypervisor("hv1"), "web3")
        (verify,), (show,) = readme.commands("Is it so?", FIRST_GUEST)
        assert as_shown("Is it so?", demo.types(verify, show))
        again, (by_hand, _verify, site, _again) = readme.commands("It stays", FIRST_GUEST)
        demo.types(*again, by_hand)
        assert as_shown("It stays", demo.types(verify, check=False))
        demo.types(site, verify)
        removed, end = readme.commands("Take it away", FIRST_GUEST)
        demo.declares("Take it away")
        demo.types("ssh -F ../ssh_config hv1 virsh destroy web3", *removed)
    finally:
        demo.in_checkout("make demo-down")
    assert end == ["cd -", "make demo-down"]
    assert model.load(demo.name) is None
