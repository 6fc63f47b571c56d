# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What hosts report is marked as no template wherever it leaves a filter, or enters a playbook."""

from __future__ import annotations

import importlib
import json
import pathlib
import typing as t

import pytest
import yaml
from support import ROOT

pytest.importorskip("ansible.errors")

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import ask_hypervisors, untrusted

FILTERS = sorted(path.stem for path in (ROOT / "plugins/filter").glob("*.py"))
HOSTILE = "{{ lookup('pipe', 'reboot') }}"
TEXTS = [HOSTILE, "", 'a"b\\c', "a\nb\t\0", "wéb \u2028 \U0001f600", "yes", "1", "null", "- a: b # c"]


@pytest.mark.parametrize("name", FILTERS)
def test_all_that_a_filter_returns_is_marked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"ansible_collections.linuxvirt.macvtap.plugins.filter.{name}")
    marked: list[t.Any] = []
    monkeypatch.setattr(untrusted, "wrap_var", lambda value: (marked.append(value), value)[1])  # type: ignore[func-returns-value]
    monkeypatch.setattr(module, name, _named(name))
    (function,) = module.FilterModule().filters().values()
    assert function() == [HOSTILE]
    assert marked == [[HOSTILE]]


def _named(name: str) -> t.Callable[[], list[str]]:
    def function() -> list[str]:
        return [HOSTILE]

    function.__name__ = name
    return function


class _Loader(yaml.SafeLoader):
    """Reads YAML as Ansible does, and notes which texts are tagged."""


_Loader.add_constructor("!unsafe", lambda _loader, node: ("unsafe", node.value))


def read(text: str) -> t.Any:
    loader = _Loader(text)
    return loader.get_single_data()


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_in_a_playbook_is_tagged_and_is_the_same(text: str) -> None:
    assert read(untrusted.yaml([text])) == [("unsafe", text)]
    assert read(untrusted.yaml({text: untrusted.Template(text)})) == {text: text}


def test_other_values_in_a_playbook() -> None:
    value: dict[str, t.Any] = {"a": [1, True, False, None, 1.5, {"b": []}], "c": {}}
    assert read(untrusted.yaml(value)) == value
    with pytest.raises(TypeError, match="not a plain value"):
        untrusted.yaml([object()])


def test_the_playbook_that_asks_hypervisors_has_no_template_in_its_arguments(tmp_path: pathlib.Path) -> None:
    arguments = {"macs": [HOSTILE], "uri": HOSTILE, "probe": True}
    question = ask_hypervisors.Question((), "hypervisors", arguments, False, 10, 60, 50)
    asking, writing = read(untrusted.yaml(ask_hypervisors._playbook(question, tmp_path / HOSTILE)))
    (task,) = asking["tasks"]
    assert task["linuxvirt.macvtap.macvtap_guest_addresses_info"] == {
        "macs": [("unsafe", HOSTILE)],
        "uri": ("unsafe", HOSTILE),
        "probe": True,
    }
    # Whatever the names of the controller's directories are.
    assert writing["tasks"][0]["ansible.builtin.copy"]["dest"] == ("unsafe", str(tmp_path / HOSTILE))


def test_json_is_the_same_as_text() -> None:
    text = untrusted.json_text({"name": HOSTILE})
    assert isinstance(text, str)
    assert json.loads(text) == {"name": HOSTILE}
