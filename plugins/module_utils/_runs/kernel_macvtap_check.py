# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for kernel_macvtap_check: whether a kernel has macvtap, and loading it."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps, _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import host as adapter
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import planner, support
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.probe import try_macvtap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import converge


def body(module: _glue.Module) -> dict[str, t.Any]:
    # The PATH of a connection may not include modprobe's directory.
    run = functools.partial(
        module.run_command,
        path_prefix="/usr/sbin:/sbin",
        environ_update={"LANGUAGE": "C", "LC_ALL": "C"},
        handle_exceptions=False,
    )
    desired = Desired(**{option: module.params[option] for option in ("state", "persistent", "required", "probe")})
    probe = try_macvtap if module.params["probe"] and not module.check_mode else None
    outcome = converge(
        functools.partial(adapter.observe, module.params["kernel"], module.params["config_path"], probe=probe),
        lambda host, _answers: planner.plan(desired, host),
        functools.partial(adapter.apply, run=run),
        lambda journal, host: planner.undo(journal.steps, host),
        check_mode=module.check_mode,
    )
    current = planner.returned(outcome.host, support.evaluate(outcome.host))
    return {
        **current,
        "missing_packages": _deps.missing_packages(),
        **outcome.plan.result(diff=module._diff),
        "warnings": outcome.plan.warnings,
    }


SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "state": {"type": "str", "choices": ["supported", "loaded"], "default": "supported"},
        "persistent": {"type": "bool", "default": False},
        "kernel": {"type": "str"},
        "config_path": {"type": "path"},
        "required": {"type": "bool", "default": True},
        "probe": {"type": "bool", "default": False},
    },
}
