# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a filter learns of hosts from hostvars: what they declare, and how looking at them went."""

from __future__ import annotations

import json
import typing as t

import pytest
from jinja2 import StrictUndefined

errors = pytest.importorskip("ansible.errors")

from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_looks import fleet_looks  # noqa: E402
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import host_variables  # noqa: E402

Values = t.Dict[str, t.Any]
NIC = {"domain": "web1", "mac": "52:54:00:00:00:01"}
DECLARES: Values = {"macvtap_domains_interfaces": [NIC], "ansible_host": "::1"}


def failure(message: str, *, unreachable: bool = False) -> Values:
    return {"failed": True, "unreachable": unreachable, "msg": message}


def test_a_host_that_was_looked_at_has_what_the_module_returned() -> None:
    fleet = json.dumps({"declared": {}, "found": {"links": []}})
    # The playbook shows a failure itself: failed is false, whatever it was.
    plan = {"failed": False, "stages": [], "fleet": fleet}
    assert fleet_looks(["hv1"], {"hv1": {"macvtap_plan": plan}}) == {"hv1": fleet}
    assert fleet_looks(["hv1"], {"hv1": {"look": plan}}, "look") == {"hv1": fleet}


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"failed": True, "msg": "'vault_password' is undefined"}, "'vault_password' is undefined"),
        ({"failed": False, "msg": "The task timed out"}, "The task timed out"),
        ({"failed": True, "exception": "a defect of a plugin"}, "a defect of a plugin"),
        ({}, "Ansible ran no task on it"),
    ],
)
def test_a_host_on_which_the_task_failed_is_not_left_out(plan: Values, message: str) -> None:
    got = fleet_looks(["hv1"], {"hv1": {**DECLARES, "macvtap_plan": plan}})
    assert got == {"hv1": {"declared": {"macvtap_domains_interfaces": [NIC]}, "found": failure(message)}}


def test_an_unreachable_host_is_told_from_a_failed_one() -> None:
    plan = {"unreachable": True, "msg": "no route"}
    assert fleet_looks(["hv1"], {"hv1": {"macvtap_plan": plan}})["hv1"]["found"] == failure(
        "no route", unreachable=True
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"macvtap_plan": {"skipped": True, "changed": False}},
        # Site plans such a host, and does not compare it.
        {"macvtap_plan": {"stages": [], "changed": False}},
        {"macvtap_preflight": "no", "macvtap_plan": {"failed": True, "msg": "x"}},
    ],
)
def test_a_host_that_was_not_to_be_compared_is_left_out(variables: Values) -> None:
    assert fleet_looks(["hv1"], {"hv1": variables}) == {}


def test_preflights_switch_leaves_no_host_out_of_a_table() -> None:
    hostvars = {"hv1": {"macvtap_preflight": False, "look": {"failed": True, "msg": "x"}}}
    assert fleet_looks(["hv1"], hostvars, "look")["hv1"]["found"] == failure("x")


class Raising(t.Dict[str, t.Any]):
    """Reading a variable raises, as hostvars do before ansible-core 2.19."""

    def __getitem__(self, key: str) -> t.Any:
        value = super().__getitem__(key)
        if isinstance(value, Exception):
            raise value
        return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (StrictUndefined(name="rack"), "'rack' is undefined"),
        ([{"mac": StrictUndefined(hint="no vault password")}], "no vault password"),
        (errors.AnsibleUndefinedVariable("'rack' is undefined"), "'rack' is undefined"),
        (ValueError("Expecting value: line 1"), "Expecting value: line 1"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named_and_hides_no_other_host(value: t.Any, reason: str) -> None:
    hostvars = {"hv1": Raising(macvtap_links_links=value), "hv2": DECLARES}
    assert host_variables.declarations(hostvars, ["hv1", "hv2"]) == {
        "hv1": {"declared": {}, "unreadable": f"macvtap_links_links: {reason}"},
        "hv2": {"declared": {"macvtap_domains_interfaces": [NIC]}},
    }


def test_a_template_that_was_left_as_it_is_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible.utils.unsafe_proxy import wrap_var

    hostvars = {
        "hv1": {"macvtap_links_links": [{"mac": "{{ foo.bar }}"}]},
        "hv2": {"macvtap_segment": wrap_var("{{ a }}")},
    }
    monkeypatch.setattr(host_variables, "_LEAVES_TEMPLATES", True)
    reason = "macvtap_links_links: a variable is not defined in {{ foo.bar }}"
    assert host_variables.declarations(hostvars, ["hv1"]) == {"hv1": {"declared": {}, "unreadable": reason}}
    # Since then, such a text is one.
    monkeypatch.setattr(host_variables, "_LEAVES_TEMPLATES", False)
    assert "unreadable" not in host_variables.declarations(hostvars, ["hv1"])["hv1"]


def test_a_switch_that_is_no_truth_is_named() -> None:
    reason = "macvtap_preflight: 'flase' is neither true nor false"
    got = host_variables.declarations({"hv1": {"macvtap_preflight": "flase"}}, ["hv1"])
    assert got == {"hv1": {"declared": {}, "unreadable": reason}}


@pytest.mark.parametrize(("hosts", "hostvars"), [(["hv9"], {}), (3, {}), (["hv1"], {"hv1": 3}), (["hv1"], None)])
def test_what_is_no_fleet_is_refused(hosts: t.Any, hostvars: t.Any) -> None:
    with pytest.raises(
        errors.AnsibleFilterError, match="fleet_looks: the input must be names of hosts that hostvars has"
    ):
        fleet_looks(hosts, hostvars)
