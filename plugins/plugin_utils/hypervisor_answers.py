# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What hypervisors answer of their guests and of those of others, and what a cache keeps of it.

A cache keeps only what was answered. Whoever did not answer is asked again the next time.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.filter.host_pattern import host_pattern
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import connections, inventory, reports
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import ask_hypervisors

Answers = t.Dict[str, t.Dict[str, t.Any]]


@dataclass(frozen=True)
class Stored:
    """What a cache has: ``answers``, when the first of them were given, and whom to ask again.

    ``others_again`` are the hosts that were asked for the guests of others, and did not answer.
    """

    asked: float
    answers: Answers
    again: tuple[str, ...]
    others_again: tuple[str, ...]

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as plain values, which :func:`stored` takes."""
        return {
            "asked": self.asked,
            "answers": self.answers,
            "again": list(self.again),
            "others_again": list(self.others_again),
        }


def stored(value: t.Any, timeout: int, now: float) -> Stored | None:
    """Return what a cache has, None if that is of another form, or older than ``timeout`` seconds (0 is for ever).

    Each time that a missing answer is added, the cache counts from the beginning. The first answers do not.
    """
    kinds: dict[str, t.Any] = {"asked": (int, float), "answers": dict, "again": list, "others_again": list}
    if not isinstance(value, dict) or value.keys() != kinds.keys():
        return None
    if not all(isinstance(value[name], kind) for name, kind in kinds.items()):
        return None
    found = Stored(value["asked"], value["answers"], tuple(value["again"]), tuple(value["others_again"]))
    return found if not timeout or 0 <= now - found.asked < timeout else None


def to_store(answers: Answers, asked: float) -> Stored | None:
    """Return what a cache is to keep of ``answers``, None if that is nothing."""
    good: Answers = {}
    others_again = []
    for name, answer in answers.items():
        with contextlib.suppress(MacvtapError):
            guests_of(answer)
            if answer.get("unreadable"):
                continue
            good[name] = dict(answer)
            try:
                others_of(answer)
            except MacvtapError:
                del good[name]["others"]
                others_again.append(name)
    again = tuple(sorted(answers.keys() - good.keys()))
    return Stored(asked, good, again, tuple(sorted(others_again))) if good else None


def gather(question: ask_hypervisors.Question, known: Stored | None, *, ask_others: bool) -> Answers:
    """Return the answers of the hypervisors by name: ``result``, ``connection``, ``unreadable`` and maybe ``others``.

    Whose answers are ``known`` is not asked again.

    :raises AskError: none could be asked, and none is known.
    """
    if known is None:
        answers = fresh = ask_hypervisors.ask(question)
    else:
        fresh = _asked(question, known.again) if known.again else {}
        answers = {**{name: dict(answer) for name, answer in known.answers.items()}, **fresh}
    if ask_others:
        _add_others(question, answers, None if fresh else known)
    return answers


def guests_of(answer: t.Mapping[str, t.Any]) -> list[reports.Values]:
    """Return the guests of a hypervisor.

    :raises MacvtapError: it has not answered, or not in the form that the module returns.
    """
    return reports.guests(_value(answer["result"], "guests"))


def others_of(answer: t.Mapping[str, t.Any]) -> list[reports.Values]:
    """Return what a hypervisor knows of the guests of others, nothing if it was not asked.

    :raises MacvtapError: it has not answered, or not in the form that the module returns.
    """
    return reports.others(_value(answer["others"], "others")) if "others" in answer else []


def require_readable(answer: t.Mapping[str, t.Any], names: t.Iterable[str]) -> None:
    """Refuse an answer if one of these variables of the host cannot be read.

    :raises MacvtapError: with the reason.
    """
    unreadable = answer.get("unreadable") or {}
    for name in names:
        if name in unreadable:
            raise MacvtapError(f"a variable cannot be read: {' '.join(str(unreadable[name]).split())}")


def jump(answer: t.Mapping[str, t.Any]) -> str:
    """Return the way through a hypervisor.

    :raises MacvtapError: a variable of it cannot be read.
    """
    require_readable(answer, connections.CONNECTION)
    return connections.jump(answer["connection"])


def _add_others(question: ask_hypervisors.Question, answers: Answers, known: Stored | None) -> None:
    """Let hypervisors ask for guests of others: all of them, or those that have not answered if nothing is new."""
    found = {}
    for name, answer in answers.items():
        # Whoever has not answered is named later.
        with contextlib.suppress(MacvtapError):
            found[name] = guests_of(answer)
    macs = inventory.macs_for_others(found)
    asked = sorted(found if known is None else found.keys() & {*known.others_again})
    if macs and len(found) > 1 and asked:
        arguments = {**question.arguments, "macs": list(macs), "agent": False, "listen": 0}
        # A host that is down is not waited for again.
        for name, answer in _asked(replace(question, arguments=arguments), asked).items():
            answers[name]["others"] = answer["result"]


def _asked(question: ask_hypervisors.Question, names: t.Sequence[str]) -> Answers:
    """Return the answers of hosts that the inventory still has. If they cannot be asked, that is their answer."""
    try:
        found = ask_hypervisors.ask(replace(question, pattern=host_pattern(names)))
    except ask_hypervisors.AskError as exc:
        failure = {"failed": True, "msg": f"it could not be asked: {exc}"}
        return {name: {"result": failure, "connection": {"inventory_hostname": name}} for name in names}
    return {name: answer for name, answer in found.items() if name in names}


def _value(result: t.Any, name: str) -> t.Any:
    """Return one value of the module's result.

    :raises MacvtapError: it failed, or the hypervisor could not be reached.
    """
    result = result or {}
    if name in result and not result.get("failed"):
        return result[name]
    raise MacvtapError(" ".join(str(result.get("msg") or "it did not answer").split()))
