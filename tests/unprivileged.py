# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The examples of docs/unprivileged.md, and a user of a hypervisor to whom they are for."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
import typing as t

import yaml
from labkit import guest, hypervisor, model
from support import ROOT, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor


PAGE = (ROOT / "docs" / "unprivileged.md").read_text(encoding="utf-8")
USER = "vmuser"
SYSTEM, SESSION = "qemu:///system", "qemu:///session"
SWITCH = "192.0.2.1"

Result = t.Dict[str, t.Any]


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def quoted(beginning: str) -> str:
    """A message that the page quotes, as a pattern: any process will do."""
    (message,) = re.findall(rf"^    ({re.escape(beginning)}.*)$", PAGE, re.MULTILINE)
    return re.sub(r"pid\\ \d+", r"pid \\d+", re.escape(message))


(TASK,) = snippets("yaml")
LINKS: Result = yaml.safe_load(TASK)[0]["linuxvirt.macvtap.macvtap_link"]
MACS = {link["name"]: link["mac"] for link in LINKS["links"]}
(INTERFACE,) = snippets("xml")
ONE_QUEUE, TWO_QUEUES = snippets("sh")
DIRECT = (
    "<interface type='direct'><mac address='52:54:00:00:02:02'/><source dev='eth0' mode='bridge'/>"
    "<target dev='{}'/><model type='virtio'/></interface>"
)


class User:
    """A user of the hypervisor who is nobody there, with no capability and in no other group."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv
        self.prefix = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--reset-env", "--"]

    def virsh(self, uri: str, *words: str, check: bool = True) -> str:
        """What virsh says; of SYSTEM as root, of SESSION as the user."""
        prefix = [*self.hv.prefix, *(self.prefix if uri == SESSION else ())]
        done = subprocess.run(
            [*prefix, "virsh", "--quiet", "--connect", uri, *words],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode == 0) == check, done.stderr + done.stdout
        return done.stdout + done.stderr

    def define(self, uri: str, name: str, *interfaces: str) -> None:
        guest.install_image(self.hv.cell, guest.image.build(guest.image.cache_dir(None)))
        path = f"/tmp/{name}.xml"
        self.hv.run("install", "-m", "644", "/dev/stdin", path, stdin=guest.domain_xml(name, interfaces=interfaces))
        self.virsh(uri, "define", path)

    def clear(self) -> None:
        for uri in (SYSTEM, SESSION):
            for name in self.virsh(uri, "list", "--name").split():
                self.virsh(uri, "destroy", name)
            for name in self.virsh(uri, "list", "--all", "--name").split():
                self.virsh(uri, "undefine", name)

    @contextlib.contextmanager
    def script(self, name: str, text: str) -> t.Iterator[int]:
        """Run a script with the options of a guest that boots; the process's number, as the hypervisor counts."""
        guest.install_image(self.hv.cell, guest.image.build(guest.image.cache_dir(None)))
        images = hypervisor.GUEST_IMAGES
        socket = f"unix:{guest.agent_socket(name)},server=on,wait=off"
        options = ["-m", "192", "-nographic", "-monitor", "none", "-serial", "null", "-serial", socket]
        options += ["-kernel", f"{images}/vmlinux", "-initrd", f"{images}/initramfs.cpio"]
        options += ["-append", f"{guest.CMDLINE} hostname={name}"]
        path = f"/tmp/{name}.sh"
        self.hv.run("install", "-m", "644", "/dev/stdin", path, stdin=text)
        command = ["sh", "-c", f'echo $$; exec sh "$@" 2>/tmp/{name}.log', "sh", path, *options]
        process = subprocess.Popen(
            [*self.hv.prefix, *self.prefix, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        with process:
            pid = int(t.cast("t.IO[str]", process.stdout).readline())
            try:
                eventually(lambda: self.hv.run("ls", "/run/lab-guests").split().count(f"{name}.sock") == 1)
                assert process.poll() is None
                yield pid
            finally:
                if process.poll() is None:
                    self.hv.run("kill", str(pid))


def eventually(is_so: t.Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def module(hv: Hypervisor, **params: t.Any) -> Result:
    return run_module("macvtap_link", params, prefix=hv.prefix)


def link(hv: Hypervisor, name: str) -> Result:
    (found,) = run_module("macvtap_link_info", {"name": [name]}, prefix=hv.prefix)["links"]
    return t.cast("Result", found)


def without_holders(of: Result) -> Result:
    """What changes only when somebody changes the link: an idle one counts frames too."""
    return {key: value for key, value in of.items() if key not in ("holders", "counters")}


def names(hv: Hypervisor) -> list[str]:
    return [line.split()[0].split("@")[0] for line in hv.run("ip", "-br", "link").splitlines()]


def ping(hv: Hypervisor, name: str, *words: str) -> bool:
    return bool(guest.execute(hv.cell, name, ["ping", "-c", "2", "-W", "1", *words])["status"] == 0)


def speaks(hv: Hypervisor, name: str) -> bool:
    """Whether a guest gets an answer, be it without a lease."""
    # Its DHCP client takes the address away when it starts.
    hv.in_guest(name, "ip", "address", "replace", "192.0.2.40/24", "dev", "eth0")
    return ping(hv, name, SWITCH)


def card(hv: Hypervisor, name: str) -> Result:
    """The guest's network card, once it has addresses of the LAN, by DHCP and by router advertisement."""
    (found,) = guest.wait(model.require(hv.cell.lab), hv.cell, name)
    return found


def learnt(hv: Hypervisor, mac: str) -> bool:
    """Whether the switch has had frames from this address since it was last asked."""
    switch = model.require(hv.cell.lab).switch
    forget = ["bridge", "-n", switch.netns, "fdb", "del", mac, "dev", hv.cell.ports[model.UPLINK], "master"]
    return subprocess.run(forget, capture_output=True, check=False).returncode == 0


def interrupts(text: str, device: str) -> list[int]:
    """How many there were of each of the devices, out of /proc/interrupts."""
    rows = [line.split() for line in text.splitlines() if re.search(device, line)]
    cpus = len(text.splitlines()[0].split())
    return [sum(map(int, row[1 : 1 + cpus])) for row in rows]


def refuses_to_remove(hv: Hypervisor, name: str, message: str) -> None:
    failed = module(hv, name=name, state="absent")
    assert failed.get("failed"), failed
    assert re.search(message, failed["msg"]), failed["msg"]
