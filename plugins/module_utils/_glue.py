# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What every module's main() shares: how it ends, and how entries take the top level's defaults."""

from __future__ import annotations

import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _plan, _signals, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, MissingLibraryError


class Module(AnsibleModule):
    """An AnsibleModule whose options of type int are checked by what this collection takes for a number."""

    _wrong: t.Sequence[MacvtapError] = ()

    def __init__(self, **rules: t.Any) -> None:
        try:
            super().__init__(**rules)
        except ArithmeticError as exc:
            # Of what is within a text, which only Ansible takes apart.
            self.fail_json(msg=f"what is given for an option is not a whole number: {exc}")
        for error in self._wrong:
            self.fail_json(msg=str(error))

    def _load_params(self) -> None:
        super()._load_params()
        self._wrong = _values.replace_wrong(self.params, self.argument_spec)


def run(module: Module, body: t.Callable[[Module], dict[str, t.Any]]) -> None:
    """Run ``body`` and end the module with what it returns, or with one clear error."""
    with _signals.raising(), _plan.recording() as carried_out:
        try:
            _end(module, body, carried_out)
        except _signals.Interrupted as exc:
            # It raises once only.
            module.fail_json(msg=f"{exc}{_done(carried_out)}", **_changed(carried_out), **_invocation(module))


def _end(
    module: Module,
    body: t.Callable[[Module], dict[str, t.Any]],
    carried_out: t.Sequence[_plan.Plan[t.Any]],
) -> None:
    try:
        result = body(module)
        _signals.defer()
    except MissingLibraryError as exc:
        reason = f"on this host. Its package: {exc.hint}"
        module.fail_json(msg=missing_required_lib(exc.library, reason=reason), exception=exc.trace)
    except MacvtapError as exc:
        module.fail_json(
            msg=f"{exc}{_done(carried_out)}", **{**exc.details, **_changed(carried_out)}, **_invocation(module)
        )
    except Exception as exc:  # pylint: disable=broad-except  # a defect of ours must not end in a traceback either
        what = f"{type(exc).__name__}: {exc}{_done(carried_out)}"
        module.fail_json(
            msg=f"This is a defect in the module, not in your playbook: {what}",
            exception=traceback.format_exc(),
            **_changed(carried_out),
        )
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    module.exit_json(**result, **_invocation(module))


def _done(plans: t.Sequence[_plan.Plan[t.Any]]) -> str:
    """Say what had been carried out and verified when something else ended the run, "" if that is nothing."""
    changes = [change for plan in plans for change in plan.changes]
    if not changes:
        return ""
    message = f"All that was to be changed had been changed before, and stays: {_plan.describe(changes)}"
    return f". {message}"


def _changed(plans: t.Sequence[_plan.Plan[t.Any]]) -> dict[str, t.Any]:
    changes = [change.as_dict() for plan in plans for change in plan.changes]
    return {"changed": True, "changes": changes} if changes else {}


def command(module: AnsibleModule, words: t.Sequence[str], text: str | None = None) -> tuple[int, str] | None:
    """Run a program with ``text`` as its input; return its status and what it says, None if it is not installed."""
    program = module.get_bin_path(words[0])
    if program is None:
        return None
    try:
        code, out, err = module.run_command([program, *words[1:]], data=text, handle_exceptions=False)
    except BrokenPipeError:
        # It has ended without reading that, as one does that does not know an option; what it says holds all the same.
        code, out, err = module.run_command([program, *words[1:]], handle_exceptions=False)
    return code, err or out


def _invocation(module: AnsibleModule) -> dict[str, t.Any]:
    # Ansible would return every option of every entry, most of them null: at 1,000 links several times the result.
    return {"invocation": {"module_args": _given(module.params)}}


def _given(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {key: _given(one) for key, one in value.items() if one is not None}
    return [_given(one) for one in value] if isinstance(value, list) else value


def entries(
    params: t.Mapping[str, t.Any],
    many: str,
    options: t.Iterable[str],
    exempt: t.Callable[[str, t.Any, t.Any], bool] = lambda _option, _own, _default: False,
) -> list[tuple[str, dict[str, t.Any]]]:
    """Return ``(path, options)`` for each thing that the user declared.

    One thing by the top level's options has the path ""; each entry of the list option ``many`` has
    the path ``many[i]`` and takes what it leaves out from the top level. Dictionaries (``tap``) are
    merged key by key, but not where ``exempt``, given the option's name, the entry's own value and the default, says
    that the entry is to have none of it.
    """
    options = tuple(options)
    defaults = {option: params.get(option) for option in options}
    if params.get(many) is None:
        return [("", defaults)]
    return [
        (
            f"{many}[{index}]",
            {
                option: own if exempt(option, own, default) else _merge(own, default)
                for option in options
                for own, default in ((entry.get(option), defaults[option]),)
            },
        )
        for index, entry in enumerate(params[many])
    ]


def _merge(own: t.Any, default: t.Any) -> t.Any:
    if isinstance(own, dict) and isinstance(default, dict):
        return {key: _merge(own.get(key), default.get(key)) for key in {*own, *default}}
    return default if own is None else own
