#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Announce a libvirt guest on the LAN from the host that runs it, and see that its addresses are heard there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_guest_announce
short_description: Announce a libvirt guest that has moved, and check that frames of its NICs leave its host
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Sends a frame with the address of each macvtap NIC of a running guest on its uplink, three times within 0.3 s.
    Switches learn from it behind which port the guest is. The module then checks that a frame with that address leaves
    the uplink. All of it takes about a second.
  - QEMU announces a guest that has moved as well, through the guest's own link. A guard drops that.
  - A guest is only announced if it runs on this host, its process holds the taps of its links open, and the links are
    up. Otherwise switches would send its frames to the wrong port. The links are looked at before each frame.
  - A guest that is paused, stopped or migrating is not announced, and neither is a NIC whose link is set down
    (C(link_state)). RV(interfaces[].reason) and a warning have the reason. NICs of other types than V(direct)
    are left out.
  - One that stops, is paused or moves on meanwhile is no failure either. It is looked at once more.
  - The task fails if a NIC of a running guest cannot be heard, because its link, tap or uplink is not as it must be, or
    no frame left the uplink. Nothing is changed on the host.
options:
  domain:
    description: Name of the domain.
    type: str
    required: true
    aliases: [name, guest]
  uri:
    description: URI of the libvirt daemon of this host.
    type: str
    default: qemu:///system
attributes:
  check_mode:
    support: full
    details: Looks at the guest's links and uplinks, and fails as it would otherwise. Nothing is sent.
  diff_mode:
    support: none
    details: Nothing is changed.
  idempotent:
    support: full
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
notes:
  - What leaves the uplink may still be lost on the way. The module does not know what a switch has learnt.
requirements:
  - libvirt (its Python bindings)
seealso:
  - module: linuxvirt.macvtap.libvirt_guest_migrate
  - module: linuxvirt.macvtap.libvirt_direct_iface_info
"""

EXAMPLES = r"""
- name: Move a guest
  linuxvirt.macvtap.libvirt_guest_migrate:
    domain: web1
    destination: hv2

- name: Check that it is heard on the LAN from there
  linuxvirt.macvtap.libvirt_guest_announce:
    domain: web1
  delegate_to: hv2
"""

RETURN = r"""
domain:
  description: Name of the domain.
  returned: success
  type: str
  sample: web1
running:
  description: Whether its guest runs. It may be paused.
  returned: success
  type: bool
interfaces:
  description: The guest's NICs that are macvtap links. An empty list if it does not run.
  returned: success
  type: list
  elements: dict
  contains:
    mac:
      description: MAC address of the NIC.
      type: str
      returned: always
    link:
      description: Its link, V(null) if it has none.
      type: str
      returned: always
    uplink:
      description: The link's uplink, V(null) if it is not known.
      type: str
      returned: always
    announced:
      description: Whether it was announced, and a frame with its address was seen to leave the uplink.
      type: bool
      returned: always
    reason:
      description: Why it was not announced, V(null) if it was, or would be outside of check mode.
      type: str
      returned: always
  sample:
    - {mac: "52:54:00:00:01:01", link: macvtap0, uplink: eth0, announced: true, reason: null}
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.libvirt_guest_announce import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
