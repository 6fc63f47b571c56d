# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Shared by every module's main(): options, the lock, ending the module, and the defaults of list entries."""

from __future__ import annotations

import contextlib
import copy
import traceback
import typing as t

from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _diff, _entries, _lock, _plan, _signals, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import (
    MacvtapError,
    MissingLibraryError,
    below,
)

# The options of a module and their rules: arguments of AnsibleModule, of which "argument_spec" is one.
Specification = t.Mapping[str, t.Any]


class Module(AnsibleModule):
    """An AnsibleModule that accepts for options of type int only what ``_values.whole`` accepts."""

    _invalid: t.Sequence[MacvtapError] = ()
    _plain: t.Mapping[str, t.Any] = {}
    argument_spec: Specification

    def __init__(self, **rules: t.Any) -> None:
        try:
            super().__init__(**rules)
        except ArithmeticError as exc:
            self.fail_json(msg=_not_whole(exc))
        for error in self._invalid:
            self.fail_json(msg=str(error))
        self.params.update(self._plain)

    def _load_params(self) -> None:
        super()._load_params()
        spec: Specification = self.argument_spec
        self._plain = _entries.plain(self.params, spec)
        self.argument_spec = _entries.unchecked(spec, self._plain)
        self._invalid = _values.replace_invalid(self.params, self.argument_spec)

    def _return_formatted(self, kwargs: dict[str, t.Any]) -> None:
        # Ansible copies the whole result to remove secrets from it: for many links, a third of the run.
        if self.no_log_values:
            super()._return_formatted(kwargs)
        else:
            with _no_secrets():
                super()._return_formatted(kwargs)


@contextlib.contextmanager
def _no_secrets() -> t.Iterator[None]:
    before = basic.remove_values
    basic.remove_values = lambda value, _secrets: value
    try:
        yield
    finally:
        basic.remove_values = before


def stage(module: Module, name: str, specification: Specification, options: t.Mapping[str, t.Any], path: str) -> Module:
    """Return the module ``name`` as a part of ``module``, in check mode, with ``options`` as its parameters.

    :raises MacvtapError: an option is not valid. The message is the one of that module, after ``path``.
    """
    given = copy.deepcopy(dict(options))
    # As in Module: what Ansible finds comes first.
    plain = _entries.plain(given, specification["argument_spec"])
    specification = {**specification, "argument_spec": _entries.unchecked(specification["argument_spec"], plain)}
    invalid = _values.replace_invalid(given, specification["argument_spec"])
    try:
        result = ModuleArgumentSpecValidator(**specification).validate(given)
    except ArithmeticError as exc:
        raise MacvtapError(_not_whole(exc), path=path) from exc
    if result.error_messages:
        message = result.error_messages[0]
        if isinstance(result.errors[0], UnsupportedError):
            message = f"Unsupported parameters for (linuxvirt.macvtap.{name}) module: {message}"
        raise MacvtapError(message, path=path)
    for error in invalid:
        with below(path):
            raise error
    # A copy shares whatever a body uses of an AnsibleModule.
    part = copy.copy(module)
    part.params = {**result.validated_parameters, **plain}
    part.check_mode = True
    return part


def _not_whole(error: ArithmeticError) -> str:
    # A number inside a text that only Ansible parses.
    return f"the value of an option is not a whole number: {error}"


# The options that modules share, with one meaning each.
_SHARED: t.Mapping[str, t.Mapping[str, t.Any]] = {
    "allow_host_disconnect": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "lock_timeout": {"type": "int", "default": 60},
    "on_error": {"type": "str", "choices": ["rollback", "keep"], "default": "rollback"},
    "purge": {"type": "bool", "default": False},
    "uri": {"type": "str", "default": "qemu:///system"},
}


def shared(*options: str) -> dict[str, t.Any]:
    """Return the argument specification of options that modules share."""
    return {option: dict(_SHARED[option]) for option in options}


def with_defaults(options: t.Mapping[str, t.Mapping[str, t.Any]], **defaults: t.Any) -> dict[str, t.Any]:
    """Return an argument specification with these defaults: those of list entries come from the top level."""
    return {**options, **{option: {**options[option], "default": value} for option, value in defaults.items()}}


def locked(
    module: Module, name: str, *, doing: str = "changing links", per_user: bool = False
) -> t.ContextManager[None]:
    """Hold the lock ``name`` of the host, or of this user's runs. Check mode changes nothing and holds none.

    :raises MacvtapError: another run still holds the lock after ``lock_timeout`` seconds.
    """
    if module.check_mode:
        return contextlib.nullcontext()
    directory = _lock.directory() if per_user else _lock.OF_THE_HOST
    return _lock.held(name, timeout=module.params["lock_timeout"], directory=directory, doing=doing)


def run(module: Module, body: t.Callable[[Module], dict[str, t.Any]]) -> None:
    """Run ``body`` and end the module with its result, or with one clear error."""
    with _signals.raising(), _plan.recording() as completed:
        try:
            _run(module, body, completed)
        except _signals.Interrupted as exc:
            # It raises only once.
            module.fail_json(msg=f"{exc}{_completed_text(completed)}", **_changed(completed), **_invocation(module))


def _run(
    module: Module,
    body: t.Callable[[Module], dict[str, t.Any]],
    completed: t.Sequence[_plan.Plan[t.Any]],
) -> None:
    try:
        result = body(module)
        _signals.defer()
    except MissingLibraryError as exc:
        module.fail_json(msg=message_of(exc), exception=exc.trace)
    except MacvtapError as exc:
        module.fail_json(
            msg=f"{exc}{_completed_text(completed)}", **{**exc.details, **_changed(completed)}, **_invocation(module)
        )
    except Exception as exc:  # pylint: disable=broad-except  # a defect must not end in a traceback either
        module.fail_json(
            msg=f"{message_of(exc)}{_completed_text(completed)}",
            exception=traceback.format_exc(),
            **_changed(completed),
        )
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    module.exit_json(**{**_invocation(module), **result})


def message_of(error: Exception) -> str:
    """Return the message with which a module fails because of ``error``."""
    if isinstance(error, MissingLibraryError):
        return missing_required_lib(error.library, reason=f"on this host. Its package: {error.hint}")
    if isinstance(error, MacvtapError):
        return str(error)
    return f"This is a defect in the module, not in your playbook: {type(error).__name__}: {error}"


def _completed_text(plans: t.Sequence[_plan.Plan[t.Any]]) -> str:
    """Return which changes were completed and verified before the run was ended; "" if none."""
    changes = [change for plan in plans for change in plan.changes]
    if not changes:
        return ""
    message = f"These changes were completed before that, and stay: {_diff.describe(changes)}"
    return f". {message}"


def _changed(plans: t.Sequence[_plan.Plan[t.Any]]) -> dict[str, t.Any]:
    changes = [change.as_dict() for plan in plans for change in plan.changes]
    return {"changed": True, "changes": changes} if changes else {}


def command(module: AnsibleModule, words: t.Sequence[str], text: str | None = None) -> tuple[int, str] | None:
    """Run a program with ``text`` as its input. Return its exit status and output, or None if it is not installed."""
    program = module.get_bin_path(words[0])
    if program is None:
        return None
    try:
        code, out, err = module.run_command([program, *words[1:]], data=text, handle_exceptions=False)
    except BrokenPipeError:
        # The program ended without reading its input, like one that does not know an option. Its output is still valid.
        code, out, err = module.run_command([program, *words[1:]], handle_exceptions=False)
    return code, err or out


def _invocation(module: AnsibleModule) -> dict[str, t.Any]:
    # Ansible would return every option of every entry, mostly null: with 1,000 links, several times the result's size.
    return {"invocation": {"module_args": _without_none(module.params)}}


def _without_none(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list) else value


def entries(
    params: t.Mapping[str, t.Any],
    many: str,
    options: t.Iterable[str],
    exempt: t.Callable[[str, t.Any, t.Any], bool] = lambda _option, _own, _default: False,
) -> list[tuple[str, dict[str, t.Any]]]:
    """Return ``(path, options)`` for each object that the user declared.

    A single object, declared by the top-level options, has the path "". Each entry of the list option ``many`` has the
    path ``many[i]`` and inherits unset options from the top level. Dictionaries (``tap``) are merged key by key.
    ``exempt(option, value, default)`` returns whether an entry opts out of a default.
    """
    defaults = {option: params.get(option) for option in options}
    if params.get(many) is None:
        return [("", defaults)]
    found = []
    for index, entry in enumerate(params[many]):
        merged = dict(defaults)
        for option, own in entry.items():
            if own is not None and option in defaults:
                default = defaults[option]
                merged[option] = own if exempt(option, own, default) else _merge(own, default)
        found.append((f"{many}[{index}]", merged))
    return found


def defaulted(params: t.Mapping[str, t.Any], many: str, option: str) -> dict[str, frozenset[str]]:
    """Return by path the entries of ``many`` that take ``option`` from the top level: see entries()."""
    if params[option] is None:
        return {}
    return {
        f"{many}[{index}]": frozenset({option})
        for index, entry in enumerate(params[many] or ())
        if entry.get(option) is None
    }


def _merge(own: t.Any, default: t.Any) -> t.Any:
    if isinstance(own, dict) and isinstance(default, dict):
        return {key: _merge(own.get(key), default.get(key)) for key in {*own, *default}}
    return default if own is None else own
