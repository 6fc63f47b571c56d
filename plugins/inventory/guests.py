# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The inventory plugin guests: the guests of all hypervisors, with the addresses to reach them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: guests
short_description: Guests of all hypervisors, with the addresses to reach them
version_added: 0.2.0
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Adds the libvirt guests of all hypervisors of an inventory as hosts, with the variable C(ansible_host), groups, and
    a variable C(macvtap_guest) that has what M(linuxvirt.macvtap.macvtap_guest_addresses_info) returns of them.
  - Runs that module on the hypervisors, all at the same time, over the connections that their inventory gives them. The
    controller needs nothing but Ansible.
  - A hypervisor that cannot be reached costs O(timeout) once, however many there are, and a warning.
  - The name of the file must be C(macvtap_guests.yml) or end in C(.guests.yml); C(.yaml) is accepted as well.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [linuxvirt.macvtap.guests]
  inventory:
    description:
      - Inventory sources that have the hypervisors. Relative paths are relative to this file.
      - By default those that Ansible has read before this file. It reads the files of a directory in alphabetical
        order.
    type: list
    elements: str
  hypervisors:
    description: A pattern that selects the hypervisors, such as the name of a group.
    type: str
    default: all
  become:
    description:
      - Whether to become root on the hypervisors. Without root only what every user may read is known.
    type: bool
    default: true
  uri:
    description: URI of the libvirt daemon, on each hypervisor.
    type: str
    default: qemu:///system
  timeout:
    description: How many seconds connecting to a hypervisor may take.
    type: int
    default: 10
  run_timeout:
    description: How many seconds a hypervisor may take to answer, besides what O(listen) takes.
    type: int
    default: 60
  forks:
    description: How many hypervisors to ask at the same time.
    type: int
    default: 50
  agent:
    description: As the option of M(linuxvirt.macvtap.macvtap_guest_addresses_info).
    type: bool
    default: true
  listen:
    description: As the option of M(linuxvirt.macvtap.macvtap_guest_addresses_info).
    type: int
    default: 0
  probe:
    description: As the option of M(linuxvirt.macvtap.macvtap_guest_addresses_info).
    type: bool
    default: false
  probe_networks:
    description: As the option of M(linuxvirt.macvtap.macvtap_guest_addresses_info).
    type: list
    elements: str
    default: []
  probe_rate:
    description: As the option of M(linuxvirt.macvtap.macvtap_guest_addresses_info).
    type: int
    default: 200
    version_added: 1.0.0
  ask_others:
    description:
      - Let the other hypervisors ask for guests that their own host cannot ask, such as those in mode V(private), and
        for those of which it knows no address. They ask on the uplinks of their own running guests.
      - With O(probe) only. Takes another run on all hypervisors, if there are such guests.
    type: bool
    default: true
  prefer:
    description:
      - Which address becomes C(ansible_host), the best first. Each is V(ipv4), V(ipv6) or a network.
      - Of several addresses that fit one, the surest is used. Of equally sure IPv6 addresses, one that follows from the
        MAC address is used, which is no temporary one. An address that fits none is not used.
      - An address that several guests have is not used, because it could lead to the wrong one. So it is with networks
        in different VLANs that have the same addresses. Through different hypervisors (O(jump)) it is used.
    type: list
    elements: str
    default: [ipv4, ipv6]
  stale:
    description: Whether an address that is V(stale) may become C(ansible_host), if no other fits the same preference.
    type: bool
    default: false
  jump:
    description:
      - Which guests to connect to through their hypervisor, with its own connection variables.
      - V(shim) is for guests that their hypervisor reaches over its macvlan shim, unless the address is in
        O(direct_networks). Those are the addresses with a C(shim) in what the module returns.
      - It sets C(ansible_ssh_common_args), which is for the connection plugin C(ssh).
    type: str
    choices: [never, shim, always]
    default: never
  direct_networks:
    description: Networks that the controller reaches by itself, for O(jump=shim). Whether it does is not tried.
    type: list
    elements: str
    default: []
  merge:
    description:
      - Hosts, or groups of hosts, of other sources that are guests. They get the address and the groups of the guest of
        that name.
      - A guest that is called as any other host is left out, because who names guests could take over that host.
        V(all) has all hosts but the hypervisors.
    type: list
    elements: str
    default: []
    version_added: 1.0.0
  group:
    description: Name of the group that has all guests.
    type: str
    default: guests
  group_by:
    description:
      - By what to group the guests, as in C(hypervisor_hv1), C(uplink_eth0), C(vlan_10), C(segment_dmz),
        C(network_lan), C(mode_bridge) and C(state_running). A guest with several NICs is in the groups of all.
      - Segments are those of the hypervisor's variable C(macvtap_segment), if it has one. See the role
        P(linuxvirt.macvtap.macvtap_preflight#role).
    type: list
    elements: str
    choices: [hypervisor, uplink, vlan, segment, network, mode, state]
    default: [hypervisor, uplink, vlan, segment, network, mode, state]
notes:
  - Several hypervisors may have defined a guest of one UUID. It is a guest of the one where it runs. Different guests
    of one name have the name of their hypervisor added, as in C(web1_hv2).
  - A guest that is called as a hypervisor, a group, the controller itself (V(localhost)) or a host of another source is
    left out, with a warning. See O(merge). So this file must be read after the other sources.
  - A cache keeps what hypervisors have answered. Those that have not are asked again each time.
seealso:
  - module: linuxvirt.macvtap.macvtap_guest_addresses_info
"""

EXAMPLES = r"""
# inventory/macvtap_guests.yml, beside inventory/hosts.yml with the hypervisors
plugin: linuxvirt.macvtap.guests
hypervisors: hypervisors
---
# Guests that only their hypervisors reach; IPv6 first, and IPv4 only in one network
plugin: linuxvirt.macvtap.guests
inventory: [hosts.yml]
hypervisors: hypervisors
probe: true
probe_networks: [192.0.2.0/24]
prefer: [ipv6, 192.0.2.0/24]
jump: shim
---
# Groups and variables of one's own, and a cache for an hour
plugin: linuxvirt.macvtap.guests
hypervisors: hypervisors
keyed_groups:
  - key: macvtap_guest.interfaces | map(attribute='portgroup') | select | list
    prefix: portgroup
compose:
  ansible_user: "'admin'"
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: /var/cache/ansible/guests
cache_timeout: 3600
"""

import contextlib
import os
import pathlib
import time
import typing as t

from ansible import constants
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.display import Display

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import connections, options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import inventory as guests
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import ask_hypervisors, hypervisor_answers, untrusted

display = Display()

_NAMES = ("macvtap_guests.yml", "macvtap_guests.yaml")
_ENDS = (".guests.yml", ".guests.yaml")
_RANGES = {
    "timeout": (1, 600),
    "run_timeout": (5, 3600),
    "forks": (1, 500),
    "listen": (0, 3600),
    "probe_rate": options.RATES,
}


# The options of ssh by which it reaches guests through their hypervisors, by the names of these.
Jumps = t.Dict[str, str]


class _Groups:
    """Stands for an inventory, and records which groups are made and what is put into them."""

    def __init__(self, inventory: t.Any) -> None:
        self._inventory = inventory
        self._children: list[tuple[str, str]] = []
        self.names: dict[str, None] = {}

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._inventory, name)

    def add_group(self, group: str) -> str:
        self.names[group] = None
        return group

    def add_child(self, group: str, child: str) -> bool:
        self._children.append((group, child))
        return True

    def add_host(self, host: str, group: str) -> str:
        self.add_child(group, host)
        return host

    def replay(self) -> None:
        """Do what was recorded.

        :raises AnsibleError: a group would be its own child.
        """
        for name in self.names:
            self._inventory.add_group(name)
        for group, child in self._children:
            self._inventory.add_child(group, child)


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The entry point for Ansible."""

    NAME = "linuxvirt.macvtap.guests"
    inventory: t.Any
    _others: t.AbstractSet[str] = frozenset()
    """Names of hosts, which no group may have."""

    def verify_file(self, path: str) -> bool:
        """Whether the file is one of this plugin's, by its name."""
        name = os.path.basename(path)
        return bool(super().verify_file(path)) and (name in _NAMES or name.endswith(_ENDS))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Add the guests to ``inventory``."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        if os.environ.get(ask_hypervisors.NESTED):
            # This very run asks for the hypervisors.
            return
        try:
            rules = connections.Rules(
                connections.preferences(self.get_option("prefer"), "prefer"),
                tuple(self.get_option("group_by")),
                self.get_option("stale"),
                self.get_option("jump"),
                connections.networks(self.get_option("direct_networks"), "direct_networks"),
            )
            answers = self._answers(path, cache=cache)
            found, jumps = self._reports(answers, rules)
            self._add(found, answers.keys(), rules, jumps)
        except MacvtapError as exc:
            # Ansible shows the text of each error of a chain.
            raise AnsibleParserError(f"{path}: {exc}") from None

    def _answers(self, path: str, *, cache: bool) -> hypervisor_answers.Answers:
        """Return what the hypervisors answered, from the cache if it has that."""
        question = self._question(path)
        key = self.get_cache_key(path) if self.get_option("cache") else None
        now, known = time.time(), None
        if key is not None and cache:
            with contextlib.suppress(KeyError):
                known = hypervisor_answers.stored(self._cache[key], self.get_option("cache_timeout"), now)
        ask_others = self.get_option("probe") and self.get_option("ask_others")
        try:
            answers = hypervisor_answers.gather(question, known, ask_others=ask_others)
        except ask_hypervisors.AskError as exc:
            raise MacvtapError(f"the hypervisors could not be asked: {exc}", path="hypervisors") from exc
        if key is not None:
            new = hypervisor_answers.to_store(answers, known.asked if known else now)
            if new is not None and new != known:
                self._cache[key] = new.as_dict()
        return answers

    def _question(self, path: str) -> ask_hypervisors.Question:
        for option, (least, most) in _RANGES.items():
            _values.check_range(self.get_option(option), least, most, option)
        # An error here is better than the same from each hypervisor.
        options.questions(self.get_option("probe_networks"), "probe_networks")
        names = ("uri", "agent", "listen", "probe", "probe_networks", "probe_rate")
        return ask_hypervisors.Question(
            self._sources(path),
            self.get_option("hypervisors"),
            {name: self.get_option(name) for name in names},
            self.get_option("become"),
            self.get_option("timeout"),
            self.get_option("run_timeout") + self.get_option("listen"),
            self.get_option("forks"),
            (*connections.CONNECTION, segments.VARIABLE),
        )

    def _sources(self, path: str) -> tuple[str, ...]:
        declared = self.get_option("inventory")
        if declared:
            folder = pathlib.Path(path).resolve().parent
            sources = [str(folder / os.path.expanduser(source)) for source in declared]
            for index, source in enumerate(sources):
                if not os.path.exists(source):
                    raise MacvtapError(f"there is no {source}", path=f"inventory[{index}]")
            return tuple(sources)
        read = [str(source) for source in self.inventory.processed_sources if source and str(source) != str(path)]
        if not read:
            raise MacvtapError(
                "no source of an inventory was read before this file, so there are no hypervisors. Set inventory to "
                "the files that have them, or name this file so that it comes after them",
                path="inventory",
            )
        return tuple(read)

    def _reports(self, answers: hypervisor_answers.Answers, rules: connections.Rules) -> tuple[dict[str, t.Any], Jumps]:
        """Return the guests of each hypervisor that has answered, with what the others have found, and the ways."""
        if not answers:
            display.warning(f"{self.NAME}: hypervisors: no host matches {self.get_option('hypervisors')!r}")
        found: dict[str, t.Any] = {}
        others: dict[str, t.Any] = {}
        jumps: Jumps = {}
        missing: dict[tuple[str, str], list[str]] = {}
        for name, answer in sorted(answers.items()):
            try:
                of_host = hypervisor_answers.guests_of(answer)
                if rules.jump != connections.NEVER:
                    jumps[name] = hypervisor_answers.jump(answer)
                found[name] = of_host
                others[name] = hypervisor_answers.others_of(answer)
            except MacvtapError as exc:
                what = "what it knows of others is" if name in found else "its guests are"
                missing.setdefault((what, str(exc)), []).append(name)
        for (what, reason), names in missing.items():
            display.warning(f"{self.NAME}: {_text.join_names(names)}: {what} missing: {reason}")
        known = guests.with_others(found, others)
        return {name: self._with_segments(known[name], answers[name]) for name in known}, jumps

    def _with_segments(self, found: t.Any, answer: t.Mapping[str, t.Any]) -> t.Any:
        host = answer["connection"]["inventory_hostname"]
        declared = answer["connection"].get(segments.VARIABLE)
        try:
            hypervisor_answers.require_readable(answer, (segments.VARIABLE,))
            return found if declared is None else guests.with_segments(found, *segments.read(declared))
        except MacvtapError as exc:
            display.warning(f"{self.NAME}: {host}: its guests are in no segment: {exc}")
            return found

    def _add(
        self, found_by: t.Mapping[str, t.Any], hypervisors: t.Collection[str], rules: connections.Rules, jumps: Jumps
    ) -> None:
        found, warnings = guests.guests(found_by, rules)
        for warning in warnings:
            display.warning(f"{self.NAME}: {warning}")
        hosts = frozenset(self.inventory.hosts)
        self._others = frozenset({*hosts, *hypervisors, *constants.LOCALHOST})
        self.inventory.add_group(self.get_option("group"))
        own = {self._sanitize_group_name(group) for guest in found for group in guest.groups}
        groups = frozenset({*self.inventory.groups, *own})
        names = guests.Names(frozenset(hypervisors), groups, hosts, self._merged(), frozenset(constants.LOCALHOST))
        added = {}
        for guest in found:
            problem = guests.problem_of(guest.name, names)
            if problem:
                self._leave_out(guest, problem)
            else:
                self._add_guest(guest, jumps)
                added[guest.name] = guest
        self._construct(added)

    def _leave_out(self, guest: guests.InventoryGuest, problem: str) -> None:
        display.warning(f"{self.NAME}: {guest.name!r} on {guest.hypervisor} {problem}; left out")

    def _construct(self, added: t.Mapping[str, guests.InventoryGuest]) -> None:
        """Give guests the variables and groups of the user's own, and leave out who is called as such a group."""
        inventory, strict = self.inventory, self.get_option("strict")
        groups = {name: _Groups(inventory) for name in added}
        for name, recorder in groups.items():
            composed = inventory.get_host(name).get_vars()
            self._set_composite_vars(self.get_option("compose"), composed, name, strict=strict)
            composed = inventory.get_host(name).get_vars()
            # Ansible would have a host and a group of one name be the same in some places.
            self.inventory = recorder
            try:
                self._add_host_to_composed_groups(self.get_option("groups"), composed, name, strict=strict)
                self._add_host_to_keyed_groups(self.get_option("keyed_groups"), composed, name, strict=strict)
            finally:
                self.inventory = inventory
        made = {group for recorder in groups.values() for group in recorder.names}
        for name, recorder in groups.items():
            if name in made:
                self._leave_out(added[name], "is called as a group")
                inventory.remove_host(inventory.get_host(name))
                continue
            try:
                recorder.replay()
            except AnsibleError as exc:
                display.warning(f"{self.NAME}: {name} is not in all of keyed_groups: {exc}")

    def _merged(self) -> frozenset[str]:
        """Return the hosts of other sources that may be guests."""
        declared = self.get_option("merge")
        if "all" in declared:
            return frozenset(self.inventory.hosts)
        groups = [self.inventory.groups[name] for name in declared if name in self.inventory.groups]
        return frozenset({*declared, *(host.name for group in groups for host in group.get_hosts())})

    def _sanitize_group_name(self, name: str) -> str:
        """Return the name of a group, which is no host's: a group that is called as a host hides that host.

        Ansible leaves only letters, digits and underscores in it. Before ansible-core 2.19 it would be a template.
        """
        safe = str(BaseInventoryPlugin._sanitize_group_name(name))
        if safe in self._others:
            display.warning(f"{self.NAME}: the group {safe} is called {safe}_, because a host is called {safe}")
            safe += "_"
        return safe

    def _add_guest(self, guest: guests.InventoryGuest, jumps: Jumps) -> None:
        self.inventory.add_host(guest.name, group=self.get_option("group"))
        values: dict[str, t.Any] = {"macvtap_guest": guest.values}
        if guest.address is not None:
            values["ansible_host"] = guest.address
        if guest.jumps:
            values["ansible_ssh_common_args"] = jumps[guest.hypervisor]
        for name, value in values.items():
            # What hypervisors and guests say is no template.
            self.inventory.set_variable(guest.name, name, untrusted.data(value))
        for group in guest.groups:
            self.inventory.add_host(guest.name, group=self.inventory.add_group(self._sanitize_group_name(group)))
