# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Top-level options are the defaults of the entries of a list."""

from __future__ import annotations

import json
import signal
import subprocess
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _lock, _signals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step, converge


def test_a_single_object_has_no_path() -> None:
    assert _glue.entries({"links": None, "name": "a", "mode": None}, "links", ["name", "mode"]) == [
        ("", {"name": "a", "mode": None})
    ]


def test_an_entry_inherits_unset_options_from_the_top_level() -> None:
    params = {"mode": "bridge", "mtu": 1400, "links": [{"name": "a"}, {"name": "b", "mode": "vepa", "mtu": None}]}
    assert _glue.entries(params, "links", ["name", "mode", "mtu"]) == [
        ("links[0]", {"name": "a", "mode": "bridge", "mtu": 1400}),
        ("links[1]", {"name": "b", "mode": "vepa", "mtu": 1400}),
    ]


def test_which_entries_take_an_option_from_the_top_level() -> None:
    params = {"mtu": 1400, "links": [{"name": "a"}, {"name": "b", "mtu": 1500}, {"name": "c", "mtu": None}]}
    assert _glue.defaulted(params, "links", "mtu") == {"links[0]": {"mtu"}, "links[2]": {"mtu"}}
    assert _glue.defaulted({"mtu": 1400, "links": None}, "links", "mtu") == {}
    assert _glue.defaulted({"mtu": None, "links": [{"mtu": None}]}, "links", "mtu") == {}


def test_dictionaries_are_merged_key_by_key() -> None:
    params = {"tap": {"owner": "root", "group": "kvm"}, "links": [{"tap": {"owner": "qemu", "group": None}}]}
    assert _glue.entries(params, "links", ["tap"]) == [("links[0]", {"tap": {"owner": "qemu", "group": "kvm"}})]


def test_an_empty_list_declares_nothing() -> None:
    assert _glue.entries({"links": [], "name": None}, "links", ["name"]) == []


def test_an_argument_specification_is_not_changed_by_its_defaults() -> None:
    options = {"state": {"type": "str"}, "name": {"type": "str"}}
    assert _glue.with_defaults(options, state="up") == {
        "state": {"type": "str", "default": "up"},
        "name": {"type": "str"},
    }
    assert options["state"] == {"type": "str"}
    assert _glue.shared("purge", "force").keys() == {"purge", "force"}


class _Locking:
    """The part of a module that takes a lock."""

    params: t.ClassVar[dict[str, t.Any]] = {"lock_timeout": 7}

    def __init__(self, *, check_mode: bool) -> None:
        self.check_mode = check_mode


def test_check_mode_holds_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[t.Any] = []
    monkeypatch.setattr(_lock, "directory", lambda: "/of/the/user")
    monkeypatch.setattr(_lock, "held", lambda name, **how: held.append((name, how)))
    with _glue.locked(t.cast("_glue.Module", _Locking(check_mode=True)), "domains", per_user=True):
        pass
    assert held == []
    module = t.cast("_glue.Module", _Locking(check_mode=False))
    _glue.locked(module, "domains", per_user=True, doing="changing domains")
    _glue.locked(module, "links")
    assert held == [
        ("domains", {"timeout": 7, "directory": "/of/the/user", "doing": "changing domains"}),
        ("links", {"timeout": 7, "directory": "/run", "doing": "changing links"}),
    ]


class Module:
    """Runs programs as AnsibleModule does."""

    def get_bin_path(self, program: str) -> str:
        return program

    def run_command(
        self, words: list[str], data: str | None = None, *, handle_exceptions: bool
    ) -> tuple[int, str, str]:
        assert not handle_exceptions
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            if data:
                process.stdin.write(data)
            output = process.communicate()
        return process.returncode, *output


def test_the_output_of_a_program_that_does_not_read_its_input_is_returned() -> None:
    # More than a pipe takes.
    text = "x" * (1 << 20)
    words = ["sh", "-c", "echo unknown option >&2; exit 3"]
    assert _glue.command(t.cast("t.Any", Module()), words, text) == (3, "unknown option\n")
    assert _glue.command(t.cast("t.Any", Module()), ["wc", "-c"], text) == (0, f"{1 << 20}\n")


class Ended(Exception):  # noqa: N818
    """The end of a module."""


class Failing:
    """An AnsibleModule that records its failure."""

    params: t.ClassVar[dict[str, t.Any]] = {"name": "a"}

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        raise Ended(result)


def signalled() -> None:
    """Receive a signal, and continue with another attempt."""
    signal.raise_signal(signal.SIGTERM)
    _signals.resume()


def lost() -> None:
    raise MacvtapError("cannot list the domains")


def wrong() -> None:
    raise KeyError("a")


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        (signalled, "stopped by SIGTERM"),
        (lost, "cannot list the domains"),
        (wrong, "This is a defect in the module, not in your playbook: KeyError: 'a'"),
    ],
)
@pytest.mark.parametrize("done", [True, False])
def test_an_error_after_the_last_change_reports_the_completed_changes(
    ends: t.Callable[[], None], message: str, done: bool
) -> None:
    values = {"a": "old"}

    def plan(host: dict[str, str], _answers: t.Any) -> Plan[str]:
        change = Change("mt0", "mode", host["a"], "new", Impact.IN_PLACE)
        return Plan((Step("mt0", host["a"], "new", () if host["a"] == "new" or not done else (change,)),))

    def body(_module: t.Any) -> dict[str, t.Any]:
        converge(
            lambda: dict(values),
            plan,
            lambda _steps, _journal: values.update(a="new"),
            lambda _journal, _host: Plan(),
            check_mode=False,
        )
        ends()
        return {}

    with pytest.raises(Ended) as ended:
        _glue.run(t.cast("t.Any", Failing()), body)
    (result,) = ended.value.args
    if done:
        message += ". These changes were completed before that, and stay: mt0 mode: old → new"
    assert result["msg"] == message
    assert result.get("changed", False) == done
    assert ("changes" in result) == done


@pytest.mark.parametrize(
    ("rules", "shown"), [({}, "hunter2"), ({"no_log": True}, "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER")]
)
def test_a_result_has_no_secrets(rules: t.Mapping[str, t.Any], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args({"key": "hunter2"}):
        module = _glue.Module(argument_spec={"key": {"type": "str", **rules}})
        with pytest.raises(SystemExit):
            _glue.run(module, lambda _module: {"links": [{"key": "hunter2"}]})
    assert json.loads(capsys.readouterr().out)["links"] == [{"key": shown}]


def test_entries_are_in_the_module_as_ansible_would_have_made_them() -> None:
    suboptions = {"name": {"type": "str", "required": True}, "up": {"type": "bool"}, "mtu": {"type": "int"}}
    spec = {"links": {"type": "list", "elements": "dict", "options": suboptions}}
    for up in (True, "yes"):
        with patch_module_args({"links": [{"name": "a", "up": up}]}):
            module = _glue.Module(argument_spec=spec)
        assert module.params["links"] == [{"name": "a", "up": True, "mtu": None}]
