#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: macvtap_host_plan
short_description: Show what several modules would change on a host
version_added: 0.2.0
author: linuxvirt.macvtap contributors (!UNKNOWN)
description:
  - Plans several modules of this collection in one run, each by its own code in check mode. Returns for each stage what
    the module would return, such as changes and warnings, or its error. An error of one stage does not end the others.
  - A host that is as declared takes one short run, instead of one for each module.
  - Changes nothing. Can also return the state of the host, as M(linuxvirt.macvtap.macvtap_host_info) does.
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.libvirt
  - linuxvirt.macvtap.libvirt_options
attributes:
  check_mode:
    support: full
    details: Never changes anything.
  diff_mode:
    support: full
    details: In diff mode each stage has its RV(stages[].diff). Ansible does not show it.
  idempotent:
    support: full
options:
  stages:
    description:
      - The modules with their options, in the order in which they would be run.
      - If a task does not set this, they are those that the collection's roles run for the host's variables, with the
        tags of the run. Set an empty list to plan none.
      - A stage is skipped if it may depend on what an earlier stage has not changed yet. After a
        M(linuxvirt.macvtap.vlan_link) that would create links, these modules are skipped.
        M(linuxvirt.macvtap.vlan_link), M(linuxvirt.macvtap.macvtap_link),
        M(linuxvirt.macvtap.libvirt_direct_network), M(linuxvirt.macvtap.libvirt_direct_iface) and
        M(linuxvirt.macvtap.macvtap_host_access). A M(linuxvirt.macvtap.libvirt_direct_iface) is also skipped after a
        M(linuxvirt.macvtap.libvirt_direct_network) that would change something.
      - A M(linuxvirt.macvtap.vlan_link) that only removes VLAN links is planned with C(force=true) after a
        M(linuxvirt.macvtap.macvtap_link) that would change something, which may be still on them. It is skipped if that
        stage was skipped. The same holds for networks and M(linuxvirt.macvtap.libvirt_direct_iface).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A name for the stage, by which the results refer to it. No two stages have the same.
        type: str
        required: true
      module:
        description: The module.
        type: str
        required: true
        choices:
          - kernel_macvtap_check
          - macvtap_guard
          - macvtap_persistence
          - vlan_link
          - macvtap_link
          - libvirt_direct_network
          - libvirt_direct_iface
          - macvtap_host_access
      options:
        description:
          - Its options. C(module_defaults) of the module do not apply.
          - An error has the path of the option in this module, such as C(stages[2].options.links[0].mac).
        type: dict
        default: {}
  host:
    description:
      - Whether to return the state of the host, too. O(uri), O(timeout), O(relay), O(relay_vepa), O(guests),
        O(probe_networks) and O(probe_rate) are for that only.
    type: bool
    default: false
  uri:
    description: The libvirt connection URI.
    type: str
    default: qemu:///system
  relay:
    description: As in M(linuxvirt.macvtap.macvtap_host_info).
    type: list
    elements: str
    default: []
  relay_vepa:
    description: As in M(linuxvirt.macvtap.macvtap_host_info).
    type: bool
    default: false
  guests:
    description: As in M(linuxvirt.macvtap.macvtap_host_info).
    type: bool
    default: false
  probe_networks:
    description: As in M(linuxvirt.macvtap.macvtap_host_info).
    type: list
    elements: str
    default: []
  probe_rate:
    description: As in M(linuxvirt.macvtap.macvtap_host_info).
    type: int
    default: 200
    version_added: 1.0.0
seealso:
  - module: linuxvirt.macvtap.macvtap_host_info
"""

EXAMPLES = r"""
- name: Look for what differs from the declaration
  linuxvirt.macvtap.macvtap_host_plan:
    stages:
      - name: kernel
        module: kernel_macvtap_check
        options:
          state: loaded
      - name: links
        module: macvtap_link
        options:
          parent: eth0
          links:
            - name: mt0
            - name: mt1
              mode: private
      - name: domains
        module: libvirt_direct_iface
        options:
          interfaces:
            - domain: web1
              mac: "52:54:00:00:01:01"
              source: eth0
  register: plan

- name: Show what would be changed
  ansible.builtin.debug:
    msg: "{{ plan.stages | selectattr('name', 'in', plan.to_do) }}"
"""

RETURN = r"""
stages:
  description: The stages, in the order of O(stages).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
    module:
      description: Its module.
      type: str
      returned: always
    changed:
      description: Whether the module would change something.
      type: bool
      returned: always
    changes:
      description:
        - What it would change, as the module returns it. Each change has C(target), C(field), C(before), C(after) and
          C(impact).
      type: list
      elements: dict
      returned: always
    warnings:
      description: Its warnings.
      type: list
      elements: str
      returned: always
    error:
      description: The message that the module would fail with, V(null) if it would not fail.
      type: str
      returned: always
    skipped:
      description: Why the stage could not be planned, V(null) if it was.
      type: str
      returned: always
    restart_required:
      description: The running guests and networks that have former values until they are restarted.
      type: list
      elements: dict
      returned: if there are any
    pending:
      description: The NICs that running guests were asked to release, and have not released.
      type: list
      elements: dict
      returned: if there are any
    missing_packages:
      description: The packages that have the Python libraries which are missing on the host.
      type: list
      elements: str
      returned: if there are any
    missing:
      description: The declared domains that this host does not have, if it skips them.
      type: list
      elements: str
      returned: if there are any
    diff:
      description: The differences.
      type: list
      elements: dict
      returned: in diff mode, if there are any
  sample:
    - name: kernel
      module: kernel_macvtap_check
      changed: false
      changes: []
      warnings: []
      error: null
      skipped: null
    - name: links
      module: macvtap_link
      changed: true
      changes:
        - {target: mt1, field: mode, before: bridge, after: private, impact: in_place}
      warnings: []
      error: null
      skipped: null
to_do:
  description:
    - The names of the stages that would change something, have an error, miss packages, or were skipped.
    - If it is empty, the host is as declared.
  returned: success
  type: list
  elements: str
  sample: [links]
roles:
  description: The tags of the roles that have something to do, or depend on one that has.
  returned: if O(stages) is not set
  type: list
  elements: str
  sample: [links, networks, domains, host_access]
differences:
  description: How the host differs from what is declared, in one line. Empty if it does not.
  returned: always
  type: str
  sample: "mt1 mode: bridge → private"
guests_unknown:
  description: Why libvirt did not answer, so that the host's guests are not known.
  returned: with O(host=true), if it did not
  type: str
  sample: "the Python library libvirt is missing: apt install python3-libvirt"
fleet:
  description:
    - The host's variables of this collection, and its state as M(linuxvirt.macvtap.macvtap_host_info) returns it. It is
      JSON text for P(linuxvirt.macvtap.fleet_conflicts#filter).
  returned: with O(host=true)
  type: str
  sample: '{"found": {"links": []}, "declared": {"macvtap_uplink": "eth0"}, "names": ["macvtap_uplink"]}'
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_plan.run import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
