# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads from the collection's own roles which modules they run on a host, in which order, and with which options.

The roles stay the only place that turns variables into options. Ansible's own templating evaluates them.
"""

from __future__ import annotations

import contextlib
import pathlib
import typing as t
from dataclasses import dataclass

from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.common.yaml import yaml_load
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.dataloader import DataLoader

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import specified
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.tags import RunTags

_COLLECTION = pathlib.Path(__file__).resolve().parents[2]
_NAMESPACE = "linuxvirt.macvtap."


@dataclass(frozen=True)
class Part:
    """What one role does at one place of the playbook site: the tag that selects it, the role, its file of tasks.

    ``after`` are the tags of the parts whose changes may change what is to be done here.
    """

    tag: str
    role: str
    tasks: str = "main"
    after: tuple[str, ...] = ()


# In the order of the playbook site.
PARTS = (
    Part("kernel", "macvtap_kernel"),
    Part("guard", "macvtap_guard", after=("kernel",)),
    Part("links", "macvtap_links", after=("kernel", "guard")),
    Part("networks", "macvtap_networks", after=("kernel", "links")),
    Part("domains", "macvtap_domains", after=("kernel", "guard", "links", "networks")),
    Part("host_access", "macvtap_host_access", after=("kernel", "links", "domains")),
    Part("networks", "macvtap_networks", "removed", after=("kernel", "links", "domains")),
)
# The variables of the playbooks themselves, and those of a role that macvtap_domains includes if a variable is set.
_PLAYBOOKS = "macvtap_preflight"
_INCLUDED = {"macvtap_migration": "domains"}
_INCLUDED_IF = "macvtap_domains_migrate_to"
_URI = "macvtap_domains_uri"


@dataclass(frozen=True)
class Stage:
    """One task of a role: its module and options, or the reason why they are unknown."""

    name: str
    tag: str
    module: str
    options: t.Mapping[str, t.Any]
    error: str | None = None


@dataclass(frozen=True)
class _Task:
    part: Part
    tags: frozenset[str]
    result: str
    module: str
    options: t.Mapping[str, t.Any]
    when: tuple[str, ...]


class _Roles:
    """What the files of the roles have. It is the same for all hosts."""

    def __init__(self, loader: t.Any) -> None:
        self._loader = loader
        roles = sorted({part.role for part in PARTS})
        self.tasks = [task for part in PARTS for task in self._of_part(part)]
        self.results = {task.result for task in self.tasks}
        self.defaults: dict[str, t.Any] = {}
        self.internal: dict[str, t.Any] = {}
        for role in roles:
            self.defaults.update(self._load(role, "defaults"))
            self.internal.update(self._load(role, "vars"))
        self.options = {role: _options(role) for role in (_PLAYBOOKS, *roles, *_INCLUDED)}

    def _of_part(self, part: Part) -> t.Iterator[_Task]:
        for task in self._load(part.role, "tasks", part.tasks):
            for module in [key for key in task if key.startswith(_NAMESPACE)]:
                yield _Task(
                    part,
                    frozenset({part.tag, *_listed(task.get("tags"))}),
                    task.get("register", task["name"]),
                    module.removeprefix(_NAMESPACE),
                    task[module] or {},
                    _listed(task.get("when")),
                )

    def _load(self, role: str, *path: str) -> t.Any:
        folder, name = (*path, "main")[:2]
        file = _COLLECTION / "roles" / role / folder / f"{name}.yml"
        if not file.exists():
            return {}
        try:
            # Unsafe means that what was read is not copied.
            return self._loader.load_from_file(str(file), cache="none", unsafe=True, trusted_as_template=True)
        except TypeError:  # before ansible-core 2.19
            return self._loader.load_from_file(str(file), cache="none", unsafe=True)


def _options(role: str) -> dict[str, t.Any]:
    """Return the options of a role's argument specification."""
    text = (_COLLECTION / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8")
    # Without Ansible's loader, which marks every text as a template: these are none.
    options: dict[str, t.Any] = yaml_load(text)["argument_specs"]["main"].get("options", {})
    return options


class Reader:
    """Reads the roles for one host, with Ansible's ``templar`` and the host's ``variables``."""

    def __init__(self, templar: t.Any, variables: t.Mapping[str, t.Any]) -> None:
        given = {name: value for name, value in variables.items() if name not in _ROLES.results}
        # As Ansible combines them, but for extra variables with the names of a role's internal ones.
        self._variables = {**_ROLES.defaults, **given, **_ROLES.internal, "ansible_check_mode": True}
        self._templar = templar.copy_with_new_env(available_variables=self._variables)
        self._tags = RunTags(variables.get("ansible_run_tags") or ["all"], variables.get("ansible_skip_tags") or ())
        self._by_role: dict[str, dict[str, str]] = {}
        self._unreadable: dict[str, str] = {}

    def stages(self, *, of_run: bool = True) -> list[Stage]:
        """Return what the roles would run now: for the tags of this run, or if not ``of_run``, without any tags."""
        tasks = [task for task in _ROLES.tasks if not of_run or self._tags.selects(task.tags)]
        return [stage for task in tasks for stage in self._stage(task)]

    def invalid(self, *, of_run: bool = True) -> dict[str, str]:
        """Return why variables do not fit the roles' argument specifications, by the tags of the roles.

        These are the roles that the tags of this run select, or if not ``of_run``, all of them.
        A variable of several roles is told of once: the text of a tag is empty if all of it is told of another one.
        """
        found = self._faults(of_run=of_run)
        told = self._derived(found)
        result = {}
        for tag, errors in found.items():
            result[tag] = "; ".join(error for name, error in errors.items() if name not in told)
            told |= errors.keys()
        return result

    def refused(self) -> dict[str, str]:
        """Return why roles would refuse variables that can be read, whatever the tags of this run, by the variables."""
        found = self._faults(of_run=False)
        left_out = self._derived(found) | self._unreadable.keys()
        return {name: error for errors in found.values() for name, error in errors.items() if name not in left_out}

    def _derived(self, found: t.Mapping[str, t.Mapping[str, str]]) -> set[str]:
        """Return the variables with their defaults, which are wrong only because of others that they read."""
        names = {name for errors in found.values() for name in errors}
        derived = {name for name in names if name in _ROLES.defaults and self._variables[name] == _ROLES.defaults[name]}
        return derived if derived != names else set()

    def _faults(self, *, of_run: bool) -> dict[str, dict[str, str]]:
        """Return the errors of the variables, by the tags of the roles."""
        tags = {part.role: part.tag for part in PARTS}
        if self._variables.get(_INCLUDED_IF):
            tags.update(_INCLUDED)
        selected = {role: tag for role, tag in tags.items() if not of_run or self._tags.selects(frozenset({tag}))}
        found: dict[str, dict[str, str]] = {}
        for role, tag in {_PLAYBOOKS: "always", **selected}.items():
            errors = self._faults_of(role)
            if errors:
                found[tag] = {**found.get(tag, {}), **errors}
        return found

    def _faults_of(self, role: str) -> dict[str, str]:
        if role not in self._by_role:
            options = _ROLES.options[role]
            names = [name for name in options if name in self._variables]
            given = self._readable(names)
            unreadable = {name: self._unreadable[name] for name in names if name in self._unreadable}
            self._by_role[role] = {**unreadable, **specified.faults(given, options)}
        return self._by_role[role]

    def _readable(self, names: t.Sequence[str]) -> dict[str, t.Any]:
        """Return those of the variables that can be read. The errors of the others are noted."""
        with contextlib.suppress(Exception):
            return self.plain(names)
        found: dict[str, t.Any] = {}
        for name in names:
            try:
                found.update(self.plain([name]))
            except Exception as exc:  # pylint: disable=broad-except  # a lookup or filter may raise anything
                self._unreadable[name] = f"{name}: cannot be read: {reason(exc)}"
        return found

    def plain(self, names: t.Iterable[str]) -> dict[str, t.Any]:
        """Return variables of the host with all their templates resolved.

        :raises Exception: a template cannot be resolved. What a lookup or filter raises is not always an AnsibleError.
        """
        found: dict[str, t.Any] = self._templar.template({name: self._variables[name] for name in names})
        return _without_omitted(found, self._variables)

    def uri(self) -> str:
        """Return the URI of the host's libvirt, the default if the variable cannot be read."""
        with contextlib.suppress(Exception):
            return str(self.plain([_URI])[_URI])
        return str(_ROLES.defaults[_URI])

    def _stage(self, task: _Task) -> t.Iterator[Stage]:
        name = task.result.removeprefix("macvtap_").removesuffix("_result")
        try:
            if not all(self._is_true(condition) for condition in task.when):
                return
            options = _without_omitted(self._templar.template(dict(task.options)), self._variables)
        except Exception as exc:  # pylint: disable=broad-except  # a lookup or filter may raise anything
            yield Stage(name, task.part.tag, task.module, {}, reason(exc))
            return
        yield Stage(name, task.part.tag, task.module, options)

    def _is_true(self, condition: t.Any) -> bool:
        if hasattr(self._templar, "evaluate_conditional"):
            return bool(self._templar.evaluate_conditional(condition))
        # Before ansible-core 2.19.
        return boolean(self._templar.template("{{ (" + condition + ") | bool }}"), strict=False)

    def unselected(self) -> str:
        """Return that the tags of this run select no part, "" if they do select one."""
        return self._tags.nothing_of([task.tags for task in _ROLES.tasks])

    def is_for_others(self) -> bool:
        """Whether tags that select no part may be meant for other plays, of a playbook that imports these."""
        return not _is_own_run() and self._tags.may_be_for_others([task.tags for task in _ROLES.tasks])


def needed(to_do: t.Collection[str]) -> list[str]:
    """Return the tags of the parts to run, if ``to_do`` are those that have something to do."""
    run = set(to_do)
    for part in PARTS:
        if run.intersection(part.after):
            run.add(part.tag)
    return [tag for tag in dict.fromkeys(part.tag for part in PARTS) if tag in run]


def reason(exc: Exception) -> str:
    """Return why a variable cannot be read."""
    return str(exc) if isinstance(exc, AnsibleError) else f"{type(exc).__name__}: {exc}"


def _is_own_run() -> bool:
    """Whether ansible-playbook was called with playbooks of this collection alone, and not with one that imports them.

    While an imported playbook runs, playbook_dir is the collection's.
    """
    playbooks = _COLLECTION / "playbooks"
    return all(
        one.startswith(_NAMESPACE) or pathlib.Path(one).resolve().parent == playbooks
        for one in context.CLIARGS.get("args") or ()
    )


def _listed(value: t.Any) -> tuple[t.Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _without_omitted(values: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    # ansible-core 2.19 has left them out already.
    omit = variables.get("omit")
    return {name: value for name, value in values.items() if omit is None or (value is not omit and value != omit)}


# Ansible imports the action before it forks a process for each host, which has this then.
_ROLES = _Roles(DataLoader())
