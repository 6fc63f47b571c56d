#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Manage the direct (macvtap) interfaces of libvirt domains."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_direct_iface
short_description: Manage direct (macvtap) interfaces of libvirt domains
version_added: 0.1.0
description:
  - Adds, changes and removes network interfaces of the type C(direct) in libvirt domains. libvirt creates a macvtap
    link for each of them.
  - Use O(domain) and a selector for one interface, or O(interfaces) for many interfaces of any number of domains.
  - The selector is O(mac), else O(alias), else O(target), else O(source) or O(network), if the domain has only one
    interface on it. An interface that is on an uplink of the O(network), or on a network over the O(source), is taken
    if there is no other, and moves.
    It is compared with the stored configuration, not with the running guest. If two interfaces share a MAC address, an
    O(alias), O(target) or O(source) beside O(mac) selects one. Of such a pair only the stored configuration is changed.
  - The entries of one task are applied together. Entries with a O(mac) come first, so that other entries do not select
    an interface that moves away. An entry that would select another interface in the next run is refused.
  - Only the options that are set are changed. The rest of the interface's element and of the domain's configuration
    stays as it is.
  - The stored configuration is always updated. O(live) sets how much a running guest may be disrupted. Changes that
    need more are listed in RV(restart_required). The module never restarts anything.
  - If anything fails, the module rolls back the changes of this run, unless O(on_error=keep).
options:
  domain:
    description:
      - Name of the domain whose interface this is.
      - Either this, O(interfaces) or O(xml_file) is required.
    type: str
  mac: &mac
    description:
      - MAC address of the interface, which selects it. With colons, dashes, dots (C(5254.00ab.cdef)) or no separator,
        in upper or lower case. Quote it, because YAML reads some addresses as numbers.
      - If a new interface has none, the module generates it from the domain's UUID and the O(source). It is the same
        each time, and differs from those of the host's other domains.
    type: str
  source: &source
    description:
      - The uplink, by its name such as V(eth0), alternative name, MAC address, or the PCI address of its device
        (V(0000:01:00.0), V(01:00.0)). It must exist, and support macvtap links.
      - libvirt knows a source only by its name, or by an alternative name of up to 15 bytes, and these are stored as
        they are set. In all other cases the link's current name is stored. An interface that is on the link already, by
        whichever name, stays as it is. If the link is renamed, run the module again before the guest's next start, or
        use a short alternative name.
      - While a guest has a NIC in mode V(passthrough), the NIC has the guest's MAC address. It is then found by its
        permanent address.
      - With O(xml_file) or a remote O(uri) the links are unknown, so only names of up to 15 bytes are accepted.
      - Either this or O(network) is required for an interface that does not exist yet. An interface on a network moves
        to the source, and keeps the mode that it had unless O(mode) is set.
    type: str
    aliases: [parent, dev]
  mode: &mode
    description:
      - Mode of the macvtap link.
      - V(bridge) works with every switch. With V(vepa), guests of one host reach each other only through a switch port
        with reflective relay (hairpin). V(private) isolates them. V(passthrough) gives the whole source to this one
        interface; V(passthru) is an alias.
      - An interface in mode V(passthrough) must be the only one on its source. A conflict is refused for a running
        guest, and for two interfaces of one domain. For other domains that do not run it is stored, with a warning.
      - V(auto) gives a new interface V(vepa) if the switch behind its source has reflective relay, else V(bridge). Each
        switch is probed once in a task, as M(linuxvirt.macvtap.reflective_relay_info) does. If the probe is impossible,
        it is V(bridge), with a warning. That is so on a source that is down, with a remote O(uri) and with O(xml_file).
        See O(auto) for existing interfaces.
      - If this is not set, an existing interface keeps its mode, and a new one is in mode V(bridge).
      - Refused for an interface that stays on a O(network), which has one mode for all its NICs.
      - For a running guest the mode is changed on the macvtap link itself, and the guest does not notice. Changes to
        and from V(passthrough) need a replug. libvirt shows the old mode until the guest is stopped and started.
    type: str
    choices: [bridge, vepa, private, passthrough, passthru, auto]
  network: &network
    description:
      - A direct network of libvirt, instead of O(source) and O(mode). Such a network has a name for the LAN that is the
        same on all hosts, and has the uplinks and the mode. M(linuxvirt.macvtap.libvirt_direct_network) manages it.
      - libvirt stores the interface with the type C(network), and this module treats it like one of the type
        C(direct). O(convert) is not needed to move it between a network and a O(source).
      - The network must exist, be active, and have the forward mode V(bridge), V(vepa), V(private) or V(passthrough)
        without a bridge. Interfaces on other networks (NAT) are of another type, and need O(convert).
      - If a running guest would have the same uplink in the same mode, it keeps the NIC that it has. libvirt 11.3
        connects it with the network at once, and 9.0 at the guest's next start. Until then it does not count as a user
        of the network, and C(virsh migrate) does not find its uplink on a host that calls it otherwise.
      - With O(xml_file) networks are unknown, so any name is accepted. An interface on a network that the task does not
        name is of another type, and needs O(convert).
      - An entry of O(interfaces) with a O(source) or O(mode) does not take the default beside it, and the reverse.
    version_added: 0.2.0
    type: str
  portgroup: &portgroup
    description:
      - The portgroup of the O(network), with settings such as the virtual port. Without one the NIC gets the network's
        default portgroup. An empty string removes it.
      - An interface that moves to another O(network) without this loses its portgroup.
    version_added: 0.2.0
    type: str
  model: &model
    description:
      - NIC model that the guest sees, such as V(virtio) or V(e1000e).
      - If this is not set, a new interface gets V(virtio).
    type: str
  driver: &driver
    description:
      - Options of the host's side of a V(virtio) NIC. A NIC whose model changes to another one loses them.
      - An empty dictionary in an entry of O(interfaces) takes nothing from the default beside it.
    version_added: 0.2.0
    type: dict
    suboptions:
      name:
        description: The backend that moves the frames, the kernel (V(vhost)) or QEMU (V(qemu)).
        type: str
        choices: [qemu, vhost]
      txmode:
        description: How QEMU handles transmission.
        type: str
        choices: [iothread, timer]
      ioeventfd:
        description: Whether the guest's notifications are handled outside of its virtual CPUs.
        type: bool
      event_idx:
        description: Whether guest and host announce when they want to be notified.
        type: bool
      queues:
        description: Number of queue pairs. V(1) is libvirt's default, which it does not store.
        type: int
      rx_queue_size:
        description: Length of each receive queue, a power of two from 256 to 1024.
        type: int
      tx_queue_size:
        description: Length of each transmit queue, a power of two from 256 to 1024.
        type: int
      rss:
        description: Whether received frames are distributed over the queues by a hash.
        type: bool
      rss_hash_report:
        description: Whether the guest gets the hash of received frames.
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
        description: Whether each queue has its own notification page.
        type: bool
  target: &target
    description:
      - Name of the macvtap link on the host, up to 15 bytes, such as V(web0). Names like those that libvirt generates
        (C(macvtap0), C(vnet0)) are refused, because libvirt drops them. The name of another link is refused too,
        because libvirt 9.0 fails and then removes that link.
      - With an empty string libvirt chooses the name. If O(guard) must be there before the guest sends anything, a NIC
        that is attached to a running guest is called C(mvg) and twelve random digits until the guest stops, such as
        C(mvg3f9c02d1a47e). Such names are refused here too.
    version_added: 0.2.0
    type: str
  link_state: &link_state
    description: State of the link that the guest sees, as if its cable were plugged in (V(up)) or not (V(down)).
    version_added: 0.2.0
    type: str
    choices: [up, down]
  trust_guest_rx_filters: &trust
    description:
      - Whether the filters that the guest sets on its NIC, such as for multicast, also apply to the macvtap link. The
        guest then decides what its link receives, and its MAC address. A guard (O(guard)) keeps it from sending from
        another one, and not from receiving what is sent to that.
      - Another O(model) than V(virtio) is refused, because QEMU does not report its filters.
      - Before libvirt 10.1 a change needs a replug. Later versions change it in the running guest, with a warning.
        libvirt then updates the link only when the guest next changes its filters, and does not undo old ones.
      - O(allmulticast) is the other way to receive multicast, without trusting the guest. An interface cannot have
        both, declared or stored.
    version_added: 0.2.0
    type: bool
  allmulticast: &allmulticast
    description:
      - Whether the macvtap link receives all multicast groups. Otherwise it receives only those that the host knows,
        not those that the guest joins. IPv6 neighbour discovery then works only for addresses that derive from the MAC
        address.
      - A running guest's link gets it at once, and the guest does not notice.
      - libvirt cannot store it. Instead a udev rule for the interface's MAC address sets it at each start. The module
        writes the rule to C(/etc/udev/rules.d/90-macvtap-domains.rules), and removes it with V(false) or with the
        interface. Without udev, or if that file is unreadable or not managed by this collection, it lasts only until
        the guest stops, with a warning.
      - The rule matches the MAC address. If another domain has the same address, V(false) is refused, and
        O(state=absent) and O(purge) leave the rule, with a warning. O(state=absent) with a O(mac) also removes the rule
        of a domain that was undefined by other means.
      - Refused with O(xml_file), a remote O(uri) or C(qemu:///session), where neither link nor rule can be set. Refused
        with O(trust_guest_rx_filters), because libvirt removes it again. Refused in mode V(passthrough), where it has
        no effect before the link is up. There V(false) removes the rule, and the running guest's link keeps it until a
        restart.
      - As the default of O(interfaces), V(true) is V(false) for an entry in mode V(passthrough) or with
        O(trust_guest_rx_filters), also if only that is stored. It is ignored with a remote O(uri) and
        C(qemu:///session), and on a host without udev, with a warning.
      - With V(false) the link of a trusted running guest keeps what the guest has set.
      - If this is not set, it stays as it is.
    type: bool
    version_added: 0.2.0
  virtualport: &virtualport
    description:
      - The virtual port, by which the guest is associated with the switch (802.1Qbg or 802.1Qbh).
      - An entry of O(interfaces) with another type, V(none) or an empty dictionary takes nothing from the default.
    version_added: 0.2.0
    type: dict
    suboptions:
      type:
        description: The protocol. V(none) removes the virtual port.
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
      - VLAN ID of the guest's frames. Only an SR-IOV virtual function in mode V(passthrough) can have one; for all
        others it is refused. Use a VLAN interface of the host as O(source) instead.
      - V(0) removes it. An existing trunk of several VLANs is replaced by this one.
    version_added: 0.2.0
    type: int
  bandwidth: &bandwidth
    description:
      - Limits of what the guest receives (V(inbound)) and sends (V(outbound)).
      - An empty dictionary in an entry of O(interfaces) takes nothing from the default beside it.
      - After libvirt 9.0 and before 10.1 a change needs a replug.
    version_added: 0.2.0
    type: dict
    suboptions:
      inbound: &direction
        description: Limits in one direction.
        type: dict
        suboptions:
          average:
            description: KiB per second. V(0) removes the limits of this direction, also those of the task's default.
            type: int
          peak:
            description: KiB per second at most.
            type: int
          burst:
            description: KiB that may be sent at the peak's speed.
            type: int
      outbound: *direction
  boot_order: &boot_order
    description: The interface's position in the guest's boot order. V(0) removes it.
    version_added: 0.2.0
    type: int
  rom: &rom
    description: The NIC's boot ROM.
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
        description: Path of another ROM file.
        type: str
  alias: &alias
    description: A user alias of the device, beginning with C(ua-). An empty string removes it.
    version_added: 0.2.0
    type: str
  acpi_index: &acpi_index
    description: ACPI index, from which a Linux guest derives the NIC's name (V(1) gives C(eno1)). V(0) removes it.
    version_added: 0.2.0
    type: int
  pci_address: &pci_address
    description:
      - PCI address in the guest, such as V(0000:01:00.0). libvirt chooses one if there is none.
      - An empty string is the same as not setting it.
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
      - Convert an interface of another type (C(bridge), C(ethernet), C(network) with NAT, …) with this MAC address to
        type C(direct), or to a direct O(network). Model, alias, PCI address and boot order are kept. What a macvtap
        link cannot have is removed, with a warning. A host device (C(hostdev)) becomes a V(virtio) NIC, unless O(model)
        is set.
      - Without it such an interface is refused. With it and O(state=absent), an interface that was never converted
        stays as it is.
    version_added: 0.2.0
    type: bool
  mac_prefix: &mac_prefix
    description: Prefix of a generated MAC address, one to five bytes. The default is V(52:54:00).
    version_added: 0.2.0
    type: str
  interfaces:
    description:
      - Many interfaces, of one or of many domains. Options that an entry does not set are taken from the option of the
        same name beside O(interfaces). O(driver), O(bandwidth), O(virtualport) and O(rom) are merged part by part.
    type: list
    elements: dict
    suboptions:
      domain:
        description: Name of the domain whose interface this is.
        type: str
      mac: *mac
      source: *source
      mode: *mode
      network: *network
      portgroup: *portgroup
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
      pci_address: *pci_address
      mtu: *mtu
      convert: *convert
      mac_prefix: *mac_prefix
      guard:
        description: See O(guard).
        version_added: 0.2.0
        type: dict
        suboptions:
          state:
            description: See O(guard.state).
            type: str
            choices: [present, absent]
          policy:
            description: See O(guard.policy).
            type: str
            choices: [drop, count]
          other_macs:
            description: See O(guard.other_macs).
            type: bool
          addresses:
            description: See O(guard.addresses).
            type: list
            elements: str
          ethertypes:
            description: See O(guard.ethertypes).
            type: list
            elements: str
          peers:
            description: See O(guard.peers).
            type: list
            elements: str
          dhcp_server:
            description: See O(guard.dhcp_server).
            type: bool
          router_advertisements:
            description: See O(guard.router_advertisements).
            type: bool
          rate:
            description: See O(guard.rate).
            type: int
          mirror_to:
            description: See O(guard.mirror_to).
            type: str
      state:
        description: Whether the domain has the interface. See O(state).
        type: str
        choices: [present, absent]
  state:
    description:
      - V(present) adds the interface or changes it as declared, V(absent) removes it.
      - A domain that does not exist is an error with V(present) and a warning with V(absent).
      - V(present) also repairs a running guest's macvtap link that was set down, or has another MAC address than the
        interface. Exceptions are a paused guest, O(link_state=down), and an address that a guest with
        O(trust_guest_rx_filters) has set.
      - A transient domain has no stored configuration. Its running guest gets what is possible, and a warning names the
        rest.
    type: str
    choices: [present, absent]
    default: present
  auto:
    description:
      - The interfaces to which O(mode=auto) applies. V(new) means those that are new, are converted or move to another
        source. Others keep their mode, and their switch is not probed. V(always) means existing interfaces too, whose
        mode then follows the switch. If the probe is impossible, they keep their mode.
      - Existing interfaces in another mode than V(vepa) and V(bridge) always keep it, because it does not depend on the
        switch.
    type: str
    choices: [new, always]
    default: new
    version_added: 0.2.0
  check_relay:
    description:
      - Probe the switch behind every source of declared interfaces in mode V(vepa). If it has no reflective relay, warn
        that guests of this host will not reach each other. Each probe without an answer takes 50 ms.
      - If O(mode=auto) probes the switch, there is a warning in any case.
    type: bool
    default: false
    version_added: 0.2.0
  purge:
    description:
      - Remove undeclared direct interfaces of the domains that this task names, also those on direct networks
        (O(network)). With O(live) other than V(none), running guests lose them at once.
      - Interfaces of other types, such as on a bridge or on a network with NAT, and other domains, are never changed.
        With O(xml_file), interfaces on networks that the task does not name are of another type, too.
      - A domain that the task no longer names keeps its interfaces; declare its last one with O(state=absent). If the
        task names no domain, nothing is removed, with a warning.
      - An undeclared interface that shares its MAC address with another one stays, with a warning.
    version_added: 0.2.0
    type: bool
    default: false
  live:
    description:
      - How much a running guest may be disrupted, one word or several. Changes that need more are only stored, and are
        listed in RV(restart_required).
      - V(none) does not change running guests. It stands alone.
      - V(update) changes what the guest does not notice, attaches new interfaces and detaches removed ones. The two
        words below include it.
      - V(pause) also saves a running guest, changes its interfaces in the saved image, and restores it. The guest
        keeps its NICs, addresses and connections, and stands still meanwhile. See RV(pauses) for how long. A pause can
        change O(source), O(mode), O(network), O(portgroup), O(target), O(virtualport), O(vlan), O(bandwidth),
        O(trust_guest_rx_filters) and the type. What the guest itself sees stays, such as O(model) and O(driver). A
        paused guest stays paused.
      - With V(pause), a guest that cannot be saved is an error before anything is changed. It has a host device, a
        shared file system or shared memory, a job or a managed save, or there is not enough space for its image.
      - V(replug) also detaches an interface from a running guest and attaches it again, with the same MAC address,
        model, alias, PCI address and boot order. The guest loses its network for that moment, and its settings of the
        NIC.
      - With V(pause) and V(replug), each guest is changed in the way that costs less. RV(pauses) has which, and why.
        That is a pause, unless something needs a replug in any case, the guest cannot be saved, or it would stand still
        for longer than 10 seconds or O(pause_max), or for an unknown time.
    version_added: 0.2.0
    type: list
    elements: str
    choices: [none, update, pause, replug]
    default: [update]
  pause_max:
    description:
      - For how many seconds at most a guest may stand still with O(live=pause). If the forecast is longer or unknown,
        the run fails before anything is changed, or replugs if O(live) allows that too.
      - If this is not set, there is no limit.
    version_added: 0.2.0
    type: float
  allow_host_disconnect:
    description:
      - Give a guest a O(source) in mode V(passthrough) even if that link has IP addresses or routes of the host, or
        carries Ansible's connection. The guest gets all frames of the link, so the host is cut off there. A warning
        names what the host loses.
      - Otherwise such an interface is refused, also for a domain that does not run. With O(xml_file), or a O(uri) of
        another host, what that has on its links is not known. A warning says so.
    type: bool
    default: false
    version_added: 0.2.0
  on_error:
    description:
      - V(rollback) undoes the changes of this run if any of them fails. V(keep) keeps them.
      - A running guest's link that was down or had another MAC address, and was repaired, stays repaired.
    version_added: 0.2.0
    type: str
    choices: [rollback, keep]
    default: rollback
  on_missing:
    description:
      - What is done if this host does not have a domain that is named. V(fail) changes nothing, and fails.
      - V(skip) changes the other domains. It is for guests that move between hosts, and are declared on each of them. A
        misspelt name is then no error. RV(missing) has the names.
      - Guards of such domains are set all the same, and wait for the guest.
    version_added: 0.2.0
    type: str
    choices: [fail, skip]
    default: fail
  uri:
    description: URI of the libvirt daemon.
    type: str
    default: qemu:///system
  xml_file:
    description:
      - Change this domain XML file instead, without libvirt. Everything outside of the interfaces stays as it is, to
        the byte. The file is replaced atomically, and keeps its owner, mode and SELinux context.
      - The result is validated against libvirt's schema first, if that and lxml are installed.
      - O(domain) is optional. If it is set, it must be the name of the file's domain.
    version_added: 0.2.0
    type: path
  backup:
    description: Keep a copy of O(xml_file) as it was before it was changed.
    version_added: 0.2.0
    type: bool
    default: false
  unsafe_writes:
    description:
      - Write into an O(xml_file) that cannot be replaced because it is a mount point, as files in a container can be.
        If the write is interrupted, the file is incomplete.
      - Otherwise such a file is refused, in check mode too.
    version_added: 0.2.0
    type: bool
    default: false
  timeout:
    description:
      - How many seconds to wait until running guests have released NICs that are removed or replugged. A replugged NIC
        is attached again as soon as the guest has released it.
      - A NIC that a guest still holds then is listed in RV(pending). The request cannot be cancelled. The guest may
        still release the NIC, at the latest at a reset. If the NIC is still stored, it is then attached again at once.
    type: int
    default: 20
  lock_timeout:
    description:
      - How many seconds to wait for another run of this module on the same host. A run waits up to O(timeout) seconds
        for guests.
    version_added: 0.2.0
    type: int
    default: 60
notes:
  - A domain that migrates to or from another host is not changed. A job that allows no change (dump, save, snapshot) is
    an error unless O(live=none). A guest that has crashed or is shutting down is not changed, with a warning.
  - A run no longer changes a guest that stops, starts or restarts meanwhile, not even in a rollback. The guest gets the
    stored configuration when it starts.
  - If two editors store a domain at the same moment, libvirt keeps the last one. Runs of this module wait for each
    other. If another editor defines the domain at that moment, the run fails, because it counts libvirt's events. Edits
    without an event, such as C(virsh attach-device --config), go unnoticed.
  - If there is no free PCI slot for a new interface, libvirt adds a controller to the stored configuration as well.
  - To convert a direct interface back to another type, use a tool such as C(virt-xml) with C(--edit).
  - An interface on a direct O(network) is stored with the type C(network). In RV(changes) its type is C(direct) all the
    same.
  - A user's own libvirt, with the URI C(qemu:///session), stores such interfaces. Only root's own starts a guest with
    one, because only root can create macvtap links.
  - Links of the host are read only if the guests run on this host. With a remote URI a missing source shows only when
    the guest starts, and the mode of a running guest needs a replug.
  - The diff shows the interface's element before and after. It has no passwords of the domain.
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.libvirt
  - linuxvirt.macvtap.guard_options
attributes:
  check_mode:
    support: full
    details:
      - With O(mode=auto) or O(check_relay=true) the switch is probed in check mode as well. That sends two frames on
        the source, changes nothing, and needs root.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - If a running guest does not release a NIC, every run asks for it again and reports changed.
requirements:
  - libvirt (its Python bindings)
  - lxml, to validate what is written to O(xml_file) against libvirt's schema
  - pyroute2 (0.5.14 or newer), required to change the mode or allmulticast of a running guest's interface
seealso:
  - module: linuxvirt.macvtap.libvirt_direct_iface_info
  - module: linuxvirt.macvtap.libvirt_direct_network
  - module: linuxvirt.macvtap.macvtap_link
  - module: linuxvirt.macvtap.reflective_relay_info
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Give the guest web1 an interface on the LAN of eth0
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web1
    mac: "52:54:00:10:00:01"
    source: eth0
    mode: bridge

- name: Manage the interfaces of many guests in one task
  linuxvirt.macvtap.libvirt_direct_iface:
    source: eth0
    mode: bridge
    interfaces:
      - {domain: web1, mac: "52:54:00:10:00:01"}
      - {domain: web2, mac: "52:54:00:10:00:02"}
      - {domain: db1, mac: "52:54:00:10:00:03", source: eth1, mode: private}
      - {domain: old1, mac: "52:54:00:10:00:04", state: absent}
  register: direct

- name: Choose the mode by the switch
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web3
    mac: "52:54:00:10:00:05"
    source: eth0
    mode: auto

- name: Add a second interface on eth1, with a generated, stable MAC address
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web1
    source: eth1
    mode: bridge

- name: Change the NIC model and use four queues, with a replug of the running guest
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web1
    mac: "52:54:00:10:00:01"
    model: virtio
    driver:
      queues: 4
    live: replug

- name: Move a running guest to another uplink, if it stands still for no longer than five seconds
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web1
    mac: "52:54:00:10:00:01"
    source: eth1
    live: pause
    pause_max: 5

- name: Convert a bridge interface to macvtap, with the same MAC address and NIC model
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: old1
    mac: "52:54:00:10:00:04"
    source: eth0
    mode: bridge
    convert: true

- name: Connect guests to the LAN by the name of a libvirt network, whatever the uplink is called on this host
  linuxvirt.macvtap.libvirt_direct_iface:
    network: lan
    interfaces:
      - {domain: web1, mac: "52:54:00:10:00:01"}
      - {domain: web2, mac: "52:54:00:10:00:02", portgroup: trusted}
      - {domain: old1, mac: "52:54:00:10:00:04", convert: true}

- name: Keep only these direct interfaces of web1
  linuxvirt.macvtap.libvirt_direct_iface:
    purge: true
    interfaces:
      - domain: web1
        mac: "52:54:00:10:00:01"
        source: eth0
        mode: bridge

- name: Change a domain XML file without libvirt
  linuxvirt.macvtap.libvirt_direct_iface:
    xml_file: /srv/templates/web.xml
    backup: true
    mac: "52:54:00:10:00:01"
    source: eth0
    mode: bridge

- name: Let a guest receive all multicast, for IPv6 privacy addresses, mDNS, VRRP or OSPF
  linuxvirt.macvtap.libvirt_direct_iface:
    domain: web1
    mac: "52:54:00:10:00:01"
    allmulticast: true

- name: Show which guests have to be restarted
  ansible.builtin.debug:
    msg: "{{ item.domain }}: {{ item.fields | join(', ') }} of {{ item.mac }} will change at its next start"
  loop: "{{ direct.restart_required }}"
  loop_control:
    label: "{{ item.domain }}"
"""

RETURN = r"""
changes:
  description: Each field that changes, or would change in check mode, and the impact on the guest.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: The domain and the interface's MAC address. For a guard, as in C(guard of 52:54:00:00:0a:01).
      type: str
    field:
      description:
        - The option that changes, such as V(mode) or V(driver.queues). V(type) if an interface is converted. V(state)
          if it is added to the stored configuration or removed from it. V(live) if only the running guest gets or loses
          an interface.
      type: str
    before:
      description: The value before.
      type: raw
    after:
      description: The value after.
      type: raw
    impact:
      description:
        - V(config) changes only the stored configuration. The guest gets it when it starts.
        - V(live) changes something that the running guest does not notice, or attaches or detaches an interface.
        - V(in_place) changes a guard. The NIC is not touched.
        - V(pause) saves the running guest, changes the interface in the image, and restores the guest.
        - V(replug) detaches the interface from the running guest and attaches it again.
        - V(restart) changes the stored configuration. A running guest, or one restored from a managed save, keeps what
          it has until it is stopped and started.
      type: str
  sample:
    - {target: "web1 52:54:00:10:00:01", field: mode, before: vepa, after: bridge, impact: live}
interfaces:
  description: >-
    Each declared interface as it is stored, or would be stored in check mode, but for those of domains in RV(missing).
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
      description: The interface's fields, named like the options; null if it is absent.
      type: dict
    live:
      description:
        - The same for the running guest, with the name of its link as C(target), and with the link's real mode and
          C(allmulticast); null if there is none.
      type: dict
  sample:
    - domain: web1
      mac: "52:54:00:10:00:01"
      state: present
      stored: {source: eth0, mode: bridge, model: virtio, link_state: up, allmulticast: false}
      live: {source: eth0, mode: bridge, model: virtio, link_state: up, allmulticast: false, target: macvtap0}
restart_required:
  description:
    - Interfaces of running guests that differ from the stored configuration, and the fields that differ. V(state) means
      that only one of the two has the interface, and V(link) that the guest's link is gone, because its uplink was
      deleted and created again.
    - Stop and start the domain to apply the stored configuration; a reboot inside the guest is not enough.
    - Runs that change nothing return them too, until the domain is restarted.
    - For a domain with a managed save, the saved NICs are compared, which its next start restores.
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
missing:
  description: Names of the domains that this host does not have, and that were left out by O(on_missing=skip).
  returned: success
  type: list
  elements: str
  sample: []
pending:
  description:
    - NICs that a guest was asked to release, by this run or an earlier one, and that are neither removed nor attached
      again yet. The guest may release them at any time, at the latest when it is reset. A NIC that is stored is then
      attached again at once, by a process that outlives the run (the keeper).
    - With systemd the keeper also works after a reboot of the host. It does not follow a guest that migrates to another
      host. Run this module there.
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
        - V(held) if the guest still has it. V(saved) if the guest was saved, and may release it when it is restored.
          V(released) if the guest has released it, and it could not be attached again yet. V(unguarded) if it is
          attached, and its guard could not be put on its link yet.
      type: str
    unguarded:
      description:
        - Whether the guest runs with it, and its guard could not be put on its link yet. It is always V(true) if the
          state is V(unguarded), and can be V(true) if the state is V(held).
      type: bool
    error:
      description:
        - Why a released NIC is not attached again yet, or why a NIC has no guard yet. The keeper keeps trying.
        - Of a NIC without its guard, it also says until when nothing gets out that the guest sends. Without a time,
          the guest may send anything.
      type: str
    since:
      description: Time of the first request.
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
pauses:
  description:
    - The guests that are paused, or would be in check mode. With O(live=[pause, replug]) also those that are replugged
      although a pause would be possible in principle.
    - The forecast is the memory that is in use, divided by the rates at which the file system of libvirt's managed
      saves writes and reads, and a fixed part for QEMU, which is longer if others use the processors. The rates are
      measured with a file that has no name, in check mode too.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the domain.
      type: str
    way:
      description: V(pause) or V(replug).
      type: str
    reason:
      description: Why it is changed in this way.
      type: str
    memory_bytes:
      description: Memory of the guest that is in use; null if unknown.
      type: int
    forecast_seconds:
      description: For how long the guest will stand still; null if unknown, or if it is replugged.
      type: float
    measured_seconds:
      description: For how long it stood still; null in check mode, or if it is replugged.
      type: float
    clock_set:
      description:
        - Whether its guest agent has set its clock, which is behind by the time that it stood still. V(false) if no
          agent was connected, or if it did not answer in three seconds; null in check mode, or if it is replugged.
      type: bool
  sample:
    - domain: web1
      way: pause
      reason: a replug is not allowed
      memory_bytes: 201326592
      forecast_seconds: 0.9
      measured_seconds: 0.8
      clock_set: true
reflective_relay:
  description: The probed switches, as C(parents) of M(linuxvirt.macvtap.reflective_relay_info).
  returned: with O(mode=auto) or O(check_relay=true), if a switch was probed
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
guards:
  description: The guards that O(guard) declares, after the changes, as C(guards) of M(linuxvirt.macvtap.macvtap_guard).
  returned: with O(guard)
  type: list
  elements: dict
  sample:
    - mac: "52:54:00:00:0a:01"
      links: [macvtap0]
      policy: drop
      other_macs: false
      addresses: []
      ethertypes: [arp, ip, ip6]
      peers: []
      dhcp_server: false
      router_advertisements: false
      rate: 0
      mirror_to: ""
      persistent: true
      rules: loaded
backup_file:
  description: The copy of O(xml_file) as it was before.
  returned: with O(backup=true), if the file was changed
  type: str
  sample: /srv/templates/web.xml.4242.2026-11-22@10:00:00~
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.libvirt_direct_iface import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
