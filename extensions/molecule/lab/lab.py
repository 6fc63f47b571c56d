# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Hypervisors with real guests on one machine, with no container engine."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from labkit import debian, guest, image, indexes, lifecycle, model, reach, ssh, switch, variants, vm, vmimage
from labkit.shell import LabError

Adder = t.Callable[..., argparse.ArgumentParser]
Command = t.Callable[[argparse.Namespace], "int | None"]


def create(args: argparse.Namespace) -> None:
    hypervisors = ("" if args.vms else "hv1,hv2") if args.hypervisors is None else args.hypervisors
    lab = model.declare(args.name, words(hypervisors), words(args.vms), args.vlans, args.release)
    lab = dataclasses.replace(lab, management=args.management, variant=variants.required(args.variant))
    lifecycle.create(lab, index_count=args.index_count, cache=image.cache_dir(args.cache))


def destroy(args: argparse.Namespace) -> None:
    lifecycle.destroy(args.name)


def status(args: argparse.Namespace) -> None:
    lab = model.load(args.name)
    if lab is None:
        raise LabError(f"there is no lab {args.name}")
    show(lifecycle.status(lab))


def inventory(args: argparse.Namespace) -> None:
    print(ssh.inventory(model.require(args.name)), end="")


def leases(args: argparse.Namespace) -> None:
    lab = model.require(args.name)
    found = switch.awaited_leases(lab, args.of, args.since, args.timeout) if args.of else switch.leases(lab)
    show([dataclasses.asdict(lease) for lease in found])


def hairpin(args: argparse.Namespace) -> None:
    lab = model.require(args.name)
    switch.set_hairpin(lab, lab.hypervisor(args.hv), args.state == "on", args.uplink)


def cable(args: argparse.Namespace) -> None:
    vm.set_cable(model.require(args.name).vm(args.hv), args.uplink, args.state == "in")


def reboot(args: argparse.Namespace) -> None:
    before, after = vm.reboot(model.require(args.name).vm(args.hv), append=args.append, timeout=args.timeout)
    show({"before": before, "after": after})


def vm_image(args: argparse.Namespace) -> None:
    with lifecycle.interruptible():
        built = vmimage.build(image.cache_dir(args.cache), args.release or vmimage.RELEASE, args.variant)
    show({key: str(path) for key, path in dataclasses.asdict(built).items()})


def root(args: argparse.Namespace) -> None:
    with lifecycle.interruptible():
        print(debian.hypervisor_root(image.cache_dir(args.cache), args.release))


def execute(args: argparse.Namespace) -> None:
    lab = model.require(args.name)
    cell = lab.switch if args.hv == model.SWITCH else lab.hypervisor(args.hv)
    argv = reach.command(cell, args.command)
    sys.stderr.flush()
    os.execvp(argv[0], argv)  # noqa: S606


def guest_image(args: argparse.Namespace) -> None:
    show({key: str(path) for key, path in dataclasses.asdict(image.build(image.cache_dir(args.cache))).items()})


def guest_xml(args: argparse.Namespace) -> None:
    print(guest.domain_xml(args.name, memory=args.memory, firmware=args.firmware), end="")


def define_guest(args: argparse.Namespace) -> None:
    hv = model.require(args.name).hypervisor(args.hv)
    cache = None if args.firmware else image.cache_dir(args.cache)
    for name in args.guest:
        guest.define(hv, name, cache, memory=args.memory)


def guest_start(args: argparse.Namespace) -> None:
    guest.start(model.require(args.name).hypervisor(args.hv), args.guest)


def guest_stop(args: argparse.Namespace) -> None:
    guest.stop(model.require(args.name).hypervisor(args.hv), args.guest)


def guest_migrate(args: argparse.Namespace) -> None:
    lab = model.require(args.name)
    guest.migrate(lab.hypervisor(args.hv), args.guest, lab.hypervisor(args.destination))


def guest_wait(args: argparse.Namespace) -> None:
    lab = model.require(args.name)
    show(guest.wait(lab, lab.hypervisor(args.hv), args.guest, timeout=args.timeout))


def guest_exec(args: argparse.Namespace) -> int:
    hv = model.require(args.name).hypervisor(args.hv)
    answer = guest.execute(hv, args.guest, args.command, timeout=args.timeout, boot=args.boot_timeout)
    sys.stdout.write(answer["stdout"])
    sys.stdout.flush()
    sys.stderr.write(answer["stderr"])
    return int(answer["status"])


def reserve_indexes(args: argparse.Namespace) -> None:
    show(dataclasses.asdict(indexes.reserve(args.netns, args.count)))


def show(value: object) -> None:
    print(json.dumps(value, indent=2))


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Command, help_text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_text, description=help_text)
        sub.set_defaults(function=function)
        return sub

    def of_lab(name: str, function: Command, text: str) -> argparse.ArgumentParser:
        sub = command(name, function, text)
        sub.add_argument("--name", required=True, metavar="LAB", help="the lab's name")
        return sub

    sub = of_lab("create", create, "make a switch and hypervisors; nothing to do where they are up")
    sub.add_argument("--hypervisors", help="their names, comma-separated (hv1,hv2; with --vms, none but these)")
    sub.add_argument("--vms", default="", help="names of those that are virtual machines, comma-separated (none)")
    sub.add_argument("--vlans", type=numbers, default="", help="VLANs of the switch, comma-separated (none)")
    sub.add_argument("--management", action="store_true", help="a network by which guests migrate between hypervisors")
    of_release(sub, os.environ.get("LAB_RELEASE", ""), "their Debian (LAB_RELEASE, or this machine's own)")
    of_variant(sub, os.environ.get("LAB_VARIANT", ""), "LAB_VARIANT, or the plain one")
    with_cache(sub)
    sub.add_argument("--index-count", type=int, default=indexes.COUNT, help="interface indexes each (%(default)s)")
    of_lab("destroy", destroy, "remove a lab and all that runs in it; harmless where there is none")
    of_lab("status", status, "what a lab consists of, as JSON; exit status 1 if there is none")
    of_lab("inventory", inventory, "an Ansible inventory that says how to reach the hypervisors")
    sub = of_lab("leases", leases, "the DHCP leases on the lab's LAN, as JSON")
    sub.add_argument("--of", nargs="+", metavar="MAC", help="wait until each of these has one")
    sub.add_argument("--since", type=int, default=0, metavar="SECOND", help="later than this second of time(2)")
    sub.add_argument("--timeout", type=float, default=600, help="seconds (%(default)s)")
    sub = of_lab("hairpin", hairpin, "let a hypervisor's switch port reflect frames, or not")
    sub.add_argument("hv")
    sub.add_argument("state", choices=["on", "off"])
    sub.add_argument("--uplink", action="append", default=[], help="of a virtual machine's, these alone")
    sub = of_lab("cable", cable, "pull the cable of a virtual machine's uplink, or plug it in")
    sub.add_argument("hv")
    sub.add_argument("uplink")
    sub.add_argument("state", choices=["out", "in"])
    sub = of_lab("exec", execute, "run a command on a hypervisor, or on the switch by the name 'lan'")
    sub.add_argument("hv")
    sub.add_argument("command", nargs="+", metavar="-- COMMAND")
    sub = of_lab("reboot", reboot, "reboot a virtual machine; waits until it is up, prints its boot ids as JSON")
    sub.add_argument("hv")
    sub.add_argument("--timeout", type=float, default=vm.BOOT_TIMEOUT, help="seconds (%(default)s)")
    sub.add_argument("--append", default="", help="what the kernel's command line has besides, at this boot")
    sub = with_cache(command("vm-image", vm_image, "build a virtual machine's disk and kernel, unless they are cached"))
    of_release(sub, "", f"its Debian ({vmimage.RELEASE})")
    of_variant(sub, "", "the plain one")
    sub = with_cache(command("root", root, "build a hypervisor's root directory, unless it is cached; print its path"))
    sub.add_argument("release", choices=debian.RELEASES)
    sub = command("reserve-indexes", reserve_indexes, "give any network namespace its own range of interface indexes")
    sub.add_argument("--netns", required=True, help="a name of `ip netns`, or a path such as /proc/PID/ns/net")
    sub.add_argument("--count", type=int, default=indexes.COUNT)
    guest_commands(command, of_lab)
    return top


def of_release(sub: argparse.ArgumentParser, default: str, text: str) -> None:
    sub.add_argument("--release", default=default, metavar="|".join(debian.RELEASES), help=text)


def of_variant(sub: argparse.ArgumentParser, default: str, text: str) -> None:
    choices = "|".join(filter(None, variants.VARIANTS))
    sub.add_argument("--variant", default=default, metavar=choices, help=f"of the virtual machines ({text})")


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, words(text)))


def with_cache(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--cache", help="directory for built images (LINUXVIRT_LAB_CACHE, or .cache/lab)")
    return sub


def kind_of_guest(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--memory", type=int, default=192, help="MiB (%(default)s)")
    sub.add_argument("--firmware", action="store_true", help="without a kernel: it gets its lease, and has no agent")


def guest_commands(command: Adder, of_lab: Adder) -> None:
    def of_guest(name: str, function: Command, text: str) -> argparse.ArgumentParser:
        sub = of_lab(name, function, text)
        sub.add_argument("hv", help="the hypervisor it is on")
        sub.add_argument("guest")
        return sub

    with_cache(command("guest-image", guest_image, "build the guests' kernel and initramfs, unless they are cached"))
    sub = command("guest-xml", guest_xml, "a guest's domain XML, without a network card")
    sub.add_argument("--name", required=True, metavar="GUEST")
    kind_of_guest(sub)
    sub = with_cache(
        of_lab("define-guest", define_guest, "define guests with no network card; one that is there is left alone")
    )
    sub.add_argument("hv")
    sub.add_argument("guest", nargs="+")
    kind_of_guest(sub)
    of_guest("guest-start", guest_start, "start a guest unless it runs")
    of_guest("guest-stop", guest_stop, "stop a guest at once")
    sub = of_guest("guest-migrate", guest_migrate, "migrate a running guest to another hypervisor, with virsh alone")
    sub.add_argument("destination", help="the hypervisor that it is on then")
    sub = of_guest("guest-wait", guest_wait, "wait until a guest has its lease and IPv6 address; prints them as JSON")
    sub.add_argument("--timeout", type=float, default=60, help="seconds (%(default)s)")
    sub = of_guest("guest-exec", guest_exec, "run a command in a guest, once its agent answers")
    sub.add_argument("--timeout", type=float, default=60, help="seconds for the command (%(default)s)")
    sub.add_argument("--boot-timeout", type=float, default=60, help="seconds for the agent (%(default)s)")
    sub.add_argument("command", nargs="+", metavar="-- COMMAND")


def main(argv: t.Sequence[str]) -> int:
    args = parser().parse_args(argv)
    try:
        return args.function(args) or 0
    except LabError as error:
        print(f"lab: error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, lifecycle.Interrupted):
        print("lab: error: interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
