# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Documents the options of a macvtap link; their argument specification is in _links/attributes.py."""

from __future__ import annotations

import json
import typing as t

import yaml

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.options import GUARD
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.choose_backend import PERSISTENCE

_Options = t.Mapping[str, t.Any]
_OPTIONS = r"""
options:
  state:
    description:
      - V(up), the link exists and is up; V(down), it exists and is down.
      - V(present), the link exists; an existing link keeps its state, and a new one is down.
      - V(absent), the link does not exist.
      - The host's own stack receives the frames of an up link whose tap no process holds open. See O(arp) and
        O(accept_ra).
    type: str
    choices: [up, present, down, absent]
    default: up
  parent:
    description:
      - The uplink of the link, by its name, alternative name, MAC address, or the PCI address of its device
        (V(0000:03:00.0)).
      - It must be a wired Ethernet link. It must not be a port of a bridge or bond, a macvlan or macvtap link, or the
        parent of ipvlan or macsec links. Exception, a macvlan link whose own parent is in another network namespace,
        such as C(eth0) of some containers.
      - Required for a link that does not exist yet.
    type: str
    aliases: [source, link, lower, base_iface]
  mode:
    description:
      - How the links of one parent reach each other.
      - V(bridge), directly.
      - V(vepa), through the switch, which must have reflective relay.
      - V(private), not at all. This is no isolation if the switch has reflective relay, which passes unicast frames to
        a known address.
      - V(passthru) (or V(passthrough), the word of libvirt), the link is the only one on the parent, and shares its MAC
        address.
      - V(source), the link receives only frames from the addresses in O(source_macs), whatever their destination.
      - V(auto), a new link gets V(vepa) if the switch behind its parent has reflective relay, else V(bridge). The
        switch of each parent is probed once per task, as by M(linuxvirt.macvtap.reflective_relay_info). If the result
        is unknown, for example because the parent is down, the mode is V(bridge), with a warning. See O(auto) for
        existing links.
      - If not set, an existing link keeps its mode, and a new one is in mode V(bridge).
    type: str
    choices: [bridge, vepa, private, passthru, passthrough, source, auto]
  mac:
    description:
      - Unicast MAC address of the link. Write it in quotes, because YAML reads some addresses as numbers.
      - If not set, an existing link keeps its address, and a new link gets a random one.
    type: str
  mtu:
    description: MTU of the link in bytes, from 68 to the MTU of its parent.
    type: int
  txqueuelen:
    description: Length of the transmit queue in packets.
    version_added: 0.2.0
    type: int
    aliases: [txqlen]
  promiscuous:
    description:
      - Whether a link in mode V(passthru) sets its parent promiscuous. V(false) is C(nopromisc) of C(ip link). In other
        modes the flag has no effect.
    version_added: 0.2.0
    type: bool
  nodst:
    description:
      - In mode V(source), whether frames from O(source_macs) go only to this link (C(nodst) of C(ip link)). Then the
        parent, and so the host itself, receives no frames from these addresses either. In other modes the flag has no
        effect.
      - Upstream Linux has it since 5.13.
    version_added: 0.2.0
    type: bool
  source_macs:
    description:
      - The complete list of addresses that a link in mode V(source) accepts frames from. Missing addresses are added,
        others are removed. At most 5400, the limit of what the kernel can report.
      - The kernel clears the list when a link leaves mode V(source).
    version_added: 0.2.0
    type: list
    elements: str
  bcqueuelen:
    description:
      - Length of the queue of broadcast and multicast frames in packets, as requested by this link. The largest request
        of all links of the parent is in effect.
      - Upstream Linux has it since 5.11.
    version_added: 0.2.0
    type: int
  bclim:
    description:
      - Threshold for queuing broadcast frames, C(bclim) of C(ip link). All links of a parent share it.
      - Upstream Linux has it since 6.4.
    version_added: 0.2.0
    type: int
    aliases: [bc_cutoff]
  group:
    description: Link group, a number. Links are in group 0 by default.
    version_added: 0.2.0
    type: int
  alias:
    description: Alias of the link, any text of at most 255 bytes. An empty text removes it.
    version_added: 0.2.0
    type: str
  altnames:
    description:
      - The complete list of alternative names of the link. An empty list removes all.
      - Upstream Linux has it since 5.5.
    version_added: 0.2.0
    type: list
    elements: str
  queues:
    description: Numbers of queues. The kernel cannot change them on an existing link, so a change recreates the link.
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
      - Largest GSO packet in bytes that the host's own stack hands to the link (C(gso_max_size) of C(ip link)). At most
        the limit of the parent.
      - It does not limit packets from a guest.
    version_added: 0.2.0
    type: int
  addrgenmode:
    description:
      - How the host generates the IPv6 link-local address of the link. With V(none) the link gets none.
      - V(none) needs no change if the link has no IPv6, because its MTU is below 1280 or the kernel lacks IPv6.
      - With V(none) the host does not join the multicast group of that address either. A guest's IPv6 neighbour
        discovery otherwise works by accident through this group, so set O(allmulticast=true) together with V(none).
    version_added: 0.2.0
    type: str
    choices: [eui64, none, stable_secret, random]
  allmulticast:
    description:
      - Whether the guest receives all multicast frames, not only those of groups that the host has joined on the link.
        Guests need it for multicast (mDNS, VRRP), and for IPv6 with addresses that are not derived from the MAC
        address.
      - In mode V(passthru) the kernel passes the flag on to the parent only while the link is up. So V(true) is refused
        for a link that is down, and a link that is set down loses the flag. V(false) recreates an up link if the
        parent's count (C(allmulti)) does not include it, or the kernel does not report the count (before Linux 6.0).
    version_added: 0.2.0
    type: bool
  arp:
    description:
      - Whether the host answers ARP on an up link whose tap no process holds open. V(true) makes it answer for its own
        addresses with the link's MAC address.
      - If not set, an existing link keeps its setting, and a new one gets V(false).
      - The guest's own ARP is not affected, because the tap receives the frames before the host's stack does.
    version_added: 0.2.0
    type: bool
  accept_ra:
    description:
      - Whether the host accepts IPv6 router advertisements on an up link whose tap no process holds open. V(true) can
        give the host an address and a default route on the link, which no longer work once a guest holds the tap.
      - If not set, an existing link keeps its setting, and a new one gets V(false).
      - The guest's own router advertisements are not affected.
    version_added: 0.2.0
    type: bool
  netns:
    description:
      - Network namespace of the link, by its name in C(ip netns) or the path of its file. The parent is in the module's
        own namespace.
      - If not set, the link is in the module's own namespace. Links with the same name in two namespaces are different
        links.
    version_added: 0.2.0
    type: str
  tap:
    description: The link's character device C(/dev/tapN), where N is the link's index.
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
          - Permissions as octal digits in quotes, such as V("0660").
          - Without quotes, YAML reads C(0660) as intended, but C(440) as another number. The latter is refused.
        type: raw
      repair:
        description:
          - Create the right device node at C(/dev/tapN) if it is missing, or belongs to another link.
          - Interface indexes are per network namespace, but C(/dev) is shared. So links with the same index in two
            namespaces share one node. Without this option you only get a warning.
        version_added: 0.2.0
        type: bool
"""


def _entries(**more: t.Mapping[str, t.Any]) -> str:
    """Return the option ``links``: entries have the module's own options, and those of ``more``."""
    links = {
        "description": [
            "The links, each with the options of the module itself.",
            "The module's own options are the defaults of the entries.",
        ],
        "type": "list",
        "elements": "dict",
        "suboptions": {
            "name": {"description": "See O(name).", "type": "str", "required": True},
            **_suboptions(LINK_OPTIONS, yaml.safe_load(_OPTIONS)["options"]),
            **{name: {**one, "version_added": "0.2.0"} for name, one in _suboptions(more, {}).items()},
        },
    }
    return f"  links: {json.dumps(links)}\n"


def _suboptions(options: _Options, documented: _Options, outer: str = "") -> dict[str, t.Any]:
    return {name: _suboption(f"{outer}{name}", option, documented.get(name, {})) for name, option in options.items()}


def _suboption(path: str, option: _Options, documented: _Options) -> dict[str, t.Any]:
    rest = {key: value for key, value in option.items() if key != "options"}
    inner = {}
    if "options" in option:
        inner["suboptions"] = _suboptions(option["options"], documented.get("suboptions", {}), f"{path}.")
    since = {key: value for key, value in documented.items() if key == "version_added"}
    return {"description": f"See O({path}).", **since, **rest, **inner}


class ModuleDocFragment:
    # For modules that create links. Annotated, because ansible-test's yamllint
    # expects every plain assignment here to be a constant text.
    DOCUMENTATION: str = _OPTIONS + _entries()

    # For those that also put guards on them.
    GUARDED: str = _OPTIONS + _entries(guard=GUARD)

    # For modules that make links persistent.
    PERSISTENT: str = _OPTIONS + _entries(persistence=PERSISTENCE)

    # For modules that change links.
    LOCK = r"""
options:
  lock_timeout:
    description:
      - How many seconds to wait for another task on the host that changes links, of M(linuxvirt.macvtap.macvtap_link),
        M(linuxvirt.macvtap.vlan_link) or M(linuxvirt.macvtap.macvtap_host_access).
    version_added: 0.2.0
    type: int
    default: 60
"""

    ROLLBACK = r"""
options:
  on_error:
    description: Whether to roll back all changes when a step fails, or to keep them.
    version_added: 0.2.0
    type: str
    choices: [rollback, keep]
    default: rollback
"""
