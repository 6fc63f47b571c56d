# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    LOAD_FILE,
    Desired,
    Host,
    LoadedModule,
    LoadFile,
    Source,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.planner import plan, undo
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.support import evaluate

RELEASE = "6.1.0-40-amd64"
ALL = dict.fromkeys(("CONFIG_MACVTAP", "CONFIG_MACVLAN", "CONFIG_TAP", "CONFIG_VLAN_8021Q", "CONFIG_VHOST_NET"), "m")
MODULAR = Host(
    release=RELEASE,
    running=RELEASE,
    configs=(Source(f"/boot/config-{RELEASE}", ALL),),
    builtin_lists=(),
    dep=Source(f"/lib/modules/{RELEASE}/modules.dep", ALL),
    active=(),
    modules_dir=f"/lib/modules/{RELEASE}",
    installed=(RELEASE,),
)
BUILTIN = dataclasses.replace(
    MODULAR, configs=(Source("/proc/config.gz", dict.fromkeys(ALL, "y")),), active=("/proc/devices",)
)
ABSENT = dataclasses.replace(MODULAR, configs=(Source("/proc/config.gz", dict.fromkeys(ALL, "n")),))
ACTIVE: dict[str, t.Any] = {"active": ("/proc/modules", "/proc/devices")}
LOADED = Desired("loaded")
PERSISTENT = Desired("loaded", persistent=True)


def changes(desired: Desired, host: Host) -> list[tuple[str, object, object]]:
    return [(change.field, change.before, change.after) for change in plan(desired, host).changes]


def test_supported_changes_nothing() -> None:
    for host in (MODULAR, BUILTIN):
        assert not plan(Desired("supported", persistent=True), host).changed


def test_loaded() -> None:
    assert changes(LOADED, MODULAR) == [("loaded", False, True)]
    assert changes(LOADED, dataclasses.replace(MODULAR, **ACTIVE)) == []
    assert changes(PERSISTENT, BUILTIN) == []


def test_the_file_is_written_before_the_module_is_loaded() -> None:
    steps = plan(PERSISTENT, MODULAR).steps
    assert [type(step.after) for step in steps] == [LoadFile, LoadedModule]
    assert changes(PERSISTENT, MODULAR) == [("persistent", False, True), ("loaded", False, True)]
    assert {change.impact.value for step in steps for change in step.changes} == {"none"}
    assert [step.target for step in steps] == ["macvtap", "macvtap"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "# Managed by Ansible (linuxvirt.macvtap.kernel_macvtap_check)\nmacvtap\n"),
        ("", "# Managed by Ansible (linuxvirt.macvtap.kernel_macvtap_check)\nmacvtap\n"),
        ("vhost_net", "vhost_net\nmacvtap\n"),
        ("# macvtap\nvhost_net\n", "# macvtap\nvhost_net\nmacvtap\n"),
        ("macvtap", None),
        ("vhost_net\n macvtap \n", None),
    ],
)
def test_the_file_keeps_its_other_lines(before: str | None, after: str | None) -> None:
    host = dataclasses.replace(MODULAR, load_file=before, **ACTIVE)
    steps = plan(PERSISTENT, host).steps
    assert [step.after for step in steps] == ([] if after is None else [LoadFile(LOAD_FILE, after)])


def test_a_file_is_left_alone_unless_persistent() -> None:
    assert changes(LOADED, dataclasses.replace(MODULAR, load_file="vhost_net\n", **ACTIVE)) == []


def test_diff_shows_the_file() -> None:
    result = plan(PERSISTENT, dataclasses.replace(MODULAR, load_file="vhost_net\n", **ACTIVE)).result(diff=True)
    assert result["changed"]
    assert [(diff["before"], diff["after"]) for diff in result["diff"]] == [("vhost_net\n", "vhost_net\nmacvtap\n")]


@pytest.mark.parametrize("before", [None, "vhost_net\n"])
def test_undo_starts_from_the_current_state(before: str | None) -> None:
    start = dataclasses.replace(MODULAR, load_file=before)
    steps = plan(PERSISTENT, start).steps
    written = steps[0].after
    assert isinstance(written, LoadFile)
    half = dataclasses.replace(start, load_file=written.text)
    back = undo(steps, half).steps
    assert [step.after for step in back] == [None if before is None else LoadFile(LOAD_FILE, before)]
    done = dataclasses.replace(half, **ACTIVE)
    assert [(c.field, c.before, c.after) for c in undo(steps, done).changes] == [("persistent", True, False)]
    assert [warning.partition(":")[0] for warning in undo(steps, done).warnings] == ["macvtap stays loaded"]
    assert not undo(steps, start).changed


def test_a_missing_macvtap_fails_with_what_where_and_how() -> None:
    with pytest.raises(MacvtapError) as caught:
        plan(LOADED, ABSENT)
    message = str(caught.value)
    assert message.startswith(f"The kernel {RELEASE} has no macvtap: CONFIG_MACVTAP and CONFIG_MACVLAN are not set in ")
    assert "Checked: /proc/config.gz: CONFIG_MACVTAP=n." in message
    assert "menuconfig" in message
    assert caught.value.details["provided_by"] == "missing"
    assert caught.value.details["source"] == "/proc/config.gz"


def test_a_missing_macvtap_is_returned_if_it_is_not_required() -> None:
    assert not plan(Desired("loaded", persistent=True, required=False), ABSENT).changed


def test_a_loaded_macvtap_takes_precedence_over_the_files() -> None:
    result = evaluate(dataclasses.replace(ABSENT, **ACTIVE))
    assert (result.provided_by, result.source) == ("module", "/proc/modules")
    # ... of the running kernel, and no other.
    assert evaluate(dataclasses.replace(ABSENT, running="5.10.0", **ACTIVE)).provided_by == "missing"


def test_a_kernel_that_is_not_running_has_nothing_loaded() -> None:
    host = dataclasses.replace(MODULAR, running="5.10.0", **ACTIVE)
    assert not host.loaded
    assert not plan(Desired("supported"), host).changed
    with pytest.raises(
        MacvtapError, match=r"^kernel: macvtap cannot be loaded into 6\.1\.0-40-amd64: the running kernel is 5\.10\.0"
    ):
        plan(LOADED, host)


def test_a_kernel_that_is_not_installed() -> None:
    host = dataclasses.replace(MODULAR, release="6.9.9")
    expected = r"^kernel: 6\.9\.9 is not installed: .* \(installed: 6\.1\.0-40-amd64; running: 6\.1\.0-40-amd64\)$"
    with pytest.raises(MacvtapError, match=expected):
        plan(Desired("supported", required=False), host)


def test_config_path_decides_alone() -> None:
    own = dataclasses.replace(
        ABSENT, config_path="/src/.config", configs=(Source("/src/.config", ALL),), modules_dir=""
    )
    assert evaluate(own).source == "/src/.config"
    # The modules directory may be missing, and the kernel need not be installed.
    assert evaluate(dataclasses.replace(own, release="9.9.9")).provided_by == "module"
    off = dataclasses.replace(own, configs=(Source("/src/.config", dict.fromkeys(ALL, "n")),), **ACTIVE)
    assert evaluate(off).provided_by == "missing"
    with pytest.raises(MacvtapError, match=r"^state: /src/\.config has CONFIG_MACVTAP=m, but the modules directory of"):
        plan(LOADED, own)


@pytest.mark.parametrize("problem", ["does not exist", "is a directory", "is not a kernel configuration"])
def test_a_bad_config_path(problem: str) -> None:
    host = dataclasses.replace(MODULAR, config_path="/x", configs=(Source("/x", problem=problem),))
    with pytest.raises(MacvtapError, match=f"^config_path: /x {problem}$"):
        plan(Desired("supported", required=False), host)


def test_a_builtin_macvtap_that_is_disabled() -> None:
    host = dataclasses.replace(BUILTIN, active=())
    assert not plan(Desired("supported"), host).changed
    with pytest.raises(MacvtapError, match="initcall_blacklist"):
        plan(LOADED, host)


def test_the_returned_support() -> None:
    values = evaluate(MODULAR).as_dict()
    assert values == {
        "supported": True,
        "provided_by": "module",
        "source": f"/boot/config-{RELEASE}",
        "sources_tried": [
            {"path": f"/boot/config-{RELEASE}", "found": "CONFIG_MACVTAP=m"},
            {"path": f"/lib/modules/{RELEASE}/modules.dep", "found": "CONFIG_MACVTAP=m"},
        ],
        "config": ALL,
    }
    assert set(evaluate(ABSENT).as_dict()) == {*values, "reason", "remedy"}


def test_options_that_macvtap_does_not_need_do_not_decide() -> None:
    bare = {name: value for name, value in ALL.items() if name not in {"CONFIG_VLAN_8021Q", "CONFIG_VHOST_NET"}}
    result = evaluate(dataclasses.replace(MODULAR, configs=(Source("/proc/config.gz", bare),)))
    assert result.supported
    assert (result.options["CONFIG_VLAN_8021Q"], result.options["CONFIG_VHOST_NET"]) == ("unknown", "unknown")


@pytest.mark.parametrize("field", ["running", "config_path"])
def test_only_the_running_kernel_is_probed(field: str) -> None:
    other: dict[str, t.Any] = {field: "5.10.0"}
    host = dataclasses.replace(MODULAR, **other)
    with pytest.raises(MacvtapError, match=r"^probe: only the running kernel can be probed, and .* Leave that out$"):
        plan(Desired("supported", probe=True, required=False), host)


def test_in_check_mode_a_probe_is_predicted_to_load_the_module() -> None:
    assert changes(Desired("supported", probe=True, persistent=True), MODULAR) == [("loaded", False, True)]
    assert changes(Desired("supported", probe=True), BUILTIN) == []


def test_a_kernel_that_loads_no_more_modules() -> None:
    closed = dataclasses.replace(MODULAR, modules_disabled=True)
    with pytest.raises(MacvtapError, match=r"^state: .*kernel\.modules_disabled is 1.*modules-load\.d/macvtap\.conf"):
        plan(PERSISTENT, closed)
    assert not plan(Desired("supported"), closed).changed
    assert changes(PERSISTENT, dataclasses.replace(closed, **ACTIVE)) == [("persistent", False, True)]
