# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Applying a plan to a tree, with a modprobe that writes what the kernel would show."""

from __future__ import annotations

import functools
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import host as adapter
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import modprobe, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    LOAD_FILE,
    Desired,
    Host,
    Probe,
    Resource,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.support import evaluate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Outcome, converge

if t.TYPE_CHECKING:
    from .conftest import Tree

RELEASE = "6.1.0-40-amd64"
WANTED = Desired("loaded", persistent=True)


@pytest.fixture
def host(tree: t.Callable[[str], Tree]) -> Tree:
    return tree(RELEASE).config(f"/boot/config-{RELEASE}").modules().devices("misc")


def make_so(host: Tree, run: modprobe.Run, *, check: bool = False) -> Outcome[Resource, Host]:
    return converge(
        host.observe,
        lambda seen, _answers: planner.plan(WANTED, seen),
        functools.partial(adapter.apply, run=run, root=str(host.root)),
        lambda journal, seen: planner.undo(journal.steps, seen),
        check_mode=check,
    )


def load_file(host: Tree) -> str | None:
    file = host.root / LOAD_FILE.lstrip("/")
    return file.read_text() if file.exists() else None


def test_load_and_persist(host: Tree) -> None:
    commands: list[list[str]] = []

    def load(command: list[str]) -> tuple[int, str, str]:
        commands.append(command)
        host.loaded()
        return 0, "", ""

    assert make_so(host, load, check=True).plan.changed
    assert commands == []
    assert load_file(host) is None
    outcome = make_so(host, load)
    assert outcome.plan.changed
    assert outcome.host.loaded
    assert commands == [["modprobe", "macvtap"]]
    file = host.root / LOAD_FILE.lstrip("/")
    assert "macvtap\n" in file.read_text().splitlines(keepends=True)
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in file.parent.iterdir()] == ["macvtap.conf"]
    assert not make_so(host, load).plan.changed
    assert len(commands) == 1


def test_a_modprobe_that_fails_leaves_no_file(host: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)

    def refuse(_command: list[str]) -> tuple[int, str, str]:
        return 1, "", "modprobe: ERROR: could not insert 'macvtap': Operation not permitted\n"

    with pytest.raises(MacvtapError) as caught:
        make_so(host, refuse)
    assert str(caught.value) == (
        "state: modprobe macvtap failed with code 1: modprobe: ERROR: could not insert 'macvtap': Operation not "
        "permitted. In a container, load the module on its host. Otherwise the kernel log (dmesg) may have the cause. "
        "The host is as it was before"
    )
    assert load_file(host) is None


@pytest.mark.parametrize(
    ("output", "lockdown", "meaning"),
    [
        (
            "Key was rejected by service",
            "none [integrity] confidentiality",
            "The kernel is in lockdown (integrity)",
        ),
        ("Operation not permitted", "none integrity [confidentiality]", "The kernel is in lockdown (confidentiality)"),
        ("Required key not available", "[none] integrity confidentiality", "The kernel loads only modules that are si"),
        ("Operation not permitted", "[none] integrity confidentiality", "In a container, load the module on its host"),
        ("Exec format error", "", "The module on the disk does not belong to the running kernel: reboot"),
        ("Unknown symbol in module, or unknown parameter (see dmesg)", "", "The module on the disk does not belong"),
    ],
)
def test_modprobes_messages_are_explained(
    host: Tree, output: str, lockdown: str, meaning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    if lockdown:
        host.write("/sys/kernel/security/lockdown", f"{lockdown}\n")
    with pytest.raises(MacvtapError) as caught:
        make_so(host, lambda _command: (1, "", f"modprobe: ERROR: could not insert 'macvtap': {output}\n"))
    assert f"{output}. {meaning}" in str(caught.value)


def test_only_root_loads_modules(host: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(MacvtapError, match="Only root may load modules: become: true"):
        make_so(host, lambda _command: (1, "", "could not insert 'macvtap': Operation not permitted"))


def test_a_modprobe_without_effect_is_noticed(host: Tree) -> None:
    host.write(LOAD_FILE, "vhost_net\n")
    with pytest.raises(MacvtapError, match="the host still differs: macvtap loaded: False → True"):
        make_so(host, lambda _command: (0, "", ""))
    assert load_file(host) == "vhost_net\n"


@pytest.mark.parametrize("theirs", ["vhost_net\n", "macvtap\n# theirs\n", None])
def test_a_file_that_something_else_changes_meanwhile_is_left_alone(host: Tree, theirs: str | None) -> None:
    file = host.root / LOAD_FILE.lstrip("/")
    host.write(LOAD_FILE, "tun\n")

    def edit(_command: list[str]) -> tuple[int, str, str]:
        file.unlink()
        if theirs:
            host.write(LOAD_FILE, theirs)
        return 1, "", "could not insert 'macvtap': Operation not permitted"

    with pytest.raises(MacvtapError, match=f"{LOAD_FILE} was changed by something else while this ran, and is left"):
        make_so(host, edit)
    assert load_file(host) == theirs
    # And before it is written.
    host.write(LOAD_FILE, "tun\n")
    steps = planner.plan(WANTED, host.observe()).steps
    edit([])
    with pytest.raises(MacvtapError, match=f"^persistent: {LOAD_FILE} was changed by something else while this ran"):
        adapter.apply(steps, run=edit, root=str(host.root))
    assert load_file(host) == theirs


def test_a_file_that_cannot_be_written(host: Tree) -> None:
    host.write("/etc", "not a directory")
    with pytest.raises(MacvtapError, match=r"^persistent: "):
        make_so(host, lambda _command: pytest.fail("nothing is loaded after that"))


@pytest.mark.parametrize("release", ["../etc", "6.1/0", ".", "", "6.1\0", "6.1\ud800"])
def test_an_invalid_release(host: Tree, release: str) -> None:
    with pytest.raises(MacvtapError, match=r"^kernel: "):
        host.observe(release)


@pytest.mark.parametrize("path", ["", "\0", "/boot/config\0", "/boot/\ud800"])
def test_what_cannot_be_a_path_is_refused(host: Tree, path: str) -> None:
    with pytest.raises(MacvtapError, match=r"^config_path: "):
        host.observe(config_path=path)


def test_installed_kernels(host: Tree) -> None:
    host.write("/boot/config-5.10.0-1", "").write("/boot/vmlinuz-4.9.0-1", "").write("/lib/modules/notes.txt", "")
    assert host.observe().installed == ("5.10.0-1", RELEASE)


def probing(host: Tree, run: modprobe.Run, probe: Probe) -> Outcome[Resource, Host]:
    return converge(
        functools.partial(host.observe, probe=lambda: probe),
        lambda seen, _answers: planner.plan(Desired("supported", probe=True), seen),
        functools.partial(adapter.apply, run=run, root=str(host.root)),
        lambda journal, seen: planner.undo(journal.steps, seen),
        check_mode=False,
    )


def test_a_probe_loads_the_module_first(host: Tree) -> None:
    works = Probe(True, "made and removed")
    assert host.observe(probe=lambda: pytest.fail("it would load the module, and nobody would know")).probe is None

    def load(_command: list[str]) -> tuple[int, str, str]:
        host.loaded()
        return 0, "", ""

    outcome = probing(host, load, works)
    assert [change.field for change in outcome.plan.changes] == ["loaded"]
    assert outcome.host.probe == works
    assert not probing(host, load, works).plan.changed


AS_FAR = "The run was rolled back as far as possible."
STAYS = "loaded: a module without links has no effect, and unloading it could remove links that something else has"


def test_a_module_stays_loaded_after_a_failed_probe(host: Tree) -> None:
    """Whatever has created links meanwhile: unloading the module would remove them."""
    commands: list[list[str]] = []
    host.write("/proc/modules", "macvlan 28672 0 - Live 0x0\n")

    def load(command: list[str]) -> tuple[int, str, str]:
        commands.append(command)
        host.loaded()
        return 0, "", ""

    with pytest.raises(MacvtapError, match=r"failed at making it: EINVAL\.") as caught:
        probing(host, load, Probe(False, "making it: EINVAL"))
    assert caught.value.state.startswith(f"{AS_FAR} macvtap stays {STAYS}")
    assert commands == [["modprobe", "macvtap"]]


@pytest.mark.parametrize(
    ("modules", "state"),
    [
        # Another run has loaded it at the same moment.
        (
            ("macvtap", "macvlan", "tap"),
            f"{AS_FAR} macvtap, macvlan, tap stay {STAYS}",
        ),
        # modprobe has loaded what the module needs.
        (("macvlan", "veth"), f"{AS_FAR} macvlan stays {STAYS}"),
        ((), "The host is as it was before"),
    ],
)
def test_what_a_failed_modprobe_has_loaded_is_named(host: Tree, modules: tuple[str, ...], state: str) -> None:
    commands: list[list[str]] = []

    def fail(command: list[str]) -> tuple[int, str, str]:
        commands.append(command)
        host.write("/proc/modules", "".join(f"{module} 1 0 - Live 0x0\n" for module in modules))
        return 1, "", "modprobe: ERROR: could not insert 'macvtap': File exists"

    with pytest.raises(MacvtapError) as caught:
        make_so(host, fail)
    assert caught.value.state.startswith(state)
    assert commands == [["modprobe", "macvtap"]]
    assert load_file(host) is None


def test_a_successful_probe_takes_precedence_over_every_file(tree: t.Callable[[str], Tree]) -> None:
    none = tree(RELEASE).config("/proc/config.gz", macvtap="n", macvlan="n", tap="n").devices("misc")
    observed = none.observe(probe=lambda: Probe(True, "made and removed"))
    result = evaluate(observed)
    assert (result.supported, result.provided_by, result.source) == (True, "builtin", "probe")
    assert not planner.plan(Desired("loaded", probe=True), observed).changed


def test_a_failed_probe_takes_precedence_over_every_file(tree: t.Callable[[str], Tree]) -> None:
    builtin = tree(RELEASE).config("/proc/config.gz", macvtap="y", macvlan="y", tap="y").devices("macvtap")
    observed = builtin.observe(probe=lambda: Probe(False, "making a macvtap link: Unknown device type (ENOTSUP)"))
    with pytest.raises(MacvtapError) as caught:
        planner.plan(Desired("supported", probe=True), observed)
    assert str(caught.value).startswith(
        f"The probe of the kernel {RELEASE} failed at making a macvtap link: Unknown device type ("
    )
    assert caught.value.details["probe"]["works"] is False
    allowed = Desired("supported", required=False, probe=True)
    assert not planner.plan(allowed, observed).changed
    assert not evaluate(observed).supported


def test_without_a_possible_probe_the_files_decide(tree: t.Callable[[str], Tree]) -> None:
    builtin = tree(RELEASE).config("/proc/config.gz", macvtap="y", macvlan="y", tap="y").devices("macvtap")
    observed = builtin.observe(probe=lambda: Probe(None, "making a network namespace: EPERM"))
    assert evaluate(observed).supported
    warnings = planner.plan(Desired("supported", probe=True), observed).warnings
    assert warnings == ("macvtap could not be probed: making a network namespace: EPERM",)
