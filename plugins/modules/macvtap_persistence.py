#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Manage what creates macvtap links, VLAN links and macvlan shims at boot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_persistence
short_description: Manage what creates macvtap links, VLAN links and macvlan shims at boot
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Configures a systemd unit of this collection, C(macvtap-links@.service), which creates the declared links at each
    boot. Each uplink has an instance of it, named by the path of its device in C(/sys). The entries are those of
    M(linuxvirt.macvtap.macvtap_link), M(linuxvirt.macvtap.vlan_link) and M(linuxvirt.macvtap.macvtap_host_access),
    which create the links now. This module changes no link.
  - The unit is the same for every network manager. It starts when the uplink appears, at boot and whenever it comes
    back, before libvirt. If it cannot create a link, it logs that, and creates all others. It leaves existing links
    alone, and never removes one or sets one down.
  - The uplink's own configuration is never changed. systemd-networkd and NetworkManager are configured, by files for
    these links alone, to leave them alone.
  - At boot, libvirt waits for missing uplinks for 10 seconds at most.
  - A link without a declared MAC address keeps its current one. A link with an MTU above 1500 keeps that. If the uplink
    gets its MTU later, the unit waits a few seconds for it.
  - The unit also sets addresses, routes and kernel settings (C(arp_filter), C(arp_announce), C(accept_ra), C(autoconf))
    of macvlan shims. An address by DHCP comes from systemd-networkd or NetworkManager, on the link that the unit
    creates.
  - Configuration that cannot work fails the task, or is only warned about if it does no harm. Links that cannot exist
    together are refused, even if an earlier run configured one of them. For example, a link in mode V(passthru) must be
    alone on its parent, a MAC address or a VLAN ID can be on a parent once, and a name or alternative name on the host.
  - Addresses and routes of shims that would disconnect the host at the next boot are refused, as
    M(linuxvirt.macvtap.macvtap_host_access) refuses those that would disconnect it now.
  - What would disconnect the host at the next boot is refused, as M(linuxvirt.macvtap.macvtap_link) and
    M(linuxvirt.macvtap.vlan_link) refuse what would disconnect it now.
  - So is removing the configuration of a link that a guest uses, or of a VLAN link that other links are on, because it
    is declared absent or purged. See O(force).
  - Taking a link from networkd or NetworkManager that has addresses or routes of the host, or Ansible's connection, and
    that the manager configures now, is refused as well. To have networkd configure such a link, put its addresses into
    a drop-in, such as C(/etc/systemd/network/05-macvtap-eth0.20.network.d/address.conf).
  - Nothing is reloaded that could disconnect the host. The files take effect at the next boot. systemd reloads its
    units. networkd reloads its files if only files for these links can have changed, and none of a link that it
    configures now and that the host needs.
  - A shim with O(shims[].dhcp4) that exists and has no IPv4 address gets one now. The task waits for it, a minute at
    most. A shim that has an address is left alone.
  - Files of earlier versions, by which a network manager created the links, are removed after the new ones are written.
  - The first line of each file marks it as managed. Other files are never changed; one in the way fails the task.
    A copy of the file of an uplink, such as C(eth0.bak), is left alone too, with a warning.
  - All files are written, or none.
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
      - At least one of this, O(links), O(vlans), O(shims) and O(purge) is required.
    type: str
  vlans:
    description:
      - The VLAN links, each with the options of M(linuxvirt.macvtap.vlan_link). The module's own O(parent) and
        O(persistence) are the entries' defaults.
      - Nothing is written for a VLAN link that is not managed by this collection.
      - O(vlans[].state=absent) is refused while a configured link is on the VLAN.
    type: list
    elements: dict
    suboptions:
      state:
        description: See O(state). The default is V(up).
        type: str
        choices: [up, present, down, absent]
      parent:
        description: See O(parent).
        type: str
        aliases: [source, link, lower, base_iface, vlandev]
      id:
        description: VLAN ID, from 1 to 4094.
        type: int
        aliases: [vlan_id, vlanid]
      name:
        description: Name of the link. The default is the parent's name, a dot and O(vlans[].id).
        type: str
      protocol:
        description: Protocol of the tag. The default is V(802.1Q).
        type: str
        choices: [802.1Q, 802.1ad]
      mac:
        description: MAC address. The default is the link's current one, or the parent's at that boot if it has that.
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
      - The macvlan shims, each with the options of M(linuxvirt.macvtap.macvtap_host_access). The module's own O(parent)
        and O(persistence) are the entries' defaults.
      - Nothing waits for shims at boot.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the shim.
        type: str
        required: true
      state:
        description: With V(present), it exists and is up after a reboot. With V(absent), its configuration is removed.
          The default is V(present).
        type: str
        choices: [present, absent]
      parent:
        description: See O(parent).
        type: str
        aliases: [source, link, lower, base_iface]
      mac:
        description: MAC address. The default is the shim's current one.
        type: str
      mtu:
        description: MTU. The default is the parent's.
        type: int
      addresses:
        description: Its IP addresses, with no prefix length or that of a single address (V(/32) or V(/128)).
        type: list
        elements: str
      guests:
        description: Addresses and networks of guests. The shim gets routes to them.
        type: list
        elements: str
      dhcp4:
        description:
          - Whether a network manager gets it an IPv4 address by DHCP. Nothing else of the lease is used, no route, name
            server, domain, time server, MTU or host name. The request does not contain the host's name.
          - NetworkManager can load one profile, so the shim gets its address immediately.
          - networkd can only reload all its files. For a moment, each link whose files have changed then loses its
            addresses. So networkd is reloaded only if no other file of its own has changed since it started, and no
            link that it configures would lose addresses that the host needs. Otherwise the address comes with the next
            boot or C(networkctl reload). A warning and RV(leases) show that.
          - If no address comes, the task fails. The files stay, and the manager continues to ask.
          - If this is removed from an existing shim, its client may run until the next boot. A warning shows that.
        type: bool
      persistence:
        description: See O(persistence).
        type: str
        choices: [auto, systemd, networkd, networkmanager, ifupdown, none]
  state:
    description:
      - With V(up), V(down) and V(present), the link exists after a reboot, and is up, down, or not set up by the unit
        (V(present)). With V(absent), its configuration is removed.
    type: str
    choices: [up, present, down, absent]
    default: up
  parent:
    description:
      - The uplink, by its name, alternative name, MAC address or PCI address. At boot it is found by the same.
      - Where udev cannot look for that, it is found by its PCI address, or by its name if it has no PCI address of its
        own. These are an alternative name that udev has not made itself, and a MAC address while the host sets another
        one than the permanent one.
      - Required for a link that does not exist.
    type: str
    aliases: [source, link, lower, base_iface]
  mode:
    description:
      - Mode. The default is the link's current mode, or V(bridge).
      - V(auto) is the link's current mode, which M(linuxvirt.macvtap.macvtap_link) has chosen, or V(bridge). The switch
        is not asked at boot.
    type: str
    choices: [bridge, vepa, private, passthru, passthrough, source, auto]
  mac:
    description:
      - MAC address. The default is the link's current one.
    type: str
  bclim:
    description:
      - A setting of the parent, which does not survive a reboot. The next run of M(linuxvirt.macvtap.macvtap_link) sets
        it.
    type: int
    aliases: [bc_cutoff]
  alias:
    description: Alias, with no control character.
    type: str
  netns:
    description:
      - A link in another network namespace is not created at boot. A warning says so unless O(persistence=none).
        If the module's own network namespace has a macvtap link of this name, the configuration of that stays.
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
        description: Has no effect here. It is accepted because M(linuxvirt.macvtap.macvtap_link) has it.
        type: bool
  persistence:
    description:
      - What creates the links at the next boot.
      - V(auto) is the unit on hosts where systemd runs. On others nothing is written, with a warning, and earlier
        configuration of the link stays.
      - V(systemd) is the unit.
      - V(ifupdown) runs the program of the unit from a stanza in C(/etc/network/interfaces.d), on hosts without
        systemd. It is refused on hosts with systemd.
      - V(networkd) and V(networkmanager) are for shims with O(shims[].dhcp4), and name the manager that gets the
        address. The default is the manager of the uplink. In any case the unit creates the shim. For other links
        they are refused. networkd leaves the uplink without addresses if it cannot create a link on it, and
        NetworkManager removes a link together with its profile.
      - V(none) is nothing. The configuration of the link is removed.
    type: str
    choices: [auto, systemd, networkd, networkmanager, ifupdown, none]
    default: auto
  purge:
    description:
      - Remove the configuration of links that this task does not declare. With O(name), O(links) or O(vlans), or
        without any list, these are macvtap and VLAN links of any group. With O(shims), these are shims.
      - An empty list declares nothing, so the configuration of everything of its kind is removed.
      - The configuration of a VLAN link stays while a configured link, such as a shim, is on it. A warning says so.
    type: bool
    default: false
  force:
    description:
      - Remove the configuration of links that are declared absent or purged even if a process holds the tap of such a
        macvtap link open, or if that is unknown, or if links that stay are on such a VLAN link. The next boot does not
        create them.
      - Otherwise this is refused, as M(linuxvirt.macvtap.macvtap_link) and M(linuxvirt.macvtap.vlan_link) refuse to
        remove these links now. Links on a VLAN link count unless they are to leave it, so declare them in the same
        task. With O(purge) and O(group), those are also the macvtap links of the group. In check mode, NICs and shims
        on a VLAN link are only a warning, because an earlier task may remove them.
      - O(persistence=none) leaves a link to something else, and does not require this.
    type: bool
    default: false
    version_added: 1.0.0
  allow_host_disconnect:
    description:
      - Allow configuration that removes IP addresses or routes of the host at the next boot, or may cut off Ansible's
        connection. Warnings show what is lost.
      - Otherwise these are refused. A link in mode V(passthru) on a parent with such addresses or routes. A VLAN link,
        or a link in mode V(source) with O(nodst), that receives frames the host needs. Removing the configuration of a
        link with such addresses or routes, changing it, or taking the link from the network manager that configures
        it. Shims that would make the host unreachable.
      - If this is true, networkd is not reloaded while it configures such a link, which keeps its addresses until the
        next boot.
    type: bool
    default: false
  lock_timeout:
    description: How many seconds to wait for another run of this module on the host to finish.
    type: int
    default: 60
seealso:
  - module: linuxvirt.macvtap.macvtap_link
  - module: linuxvirt.macvtap.vlan_link
  - module: linuxvirt.macvtap.macvtap_host_access
"""

EXAMPLES = r"""
- name: Create a link now
  linuxvirt.macvtap.macvtap_link:
    name: macvtap0
    parent: eth0
    mode: bridge

- name: Create it at each boot, with any network manager
  linuxvirt.macvtap.macvtap_persistence:
    name: macvtap0
    parent: eth0
    mode: bridge

- name: Find the uplink by its MAC address, since its name may change
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

- name: Let the host reach two guests through a shim on eth0
  linuxvirt.macvtap.macvtap_persistence:
    shims:
      - name: host0
        parent: eth0
        addresses: [192.0.2.250, "2001:db8::250"]
        guests: [192.0.2.77, "2001:db8::77"]

- name: Remove the configuration of all macvtap and VLAN links
  linuxvirt.macvtap.macvtap_persistence:
    purge: true
"""

RETURN = r"""
changes:
  description: The changes, or in check mode the predicted ones, by file, and the shims that get an address.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: Path of the file, or name of the shim.
      type: str
      returned: always
    field:
      description: V(state) of a file that is added or removed, V(content) or V(mode). V(address) of a shim.
      type: str
      returned: always
    before:
      description: The value before. For V(content), the beginning of its SHA-256.
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
      description: What creates it at the next boot, V(null) if nothing does or it is not known.
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
  description: The declared shims with O(shims[].dhcp4).
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
      description: Files because of which networkd is not reloaded now. They may have changed since networkd read them.
      type: list
      elements: str
      returned: always
  sample:
    - name: host0
      address: 192.0.2.130
      unread: []
files:
  description: All files of this module on the host, in check mode the predicted ones.
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
    - /etc/udev/rules.d/90-macvtap-uplinks.rules
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.macvtap_persistence import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
