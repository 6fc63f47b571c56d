# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A connection to hosts that do not exist: it answers with what such a host is recorded to return."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = r"""
name: recorded
short_description: Answer as recorded hosts do
description: Answers each module with what is recorded for the host. What it was sent goes nowhere.
author: linuxvirt.macvtap contributors (!UNKNOWN)
options:
  directory:
    description: Where the JSON file of each host is, with what macvtap_host_plan returns as C(host).
    required: true
    vars:
      - name: recorded_directory
"""

# As the module's options are in what is sent to a host.
_STAGE = re.compile(rb'"name": "([^"]*)", "module": "(\w+)"')


class Connection(ConnectionBase):
    """Answers ping, and macvtap_host_plan with nothing to do in any stage that it is asked for."""

    transport = "recorded"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Answer the module that is sent as ``in_data``."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        result: dict[str, t.Any] = {"ping": "pong"}
        if in_data and b"macvtap_host_plan" in in_data:
            host = pathlib.Path(self.get_option("directory"), f"{self._play_context.remote_addr}.json")
            nothing = {"changed": False, "changes": [], "warnings": [], "error": None, "skipped": None}
            asked = ((name.decode(), module.decode()) for name, module in _STAGE.findall(in_data))
            stages = [{"name": name, "module": module, **nothing} for name, module in asked]
            result = {"changed": False, "stages": stages, "to_do": [], "host": json.loads(host.read_text())}
        return 0, json.dumps(result).encode(), b""

    def put_file(self, in_path: str, out_path: str) -> None:
        raise NotImplementedError

    def fetch_file(self, in_path: str, out_path: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._connected = False
