# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's part of the module libvirt_guest_migrate: takes the destination from the inventory."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import inventory
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import role_stages

_MODULE = "linuxvirt.macvtap.libvirt_guest_migrate"
_NAMES = ("domain", "name", "guest")
Result = t.Dict[str, t.Any]


class ActionModule(ActionBase):
    """Runs the module with what the inventory says of the destination."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: t.Any = None, task_vars: t.Mapping[str, t.Any] | None = None) -> Result:
        """Return the module's result, or the error in what the inventory says."""
        result: Result = super().run(tmp, task_vars)
        variables = dict(task_vars or {})
        options = {name: value for name, value in self._task.args.items() if value is not None}
        if options.get("destination") is not None:
            try:
                options = {**self._of_inventory(options, variables), **options}
            except (AnsibleError, MacvtapError) as exc:
                result.update(failed=True, msg=str(exc))
                return result
        result.update(self._execute_module(module_name=_MODULE, module_args=options, task_vars=variables))
        if "rules" in result:
            result["rules_there"] = [{**one, "keep_guard": False} for one in result["rules"] or result["left"]]
        if result.get("rules_there") and options.get("destination") is not None:
            of_there, of_here = (
                self._reader(variables["hostvars"], host).stages(of_run=False)
                for host in (str(options["destination"]), variables["inventory_hostname"])
            )
            result["rules_there"] = inventory.there(result["rules_there"], of_there, _domain(options))
            result["left"] = inventory.undeclared(result["left"], of_here, _domain(options))
        return result

    def _of_inventory(self, options: Result, variables: Result) -> Result:
        """Return the options that the variables of the destination give.

        :raises AnsibleError: a variable cannot be read.
        :raises MacvtapError: the inventory has no such host, or it is this one.
        """
        name, hostvars = str(options["destination"]), variables["hostvars"]
        own = variables["inventory_hostname"]
        inventory.check(name, own, list(hostvars))
        there = self._reader(hostvars, name)
        here, known = (self._known(hostvars, one) for one in (own, name))
        if boolean(options.get("prepared", False), strict=False):
            uris.validate(there.uri(), "macvtap_domains_uri")
            inventory.check_own(name, there.uri())
        # What is declared does not depend on the tags of this run.
        declared = inventory.declared(there.stages(of_run=False))
        destination_uri = inventory.uri(name, known)
        if "destination_uri" not in options:
            is_set = bool(known.get("macvtap_migration_uri"))
            uris.validate(destination_uri, "macvtap_migration_uri" if is_set else "destination")
        return {
            "destination_uri": destination_uri,
            "interfaces": inventory.interfaces(_domain(options), declared),
            "uplinks": inventory.uplinks(here, known),
            **inventory.segments_of(here, known),
        }

    def _known(self, hostvars: t.Any, name: str) -> Result:
        return self._reader(hostvars, name).plain(inventory.known(hostvars.raw_get(name)))

    def _reader(self, hostvars: t.Any, name: str) -> role_stages.Reader:
        return role_stages.Reader(self._templar, hostvars.raw_get(name))


def _domain(options: Result) -> str:
    return next((str(options[one]) for one in _NAMES if one in options), "")
