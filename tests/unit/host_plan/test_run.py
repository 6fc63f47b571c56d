# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The stages of macvtap_host_plan, with modules of the tests."""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, MissingLibraryError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_plan import modules, run
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_plan.model import (
    INTERFACES,
    KERNEL,
    LINKS,
    NETWORKS,
    VLANS,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Interrupted

Result = t.Dict[str, t.Any]
CHANGE = {"target": "mt0", "field": "mtu", "before": 1500, "after": 1400, "impact": "in_place"}
ENTRIES = {"type": "list", "elements": "dict", "options": {"state": {"type": "str"}}}
SPECIFICATION = {
    "argument_spec": {
        "mtu": {"type": "int"},
        "state": {"type": "str", "default": "up"},
        "force": {"type": "bool", "default": False},
        "vlans": ENTRIES,
        "networks": ENTRIES,
    }
}


class Modules:
    """The modules of a host. ``acts`` has what each does, ``seen`` with which options each was run."""

    def __init__(self) -> None:
        self.acts: dict[str, t.Callable[[], Result]] = {}
        self.seen: list[tuple[str, Result]] = []

    def load(self, name: str) -> t.Any:
        def body(module: t.Any) -> Result:
            assert module.check_mode
            self.seen.append((name, module.params))
            return {"changed": False, "changes": [], **self.acts.get(name, dict)()}

        return types.SimpleNamespace(SPECIFICATION=SPECIFICATION, body=body)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Modules:
    made = Modules()
    monkeypatch.setattr(modules, "load", made.load)
    return made


def plan(*stages: tuple[str, str, Result | None]) -> Result:
    declared = [{"name": name, "module": module, "options": options} for name, module, options in stages]
    module = types.SimpleNamespace(params={"stages": declared, "host": False}, check_mode=False)
    return run.body(t.cast("t.Any", module))


def raising(error: BaseException) -> t.Callable[[], Result]:
    def act() -> Result:
        raise error

    return act


def test_a_stage_with_nothing_to_do(host: Modules) -> None:
    host.acts[LINKS] = lambda: {"restart_required": [], "diff": [], "links": [{"name": "mt0"}], "warnings": ("w",)}
    nothing = {"changed": False, "changes": [], "warnings": ["w"], "error": None, "skipped": None}
    result = plan(("links", LINKS, {"mtu": 1400}), ("others", LINKS, None))
    stages = [{"name": name, "module": LINKS} for name in ("links", "others")]
    assert result == {
        "changed": False,
        "stages": [{**stage, **nothing} for stage in stages],
        "to_do": [],
        # The declaration is not returned.
        "invocation": {"module_args": {"host": False, "stages": stages}},
    }
    assert host.seen[0][1]["state"] == "up"


def test_a_stage_with_something_to_do(host: Modules) -> None:
    more = {"restart_required": [{"domain": "web1"}], "pending": [{"mac": "a"}], "diff": [{"before": "x"}]}
    host.acts[LINKS] = lambda: {"changed": True, "changes": [CHANGE], **more}
    result = plan(("links", LINKS, {"mtu": "1400"}))
    assert result["to_do"] == ["links"]
    assert not result["changed"]
    stage = result["stages"][0]
    assert (stage["changes"], {key: stage[key] for key in more}) == ([CHANGE], more)
    assert host.seen[0][1]["mtu"] == 1400


@pytest.mark.parametrize("found", [{"changed": True}, {"missing_packages": ["python3-pyroute2"]}])
def test_something_to_do_without_changes(host: Modules, found: Result) -> None:
    host.acts[KERNEL] = lambda: found
    assert plan(("kernel", KERNEL, {}))["to_do"] == ["kernel"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MacvtapError("the network is in use"), "the network is in use"),
        (MacvtapError("there is no link x", path="parent"), "stages[1].options.parent: there is no link x"),
        (KeyError("a"), "This is a defect in the module, not in your playbook: KeyError: 'a'"),
        (MissingLibraryError("pyroute2", "apt install python3-pyroute2", ""), "Failed to import the required Python "),
    ],
)
def test_an_error_is_that_of_its_stage_and_ends_no_other(host: Modules, error: Exception, message: str) -> None:
    host.acts[LINKS] = raising(error)
    host.acts[NETWORKS] = lambda: {"changed": True, "changes": [CHANGE]}
    result = plan(("kernel", KERNEL, {}), ("links", LINKS, {}), ("nets", NETWORKS, {}))
    assert [str(one["error"])[: len(message)] for one in result["stages"]] == ["None", message, "None"]
    assert result["stages"][2]["changes"] == [CHANGE]
    assert result["to_do"] == ["links", "nets"]


def test_an_error_comes_with_its_pending_nics(host: Modules) -> None:
    host.acts[INTERFACES] = raising(MacvtapError("no", pending=[{"mac": "a"}], supported=False))
    (stage,) = plan(("guests", INTERFACES, {}))["stages"]
    assert stage["pending"] == [{"mac": "a"}]
    assert stage.keys() == {"name", "module", "changed", "changes", "warnings", "error", "skipped", "pending"}


def test_a_signal_ends_all(host: Modules) -> None:
    host.acts[LINKS] = raising(Interrupted("stopped by SIGTERM"))
    with pytest.raises(Interrupted):
        plan(("links", LINKS, {}), ("nets", NETWORKS, {}))
    assert [name for name, _params in host.seen] == [LINKS]


def test_an_invalid_option_is_an_error_and_nothing_is_run(host: Modules) -> None:
    result = plan(("links", LINKS, {"mtu": "yes"}), ("nets", NETWORKS, {"x": 1}))
    first, second = (one["error"] for one in result["stages"])
    assert first == "stages[0].options.mtu: 'yes' is not a whole number"
    assert second.startswith(f"stages[1].options: Unsupported parameters for (linuxvirt.macvtap.{NETWORKS}) module: x.")
    assert host.seen == []


def test_two_stages_of_one_name_are_refused(host: Modules) -> None:
    with pytest.raises(MacvtapError, match=r"^stages\[2\].name: a stage a is declared twice, here and in stages\[0\]"):
        plan(("a", LINKS, {}), ("b", LINKS, {}), ("a", KERNEL, {}))
    assert host.seen == []


def test_a_skipped_stage_is_to_do_and_not_run(host: Modules) -> None:
    host.acts[VLANS] = lambda: {
        "changed": True,
        "vlans": [{"name": "v1", "ifindex": 7}, {"name": "v2", "ifindex": None}],
    }
    result = plan(("tags", VLANS, {}), ("links", LINKS, {}))
    assert result["to_do"] == ["tags", "links"]
    reasons = [one["skipped"] for one in result["stages"]]
    assert reasons == [None, "its uplink may be v2, which the stage tags still creates"]
    assert [name for name, _params in host.seen] == [VLANS]


@pytest.mark.parametrize(
    ("options", "forced"),
    [
        ({"MANY": [{"state": "absent"}, {"state": "absent"}]}, True),
        ({"MANY": [{"state": "absent"}, {}], "state": "absent"}, True),
        ({"MANY": [{"state": "absent"}, {"state": "up"}]}, False),
        ({"MANY": [{"state": "absent"}, {}]}, False),
        ({"MANY": [], "state": "absent"}, False),
        ({"state": "absent"}, True),
    ],
)
def test_what_is_only_removed_is_forced_after_changes_of_what_is_on_it(
    host: Modules, options: Result, forced: bool
) -> None:
    for module, many, user in ((VLANS, "vlans", LINKS), (NETWORKS, "networks", INTERFACES)):
        host.acts[user] = lambda: {"changed": True, "changes": [CHANGE]}
        plan(("users", user, {}), ("gone", module, {name.replace("MANY", many): one for name, one in options.items()}))
        assert host.seen[-1][0] == module
        assert host.seen[-1][1]["force"] is forced


def test_every_module_can_be_loaded_and_has_what_a_stage_needs() -> None:
    for name in modules.NAMES:
        found = modules.load(name)
        assert found.__name__.endswith(f"_runs.{name}")
        assert callable(found.body)
        assert found.SPECIFICATION["argument_spec"]
