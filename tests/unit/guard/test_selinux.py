# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What SELinux's policy does not allow who puts guards on links, by the kernel's answers."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import selinux

DAEMONS = {"libvirt": "virtd_t", "udev": "udev_t"}
# As the kernel numbers them: a class, and a permission of it.
CLASSES = {"process": (2, "fork", 1), "file": (7, "execute", 15), "netlink_netfilter_socket": (46, "create", 3)}
ALL = frozenset({"virtd_t file", "udev_t file", "virtd_t socket", "udev_t socket"})


class Policy(selinux.Policy):
    """A policy that allows some of ALL, with the kernel's answers; hooks run in the domain ``hooks`` if it has one."""

    def __init__(
        self, mount: pathlib.Path, allowed: t.Collection[str], *, enforced: bool = False, hooks: str = "virtd_t"
    ) -> None:
        super().__init__(str(mount))
        self._allowed, self._hooks = allowed, hooks
        self.permissive: tuple[str, ...] = ()
        for name, (number, permission, bit) in CLASSES.items():
            (mount / f"class/{name}/perms").mkdir(parents=True)
            (mount / f"class/{name}/index").write_text(str(number))
            (mount / f"class/{name}/perms/{permission}").write_text(str(bit))
        (mount / "enforce").write_text(str(int(enforced)))

    def _domain(self, name: str) -> str:
        return f"system_u:system_r:{DAEMONS[name]}:s0"

    def _context(self, path: str) -> str:
        return f"system_u:object_r:{'hook_t' if 'hooks' in path else 'bin_t'}:s0"

    def _ask(self, file: str, question: str) -> str:
        source, target, number, *_every = question.split()
        domain = source.split(":")[2]
        if file == "create":
            return source.replace("virtd_t", self._hooks) if "hook_t" in target else source
        name = {"7": "file", "46": "socket"}[number]
        bits = {"file": 1 << 14, "socket": 1 << 2}[name]
        answer = bits if f"{domain} {name}" in self._allowed else 0xFFFFFFFF & ~bits
        return f"{answer:x} ffffffff 0 ffffffff 1 {int(domain in self.permissive)}"


def test_without_selinux_there_is_nothing_to_say(tmp_path: pathlib.Path) -> None:
    assert selinux.check(selinux.Policy(str(tmp_path))) == []


def test_a_policy_that_allows_it_is_not_mentioned(tmp_path: pathlib.Path) -> None:
    assert selinux.check(Policy(tmp_path, ALL, enforced=True)) == []


@pytest.mark.parametrize("missing", ["virtd_t file", "virtd_t socket"])
def test_who_may_not_is_named(tmp_path: pathlib.Path, missing: str) -> None:
    (warning,) = selinux.check(Policy(tmp_path, ALL - {missing}))
    assert warning.startswith("SELinux's policy does not allow libvirt (virtd_t) to load nftables")
    assert "It is permissive now" in warning


def test_a_policy_that_is_enforced_is_no_host_for_guards(tmp_path: pathlib.Path) -> None:
    with pytest.raises(MacvtapError) as raised:
        selinux.check(Policy(tmp_path, (), enforced=True))
    assert "libvirt (virtd_t) and udev (udev_t)" in str(raised.value)
    assert "With a guard libvirt starts no guest" in str(raised.value)


def test_what_udev_alone_may_not_keeps_no_guest_from_its_start(tmp_path: pathlib.Path) -> None:
    (warning,) = selinux.check(Policy(tmp_path, {one for one in ALL if not one.startswith("udev_t")}))
    assert "does not allow udev (udev_t)" in warning
    assert "links come up without their guards" in warning


def test_hooks_may_run_in_a_domain_of_their_own(tmp_path: pathlib.Path) -> None:
    allowed = {*ALL - {"virtd_t socket"}, "hooks_t file", "hooks_t socket"}
    assert selinux.check(Policy(tmp_path, allowed, hooks="hooks_t", enforced=True)) == []


def test_a_domain_may_be_permissive(tmp_path: pathlib.Path) -> None:
    policy = Policy(tmp_path, ALL - {"udev_t socket"}, enforced=True)
    policy.permissive = ("udev_t",)
    assert selinux.check(policy) == []
