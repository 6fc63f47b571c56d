# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs a module on the hosts of an inventory, over Ansible's own connections, and returns what each answers.

In a process of its own, by ansible-playbook: an inventory is read before there are plays, and only the command line is
a public interface.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import typing as t
from dataclasses import dataclass

from ansible import constants, context

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import untrusted

# Set in that process, so that the plugin does not ask itself, where its own file is in the inventory.
NESTED = "LINUXVIRT_MACVTAP_GUESTS_NESTED"
_REGISTERED = "macvtap_guests_found"
_CONTENT = untrusted.Template(
    "{{ lookup('linuxvirt.macvtap.fleet_answers', registered=macvtap_guests_registered, names=macvtap_guests_names, "
    "*query('ansible.builtin.inventory_hostnames', macvtap_guests_pattern)) }}"
)
# Starting, reading the inventory and ending, in seconds.
_OVERHEAD = 60


class AskError(Exception):
    """The hypervisors could not be asked; the text is the reason, in one line."""


@dataclass(frozen=True)
class Question:
    """What is asked, of which hosts, and how.

    ``sources`` are inventory sources, ``pattern`` selects their hosts. ``connect`` and ``run`` are the seconds that
    connecting and the module may take. ``variables`` are the names of those to return.
    """

    sources: tuple[str, ...]
    pattern: str
    arguments: t.Mapping[str, t.Any]
    become: bool
    connect: int
    run: int
    forks: int
    variables: tuple[str, ...] = ()


def ask(question: Question) -> dict[str, dict[str, t.Any]]:
    """Return ``result``, ``connection`` (its variables) and ``unreadable`` of each host, by name.

    ``unreadable`` is why variables cannot be read, by their names.

    :raises AskError: Ansible did not run, or did not end in time.
    """
    with tempfile.TemporaryDirectory(prefix="macvtap-guests-") as directory:
        folder = pathlib.Path(directory)
        answers, play = folder / "answers.json", folder / "playbook.yml"
        play.write_text(untrusted.yaml(_playbook(question, answers)), encoding="utf-8")
        message = _run(_command(question, play), _environment(question), _limit(question))
        try:
            found: dict[str, dict[str, t.Any]] = json.loads(answers.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as exc:
            raise AskError(message or f"it has no result: {exc}") from exc
        return found


def _limit(question: Question) -> int:
    # With more hosts than forks they take turns.
    return _OVERHEAD + 10 * (question.connect + question.run)


def _playbook(question: Question, answers: pathlib.Path) -> list[dict[str, t.Any]]:
    """Return a play on the hypervisors and one on the controller, which writes down what they answered.

    Its only templates are these. All other values are none, because hypervisors have reported some of them.
    """
    asking = {
        "name": "Find the addresses of guests",
        "linuxvirt.macvtap.macvtap_guest_addresses_info": dict(question.arguments),
        "register": _REGISTERED,
        "become": question.become,
        "timeout": question.connect + question.run,
        "ignore_errors": True,
        "ignore_unreachable": True,
    }
    writing = {
        "name": "Write down what they answered",
        "ansible.builtin.copy": {"dest": str(answers), "mode": "0600", "content": _CONTENT},
    }
    here = {
        "hosts": "localhost",
        "connection": "local",
        "become": False,
        "vars": {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": untrusted.Template("{{ ansible_playbook_python }}"),
            "macvtap_guests_pattern": untrusted.Template(question.pattern),
            "macvtap_guests_registered": _REGISTERED,
            "macvtap_guests_names": list(question.variables),
        },
    }
    return [
        # The user's own, or names in which nothing is a template.
        {"hosts": untrusted.Template(question.pattern), "gather_facts": False, "tasks": [asking]},
        {**here, "gather_facts": False, "tasks": [writing]},
    ]


def _command(question: Question, play: pathlib.Path) -> list[str]:
    command = [sys.executable, "-m", "ansible", "playbook", str(play), "--forks", str(question.forks)]
    for source in question.sources:
        command += ["--inventory", source]
    given = context.CLIARGS or {}
    for option, name in (("--vault-id", "vault_ids"), ("--vault-password-file", "vault_password_files")):
        for value in given.get(name) or ():
            # Nobody is there to be asked.
            command += [] if str(value).endswith("@prompt") else [option, str(value)]
    for value in given.get("extra_vars") or ():
        command += ["--extra-vars", str(value)]
    return command


def _environment(question: Question) -> dict[str, str]:
    own = {
        NESTED: "1",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        # No others, which would report a run that is none. An empty list is not possible.
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.default",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_LOG_PATH": "",
        "ANSIBLE_TIMEOUT": str(question.connect),
        "ANSIBLE_SSH_RETRIES": "0",
        "ANSIBLE_ANY_ERRORS_FATAL": "0",
    }
    if constants.CONFIG_FILE:
        own["ANSIBLE_CONFIG"] = str(constants.CONFIG_FILE)
    return {**os.environ, **own}


def _run(command: t.Sequence[str], environment: t.Mapping[str, str], seconds: float) -> str:
    """Run Ansible, and return its error, "" if it has none. It has no terminal, so that nothing can ask there.

    :raises AskError: it does not end in time.
    """
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as exc:
            raise AskError(f"it did not end within {seconds:.0f} seconds") from exc
        finally:
            # Its workers and connections as well, also if this process is interrupted.
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    return "" if process.returncode == 0 else _error_of(errors, output)


def _error_of(errors: str, output: str) -> str:
    """Return Ansible's error in one line."""
    lines = [line.strip() for line in (errors + output).splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(("ERROR", "[ERROR]", "fatal:"))]
    return (marked or lines or ["it failed without a message"])[0]
