#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write macvtap and VLAN links and shims down, so that they are there after a reboot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_persistence
short_description: Write macvtap and VLAN links and shims down, so that they are there after a reboot
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Writes down what a systemd unit of this collection's, C(macvtap-links@UPLINK.service), makes at the next boot, as
    M(linuxvirt.macvtap.macvtap_link), M(linuxvirt.macvtap.vlan_link) and M(linuxvirt.macvtap.macvtap_host_access) make
    it now, for all links in one task. It takes the same entries as these modules, and changes no link.
  - The unit is the same whichever network manager has the uplink. It starts when the uplink appears, at boot and
    whenever that comes back, and before libvirt. It makes each link by itself; what cannot be made is logged and takes
    nothing else along. It leaves alone links that exist, and never removes one or sets one down.
  - The uplink's own configuration is never touched. systemd-networkd and NetworkManager are told, in files for the
    links alone, to leave these alone.
  - Uplinks that do not come cost libvirt 10 seconds at boot, and nothing else.
  - A link without a declared MAC address keeps the one that it has now, and one with an MTU above 1500 that MTU. The
    unit waits a few seconds for an uplink that gets its MTU later.
  - With a shim go its addresses and routes, and its settings (C(arp_filter), C(arp_announce), C(accept_ra) and
    C(autoconf)). An address by DHCP is got by systemd-networkd or NetworkManager, on the link that the unit makes.
  - What cannot be kept fails the task, or is warned of where it does no harm. Links that could not be there together
    (mode V(passthru) must be alone on its parent) are refused, also where one of them was written earlier.
  - Addresses and routes of shims that would cut the host off after the next boot are refused, as
    M(linuxvirt.macvtap.macvtap_host_access) refuses those that would cut it off now.
  - Nothing is reloaded that could disturb a link. The files are for the next boot; until then
    M(linuxvirt.macvtap.macvtap_link) makes the links, and M(linuxvirt.macvtap.macvtap_host_access) the shims.
    systemd reads its units again, and networkd its files if none but those for these links can have changed.
  - Shims with O(shims[].dhcp4) that are there and have no IPv4 address yet get one now, and it is waited for,
    a minute at most. One that has an address is left alone.
  - Files of earlier versions, by which a network manager made the links, go once the new ones are there.
  - Each file has a first line that says that it is managed, and files that have not are never touched. Where one is in
    the way the task fails.
  - Each file is checked by the tool that will read it (C(nmcli), C(ifquery), C(udevadm)), where it is installed and
    can, before any is put in place. All files are written or none, unless O(on_error=keep).
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.links
  - linuxvirt.macvtap.link_options.rollback
  - linuxvirt.macvtap.link_options.persistent
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the files' contents.
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the macvtap link.
      - Give at least one of this, O(links), O(vlans), O(shims) and O(purge).
    type: str
  vlans:
    description:
      - The VLAN links, each with the options of M(linuxvirt.macvtap.vlan_link). Of the module's own options O(parent)
        and O(persistence) are the entries' defaults.
      - For a VLAN link that something else has made nothing is written.
      - With O(vlans[].state=absent), one that something else that stays written is on is refused.
    type: list
    elements: dict
    suboptions:
      state:
        description: As O(state). Left out, it is V(up).
        type: str
        choices: [up, present, down, absent]
      parent:
        description: As O(parent).
        type: str
        aliases: [source, link, lower, base_iface, vlandev]
      id:
        description: Number of the VLAN, from 1 to 4094.
        type: int
        aliases: [vlan_id, vlanid]
      name:
        description: Name of the link. Left out, it is the parent's name, a dot and O(vlans[].id).
        type: str
      protocol:
        description: The tag, V(802.1Q) where it is left out.
        type: str
        choices: [802.1Q, 802.1ad]
      mac:
        description: MAC address. Left out, it is the parent's.
        type: str
      mtu:
        description: MTU.
        type: int
      persistence:
        description: See O(persistence).
        type: str
        choices: [auto, systemd, networkd, networkmanager, ifupdown, none]
  shims:
    description:
      - The host's shims of guests, each with the options of M(linuxvirt.macvtap.macvtap_host_access). Of the
        module's own options O(parent) and O(persistence) are the entries' defaults.
      - Nothing waits for shims at boot.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the shim.
        type: str
        required: true
      state:
        description: With V(present) it is there after a reboot, and up. With V(absent), what has been written for it
          goes. Left out, it is V(present).
        type: str
        choices: [present, absent]
      parent:
        description: As O(parent).
        type: str
        aliases: [source, link, lower, base_iface]
      mac:
        description: MAC address. Left out, it is the one that the shim has now.
        type: str
      mtu:
        description: MTU. Left out, it is the parent's.
        type: int
      addresses:
        description: Its IP addresses, with no prefix length or that of a single address (V(/32) or V(/128)).
        type: list
        elements: str
      guests:
        description: Addresses and networks of guests, which are routed over it.
        type: list
        elements: str
      dhcp4:
        description:
          - Whether the manager gets it an IPv4 address by DHCP. Of the lease only the address is taken, no route, name
            server, domain, time server, MTU or name of the host; and the host does not say its name.
          - NetworkManager is told of the shim alone, so that it gets its address at once.
          - networkd can only be told to read all its files again, and would then take away for a moment the addresses
            of each link whose files have changed since it read them. So it is told only if no other file of its own has
            changed since it started, before the other files are written. Else the address comes with the next boot, or
            with C(networkctl reload), which is warned of and returned in RV(leases).
          - Where no address comes, the task fails. What has been written stays, and the manager goes on asking.
          - A shim that is there, and that no longer has this, keeps its client until the next boot where the
            manager cannot be told of it alone. A warning says so.
        type: bool
      persistence:
        description: See O(persistence).
        type: str
        choices: [auto, systemd, networkd, networkmanager, ifupdown, none]
  state:
    description:
      - With V(up), V(down) and V(present) the link is there after a reboot, and it is up, down, or (V(present)) nobody
        brings it up. With V(absent), what has been written for it goes.
    type: str
    choices: [up, present, down, absent]
    default: up
  parent:
    description:
      - The link below, by its name, alternative name, MAC address or PCI address; it is found at the next boot by what
        is given here.
      - Needed for a link that does not exist.
    type: str
    aliases: [source, link, lower, base_iface]
  mode:
    description:
      - Mode. If not set, it is the one that the link has now, or V(bridge).
      - V(auto) is the one that the link has now, which M(linuxvirt.macvtap.macvtap_link) has chosen, or V(bridge). The
        switch is not asked at boot.
    type: str
    choices: [bridge, vepa, private, passthru, passthrough, source, auto]
  mac:
    description:
      - MAC address. Left out, it is the one that the link has now.
    type: str
  bclim:
    description:
      - It is the parent's and not kept; the next run of M(linuxvirt.macvtap.macvtap_link) sets it.
    type: int
    aliases: [bc_cutoff]
  alias:
    description: Alias, with no quote, backtick, backslash or control character.
    type: str
  netns:
    description:
      - A link in another network namespace is not made at boot; with O(persistence=auto) that is warned of.
    type: str
  tap:
    description: Owner, group and permissions of the link's character device.
    type: dict
    suboptions:
      owner:
        description: User, by name or number.
        type: str
      group:
        description: Group, by name or number.
        type: str
      mode:
        description: Permissions in octal digits, in quotes.
        type: raw
      repair:
        description: Means nothing here; taken since M(linuxvirt.macvtap.macvtap_link) takes it.
        type: bool
  persistence:
    description:
      - What makes the links at the next boot.
      - V(auto), the unit, wherever systemd runs. Where it does not, nothing, with a warning, and what has been written
        for the link before stays.
      - V(systemd), the unit.
      - V(ifupdown), the program that the unit runs, run by ifupdown from a stanza in C(/etc/network/interfaces.d), on
        hosts without systemd. It is refused where systemd runs, and with ifupdown2, which sets links down that leave
        its files.
      - V(networkd) and V(networkmanager) give a shim its addresses; the unit makes it. They are refused for all
        other links. networkd leaves the uplink without addresses when it cannot make a link on it. NetworkManager
        removes a link together with its profile.
      - V(none), nobody. What has been written for the link goes.
    type: str
    choices: [auto, systemd, networkd, networkmanager, ifupdown, none]
    default: auto
  purge:
    description:
      - Remove what this module has written and this task does not declare. With O(name), O(links) or O(vlans), or
        without any list, these are macvtap and VLAN links of any group. With O(shims), these are shims.
      - An empty list declares nothing, so everything of its kind is removed.
      - A VLAN link stays written while something else that is written, such as a shim, is on it, with a warning.
    type: bool
    default: false
  allow_host_disconnect:
    description:
      - Write down what takes away IP addresses or routes of the host at the next boot, or may cut off whoever Ansible
        connects from. What that is, is shown as a warning.
      - Otherwise a link in mode V(passthru) on a parent that has such addresses or routes is refused, and shims
        with which the host could not be reached.
    type: bool
    default: false
  lock_timeout:
    description: How many seconds to wait for another run of this module on the host to end.
    type: int
    default: 60
seealso:
  - module: linuxvirt.macvtap.macvtap_link
  - module: linuxvirt.macvtap.vlan_link
  - module: linuxvirt.macvtap.macvtap_host_access
"""

EXAMPLES = r"""
- name: A link, now
  linuxvirt.macvtap.macvtap_link:
    name: macvtap0
    parent: eth0
    mode: bridge

- name: And after a reboot, whoever manages eth0
  linuxvirt.macvtap.macvtap_persistence:
    name: macvtap0
    parent: eth0
    mode: bridge

- name: A link on a VLAN of a card that may be called otherwise after the next boot
  linuxvirt.macvtap.macvtap_persistence:
    vlans:
      - parent: "52:54:00:12:34:56"
        id: 20
        name: lan20
    links:
      - name: web1
        parent: lan20
        mode: bridge
        tap:
          group: kvm
          mode: "0660"

- name: The host's shim on eth0, for two guests
  linuxvirt.macvtap.macvtap_persistence:
    shims:
      - name: host0
        parent: eth0
        addresses: [192.0.2.250, "2001:db8::250"]
        guests: [192.0.2.77, "2001:db8::77"]

- name: No macvtap and VLAN links any longer
  linuxvirt.macvtap.macvtap_persistence:
    purge: true
"""

RETURN = r"""
changes:
  description: What was changed, or in check mode would be, file by file, and which shims got an address.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: Path of the file, or name of the shim.
      type: str
      returned: always
    field:
      description: V(state) for a file that comes or goes, V(content) or V(mode). V(address) of a shim.
      type: str
      returned: always
    before:
      description: The value before; of a content, a part of its SHA-256.
      type: str
      returned: always
    after:
      description: The value after.
      type: str
      returned: always
    impact:
      description: V(none) of a file, V(in_place) of a shim.
      type: str
      returned: always
  sample:
    - target: /etc/linuxvirt-macvtap/links/eth0
      field: state
      before: absent
      after: file
      impact: none
links:
  description: The declared links, shims among them.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
      returned: always
    persistence:
      description: Who makes it at the next boot, V(null) if nobody does or it is not known.
      type: str
      returned: always
  sample:
    - name: macvtap0
      persistence: systemd
written:
  description: All links for the next boot that are written after the task, declared or not.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
      returned: always
    kind:
      description: V(macvtap), V(vlan) or V(macvlan), a shim. V(null) if an earlier version has written it without.
      type: str
      returned: always
  sample:
    - name: macvtap0
      kind: macvtap
leases:
  description: The declared shims with O(shims[].dhcp4) that a manager keeps.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the shim.
      type: str
      returned: always
    address:
      description: Its IPv4 address, V(null) while it has none.
      type: str
      returned: always
    unread:
      description: The files for which networkd is not told of it now, since they may have changed since it read them.
      type: list
      elements: str
      returned: always
  sample:
    - name: host0
      address: 192.0.2.130
      unread: []
files:
  description: All files of this module on the host, as they are now, or in check mode as they would be.
  returned: success
  type: list
  elements: str
  sample:
    - /etc/NetworkManager/conf.d/90-macvtap.conf
    - /etc/linuxvirt-macvtap/links/eth0
    - /etc/linuxvirt-macvtap/make-links
    - /etc/systemd/network/00-macvtap-macvtap0.network
    - /etc/systemd/system/macvtap-links.service
    - /etc/systemd/system/macvtap-links@.service
    - /etc/systemd/system/multi-user.target.wants/macvtap-links.service
    - /etc/systemd/system/sys-subsystem-net-devices-eth0.device.wants/macvtap-links@eth0.service
"""

import functools
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _file_store, _glue, _managed_files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp import activate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp import planner as dhcp_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp.model import Leases
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import options as access_options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.host import Access
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reach import RouteMonitor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    netlink,
    options,
    rtnetlink,
    tap,
    vlan_options,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import spellings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host, planner, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    BACKENDS,
    UNIT_DIR,
    Declared,
    Host,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, converge

_PERSISTENCE: dict[str, t.Any] = {"type": "str", "choices": list(BACKENDS)}


def macvtap_persistence(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    if not params["purge"] and all(params[option] is None for option in ("name", "links", "vlans", "shims")):
        raise MacvtapError("there is nothing to do: set name, links, vlans, shims or purge")
    declared = [*_vlans(params), *_links(params), *_shims(params)]
    parents = {said for one in declared if one.want.parent for said in spellings(one.want.parent)}
    run = functools.partial(_glue.command, module)

    def plan(there: Host, _answers: _Answers | None = None) -> Plan[File]:
        return planner.plan(_with_purged(declared, params, there), there, purge=_purges_links(params))

    def inquire(there: Host) -> _Answers:
        # Here, so that check mode asks too, and the way back does not: that goes on whatever a tool says of it.
        planned = plan(there)
        resolved = planner.resolved_of(_with_purged(declared, params, there), there)
        cut_off = reachability.check(
            validate.disruptions(resolved.links, there.links), monitor.observe(), there.links, allowed=params[ALLOW]
        )
        notes = host.check(planned.steps, run, module.tmpdir)
        unread = activate.unread(run) if there.networkd else ()
        answers.append(_Answers([*notes, *cut_off], dhcp_planner.plan(resolved, there, planned.steps, unread)))
        return answers[0]

    answers: list[_Answers] = []
    lock = _glue.locked(module, "persistence", doing="writing the files that links are made by at boot")
    with lock, netlink.session() as session, rtnetlink.open_socket() as sock:
        access, monitor = Access(session, sock, parents), RouteMonitor(sock)

        def observe() -> Host:
            there = host.observe(session.observe((), parents=parents))
            if params["shims"] is None:
                return there
            seen = access.observe()
            # What may be cut off is not looked at.
            return replace(there, access=replace(seen, connections=()) if params[ALLOW] else seen)

        outcome = converge(
            observe=observe,
            inquire=inquire,
            plan=plan,
            apply=host.apply,
            undo=lambda journal, there: _managed_files.undo(journal.steps, there.files),
            revert=_file_store.revert,
            check_mode=module.check_mode,
            roll_back=params["on_error"] == "rollback",
        )
        (answer,) = answers
        told = answer.leases
        told_plan = dhcp_planner.plan_of(told)
        warnings = [*outcome.plan.warnings, *told_plan.warnings, *answer.notes]
        addresses: t.Mapping[str, str | None] = {lease.name: lease.address for lease in told.leases}
        if not module.check_mode:
            units = outcome.host.systemd and any(step.target.startswith(UNIT_DIR) for step in outcome.plan.steps)
            warnings += activate.activate(told, run, units=units)
            addresses = activate.wait(told.leases, access.addresses)
    resolved = planner.resolved_of(declared, outcome.host)
    files = _managed_files.predicted(outcome.remaining, outcome.host.files)
    return {
        **Plan((*outcome.plan.steps, *t.cast("Plan[t.Any]", told_plan).steps)).result(diff=module._diff),
        "links": [{"name": name, "persistence": backend} for name, backend in resolved.backends.items()],
        "files": sorted(path for path, file in files.items() if file.ours),
        "written": [{"name": one.name, "kind": one.kind or None} for one in _written(files)],
        "leases": [
            {"name": lease.name, "address": addresses[lease.name], "unread": list(lease.unread)}
            for lease in told.leases
        ],
        "warnings": warnings,
    }


def _purges_links(params: t.Mapping[str, t.Any]) -> bool:
    """Whether purge covers macvtap and VLAN links: not if the task lists shims alone."""
    lists_links = any(params[option] is not None for option in ("name", "links", "vlans"))
    return bool(params["purge"]) and (lists_links or params["shims"] is None)


def _with_purged(declared: list[Declared], params: t.Mapping[str, t.Any], there: Host) -> list[Declared]:
    if not params["purge"] or params["shims"] is None:
        return declared
    return [*declared, *planner.purged_shims(declared, there)]


def _written(files: t.Mapping[str, File]) -> list[planner.Entry]:
    return sorted(planner.written_of(files.values()).values(), key=lambda one: one.name)


class _Answers(t.NamedTuple):
    """What the tools say of the files, and what the managers are to be told."""

    notes: list[str]
    leases: Leases


def _links(params: t.Mapping[str, t.Any]) -> t.Iterator[Declared]:
    if params["links"] is None and params["name"] is None:
        return
    for path, given in _glue.entries(params, "links", ("name", "persistence", *LINK_OPTIONS)):
        yield Declared(options.desired(path, given, tap.ACCOUNTS), given["persistence"])


def _vlans(params: t.Mapping[str, t.Any]) -> t.Iterator[Declared]:
    for path, given in _beside(params, "vlans"):
        yield Declared(vlan_options.desired(path, given), given["persistence"])


def _shims(params: t.Mapping[str, t.Any]) -> t.Iterator[Declared]:
    for path, given in _beside(params, "shims"):
        yield Declared(access_options.desired(path, given), given["persistence"])


def _beside(params: t.Mapping[str, t.Any], option: str) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Yield the path and the options of each entry that is no macvtap link, to which not all defaults apply."""
    for index, given in enumerate(params[option] or ()):
        defaults = {one: params[one] if given[one] is None else given[one] for one in ("parent", "persistence")}
        yield f"{option}[{index}]", {**given, **defaults}


def main() -> None:
    links = {"name": {"type": "str", "required": True}, **LINK_OPTIONS, "persistence": _PERSISTENCE}
    shims = {**access_options.SHIM_OPTIONS, "name": {"type": "str", "required": True}, "persistence": _PERSISTENCE}
    module = _glue.Module(
        argument_spec={
            "name": {"type": "str"},
            "links": {"type": "list", "elements": "dict", "options": links},
            "vlans": {
                "type": "list",
                "elements": "dict",
                "options": {**vlan_options.VLAN_OPTIONS, "persistence": _PERSISTENCE},
            },
            "shims": {"type": "list", "elements": "dict", "options": shims},
            **_glue.with_defaults(LINK_OPTIONS, state="up"),
            "persistence": {**_PERSISTENCE, "default": "auto"},
            **_glue.shared("purge", ALLOW, "lock_timeout", "on_error"),
        },
        mutually_exclusive=[("name", "links")],
        supports_check_mode=True,
    )
    # host.check() knows what the tools say in English.
    module.run_command_environ_update = {"LANGUAGE": "C", "LC_ALL": "C"}
    _glue.run(module, macvtap_persistence)


if __name__ == "__main__":
    main()
