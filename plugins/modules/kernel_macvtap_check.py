#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_macvtap_check
short_description: Check that a kernel supports macvtap, and load the module
version_added: 0.1.0
description:
  - Checks whether a kernel has macvtap, built in or as a module, and returns which file shows it.
  - Fails if the kernel does not have it. The message has what is missing, which files were checked, and how to fix it.
  - Can load the module, now and at each boot. Reports what prevents that, such as lines in C(modprobe.d) or on the
    kernel's command line, C(kernel.modules_disabled), lockdown, or an upgrade that removed the current modules.
  - Can create a macvtap link as a probe. It is not visible outside of the probe.
  - Works on hosts without a kernel configuration under C(/boot), without C(/lib/modules) and without
    C(/sys/module/macvtap), which does not exist if macvtap is built in.
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
attributes:
  check_mode:
    support: full
    details: Loads nothing, and therefore does not probe.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - With V(supported), only check. Nothing is changed.
      - With V(loaded), also load the module. If macvtap is built in, there is nothing to do.
    type: str
    choices: [supported, loaded]
    default: supported
  persistent:
    description:
      - With O(state=loaded), also load the module at each boot, by a line in C(/etc/modules-load.d/macvtap.conf). Other
        lines of that file stay.
      - Ignored if macvtap is built in.
      - Fails if C(systemd-modules-load) would not load the module at boot despite that file. It obeys
        C(blacklist macvtap) in C(modprobe.d), unlike C(modprobe macvtap).
      - V(false) does not remove an existing line.
    type: bool
    default: false
  kernel:
    description:
      - The release of the kernel to check, as shown by C(uname -r). Use it for a kernel that is not booted yet.
      - Defaults to the running kernel. The module can be loaded into that one only.
    type: str
  config_path:
    description:
      - A kernel configuration file, optionally compressed by gzip. It is then the only source.
      - With O(kernel), that kernel need not be installed.
    type: path
  required:
    description: Whether to fail if the kernel does not have macvtap. With V(false), only the result is returned.
    type: bool
    default: true
  probe:
    description:
      - Whether to create a macvtap link and remove it, on a veth link in a network namespace of a child process. The
        host briefly sees a node C(/dev/tapN), with N larger than 805306367. Nothing remains.
      - The result of the probe takes precedence over all files. If the link cannot be created, macvtap is not
        supported.
      - If macvtap is a module that is not loaded, it is loaded first, as with O(state=loaded), and stays loaded. The
        kernel also loads veth.
      - Requires root. If no probe is possible, there is a warning, and the files decide.
      - Only the running kernel can be probed, and not in check mode.
    type: bool
    default: false
    version_added: 0.2.0
notes:
  - A run that fails removes what it has written to C(/etc/modules-load.d/macvtap.conf), but unloads no module. That
    would remove links that something else has created meanwhile. The message names the modules that stay loaded.
  - The sources are checked in this order, and the first usable one decides. C(/proc/config.gz) (the running kernel
    only), C(/boot/config-RELEASE), C(/lib/modules/RELEASE/config), C(/usr/lib/modules/RELEASE/config),
    C(/usr/lib/ostree-boot/config-RELEASE*), then C(modules.builtin), C(modules.builtin.modinfo) and C(modules.dep) of
    that kernel, then C(/proc/modules) and C(/proc/devices).
  - A configuration with V(m) counts only if C(modules.dep) lists the module or it is already loaded. Some distributions
    ship modules in separate packages.
  - A loaded macvtap takes precedence over any file.
  - The C(modprobe.d) directories are C(/etc/modprobe.d), C(/run/modprobe.d), C(/usr/local/lib/modprobe.d),
    C(/usr/lib/modprobe.d) and C(/lib/modprobe.d). A file overrides those of the same name in later directories. An
    C(install) command counts as an obstacle if it is C(true), C(false) or the like. Any other command may load the
    module.
seealso:
  - module: linuxvirt.macvtap.macvtap_link
"""

EXAMPLES = r"""
- name: Fail early on hosts without macvtap support
  linuxvirt.macvtap.kernel_macvtap_check:

- name: Load the module now and at each boot
  linuxvirt.macvtap.kernel_macvtap_check:
    state: loaded
    persistent: true

- name: Check a kernel before rebooting into it
  linuxvirt.macvtap.kernel_macvtap_check:
    kernel: 6.1.0-40-amd64

- name: Check the configuration of a custom kernel before building it
  linuxvirt.macvtap.kernel_macvtap_check:
    config_path: /usr/src/linux/.config

- name: Create a macvtap link as a proof
  linuxvirt.macvtap.kernel_macvtap_check:
    probe: true

- name: Check without failing
  linuxvirt.macvtap.kernel_macvtap_check:
    required: false
  register: macvtap_support

- name: Show how to fix it
  ansible.builtin.debug:
    msg: "{{ macvtap_support.reason }} {{ macvtap_support.remedy }}"
  when: not macvtap_support.supported
"""

RETURN = r"""
supported:
  description: Whether the kernel has macvtap.
  returned: always
  type: bool
  sample: true
provided_by:
  description:
    - How the kernel provides macvtap.
    - V(missing) also if the kernel is configured with the module, but the module is not installed on this host.
    - V(unknown) if no source shows it.
  returned: always
  type: str
  choices: [builtin, module, missing, unknown]
  sample: module
loaded:
  description:
    - Whether the running kernel has it now, loaded or built in, according to C(/proc/modules) and C(/proc/devices).
    - Always V(false) for an O(kernel) that is not running. In check mode, the current state.
  returned: always
  type: bool
  sample: true
kernel:
  description: The release that was checked.
  returned: always
  type: str
  sample: 6.1.0-40-amd64
source:
  description: The file that shows RV(provided_by). V(null) if that is V(unknown).
  returned: always
  type: str
  sample: /boot/config-6.1.0-40-amd64
sources_tried:
  description: Each file that was checked, in order, and its result.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    found:
      description: What it has about macvtap, or why it could not be used.
      type: str
  sample:
    - {path: /proc/config.gz, found: does not exist}
    - {path: /boot/config-6.1.0-40-amd64, found: CONFIG_MACVTAP=m}
    - {path: /lib/modules/6.1.0-40-amd64/modules.dep, found: CONFIG_MACVTAP=m}
config:
  description:
    - Kernel options, each V(y), V(m), V(n) or V(unknown), according to the configuration or the module lists.
    - macvtap consists of C(CONFIG_MACVTAP), C(CONFIG_MACVLAN) and C(CONFIG_TAP). Kernels before 4.12 do not need
      C(CONFIG_TAP), and may not have it.
    - The others do not affect RV(supported). Without C(CONFIG_VLAN_8021Q) no VLAN can be a parent. Without
      C(CONFIG_VHOST_NET) libvirt has no vhost driver for a guest's interface, and its frames pass through QEMU itself.
  returned: always
  type: dict
  sample: {CONFIG_MACVTAP: m, CONFIG_MACVLAN: m, CONFIG_TAP: m, CONFIG_VLAN_8021Q: m, CONFIG_VHOST_NET: m}
obstacles:
  description:
    - Each line that prevents loading macvtap, macvlan or tap, if they are modules of this kernel.
    - They cause a warning, and an error only if they prevent what the task requests.
  returned: always
  type: list
  elements: dict
  contains:
    module:
      description: The module.
      type: str
    kind:
      description:
        - With V(kernel), the running kernel refuses it, because of C(module_blacklist=) on its command line.
        - With V(install), modprobe runs a command instead of loading it.
        - With V(blacklist), it can be loaded by name only. For macvlan and tap that prevents nothing, because macvtap
          loads them by name.
      type: str
    where:
      description: The file and the line number.
      type: str
    says:
      description: The text of the line.
      type: str
  sample:
    - {module: macvtap, kind: blacklist, where: "/etc/modprobe.d/hardening.conf:12", says: blacklist macvtap}
  version_added: 0.2.0
probe:
  description: The result of O(probe). V(null) without it and in check mode.
  returned: always
  type: dict
  contains:
    works:
      description: Whether a macvtap link could be created. V(null) if no probe was possible.
      type: bool
    reason:
      description: What was done, or at which step it failed with which error of the kernel.
      type: str
  sample: {works: false, reason: "creating a macvtap link on a veth link: Unknown device type (ENOTSUP)"}
  version_added: 0.2.0
reason:
  description: Why macvtap is not supported.
  returned: if not RV(supported)
  type: str
  sample: "The kernel 6.1.0-custom has no macvtap: CONFIG_MACVTAP not set in /proc/config.gz."
remedy:
  description: How to fix it.
  returned: if not RV(supported)
  type: str
  sample: "Install it: apt install --reinstall linux-image-6.1.0-40-amd64."
missing_packages:
  description:
    - The packages of this distribution that have the Python libraries of this collection's modules, and are missing. A
      library is there if the interpreter that runs the module finds it, whatever it was installed by.
  returned: always
  type: list
  elements: str
  sample: [python3-pyroute2]
  version_added: 0.2.0
changes:
  description: What was changed, or in check mode would be.
  returned: always
  type: list
  elements: dict
  contains:
    target:
      description: Always V(macvtap).
      type: str
    field:
      description: V(loaded) or V(persistent).
      type: str
    before:
      description: The value before.
      type: bool
    after:
      description: The value afterwards.
      type: bool
    impact:
      description: What the change costs users of macvtap. Always V(none).
      type: str
  sample:
    - {target: macvtap, field: loaded, before: false, after: true, impact: none}
"""

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.kernel_macvtap_check import SPECIFICATION, body


def main() -> None:
    _glue.run(_glue.Module(**SPECIFICATION, supports_check_mode=True), body)


if __name__ == "__main__":
    main()
