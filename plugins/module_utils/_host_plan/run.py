# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for macvtap_host_plan: each stage by the code of its own module, in check mode."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, below
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_plan import modules, prediction
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_plan.model import NETWORKS, VLANS, Outcome, Stage
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.host_options import OPTIONS

# The lists of what is removed only when nothing is on it.
_REMOVED = {NETWORKS: "networks", VLANS: "vlans"}
# What a result has beside its changes, in success or failure, and is of interest if there is any.
_MORE = ("restart_required", "pending", "missing_packages", "missing", "diff")

SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "stages": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "module": {"type": "str", "required": True, "choices": list(modules.NAMES)},
                "options": {"type": "dict", "default": {}},
            },
        },
        "host": {"type": "bool", "default": False},
        **OPTIONS,
    },
}


def body(module: _glue.Module) -> dict[str, t.Any]:
    stages = module.params["stages"]
    _check_names(stages)
    # First, because it may wait until guests have released NICs.
    host = _host(module) if module.params["host"] else {}
    planned: list[dict[str, t.Any]] = []
    outcomes: list[Outcome] = []
    for index, given in enumerate(stages):
        result, outcome = _planned(module, given, f"stages[{index}].options", outcomes)
        planned.append({"name": given["name"], "module": given["module"], **result})
        outcomes.append(outcome)
    return {
        "changed": False,
        "stages": planned,
        "to_do": [one["name"] for one in planned if _is_to_do(one)],
        **host,
        # Without the options: the controller has each host's declaration already.
        "invocation": {"module_args": {**module.params, "stages": [_without_options(one) for one in stages]}},
    }


def _without_options(stage: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in stage.items() if name != "options"}


def _host(module: _glue.Module) -> dict[str, t.Any]:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs import macvtap_host_info

    found = macvtap_host_info.body(module)
    warnings = found.pop("warnings", [])
    return {"host": {name: value for name, value in found.items() if name != "changed"}, "warnings": warnings}


def _check_names(stages: t.Iterable[t.Mapping[str, t.Any]]) -> None:
    """Refuse a name that two stages have.

    :raises MacvtapError: naming both.
    """
    paths: dict[str, str] = {}
    for index, given in enumerate(stages):
        path = f"stages[{index}].name"
        first = paths.setdefault(given["name"], path)
        if first != path:
            raise _text.declared_twice(f"a stage {given['name']}", path, first)


def _planned(
    module: _glue.Module, given: t.Mapping[str, t.Any], path: str, earlier: t.Sequence[Outcome]
) -> tuple[dict[str, t.Any], Outcome]:
    """Return what is to be done for a stage, and what it means for later ones."""
    stage = Stage(given["name"], given["module"])
    try:
        run = modules.load(stage.module)
        part = _glue.stage(module, stage.module, run.SPECIFICATION, given["options"] or {}, path)
        stage = Stage(stage.name, stage.module, removes=_removes(stage.module, part.params))
        skipped = prediction.skip_reason(stage, earlier)
        if skipped is not None:
            return _result(skipped=skipped), Outcome(stage, skipped=skipped)
        if prediction.is_forced(stage, earlier):
            part.params["force"] = True
        with below(path):
            found = run.body(part)
    except Exception as exc:  # pylint: disable=broad-except  # one stage must not hide the others, not even by a defect
        details = exc.details if isinstance(exc, MacvtapError) else {}
        return _result(details, error=_glue.message_of(exc)), Outcome(stage)
    new = [one["name"] for one in found.get("vlans", ()) if one["ifindex"] is None]
    return _result(found), Outcome(stage, changed=found["changed"], new_vlans=tuple(new))


def _removes(module: str, params: t.Mapping[str, t.Any]) -> bool:
    """Whether a stage declares things that are removed only when nothing is on them, and all of them absent."""
    if module not in _REMOVED:
        return False
    return {entry["state"] for _path, entry in _glue.entries(params, _REMOVED[module], ["state"])} == {"absent"}


def _result(found: t.Mapping[str, t.Any] | None = None, **more: str) -> dict[str, t.Any]:
    found = found or {}
    return {
        "changed": found.get("changed", False),
        "changes": found.get("changes", []),
        "warnings": list(found.get("warnings", ())),
        "error": None,
        "skipped": None,
        **{name: found[name] for name in _MORE if found.get(name)},
        **more,
    }


def _is_to_do(stage: t.Mapping[str, t.Any]) -> bool:
    """Whether a role has something to do for a stage, or it is not known."""
    return bool(stage["changed"] or stage["error"] or stage["skipped"] or stage.get("missing_packages"))
