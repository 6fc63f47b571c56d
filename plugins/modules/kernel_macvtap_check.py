#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_macvtap_check
short_description: Check that a kernel can do macvtap, and load it
version_added: 0.1.0
description:
  - Finds out whether a kernel has macvtap, built in or as a module, and says which file told it.
  - Fails, saying what is missing, where it was looked for and how to mend it, if the kernel does not have it.
  - Can load the module, now and at each boot, and finds what would keep it from being loaded. Lines of C(modprobe.d)
    and of the kernel's command line, C(kernel.modules_disabled), lockdown, or an upgrade that took the running kernel's
    modules away.
  - Can try it, by making a macvtap link that nobody else sees.
  - Works on hosts with no kernel configuration under C(/boot), no C(/lib/modules) and no C(/sys/module/macvtap).
    The last is absent wherever macvtap is built in.
author:
  - linuxvirt.macvtap contributors (!UNKNOWN)
extends_documentation_fragment:
  - linuxvirt.macvtap.attributes
  - linuxvirt.macvtap.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details: Never loads anything, and so does not probe either.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - With V(supported), only check; nothing is changed.
      - With V(loaded), load the module as well, where macvtap is one. Where it is built in, there is nothing to do.
    type: str
    choices: [supported, loaded]
    default: supported
  persistent:
    description:
      - With O(state=loaded), also have the module loaded at each boot, by a line in
        C(/etc/modules-load.d/macvtap.conf). What else is in that file stays.
      - Not needed where macvtap is built in, and ignored there.
      - Fails if what loads modules at boot, C(systemd-modules-load), would not load it whatever that file says. It
        obeys C(blacklist macvtap) in C(modprobe.d), which C(modprobe macvtap) does not.
      - V(false) leaves such a file alone.
    type: bool
    default: false
  kernel:
    description:
      - The release of the kernel to check, as C(uname -r) gives it, for one that is installed but not booted yet.
      - By default the one that is running. No other can be loaded into.
    type: str
  config_path:
    description:
      - A kernel configuration file, compressed by gzip or not, that is to decide alone.
      - With O(kernel), that kernel need not be installed.
    type: path
  required:
    description: Whether to fail if the kernel does not have macvtap. V(false) returns the result and changes nothing.
    type: bool
    default: true
  probe:
    description:
      - Whether to make a macvtap link and remove it, on a veth link in a network namespace of a child process. The host
        sees nothing of it but a node C(/dev/tapN), N being larger than 805306367, for a moment, and nothing is left.
      - A link that could be made outweighs all that files say. One that could not means that macvtap is not supported.
      - Where macvtap is a module that is not loaded, it is loaded first, as by O(state=loaded). The kernel loads what
        else it needs for that, that is veth.
      - Needs root. Where it cannot be tried, there is a warning, and the files decide.
      - Only the running kernel can be tried. Not in check mode.
    type: bool
    default: false
    version_added: 0.2.0
notes:
  - The places are looked at in this order, and the first that tells decides. C(/proc/config.gz) (the running kernel
    only), C(/boot/config-RELEASE), C(/lib/modules/RELEASE/config), C(/usr/lib/modules/RELEASE/config),
    C(/usr/lib/ostree-boot/config-RELEASE*), then C(modules.builtin), C(modules.builtin.modinfo) and C(modules.dep) of
    that kernel, then C(/proc/modules) and C(/proc/devices).
  - A configuration that says V(m) counts only if C(modules.dep) has the module, since some distributions ship modules
    in packages of their own, or if it is loaded already.
  - A macvtap that is loaded outweighs any file that says it is not there.
  - Of C(modprobe.d), the directories C(/etc/modprobe.d), C(/run/modprobe.d), C(/usr/local/lib/modprobe.d),
    C(/usr/lib/modprobe.d) and C(/lib/modprobe.d) are read, a file hiding those of its name in later ones. An C(install)
    command counts as an obstacle if it is C(true), C(false) or the like. Of any other it is not known whether it loads
    the module.
seealso:
  - module: linuxvirt.macvtap.macvtap_link
"""

EXAMPLES = r"""
- name: Fail early on hosts whose kernel cannot do macvtap
  linuxvirt.macvtap.kernel_macvtap_check:

- name: Have it loaded, now and after each boot
  linuxvirt.macvtap.kernel_macvtap_check:
    state: loaded
    persistent: true

- name: Check the kernel that the next reboot will bring
  linuxvirt.macvtap.kernel_macvtap_check:
    kernel: 6.1.0-40-amd64

- name: Check the configuration of a kernel of your own, before it is built
  linuxvirt.macvtap.kernel_macvtap_check:
    config_path: /usr/src/linux/.config

- name: Prove it
  linuxvirt.macvtap.kernel_macvtap_check:
    probe: true

- name: Find out, and decide later
  linuxvirt.macvtap.kernel_macvtap_check:
    required: false
  register: macvtap_support

- name: Say what is to be done
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
    - How it has it.
    - V(missing) also where the kernel was configured to have it as a module but the module is not on this host.
    - V(unknown) where no source told.
  returned: always
  type: str
  choices: [builtin, module, missing, unknown]
  sample: module
loaded:
  description:
    - Whether it is in the running kernel now, as a module or built in, going by C(/proc/modules) and C(/proc/devices).
    - Always V(false) for an O(kernel) that is not running. In check mode, as it was found.
  returned: always
  type: bool
  sample: true
kernel:
  description: The release that was checked.
  returned: always
  type: str
  sample: 6.1.0-40-amd64
source:
  description: The file that told RV(provided_by). None where it is V(unknown).
  returned: always
  type: str
  sample: /boot/config-6.1.0-40-amd64
sources_tried:
  description: Each file that was looked at, in order, and what was found there.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    found:
      description: What it said, or why it said nothing.
      type: str
  sample:
    - {path: /proc/config.gz, found: does not exist}
    - {path: /boot/config-6.1.0-40-amd64, found: CONFIG_MACVTAP=m}
    - {path: /lib/modules/6.1.0-40-amd64/modules.dep, found: CONFIG_MACVTAP=m}
config:
  description:
    - Options of the kernel, each V(y), V(m), V(n) or V(unknown), by its configuration or by the lists of its modules.
    - C(CONFIG_MACVTAP), C(CONFIG_MACVLAN) and C(CONFIG_TAP) are what macvtap is made of. Kernels before 4.12 need no
      C(CONFIG_TAP), and may have none.
    - The others do not decide RV(supported). Without C(CONFIG_VLAN_8021Q) no VLAN can be a parent. Without
      C(CONFIG_VHOST_NET) libvirt has no vhost driver for a guest's interface, and its frames pass through QEMU itself.
  returned: always
  type: dict
  sample: {CONFIG_MACVTAP: m, CONFIG_MACVLAN: m, CONFIG_TAP: m, CONFIG_VLAN_8021Q: m, CONFIG_VHOST_NET: m}
obstacles:
  description:
    - Each line that keeps macvtap, macvlan or tap, as far as they are modules of this kernel, from being loaded.
    - They are warned of, and are an error only where what they prevent is asked for.
  returned: always
  type: list
  elements: dict
  contains:
    module:
      description: The module.
      type: str
    kind:
      description:
        - With V(kernel), the running kernel refuses it, by C(module_blacklist=) on its command line.
        - With V(install), modprobe runs a command in place of loading it.
        - With V(blacklist), it is loaded by name only. For macvlan and tap that prevents nothing, since macvtap loads
          them by name.
      type: str
    where:
      description: The file, and the line in it.
      type: str
    says:
      description: What is written there.
      type: str
  sample:
    - {module: macvtap, kind: blacklist, where: "/etc/modprobe.d/hardening.conf:12", says: blacklist macvtap}
  version_added: 0.2.0
probe:
  description: What came of O(probe). None without it and in check mode.
  returned: always
  type: dict
  contains:
    works:
      description: Whether a macvtap link could be made. None where it could not be tried.
      type: bool
    reason:
      description: What was done, or at which step it failed and what the kernel said.
      type: str
  sample: {works: false, reason: "making a macvtap link on a veth link: Unknown device type (ENOTSUP)"}
  version_added: 0.2.0
reason:
  description: Why macvtap is not supported.
  returned: if not RV(supported)
  type: str
  sample: "The kernel 6.1.0-custom has no macvtap: CONFIG_MACVTAP not set in /proc/config.gz."
remedy:
  description: What to do about it.
  returned: if not RV(supported)
  type: str
  sample: "Install it: apt install --reinstall linux-image-6.1.0-40-amd64."
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
      description: Whether it was so before.
      type: bool
    after:
      description: Whether it is so afterwards.
      type: bool
    impact:
      description: What the change costs those who use macvtap. Always V(none).
      type: str
  sample:
    - {target: macvtap, field: loaded, before: false, after: true, impact: none}
"""

import functools
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import host as adapter
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import planner, support
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.probe import try_macvtap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import converge

ARGUMENT_SPEC: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["supported", "loaded"], "default": "supported"},
    "persistent": {"type": "bool", "default": False},
    "kernel": {"type": "str"},
    "config_path": {"type": "path"},
    "required": {"type": "bool", "default": True},
    "probe": {"type": "bool", "default": False},
}


def execute(module: _glue.Module) -> dict[str, t.Any]:
    # Not every PATH that a connection gives has modprobe in it.
    run = functools.partial(module.run_command, path_prefix="/usr/sbin:/sbin", handle_exceptions=False)
    desired = Desired(**{option: module.params[option] for option in ("state", "persistent", "required", "probe")})
    probe = try_macvtap if module.params["probe"] and not module.check_mode else None
    outcome = converge(
        functools.partial(adapter.observe, module.params["kernel"], module.params["config_path"], probe=probe),
        lambda host, _answers: planner.plan(desired, host),
        functools.partial(adapter.apply, run=run),
        lambda journal, host: planner.undo(journal.steps, host),
        check_mode=module.check_mode,
    )
    found = planner.returned(outcome.host, support.evaluate(outcome.host))
    return {**found, **outcome.plan.result(diff=module._diff), "warnings": outcome.plan.warnings}


def main() -> None:
    module = _glue.Module(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.run_command_environ_update = {"LANGUAGE": "C", "LC_ALL": "C"}
    _glue.run(module, execute)


if __name__ == "__main__":
    main()
