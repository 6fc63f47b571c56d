# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's part of the module macvtap_host_plan: takes the stages from the roles and the host's variables."""

from __future__ import annotations

import gc
import json
import re
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import names, plans, probes, unchecked
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.fleet import MALFORMED, damaged
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._forms import texts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import comparison, outcome, overview, page
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.host_options import OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import role_stages

# For the filters of the tasks that follow, which are processes of their own: Ansible imports this file before it forks.
_LOADED = (comparison, outcome, overview, page)
# And what there is until then need not be looked at for garbage in each of them, nor be copied for that.
gc.freeze()
_MODULE = "linuxvirt.macvtap.macvtap_host_plan"
_INFO = "linuxvirt.macvtap.macvtap_host_info"
# What any module may return.
_OF_ANSIBLE = frozenset(("changed", "invocation", "warnings", "deprecations", "ansible_facts"))
Result = t.Dict[str, t.Any]


class ActionModule(ActionBase):
    """Runs the module with the stages of the roles, unless the task has stages itself."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: t.Any = None, task_vars: t.Mapping[str, t.Any] | None = None) -> Result:
        """Return the module's result, with what the roles' variables lack, and which roles have something to do."""
        # Reading the module's files makes many objects. To look for garbage among them more rarely costs 5 MB, in a
        # process that ends with the task.
        gc.set_threshold(30_000)
        result: Result = super().run(tmp, task_vars)
        variables = dict(task_vars or {})
        options = dict(self._task.args)
        reader = role_stages.Reader(self._templar, variables)
        stages = reader.stages() if options.get("stages") is None else []
        if stages:
            options["stages"] = [
                {"name": stage.name, "module": stage.module, "options": stage.options}
                for stage in stages
                if stage.error is None
            ]
        options.setdefault("stages", [])
        options["host"] = boolean(options.get("host", False))
        # Of nothing it must not be said that it is as declared.
        unselected = reader.unselected() if self._task.args.get("stages") is None else ""
        declared = _declared(reader, variables)
        if options["host"]:
            options = {**probes.wanted(declared.get("declared", {})), **options}
            options.setdefault("uri", reader.uri())
        try:
            if unselected and not reader.is_for_others():
                raise AnsibleError(unselected)
            result.update(self._look(options, variables))
        except AnsibleConnectionFailure as exc:
            result.update(unreachable=True, msg=str(exc))
        except AnsibleError as exc:
            # A missing password, say. Whoever compares the fleet must not take the host for one that was left out.
            result.update(failed=True, msg=str(exc))
        if unselected:
            result.setdefault("msg", unselected)
        own = stages if self._task.args.get("stages") is None else None
        result = completed(result, own, reader.invalid() if own is not None else {})
        if options["host"]:
            result["fleet"] = json.dumps({**_found(result), **declared}, default=str)
        return result

    def _look(self, options: Result, variables: Result) -> Result:
        """Run the module. Without stages run macvtap_host_info, which does the same and is a quarter smaller."""
        asked = {name: value for name, value in options.items() if name not in ("stages", "host")}
        if options["stages"] or not options["host"] or not OPTIONS.keys() >= asked.keys():
            found: Result = self._execute_module(module_name=_MODULE, module_args=options, task_vars=variables)
            return found
        return _as_planned(self._execute_module(module_name=_INFO, module_args=asked, task_vars=variables))


def completed(
    result: Result, stages: t.Sequence[role_stages.Stage] | None, invalid: t.Mapping[str, str]
) -> dict[str, t.Any]:
    """Return a host's result with what the module was not asked, and what differs; a damaged one as a failed one.

    ``stages`` are those of the roles, None if the task has its own. ``invalid`` is as in :class:`role_stages.Reader`.
    """
    try:
        return _completed(result, stages, invalid)
    except MALFORMED as exc:
        return _completed({"failed": True, "msg": damaged(exc, "macvtap_host_plan")}, stages, invalid)


def _completed(
    result: Result, stages: t.Sequence[role_stages.Stage] | None, invalid: t.Mapping[str, str]
) -> dict[str, t.Any]:
    if stages is not None:
        result = _with_roles(result, stages, invalid)
    read = {name: value for name, value in result.items() if name != "differences"}
    found = {**read, "differences": plans.differences(read)}
    unknown = unchecked.libvirt_error(result.get("host") or {})
    found.update({"guests_unknown": unknown} if unknown else {})
    # Whoever shows a whole fleet must be able to read this of each host.
    plans.lines({"": found})
    outcome.outcome({"": outcome.Run(found)})
    return found


def _with_roles(
    result: Result, stages: t.Sequence[role_stages.Stage], invalid: t.Mapping[str, str]
) -> dict[str, t.Any]:
    """Return the result with what the module was not asked, and the tags of the roles to run."""
    asked = [stage.name for stage in stages if stage.error is None]
    if not (result.get("failed") or result.get("unreachable")):
        answered = [one["name"] for one in result["stages"]]
        if answered != asked:
            raise ValueError(f"it has the stages {answered}, and not {asked}")
        texts(result, "to_do")
    tags = {stage.name: stage.tag for stage in stages}
    # What follows from invalid variables is not said again.
    unknown = [_unknown(one.name, one.module, one.error) for one in stages if one.error and one.tag not in invalid]
    unknown += [_unknown(f"{tag}_variables", None, error) for tag, error in invalid.items() if error]
    planned = [
        _with_own_paths(n, stage if tags[stage["name"]] not in invalid else {**stage, "error": None})
        for n, stage in enumerate(result.get("stages", []))
    ]
    to_do = [*result.get("to_do", ()), *(one["name"] for one in unknown)]
    warnings = [*result.get("warnings", ()), *(text for one in planned for text in one["warnings"])]
    run = {tags[name] for name in to_do if name in tags} | set(invalid)
    if result.get("failed") or result.get("unreachable") or "always" in invalid:
        # The roles show what is wrong.
        run |= {stage.tag for stage in stages} | {"kernel"}
    roles = role_stages.needed(run)
    return {**result, "warnings": warnings, "stages": [*planned, *unknown], "to_do": to_do, "roles": roles}


def _as_planned(found: Result) -> Result:
    """Return a result of macvtap_host_info as macvtap_host_plan returns it."""
    if "links" not in found:
        return found
    more = {name: found[name] for name in found if name.startswith("_") or name in _OF_ANSIBLE}
    host = {name: value for name, value in found.items() if name not in more}
    return {**more, "stages": [], "to_do": [], "host": host}


def _with_own_paths(number: int, stage: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a stage whose error has the path of the role's task, which the user has not written as a stage."""
    error = stage["error"] and re.sub(rf"^stages\[{number}\]\.options(\.|: )", "", stage["error"])
    return {**stage, "error": error}


def _unknown(name: str, module: str | None, error: str | None) -> dict[str, t.Any]:
    return {"name": name, "module": module, "changes": [], "warnings": [], "error": error, "skipped": None}


def _found(result: Result) -> dict[str, t.Any]:
    """Move the state of the host out of the result. Of a host that could not be looked at, return the failure."""
    host = result.pop("host", None)
    if result.get("failed") or result.get("unreachable"):
        host = {name: result[name] for name in ("failed", "unreachable", "msg") if name in result}
    return {"found": host or {}}


def _declared(reader: role_stages.Reader, variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what the filter fleet_conflicts gets of a host, but for its state."""
    # Without those of the play and the task.
    own = variables["hostvars"][variables["inventory_hostname"]]
    similar: Result = {"names": [name for name in own if names.is_similar(name)]}
    invalid = reader.refused()
    similar.update({"invalid": invalid} if invalid else {})
    try:
        return {**similar, "declared": reader.plain(name for name in variables if names.is_known(name))}
    except Exception as exc:  # pylint: disable=broad-except  # a lookup or filter may raise anything
        return {**similar, "unreadable": role_stages.reason(exc)}
