#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make the direct (macvtap) interfaces of libvirt domains what they should be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_direct_iface
short_description: Make the direct (macvtap) interfaces of libvirt domains what they should be
version_added: 0.1.0
description:
  - Adds, changes and removes network interfaces of the type C(direct) in libvirt domains, those for which libvirt
    makes a macvtap link.
  - One interface by O(domain) and what it is found by, or those of any number of domains in one task by O(interfaces).
  - An interface is found by its O(mac), else by its O(alias), else by its O(target), else by its O(source) where the
    domain has just one on that. What is stored counts, not what a running guest still has of an interface that has
    changed. Of two interfaces with one MAC address, an O(alias), O(target) or O(source) given beside it selects one;
    of such a pair only the stored configuration is changed.
  - Several entries of one task are seen together. One with a O(mac) is known before any other, so that another entry
    does not find what that one moves away. An entry that would find another interface in the next run is refused.
  - Only the options that are given are changed in an interface; the rest of its element, and the rest of the domain's
    configuration, stay as they are.
  - The stored configuration is always made right. How much a running guest may feel of it is said by O(live); what
    would take more is listed in RV(restart_required). The module never restarts anything.
  - If anything fails, the domains that this run has changed already are put back, unless O(on_error=keep).
options:
  domain:
    description:
      - Name of the domain whose interface this is.
      - Either this, O(interfaces) or O(xml_file) is required.
    type: str
  mac: &mac
    description:
      - MAC address of the interface, by which it is found. With colons, dashes, dots (C(5254.00ab.cdef)) or nothing
        between the digits, in upper or lower case. Write it in quotes, since YAML reads some addresses as numbers.
      - A new interface for which it is left out gets an address made from the domain's UUID and the O(source), which is
        the same again whenever it is made, and none that another domain of the host has.
    type: str
  source: &source
    description:
      - Link of the host that the interface uses, such as V(eth0). It must exist, and be one that can have macvtap
        links. An alternative name of up to 15 bytes does as well.
      - Required for an interface that does not exist yet.
    type: str
    aliases: [parent, dev]
  mode: &mode
    description:
      - Mode of the macvtap link.
      - V(bridge) works with every switch. V(vepa) needs a switch port that reflects frames (reflective relay, hairpin)
        for guests of one host to reach each other. V(private) keeps them apart. V(passthrough) gives the whole source
        to this one interface; V(passthru) is another word for it.
      - V(passthrough) beside another link on the same source is refused for a running guest, and so is any interface
        beside one in that mode. For a domain that does not run it is stored, with a warning, unless both interfaces are
        the same domain's.
      - V(auto) gives an interface that does not exist yet V(vepa) if the switch behind its source has reflective relay,
        else V(bridge). The switch behind each source is asked once in a task, as
        M(linuxvirt.macvtap.reflective_relay_info) does. Where nothing can be found out, as on a source that is down,
        with a remote O(uri) or with O(xml_file), it is V(bridge), with a warning. See O(auto) for what exists.
      - An interface that does not exist yet gets libvirt's default V(vepa), with a warning, if this is left out.
      - Under a running guest it is changed on the macvtap link itself, which the guest does not notice, except to and
        from V(passthrough). libvirt goes on showing the old mode for the running guest then.
    type: str
    choices: [vepa, bridge, private, passthrough, passthru, auto]
  model: &model
    description:
      - Model of the network card that the guest sees, such as V(virtio) or V(e1000e).
      - An interface that does not exist yet gets V(virtio) if this is left out.
    type: str
  driver: &driver
    description:
      - How the host's side of a V(virtio) card works. A card that gets another model loses these.
      - An empty dictionary in an entry of O(interfaces) takes nothing from the default beside it.
    version_added: 0.2.0
    type: dict
    suboptions:
      name:
        description: Who moves the frames, the kernel or QEMU.
        type: str
        choices: [qemu, vhost]
      txmode:
        description: How transmission is started.
        type: str
        choices: [iothread, timer]
      ioeventfd:
        description: Whether the guest's notifications are handled apart from its processors.
        type: bool
      event_idx:
        description: Whether guest and host tell each other when they want to be notified.
        type: bool
      queues:
        description: Number of queue pairs. V(1) is libvirt's default, for which it stores nothing.
        type: int
      rx_queue_size:
        description: Length of each receive queue, a power of two from 256 to 1024.
        type: int
      tx_queue_size:
        description: Length of each transmit queue, a power of two from 256 to 1024.
        type: int
      rss:
        description: Whether received frames are spread over the queues by a hash.
        type: bool
      rss_hash_report:
        description: Whether the guest is told the hash of received frames.
        type: bool
      packed:
        description: Whether packed virtqueues are offered.
        type: bool
      iommu:
        description: Whether an emulated IOMMU is used.
        type: bool
      ats:
        description: Whether address translation services are offered.
        type: bool
      page_per_vq:
        description: Whether each queue's notification has a page of its own.
        type: bool
  target: &target
    description:
      - Name of the macvtap link on the host, up to 15 bytes, such as V(web0). Names as libvirt makes up itself
        (C(macvtap0), C(vnet0)) are refused, since libvirt drops them, and so are names that another link has, since
        libvirt 9.0 removes that link when it fails to make its own.
      - The empty string leaves the name to libvirt.
    version_added: 0.2.0
    type: str
  link_state: &link_state
    description: Whether the guest sees a cable plugged in.
    version_added: 0.2.0
    type: str
    choices: [up, down]
  trust_guest_rx_filters: &trust
    description:
      - Whether the filters that the guest sets on its card, such as for multicast, are set on the macvtap link. So the
        guest decides what its link hears, and by which MAC address.
      - Only a V(virtio) card tells how it is set; for another one it is refused, and so is another O(model) for an
        interface that has this.
      - Before libvirt 10.1 it takes a replug. From then on it is changed in the running guest, with a warning, since
        libvirt sets the link only when the guest next changes its filters, and takes nothing back.
      - O(allmulticast) is another way to hear multicast, with no say for the guest. An interface cannot have both,
        declared or stored.
    version_added: 0.2.0
    type: bool
  allmulticast: &allmulticast
    description:
      - Whether the macvtap link hears all multicast groups. Otherwise it hears those that the host knows of, not those
        that the guest joins, and so no IPv6 neighbour discovery for addresses that are not made from the MAC address.
      - A running guest's link gets it at once, and the guest does not notice.
      - libvirt's configuration has no word for it. So that the link has it whenever the guest starts, a rule for the
        interface's MAC address is written to C(/etc/udev/rules.d/90-macvtap-domains.rules), and removed with
        V(false) or with the interface. On a host without udev, or where that file is not this collection's or cannot be
        read, it lasts until the guest stops, with a warning.
      - A rule goes by the address. Where another domain has the same one, V(false) is refused, and O(state=absent) and
        O(purge) leave the rule, with a warning. O(state=absent) with a O(mac) removes the rule that a domain has left
        which was undefined by other means.
      - Refused where neither can be reached, with O(xml_file), a remote O(uri) or C(qemu:///session); with
        O(trust_guest_rx_filters), by which libvirt takes it off again; and in mode V(passthrough), in which the source
        hears no more by what its link gets before it is up. There V(false) takes the rule away, and the running guest's
        link keeps it until a restart.
      - With V(false) the link of a running guest that libvirt trusts keeps what the guest has set.
      - Left as it is if this is left out.
    type: bool
    version_added: 0.2.0
  virtualport: &virtualport
    description:
      - How the switch learns of the guest, by 802.1Qbg or 802.1Qbh.
      - An entry of O(interfaces) with another type, V(none) or an empty dictionary takes nothing from the default.
    version_added: 0.2.0
    type: dict
    suboptions:
      type:
        description: The protocol. V(none) takes the virtual port away.
        type: str
        choices: ['802.1Qbg', '802.1Qbh', none]
      managerid:
        description: 802.1Qbg, identifies the database of types, 0 to 255.
        type: int
      typeid:
        description: 802.1Qbg, identifies the type, 0 to 16777215.
        type: int
      typeidversion:
        description: 802.1Qbg, version of the type, 0 to 255.
        type: int
      instanceid:
        description: 802.1Qbg, a UUID of this instance.
        type: str
      profileid:
        description: 802.1Qbh, the name of the port profile.
        type: str
  vlan: &vlan
    description:
      - VLAN of the guest's frames. Only a virtual function of a network card (SR-IOV) in mode V(passthrough) can have
        one; for all others it is refused. Use a VLAN link of the host as O(source) instead.
      - V(0) takes it away. A trunk of several VLANs that is there becomes this one.
    version_added: 0.2.0
    type: int
  bandwidth: &bandwidth
    description:
      - Limits of what the guest receives (V(inbound)) and sends (V(outbound)).
      - An empty dictionary in an entry of O(interfaces) takes nothing from the default beside it.
      - After libvirt 9.0 and before 10.1 it takes a replug.
    version_added: 0.2.0
    type: dict
    suboptions:
      inbound: &direction
        description: Limits in one direction.
        type: dict
        suboptions:
          average:
            description: KiB per second. V(0) takes the limits of this direction away, a default of the task's too.
            type: int
          peak:
            description: KiB per second at most.
            type: int
          burst:
            description: KiB that may be sent at the peak's speed.
            type: int
      outbound: *direction
  boot_order: &boot_order
    description: The interface's place among the devices that the guest boots from. V(0) takes it away.
    version_added: 0.2.0
    type: int
  rom: &rom
    description: The card's boot ROM.
    version_added: 0.2.0
    type: dict
    suboptions:
      enabled:
        description: Whether there is one.
        type: bool
      bar:
        description: Whether the guest sees it.
        type: bool
      file:
        description: Path of another one.
        type: str
  alias: &alias
    description: A name of your own for the device, beginning with C(ua-). The empty string takes it away.
    version_added: 0.2.0
    type: str
  acpi_index: &acpi_index
    description: What a Linux guest names the card by (V(1) gives C(eno1)). V(0) takes it away.
    version_added: 0.2.0
    type: int
  address: &address
    description:
      - PCI address in the guest, such as V(0000:01:00.0). libvirt chooses one for what has none.
      - The empty string is as if it were left out.
    version_added: 0.2.0
    type: str
  mtu: &mtu
    description:
      - libvirt refuses an MTU for an interface of the type C(direct), and so does this module. Set it on the O(source),
        and inside the guest.
    version_added: 0.2.0
    type: int
  convert: &convert
    description:
      - Make an interface of another type (C(bridge), C(network), C(ethernet), …) that has this address a direct one.
        Model, alias, PCI address and boot order are kept; what a macvtap link cannot have is taken out, with a warning.
        A device of the host (C(hostdev)) becomes a V(virtio) card, unless O(model) says otherwise.
      - Without it such an interface is refused. With it and O(state=absent), one that was never converted is left as it
        is.
    version_added: 0.2.0
    type: bool
  mac_prefix: &mac_prefix
    description: The first bytes, one to five, of an address that the module makes up. V(52:54:00) if left out.
    version_added: 0.2.0
    type: str
  interfaces:
    description:
      - Many interfaces, of one or of many domains. What an entry leaves out is taken from the option of the same name
        beside O(interfaces); O(driver), O(bandwidth), O(virtualport) and O(rom) part by part.
    type: list
    elements: dict
    suboptions:
      domain:
        description: Name of the domain whose interface this is.
        type: str
      mac: *mac
      source: *source
      mode: *mode
      model: *model
      driver: *driver
      target: *target
      link_state: *link_state
      trust_guest_rx_filters: *trust
      allmulticast: *allmulticast
      virtualport: *virtualport
      vlan: *vlan
      bandwidth: *bandwidth
      boot_order: *boot_order
      rom: *rom
      alias: *alias
      acpi_index: *acpi_index
      address: *address
      mtu: *mtu
      convert: *convert
      mac_prefix: *mac_prefix
      state:
        description: Whether the domain has the interface. See O(state).
        type: str
        choices: [present, absent]
  state:
    description:
      - V(present) adds the interface or makes it as declared, V(absent) removes it.
      - A domain that does not exist is an error with V(present) and a warning with V(absent).
      - V(present) includes that a running guest's macvtap link is up and has the interface's MAC address. A link that
        was set down, or was given another address, is mended. A guest that is paused, an interface with
        O(link_state=down), and an address that a guest with O(trust_guest_rx_filters) has chosen are left alone.
      - Of a transient domain nothing is stored. Its running guest gets what is possible, and a warning names the rest.
    type: str
    choices: [present, absent]
    default: present
  auto:
    description:
      - The interfaces whose mode O(mode=auto) decides. V(new), those that do not exist yet, are converted or move to
        another source, while others keep theirs, and no switch is asked for them. V(always), also those that exist, in
        which the mode then follows the switch; where nothing can be found out they keep theirs.
      - Interfaces that exist keep a mode other than V(vepa) and V(bridge) in any case, as these do not depend on the
        switch.
    type: str
    choices: [new, always]
    default: new
    version_added: 0.2.0
  check_relay:
    description:
      - Ask the switch behind every source of declared interfaces in mode V(vepa), and warn where it has no reflective
        relay, so that guests of this host will not reach each other. Each run waits 50 ms then where it has none.
      - Where the switch is asked for O(mode=auto) the warning comes in any case.
    type: bool
    default: false
    version_added: 0.2.0
  purge:
    description:
      - Remove the direct interfaces of the domains named in this task that are not declared. Interfaces of other types,
        and other domains, are never touched. An interface of a libvirt network is one of another type, also where the
        network gives it a macvtap link.
      - A domain that is not named any more keeps its interfaces; declare its last one O(state=absent). With no domain
        named at all nothing is removed, and a warning says so.
      - Two interfaces with one MAC address, of which not both are declared, are left with a warning.
    version_added: 0.2.0
    type: bool
    default: false
  live:
    description:
      - The most that a running guest may feel. What would take more is stored, and listed in RV(restart_required).
      - V(none) leaves running guests alone.
      - V(update) changes what the guest does not notice, plugs in what is new and unplugs what is removed.
      - V(replug) also takes an interface out of a running guest and plugs it in again, with the same MAC address,
        model, alias, PCI address and boot order. The guest loses its network for that moment, and what it has set on
        the card.
    version_added: 0.2.0
    type: str
    choices: [none, update, replug]
    default: update
  allow_host_disconnect:
    description:
      - Give a guest a O(source) in mode V(passthrough) even if that link has IP addresses or routes of the host, or
        carries the connection that Ansible runs over. The guest gets all frames of the link, so that the host is cut
        off there. What that is, is shown as a warning.
      - Otherwise such an interface is refused, also for a domain that does not run.
    type: bool
    default: false
    version_added: 0.2.0
  on_error:
    description:
      - V(rollback) puts back what this run has done if anything of it fails. V(keep) leaves what was done.
      - A link of a running guest that was found down, or with another MAC address, and was mended stays mended.
    version_added: 0.2.0
    type: str
    choices: [rollback, keep]
    default: rollback
  uri:
    description: Where libvirt is reached.
    type: str
    default: qemu:///system
  xml_file:
    description:
      - Change this domain XML file instead, with no libvirt at all. Everything outside of the interfaces stays as it
        is, to the byte; the file is replaced at once and wholly, and keeps its owner, mode and SELinux context.
      - What is changed is held against libvirt's schema first, where that and lxml are installed.
      - O(domain) can be left out. If it is given it must be the name of the file's domain.
    version_added: 0.2.0
    type: path
  backup:
    description: Keep a copy of O(xml_file) as it was before it was changed.
    version_added: 0.2.0
    type: bool
    default: false
  unsafe_writes:
    description:
      - Write into an O(xml_file) that cannot be replaced because it is itself a mount, as files of a container can be.
        If that is interrupted, the file is left half written.
      - Otherwise such a file is refused, in check mode too.
    version_added: 0.2.0
    type: bool
    default: false
  timeout:
    description:
      - How many seconds to wait until running guests have released the NICs that are removed or replugged. Each
        replugged guest gets its NIC back as soon as it has released it.
      - A NIC that a guest still holds then is listed in RV(pending). The request cannot be taken back. When the guest
        carries it out, at the latest at a reset, a NIC that is still stored is attached again at once.
    type: int
    default: 20
  lock_timeout:
    description:
      - How many seconds to wait for another run of this module on the host where it runs to end. A run waits for guests
        up to O(timeout) seconds.
    version_added: 0.2.0
    type: int
    default: 60
notes:
  - A domain that migrates to or from another host is not changed, and a job that allows no change (dump, save,
    snapshot) is an error unless O(live=none). A guest that has crashed or is shutting down is not touched, with a
    warning.
  - A guest that stops, starts or is started anew while a run goes on is not touched any more by it, also not by a
    rollback. It has what is stored when it starts.
  - Of two that store a domain at the same moment libvirt keeps the last. Runs of this module wait for each other. What
    another editor defines at that very moment fails the run, by libvirt's events; what is stored in ways that have
    none, such as C(virsh attach-device --config), is not noticed then.
  - Where libvirt finds no free PCI slot for an interface that is added, it adds a controller to the stored
    configuration as well.
  - The way back from a direct interface to one of another type is that of the tools for those, such as C(virt-xml)
    with C(--edit).
  - A user's own libvirt, with the URI C(qemu:///session), stores such interfaces, but cannot start a guest with one,
    since only root can make macvtap links.
  - Links of the host are looked at only if the guests are on this host. With a remote URI a source that does not exist
    shows when the guest starts, and the mode of a running guest takes a replug.
  - The diff shows the interface's element before and after. Passwords of the domain are not in it.
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - With O(mode=auto) or O(check_relay=true) the switch is asked in check mode as well. That sends two frames on the
        source and changes nothing, and needs root.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A NIC that a running guest does not release is asked for again by every run, which reports changed.
requirements:
  - libvirt (its Python bindings)
  - lxml, to hold what is written to O(xml_file) against libvirt's schema
  - pyroute2 (0.5.14 or newer), to change the mode or allmulticast of a running guest's interface, for which nothing is
    done without it
seealso:
  - module: linuxvirt.macvtap.libvirt_direct_iface_info
  - module: linuxvirt.macvtap.macvtap_link
  - module: linuxvirt.macvtap.reflective_relay_info
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Give the guest web1 an interface on the LAN behind eth0
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web1
    mac: "52:54:00:10:00:01"
    source: eth0
    mode: bridge

- name: The interfaces of many guests, in one task
  linuxvirt.macvtap.libvirt_direct_iface:
    source: eth0
    mode: bridge
    interfaces:
      - {domain: web1, mac: "52:54:00:10:00:01"}
      - {domain: web2, mac: "52:54:00:10:00:02"}
      - {domain: db1, mac: "52:54:00:10:00:03", source: eth1, mode: private}
      - {domain: old1, mac: "52:54:00:10:00:04", state: absent}
  register: direct

- name: In the mode that suits the switch
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web3
    mac: "52:54:00:10:00:05"
    source: eth0
    mode: auto

- name: A second interface on the link eth1, whose address is made up and stays the same
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web1
    source: eth1
    mode: bridge

- name: Another card and four queues, for which a running guest may lose its network for a moment
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web1
    mac: "52:54:00:10:00:01"
    model: virtio
    driver:
      queues: 4
    live: replug

- name: From a bridge to macvtap, with the same address and card
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: old1
    mac: "52:54:00:10:00:04"
    source: eth0
    mode: bridge
    convert: true

- name: These direct interfaces and no others
  linuxvirt.macvtap.libvirt_direct_iface:
    purge: true
    interfaces:
      - domain: web1
        mac: "52:54:00:10:00:01"
        source: eth0
        mode: bridge

- name: The same in a file that no libvirt knows of
  linuxvirt.macvtap.libvirt_direct_iface:
    xml_file: /srv/templates/web.xml
    backup: true
    mac: "52:54:00:10:00:01"
    source: eth0
    mode: bridge

- name: A guest with IPv6 privacy addresses, mDNS, VRRP or OSPF hears what is meant for it
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web1
    mac: "52:54:00:10:00:01"
    allmulticast: true

- name: Say which guests have to be restarted
  ansible.builtin.debug:
    msg: "{{ item.domain }}: {{ item.fields | join(', ') }} of {{ item.mac }} will change at its next start"
  loop: "{{ direct.restart_required }}"
  loop_control:
    label: "{{ item.domain }}"
"""

RETURN = r"""
changes:
  description: Each field that changes, or in check mode would change, and what that costs the guest.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: The domain and the interface's MAC address.
      type: str
    field:
      description:
        - The option that changes, such as V(mode) or V(driver.queues); V(type) where an interface is converted;
          V(state) where it is added to the stored configuration or removed from it; V(live) where a running guest gets
          or loses an interface whose stored configuration is right already.
      type: str
    before:
      description: The value before.
      type: raw
    after:
      description: The value after.
      type: raw
    impact:
      description:
        - V(config) changes the stored configuration only, and the guest has it when it starts.
        - V(live) changes something that the running guest does not notice, or plugs an interface in or out.
        - V(replug) takes the interface out of the running guest and plugs it in again.
        - V(restart) changes the stored configuration, and the running guest goes on with what it has until it is
          stopped and started. So does a guest that is started from a managed save.
      type: str
  sample:
    - {target: "web1 52:54:00:10:00:01", field: mode, before: vepa, after: bridge, impact: live}
interfaces:
  description: Each declared interface as it is stored, in check mode as it would be stored.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the domain.
      type: str
    mac:
      description: MAC address, in lower case with colons.
      type: str
    state:
      description: V(present) or V(absent).
      type: str
    stored:
      description: The interface's fields as the options have them; null where it is absent.
      type: dict
    live:
      description:
        - The same of the interface as the running guest has it, with the name of its link as C(target), and the mode
          and C(allmulticast) that the link really has; null where there is none.
      type: dict
  sample:
    - domain: web1
      mac: "52:54:00:10:00:01"
      state: present
      stored: {source: eth0, mode: bridge, model: virtio, link_state: up, allmulticast: false}
      live: {source: eth0, mode: bridge, model: virtio, link_state: up, allmulticast: false, target: macvtap0}
restart_required:
  description:
    - Interfaces that a running guest has otherwise than they are stored, and in which fields; V(state) where it has one
      that is not stored, or lacks one that is. They become what is stored when the domain is stopped and started; a
      reboot from inside the guest is not enough.
    - Also returned by a run that changes nothing, until the domain was restarted.
    - Of a domain with a managed save these are the NICs that it was saved with, which its next start brings back.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the domain.
      type: str
    mac:
      description: MAC address of the interface.
      type: str
    fields:
      description: What differs.
      type: list
      elements: str
  sample:
    - {domain: web1, mac: "52:54:00:10:00:01", fields: [model]}
pending:
  description:
    - NICs that the guest was asked to release, to remove or to replug them, and that have neither gone for good nor
      come back; also those that earlier runs asked for. A guest may release one at any time, at the latest when it is
      reset. One that is stored is then attached again at once, as it is stored, by a process that outlives the run (the
      keeper).
    - Where systemd runs, that holds over a reboot of the host too. It does not hold on another host that the guest has
      migrated to. Run this module there.
  returned: always
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the domain.
      type: str
    mac:
      description: MAC address of the interface.
      type: str
    target:
      description: Name of the macvtap link on the host.
      type: str
    state:
      description:
        - V(held) if the guest has it still; V(saved) if the guest was saved, and may release it when it is restored;
          V(released) if the guest has released it, and it could not be attached again yet.
      type: str
    error:
      description: Why a NIC that was released is not attached again yet. The keeper goes on trying.
      type: str
    since:
      description: When it was first asked for.
      type: str
    pid:
      description: Process ID of the keeper.
      type: int
  sample:
    - domain: old1
      mac: "52:54:00:10:00:04"
      target: macvtap3
      state: held
      error: null
      since: "2026-11-22T10:00:00+00:00"
      pid: 4242
reflective_relay:
  description: What the switches said that were asked, as C(parents) of M(linuxvirt.macvtap.reflective_relay_info).
  returned: with O(mode=auto) or O(check_relay=true), if a switch was asked
  type: list
  elements: dict
  sample:
    - parent: eth0
      reflective_relay: false
      reason: none of 2 frames came back within 25 ms
      round_trips: []
      sent:
        method: lower
        frames: 2
        ethertype: "0x88b5"
        source: "52:54:00:ab:cd:ef"
        destination: "52:54:00:ab:cd:ef"
backup_file:
  description: The copy of O(xml_file) as it was before.
  returned: with O(backup=true), if the file was changed
  type: str
  sample: /srv/templates/web.xml.4242.2026-11-22@10:00:00~
"""

import contextlib
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _lock, _plan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reach import Ways
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.reachability import ALLOW
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    auto,
    declare,
    disruptions,
    element,
    fields,
    hypervisor,
    identity,
    impact,
    inspection,
    planner,
    resolution,
    rollback,
    schema,
    states,
    udev_rules,
    xmlfile,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    HELD,
    Desired,
    Host,
    Nic,
    StaleError,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay import ask, choice
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay import model as relay
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted

Domains = t.Union[hypervisor.Hypervisor, xmlfile.DomainFile]

_STATES = ["present", "absent"]
_ALIASES = {"source": ["parent", "dev"]}
# How often a run begins anew because somebody else has changed a domain meanwhile.
_ATTEMPTS = 3


def execute(module: _glue.Module) -> dict[str, t.Any]:
    options = ("domain", "mac", "state", *_interface_options())
    entries = _glue.entries(module.params, "interfaces", options, fields.clears_default)
    with _lock_of(module), _domains(module) as domains:
        only_domain = domains.names()[0] if isinstance(domains, xmlfile.DomainFile) else ""
        declared = declare.declare(entries, only_domain=only_domain)
        answers: dict[str, relay.Verdict] = {}
        kept: list[_plan.Step[Nic]] = []
        attempts = 0
        while True:
            attempts += 1
            journals: list[_plan.Journal[Nic]] = []
            try:
                return _merged(_converge(module, declared, domains, answers, journals), kept, diff=module._diff)
            except (MacvtapError, Interrupted) as exc:
                # What this run had done is put back, or kept as asked for; what the other one has done is read now.
                again = isinstance(exc, StaleError) and attempts < _ATTEMPTS
                if module.params["on_error"] == "keep":
                    kept += [step for journal in journals for step in journal.steps]
                    if kept:
                        # By an earlier attempt, if not by this one.
                        exc.state = _plan.KEPT
                elif exc.state != _plan.UNCHANGED:
                    raise
                if not again:
                    raise


def _merged(result: dict[str, t.Any], kept: t.Sequence[_plan.Step[Nic]], *, diff: bool) -> dict[str, t.Any]:
    """Return the result with what earlier attempts of the same run have done and kept."""
    earlier = _plan.Plan(tuple(kept)).result(diff=diff)
    return {**result, **{name: earlier[name] + result[name] for name in earlier if name != "changed"},
            "changed": earlier["changed"] or result["changed"]}  # fmt: skip


def _lock_of(module: _glue.Module) -> t.ContextManager[None]:
    if module.check_mode:
        return contextlib.nullcontext()
    return _lock.held(
        "domains",
        timeout=module.params["lock_timeout"],
        directory=_lock.directory(),
        doing="changing domains",
    )


@contextlib.contextmanager
def _domains(module: _glue.Module) -> t.Iterator[Domains]:
    path = module.params["xml_file"]
    if path is None:
        rules = udev_rules.RuleStore(lambda command: _glue.command(module, command))
        with hypervisor.connect(module.params["uri"], timeout=module.params["timeout"], rules=rules) as hv:
            yield hv
    else:
        backup = module.backup_local if module.params["backup"] else None
        in_place = module.params["unsafe_writes"]
        yield xmlfile.open_file(path, write=xmlfile.writer(module), backup=backup, in_place=in_place)


def _converge(
    module: _glue.Module,
    declared: t.Sequence[Desired],
    hv: Domains,
    answers: dict[str, relay.Verdict],
    journals: list[_plan.Journal[Nic]],
) -> dict[str, t.Any]:
    sources = {source for desired in declared if (source := desired.given.get("source"))}
    level, purge = module.params["live"], module.params["purge"]
    resolved: list[resolution.Resolved] = []

    def inquire(host: Host) -> tuple[list[Desired], tuple[str, ...], Reach]:
        always, check = module.params["auto"] == "always", module.params["check_relay"]
        cases = auto.cases(declared, host, check=check)
        modes, relay_warnings = ask.settle(cases, host.links or {}, answers, always=always, check=check)
        return auto.settled(declared, modes), relay_warnings, _reach(host)

    def plan(host: Host, answers: tuple[list[Desired], tuple[str, ...], Reach]) -> _plan.Plan[Nic]:
        with_modes, relay_warnings, reach = answers
        untouched = identity.Untouched(frozenset(), states.ending(host))
        resolved[:] = resolution.resolve(with_modes, host, untouched, level=level, purge=purge)
        planned = planner.plan(with_modes, host, untouched, level=level, purge=purge)
        states.validate(planned, host)
        disconnect_warnings = reachability.check(
            disruptions.of_steps(planned.steps), reach, host.links or {}, allowed=module.params[ALLOW]
        )
        planned = states.with_state_warnings(
            replace(planned, warnings=(*planned.warnings, *relay_warnings, *disconnect_warnings)), host
        )
        if module._diff:
            planned = _with_views(planned)
        return _checked(planned) if isinstance(hv, xmlfile.DomainFile) else planned

    def verify(_planned: _plan.Plan[Nic], host: Host, _answers: t.Any) -> _plan.Plan[Nic]:
        identity.validate_defined(resolved, before[0], host)
        # Of a guest that has stopped or started meanwhile only what is stored was this run's to change.
        return planner.plan(identity.pinned(resolved), host, untouched_in(host), level=level)

    def untouched_in(host: Host) -> identity.Untouched:
        return identity.Untouched(
            frozenset(hv.unanswered), identity.restarted(before[0], host) | states.ending(before[0])
        )

    def complete(host: Host) -> Host:
        needed = host.macs is None and resolution.needs_all_macs(declared, host, purge=purge)
        return hv.with_macs(host) if needed else host

    def observe() -> Host:
        host = complete(hv.observe((desired.domain for desired in declared), sources))
        before.append(host)
        return host

    def apply(steps: t.Sequence[_plan.Step[Nic]], journal: _plan.Journal[Nic]) -> None:
        journals.append(journal)
        hv.apply(steps, journal)

    before: list[Host] = []
    try:
        outcome = _plan.converge(
            observe,
            plan,
            apply,
            rollback.undo,
            inquire=inquire,
            verify=verify,
            revert=hv.revert,
            check_mode=module.check_mode,
            roll_back=module.params["on_error"] == "rollback",
        )
        if module.check_mode:
            hv.require(outcome.plan.steps)
        if not module.check_mode:
            hv.ensure_keeper()
    except MacvtapError as exc:
        with contextlib.suppress(MacvtapError):
            exc.details["pending"] = [_asked(one) for one in hv.outstanding(observe())]
        if not module.check_mode:
            with contextlib.suppress(MacvtapError):
                # What was kept as it is may be outstanding as well.
                hv.ensure_keeper()
        raise
    host, untouched = outcome.host, untouched_in(outcome.host)
    final = resolution.resolve(identity.pinned(resolved), host, untouched, level=level)
    ours = {(r.before.domain, r.before.mac) for r in final}
    outstanding = [one for one in hv.outstanding(host) if (one["domain"], one["mac"]) in ours]
    asked = {(str(one["domain"]), str(one["mac"])) for one in outstanding if one["state"] == HELD}
    due = {
        (r.desired.domain, r.before.mac): changed
        for r, changed in ((r, states.restart_fields(r, host)) for r in final)
        if changed and (r.desired.domain, r.before.mac) not in asked
    }
    done = identity.with_actual_impacts(
        outcome.plan,
        host,
        identity.restarted(before[0], host),
        due,
        [step for journal in journals for step in journal.steps],
    )
    backup = {"backup_file": hv.backup_file} if isinstance(hv, xmlfile.DomainFile) and hv.backup_file else {}
    return {
        **done.result(diff=module._diff),
        **backup,
        **({"reflective_relay": [relay.report(answer) for answer in answers.values()]} if answers else {}),
        "interfaces": [_returned(r) for r in final[: len(declared)]],
        "restart_required": [{"domain": name, "mac": mac, "fields": due[name, mac]} for name, mac in due],
        "pending": [_asked(one) for one in outstanding],
        "warnings": [
            *(["purge: this task names no domain, so nothing is removed"] if purge and not declared else []),
            *done.warnings,
            *_conversion_warnings(outcome.plan),
            *hv.warnings,
            *(inspection.pending_warning(one, host, outlives_boot=hv.outlives_boot) for one in outstanding),
        ],
    }


def _reach(host: Host) -> Reach:
    """Return by what this host is reached, nothing where the domains are another host's or in a file."""
    if host.links is None:
        return Reach()
    with rtnetlink.open_socket() as sock:
        return Ways(sock).observe()


def _with_views(plan: _plan.Plan[Nic]) -> _plan.Plan[Nic]:
    """Give the plan's steps what a diff shows of them: the element as stored or, where that stays, as it runs."""
    steps = []
    for step in plan.steps:
        before, after = step.before, step.after
        if before is None or after is None:
            continue
        shown = (before.stored, after.stored) if before.stored != after.stored else (before.live, after.live)
        outside = {
            change.field: (change.before, change.after) for change in step.changes if change.field in fields.OUTSIDE_XML
        }
        views = [
            element.view(one) + "".join(_outside_view(name, values[side]) for name, values in outside.items())
            for side, one in enumerate(shown)
        ]
        steps.append(replace(step, before_view=views[0], after_view=views[1]))
    return replace(plan, steps=tuple(steps))


def _outside_view(name: str, value: bool | None) -> str:
    return "" if value is None else f"\n{name}: {'yes' if value else 'no'}"


def _checked(plan: _plan.Plan[Nic]) -> _plan.Plan[Nic]:
    """Hold what is to be written to a file against libvirt's schema: libvirt itself does not see it now."""
    for step in plan.steps:
        before, after = (nic.stored if nic else None for nic in (step.before, step.after))
        known_problems = schema.problems(element.render(before)) if before else []
        # What was wrong before is not this task's.
        problems = (
            [
                problem
                for problem in schema.problems(element.render(after)) or ()
                if problem not in (known_problems or ())
            ]
            if after
            else []
        )
        if problems:
            raise MacvtapError(f"libvirt's schema does not allow this: {'; '.join(problems)}", path=step.path)
    missing = schema.missing() if plan.changed else None
    warning = (f"not validated against libvirt's schema: {missing}",) if missing else ()
    return replace(plan, warnings=(*plan.warnings, *warning))


def _returned(resolved: resolution.Resolved) -> dict[str, t.Any]:
    stored, live = resolved.after.stored, resolved.before.live
    there = stored or (resolved.transient and resolved.after.live)
    return {
        "domain": resolved.desired.domain,
        "mac": resolved.before.mac,
        "state": "present" if there else "absent",
        "stored": stored and fields.nested(stored.values),
        "live": live and fields.nested(live.values),
    }


def _conversion_warnings(plan: _plan.Plan[Nic]) -> t.Iterator[str]:
    for step in plan.steps:
        before, after = step.before, step.after
        if before and after and before.stored and after.stored and before.stored.type != after.stored.type:
            lost = element.lost_by_conversion(before.stored)
            if lost:
                yield (
                    f"{step.target}: a macvtap link has no {', '.join(lost)}; the conversion removes it. The diff "
                    "shows what it was"
                )


def _asked(outstanding: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in outstanding.items() if name != "returns"}


def _interface_options() -> dict[str, t.Any]:
    spec = fields.specification()
    for name, aliases in _ALIASES.items():
        spec[name]["aliases"] = aliases
    return {**spec, "mtu": {"type": "int"}, "convert": {"type": "bool"}, "mac_prefix": {"type": "str"}}


def main() -> None:
    what = _interface_options()
    module = _glue.Module(
        argument_spec={
            "domain": {"type": "str"},
            "mac": {"type": "str"},
            "interfaces": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "domain": {"type": "str"},
                    "mac": {"type": "str"},
                    "state": {"type": "str", "choices": _STATES},
                    **what,
                },
            },
            "state": {"type": "str", "choices": _STATES, "default": "present"},
            "auto": {"type": "str", "choices": list(choice.SCOPES), "default": "new"},
            "check_relay": {"type": "bool", "default": False},
            "purge": {"type": "bool", "default": False},
            "live": {"type": "str", "choices": list(impact.LEVELS), "default": "update"},
            ALLOW: {"type": "bool", "default": False},
            "on_error": {"type": "str", "choices": ["rollback", "keep"], "default": "rollback"},
            "uri": {"type": "str", "default": "qemu:///system"},
            "xml_file": {"type": "path"},
            "backup": {"type": "bool", "default": False},
            "unsafe_writes": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 20},
            "lock_timeout": {"type": "int", "default": 60},
            **what,
        },
        required_one_of=[("domain", "interfaces", "xml_file")],
        mutually_exclusive=[("domain", "interfaces"), ("mac", "interfaces")],
        supports_check_mode=True,
    )
    _glue.run(module, execute)


if __name__ == "__main__":
    main()
