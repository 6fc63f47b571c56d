# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The files of docs/example that no test runs: the vault, the survey and the workflow of AWX."""

from __future__ import annotations

import json
import re

import pytest
import readme
import yaml
from ansible.constants import DEFAULT_VAULT_IDENTITY
from ansible.parsing.vault import VaultLib, VaultSecret
from support import ROOT

EXAMPLE = ROOT / "docs/example"
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
(PLAY,) = yaml.safe_load((EXAMPLE / "awx/workflow.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_the_project_has_each_playbook(playbook: str) -> None:
    (one,) = yaml.safe_load((EXAMPLE / f"{playbook}.yml").read_text(encoding="utf-8"))
    assert one["ansible.builtin.import_playbook"] == f"linuxvirt.macvtap.{playbook}"


def test_the_requirements_are_those_of_the_readme() -> None:
    text = (EXAMPLE / "collections/requirements.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == yaml.safe_load(readme.file("Install"))


def test_the_vault_opens_with_the_password_beside_it_and_nothing_else_is_encrypted() -> None:
    text = (EXAMPLE / "vault/become.yml").read_text(encoding="utf-8")
    encrypted = "\n".join(line.strip() for line in text[text.index("$ANSIBLE_VAULT") :].splitlines())
    password = (EXAMPLE / "vault/example-password").read_bytes().strip()
    vault = VaultLib([(DEFAULT_VAULT_IDENTITY, VaultSecret(password))])
    assert vault.decrypt(encrypted.encode()) == b"not a real password"
    others = [path for path in EXAMPLE.rglob("*") if path.is_file() and path.name != "become.yml"]
    assert not [path for path in others if b"$ANSIBLE_VAULT" in path.read_bytes()]


def test_the_survey_asks_for_variables_that_there_are() -> None:
    survey = json.loads((EXAMPLE / "awx/survey.json").read_text(encoding="utf-8"))
    options = {}
    for role in ("macvtap_preflight", "macvtap_domains"):
        specs = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8"))
        options.update(specs["argument_specs"]["main"]["options"])
    for question in survey["spec"]:
        option = options[question["variable"]]
        if question["type"] == "multiselect":
            assert question["choices"] == option["choices"]
            assert option["type"] == "list"
    # As AWX exports it.
    keys = {"type", "question_name", "question_description", "variable", "required", "default", "min", "max"}
    assert all(question.keys() == keys | {"choices", "new_question"} for question in survey["spec"])


def test_the_workflow_goes_from_preflight_to_the_report() -> None:
    nodes = {one["identifier"]: one for one in PLAY["tasks"][-1]["awx.awx.workflow_job_template"]["workflow_nodes"]}
    order = re.findall(r"\w+", readme.blocks("text", "docs/example/README.md")[0][1])
    for one, following in zip(order, [*order[1:], None]):
        related = nodes[one].get("related", {})
        assert [node["identifier"] for group in related.values() for node in group] == (
            [following] if following else []
        )
        # A report of what was changed is due after a failure too, and no change after a conflict.
        assert not related or ("always_nodes" in related) == (one in {"site", "verify"})
    made = {f"macvtap {one['name']}" for one in PLAY["vars"]["playbooks"]}
    jobs = [node["unified_job_template"] for node in nodes.values()]
    assert {one["name"] for one in jobs if one["type"] == "job_template"} == made
    assert {one["name"] for one in PLAY["vars"]["playbooks"]} <= set(PLAYBOOKS)
