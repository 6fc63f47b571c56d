# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guards of guests that start, are restored, and do not start, with a real libvirt."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import guest_checksums
import guest_frames
import pytest
from direct_iface import A, B, C
from guest_traffic import streaming
from support import PYTHON, run_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
D = "52:54:00:00:00:0d"
HOOKS, FILES = "/etc/libvirt/hooks/qemu.d", "/etc/linuxvirt-macvtap"
_NFT = "import nftables, sys; print(nftables.Nftables().cmd(sys.argv[1])[1])"
_POLICIES = (
    "import runpy, socket, sys; sys.dont_write_bytecode = True; "
    f'sys.meta_path.insert(0, runpy.run_path("{FILES}/guard")["Parts"]()); '
    "import checksum_program as made, checksums; "
    'on = checksums.Links(made.PREFIX, {one: made.name(one) for one in ("drop", "count")}, made.compiler); '
    'print([on.policy(index) for index, name in socket.if_nameindex() if name.startswith("macvtap")])'
)
# What is there when libvirt has called all hooks before it starts a guest.
_LOG = f"""#!/bin/sh
[ "$2 $3" = "start begin" ] || exit 0
ip -o link show type macvtap >/run/at-start
{PYTHON} -c '{_POLICIES}' >>/run/at-start
{PYTHON} -c '{_NFT}' 'list table netdev linuxvirt_macvtap' >>/run/at-start
"""


class Guards:
    def __init__(self, hv: Hypervisor) -> None:
        self._hv = hv

    def run(self, **params: t.Any) -> dict[str, t.Any]:
        return direct_iface.ok(run_module("macvtap_guard", params, prefix=self._hv.prefix))

    def fails(self, **params: t.Any) -> str:
        failed = run_module("macvtap_guard", params, prefix=self._hv.prefix)
        assert failed.get("failed"), failed
        return str(failed["msg"])

    def links(self) -> dict[str, list[str]]:
        found = direct_iface.ok(run_module("macvtap_guard_info", {}, prefix=self._hv.prefix))["guards"]
        return {one["mac"]: one["links"] for one in found}

    def rules(self) -> str:
        """Return all rules of guards, without what they share: it stays as long as there is any guard."""
        shared = r"\t(?:chain|set) (?:dropped|counted)_.*?\n\t\}\n"
        return re.sub(r"\n+", "\n", re.sub(shared, "", self.nft("list table netdev linuxvirt_macvtap"), flags=re.S))

    def nft(self, command: str) -> str:
        return self._hv.nft(command)


@pytest.fixture
def guards(hv: Hypervisor) -> t.Iterator[Guards]:
    """A hypervisor with the domains web1 and web2, whose libvirtd has read the hook."""
    for name, mac in (("web1", A), ("web2", B)):
        hv.define(direct_iface.domain(name, direct_iface.nic(mac)))
    made = Guards(hv)
    made.run(mac=A, addresses=["192.0.2.10"])
    hv.run("sh", "-c", f"cat >{HOOKS}/z-log && chmod 755 {HOOKS}/z-log", stdin=_LOG)
    hv.restart()
    yield made
    hv.run("rm", "-f", f"{HOOKS}/z-log")
    made.run(guards=[{"mac": mac, "state": "absent"} for mac in (A, B, C, D)])


def test_a_guard_is_there_before_its_guest_is(hv: Hypervisor, guards: Guards) -> None:
    hv.virsh("start", "web1")
    link, policies, *_table = before = hv.run("cat", "/run/at-start").splitlines()
    # Nothing gets through a link that is down, and QEMU does not run yet.
    assert "<BROADCAST,MULTICAST>" in link
    assert f"jump guard_{A.replace(':', '')}" in "\n".join(before)
    assert policies == "['drop']"
    (name,) = guards.links()[A]
    assert name in link
    assert guards.run(domain="web1", mac=A, addresses=["192.0.2.10"])["changed"] is False
    # Also when it comes back from a file, on another link.
    hv.virsh("managedsave", "web1")
    hv.virsh("start", "web1")
    (again,) = guards.links()[A]
    assert again in hv.run("ip", "-o", "link", "show", "up", "type", "macvtap")


def test_a_guest_does_not_start_without_its_guard(hv: Hypervisor, guards: Guards) -> None:
    hv.run("sed", "-i", "s/return/nonsense/", f"{FILES}/guards.json")
    guards.nft("flush ruleset")
    error = direct_iface.attempt(hv, "start", "web1")
    assert f"linuxvirt.macvtap: no guard for {A}: " in error
    # The others do.
    hv.virsh("start", "web2")
    # The next run mends the file. A guest that is only watched starts in any case.
    guards.run(mac=A, policy="count")
    hv.virsh("start", "web1")
    hv.virsh("destroy", "web1")
    hv.run("sed", "-i", "s/return/nonsense/", f"{FILES}/guards.json")
    guards.nft("flush ruleset")
    hv.virsh("start", "web1")
    assert guards.links()[A] == []


def test_what_flushes_all_of_nftables_loses_no_guard(hv: Hypervisor, guards: Guards) -> None:
    hv.virsh("start", "web1")
    before = guards.links()
    guards.nft("flush ruleset")
    assert guards.links() == {A: []}
    # The unit does this when nftables.service is reloaded, and at boot.
    program = [PYTHON, f"{FILES}/guard", "load"]
    hv.run(*program)
    assert guards.links() == before
    guards.nft("delete table netdev linuxvirt_macvtap")
    # As does udev, for one link.
    hv.run(*program[:2], "link", before[A][0])
    assert guards.links() == before
    hv.run(*program)
    assert guards.links() == before


def test_a_nic_that_is_attached_has_its_guard(hv: Hypervisor, guards: Guards) -> None:
    guards.run(guards=[{"mac": C}, {"mac": D}])
    hv.virsh("start", "web1")
    direct_iface.ok(direct_iface.on(hv)(domain="web1", mac=C, source="eth0", model="virtio"))
    (link,) = guards.links()[C]
    assert f"<target dev='{link}'/>" in direct_iface.element(hv.dump("web1", live=True), C)
    # One whose guard cannot be loaded is not let out in silence.
    hv.run("sed", "-i", "s/return/nonsense/g", f"{FILES}/guards.json")
    guards.nft("flush ruleset")
    failed = direct_iface.on(hv)(domain="web1", mac=D, source="eth0", model="virtio", timeout=1)
    assert "has no guard, and nothing that the guest sends gets out" in failed["msg"]
    assert f'drop comment "{D} closed@' in guards.nft("list table netdev linuxvirt_macvtap")
    # It is taken back, as soon as the guest releases it.
    assert D not in hv.dump("web1")
    assert "Set policy: count" in failed["msg"]


def test_each_guard_has_a_rule_of_udev(hv: Hypervisor, guards: Guards) -> None:
    hv.virsh("start", "web1")
    hv.virsh("start", "web2")
    result = guards.run(guards=[{"domain": "web1", "mac": A}, {"domain": "web2", "mac": B, "policy": "count"}])
    assert sorted(len(one["links"]) for one in result["guards"]) == [1, 1]
    rules = hv.run("cat", "/etc/udev/rules.d/91-macvtap-guard.rules")
    assert f'ATTRS{{address}}=="{A}"' in rules
    assert f'ATTRS{{address}}=="{B}"' in rules


def test_what_loads_guards_is_restored(hv: Hypervisor, guards: Guards) -> None:
    given = {"mac": A, "addresses": ["192.0.2.10"]}
    hv.run("rm", f"{HOOKS}/macvtap-guard")
    hv.run("sed", "-i", "s/^import json$/import sys/", f"{FILES}/guard")
    predicted = direct_iface.ok(run_module("macvtap_guard", given, check=True, prefix=hv.prefix))
    assert (predicted["changed"], predicted["changes"]) == (True, [])
    assert guards.run(**given)["changed"] is True
    assert hv.run("cat", f"{HOOKS}/macvtap-guard").startswith("#!/bin/sh")
    assert "import json\n" in hv.run("cat", f"{FILES}/guard")
    assert guards.run(**given)["changed"] is False


def test_the_last_guard_takes_all_files_with_it(hv: Hypervisor, guards: Guards) -> None:
    hv.virsh("start", "web1")
    guards.run(mac=A, state="absent")
    hv.run("rm", "-f", f"{HOOKS}/z-log")
    paths = ["/etc/libvirt/hooks", "/etc/udev/rules.d", "/etc/systemd/system", FILES]
    assert hv.run("sh", "-c", f"find {' '.join(paths)} -name '*guard*' 2>/dev/null; ls -A {FILES} || true") == ""
    assert guards.nft("list table netdev linuxvirt_macvtap").strip() in ("", "table netdev linuxvirt_macvtap {\n}")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"domain": "web3", "mac": A}, "domain: there is no domain 'web3'; did you mean"),
        (
            {"domain": "web2", "mac": A},
            f"mac: domain 'web2' has no direct interface with the MAC address {A}; it has {B}",
        ),
        ({"domain": "web1", "mac": A, "uri": "qemu:///nowhere"}, "uri: cannot connect"),
    ],
)
def test_a_nic_that_no_domain_has_is_refused(guards: Guards, params: dict[str, t.Any], message: str) -> None:
    assert guards.fails(**params).startswith(message)


def test_a_file_of_somebody_else_is_left_alone(hv: Hypervisor, guards: Guards) -> None:
    hv.run("sh", "-c", f"cp {HOOKS}/macvtap-guard /run/hook; echo '#!/bin/sh' >{HOOKS}/macvtap-guard")
    result = guards.run(mac=B)
    assert f"{HOOKS}/macvtap-guard is not managed by this collection" in str(result["warnings"])
    assert hv.run("cat", f"{HOOKS}/macvtap-guard") == "#!/bin/sh\n"
    hv.run("sh", "-c", f"cat /run/hook >{HOOKS}/macvtap-guard")


def test_a_file_that_cannot_be_written_takes_the_rules_back(hv: Hypervisor, guards: Guards) -> None:
    hv.virsh("start", "web1")
    before, rules = guards.links(), guards.rules()
    patch = (
        "from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files\n"
        "from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError\n"
        "real = _files.write\n"
        "def write(path, *values, **named):\n"
        "    if path.endswith('guards.json'): raise MacvtapError('the disk is full')\n"
        "    real(path, *values, **named)\n"
        "_files.write = write\n"
    )
    declared = {"guards": [{"mac": A, "policy": "count"}, {"mac": B}]}
    failed = run_module("macvtap_guard", declared, prefix=hv.prefix, patch=patch)
    assert failed["msg"] == "the disk is full. The host is as it was before"
    assert guards.links() == before
    assert guards.rules() == rules


LAN = """
ip link add lan9 type bridge
ip address add 192.0.2.1/24 dev lan9
ip link add up9 type veth peer name far9
ip link set far9 master lan9
for link in lan9 up9 far9; do ip link set $link up; done
"""
CONFIGURE = """
nic=$(grep -l $0 /sys/class/net/*/address | cut -d / -f 5)
until [ -e /run/nic/$nic.* ]; do sleep 0.1; done
kill $(cat /run/nic/$nic.*)
ip address add $1/24 dev $nic
setsid nc -ll -p 7 -e cat </dev/null >/dev/null 2>&1 &
until grep -q ' [0-9A-F]*:0007 [0-9A-F]*:0000 0A ' /proc/net/tcp*; do sleep 0.1; done
echo $nic
"""
# A packet socket with struct virtio_net_hdr, as root in the guest has it.
FORGE = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.setsockopt(263, 15, 1)
    sock.bind((sys.argv[1], 0))
    for text in sys.argv[2:]:
        sock.send(bytes.fromhex(text))
"""


def test_a_guest_has_its_own_checksums_written_and_no_others(hv: Hypervisor, guards: Guards) -> None:
    mac, names = guest_frames.MAC, ("arp", "ip4-source", "dhcp-server", "nd-advert")
    hv.run("sh", "-c", LAN)
    try:
        hv.run(PYTHON, guest_checksums.__file__, "software", "up9")
        hv.define_guest("web9", direct_iface.nic(mac, "up9"))
        guards.run(mac=mac, addresses=[guest_frames.IP4, guest_frames.IP6])
        hv.virsh("start", "web9")
        nic = hv.in_guest("web9", "sh", "-c", CONFIGURE, mac, guest_frames.IP4).strip()
        with streaming(hv.prefix, guest_frames.IP4, 7):
            late = [guest_checksums.FORGED[name] for name in names]
            hv.in_guest(
                "web9", "python3", "-I", "-S", "-c", FORGE, nic, *((one.header + one.frame).hex() for one in late)
            )

        def counted() -> dict[str, int]:
            (found,) = direct_iface.ok(run_module("macvtap_guard_info", {"macs": [mac]}, prefix=hv.prefix))["guards"]
            return {kind: one["packets"] for kind, one in found["counters"].items()}

        # QEMU may be late.
        assert until(lambda: counted()["checksum"] == len(names))
        assert sum(counted().values()) == len(names)
    finally:
        hv.clear()
        hv.run("sh", "-c", "for link in lan9 up9; do ip link del $link; done")
        guards.run(mac=mac, state="absent")


def test_a_guard_waits_for_a_guest_that_is_on_another_host(hv: Hypervisor, guards: Guards) -> None:
    entry = {"domain": "web4", "mac": D, "guard": {"addresses": ["192.0.2.14"]}}
    params = {"interfaces": [entry], "on_missing": "skip"}
    done, again = (direct_iface.ok(run_module("libvirt_direct_iface", params, prefix=hv.prefix)) for _time in range(2))
    assert (done["missing"], [one["mac"] for one in done["guards"]]) == (["web4"], [D])
    assert not again["changed"]
    hv.define(direct_iface.domain("web4", direct_iface.nic(D)))
    hv.virsh("start", "web4")
    assert len(guards.links()[D]) == 1
    hv.virsh("destroy", "web4")
    hv.virsh("undefine", "web4")
