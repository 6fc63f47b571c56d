# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of a macvtap link: here alone in words, and what Ansible is told of them in _links/attributes.py."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import BACKENDS

_OPTIONS = r"""
options:
  state:
    description:
      - V(up), the link exists and is up; V(down), it exists and is down.
      - V(present), it exists; whether it is up is left as it is, and a new one is down.
      - V(absent), it does not exist.
      - An up link whose tap no process holds open feeds the host's own stack, which answers ARP with the address of
        the link. Keep links that wait for their guest V(down) where that matters.
    type: str
    choices: [up, present, down, absent]
    default: up
  parent:
    description:
      - The link below, through which the frames reach the network, by its name, alternative name, MAC address, or the
        PCI address of its device (V(0000:03:00.0)).
      - It must be a wired Ethernet link that is neither a port of a bridge or bond nor itself a macvlan or macvtap
        link, and has no ipvlan or macsec link on it. A macvlan link whose own parent is in another network namespace
        will do, as C(eth0) of some containers.
      - Needed for a link that does not exist yet.
    type: str
    aliases: [link, lower, base_iface]
  mode:
    description:
      - Who can talk to whom on one parent. V(bridge), links of the parent reach each other directly; V(vepa), through
        the switch, which must have reflective relay; V(private), not directly either, and broadcasts of one private
        link never reach another; V(passthru), the link is the only one on the parent and has its address; V(source),
        the link gets only frames from the addresses in O(source_macs), whomever they are for.
      - V(private) is no isolation where the switch has reflective relay, which lets unicast frames to a known address
        through.
      - V(auto), a new link gets V(vepa) if the switch behind its parent has reflective relay, else V(bridge). Each
        parent's switch is asked once in a task, as M(linuxvirt.macvtap.reflective_relay_info) does. Where nothing can
        be found out, as on a parent that is down, it is V(bridge), with a warning. See O(auto) for links that exist.
      - Left out, a link that exists keeps its mode, and a new one gets the kernel's default, V(vepa), with a warning.
    type: str
    choices: [vepa, bridge, private, passthru, source, auto]
  mac:
    description:
      - MAC address of the link, unicast, in quotes, since YAML takes some of them for numbers.
      - Left out, a link that exists keeps its address, and a new link gets one at random.
    type: str
    aliases: [address]
  mtu:
    description: MTU of the link in bytes, from 68 up to its parent's.
    type: int
  txqueuelen:
    description: Length of the transmit queue in packets.
    version_added: 0.2.0
    type: int
    aliases: [txqlen]
  promiscuous:
    description:
      - Whether a link in mode V(passthru) sets its parent promiscuous. V(false) is C(nopromisc) of C(ip link). In other
        modes the kernel takes the flag and does nothing with it.
    version_added: 0.2.0
    type: bool
  nodst:
    description:
      - In mode V(source), whether a frame that this link takes by its source address goes to no other link (C(nodst) of
        C(ip link)). The parent, and so the host itself, gets no frame from these addresses either. In other modes the
        kernel takes the flag and does nothing with it.
    version_added: 0.2.0
    type: bool
  source_macs:
    description:
      - The addresses that a link in mode V(source) takes frames from, all of them. Those that are missing are added,
        others removed; an empty list empties it. At most 5400, which is what the kernel can return.
      - A link that leaves mode V(source) loses its list.
    version_added: 0.2.0
    type: list
    elements: str
  bcqueuelen:
    description: Length of the queue of broadcast and multicast frames in packets, as this link asks for it. The
      greatest that a link of the parent asks for is in effect.
    version_added: 0.2.0
    type: int
  bclim:
    description: Threshold for queuing broadcast frames, C(bclim) of C(ip link). All links of a parent share it.
    version_added: 0.2.0
    type: int
    aliases: [bc_cutoff]
  group:
    description: Link group, a number. All links are in group 0 that nobody has put into another.
    version_added: 0.2.0
    type: int
  alias:
    description: Alias of the link, a free text of 255 bytes at most. An empty text removes it.
    version_added: 0.2.0
    type: str
  altnames:
    description: Alternative names of the link, all of them. An empty list removes those that there are.
    version_added: 0.2.0
    type: list
    elements: str
  queues:
    description: Numbers of queues. The kernel cannot change them on a link that exists, which is recreated then.
    version_added: 0.2.0
    type: dict
    suboptions:
      tx:
        description: Number of transmit queues.
        type: int
      rx:
        description: Number of receive queues.
        type: int
  gso_max_size:
    description:
      - Largest packet in bytes that the host's own stack hands to the link in one piece, for what is below to divide
        (C(gso_max_size) of C(ip link)). The parent's own limit is the greatest.
      - What comes from a guest is as large as the guest makes it.
    version_added: 0.2.0
    type: int
  addrgenmode:
    description:
      - How the host's own stack makes an IPv6 link-local address for the link. V(none) keeps it from having one.
      - Where the link has no IPv6 (an MTU below 1280, or a kernel without it), V(none) is so already.
      - With V(none) the host joins no multicast group of that address on the link either. It is this group through
        which a guest's IPv6 neighbour discovery works by accident, so set O(allmulticast=true) along with V(none).
    version_added: 0.2.0
    type: str
    choices: [eui64, none, stable_secret, random]
  allmulticast:
    description:
      - Whether the link lets all multicast frames through to the guest, and not only those of groups that the host has
        joined on the link. Guests that use multicast (mDNS, VRRP, IPv6 with addresses not made from the MAC) need it.
      - In mode V(passthru) the kernel passes it on to the parent only while the link is up. So V(true) is refused
        there for a link that is to be down, a link that is set down loses it, and where the parent's own count
        (C(allmulti)) does not show it, or the kernel does not tell that count (before Linux 6.0), V(false) makes a
        link that is up anew.
    version_added: 0.2.0
    type: bool
  netns:
    description:
      - The network namespace in which the link is to be, by its name in C(ip netns) or the path of its file. Its parent
        is in the module's own namespace.
      - Left out, the link is in the module's own namespace too. Links of one name in two namespaces are two links.
    version_added: 0.2.0
    type: str
  tap:
    description: The link's character device C(/dev/tapN), N being the link's index.
    type: dict
    suboptions:
      owner:
        description: User, by name or number.
        type: str
      group:
        description: Group, by name or number.
        type: str
      mode:
        description:
          - Permissions in octal digits, in quotes, such as V("0660").
          - Without quotes YAML takes C(0660) for the number that is meant, and C(440) for another one. That is refused.
        type: raw
      repair:
        description:
          - Put the right device at C(/dev/tapN) where there is none, or that of another link.
          - Indexes are counted for each network namespace and C(/dev) is one for all, so that links of the same index
            in two namespaces have one node between them. Without this, that is only warned of.
        type: bool
"""


def _entries(**more: t.Mapping[str, t.Any]) -> str:
    """Return the option ``links``: each entry has the module's own options, those of ``more`` among them."""
    links = {
        "description": [
            "The links, each with the options of the module itself.",
            "What an entry leaves out is taken from the module's own option of that name, so that these are the "
            "entries' defaults.",
        ],
        "type": "list",
        "elements": "dict",
        "suboptions": {
            "name": {"description": "See O(name).", "type": "str", "required": True},
            **_suboptions({**LINK_OPTIONS, **more}),
        },
    }
    return f"  links: {json.dumps(links)}\n"


def _suboptions(options: t.Mapping[str, t.Any], outer: str = "") -> dict[str, t.Any]:
    return {name: _suboption(f"{outer}{name}", option) for name, option in options.items()}


def _suboption(path: str, option: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    rest = {key: value for key, value in option.items() if key != "options"}
    inner = {"suboptions": _suboptions(option["options"], f"{path}.")} if "options" in option else {}
    return {"description": f"See O({path}).", **rest, **inner}


_BACKEND = {"type": "str", "choices": list(BACKENDS), "aliases": ["persistence"]}


class ModuleDocFragment:
    # Of modules that make links. Annotated as what a tool has to evaluate: ansible-test's yamllint takes every plain
    # assignment in here for a constant text.
    DOCUMENTATION: str = _OPTIONS + _entries()

    # Of modules that write them down.
    PERSISTENT: str = _OPTIONS + _entries(backend=_BACKEND)

    # Of modules that change links.
    LOCK = r"""
options:
  lock_timeout:
    description:
      - How many seconds to wait for another run that changes links on the host to end, of
        M(linuxvirt.macvtap.macvtap_link), M(linuxvirt.macvtap.vlan_link) or M(linuxvirt.macvtap.macvtap_host_access).
    version_added: 0.2.0
    type: int
    default: 60
"""

    ROLLBACK = r"""
options:
  on_error:
    description: Whether to put everything back when a step fails, or to keep what was done.
    version_added: 0.2.0
    type: str
    choices: [rollback, keep]
    default: rollback
"""
