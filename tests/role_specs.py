# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Writes that part of a role's argument specification which follows from a table; ``make specs`` does it.

Ansible reads it as it stands, before a role runs, so that it cannot be made out of the table then.
"""

from __future__ import annotations

import re
import typing as t

from support import ROOT, documented

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.options import GUARD
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import LINK_OPTIONS
from ansible_collections.linuxvirt.macvtap.plugins.modules import macvtap_link

LINKS = ROOT / "roles/macvtap_links/meta/argument_specs.yml"
_INDENT = " " * 10
_WIDTH = 120


def links() -> str:
    """Return the file with all options of a link in it, as attributes.py and the documentation have them."""
    text = LINKS.read_text(encoding="utf-8")
    written = "".join(_lines({**LINK_OPTIONS, "guard": GUARD}, documented(macvtap_link), _INDENT))
    begin, end = (f"{_INDENT}# {word} what make specs writes.\n" for word in ("Begin of", "End of"))
    before, _begin, rest = text.partition(begin)
    _old, _end, after = rest.partition(end)
    assert after, f"{LINKS} has no place for it"
    return f"{before}{begin}{written}{end}{after}"


def _lines(options: t.Mapping[str, t.Any], texts: t.Mapping[str, t.Any], indent: str) -> t.Iterator[str]:
    for name, option in options.items():
        if name not in texts:
            raise SystemExit(f"document {name} in plugins/doc_fragments/link_options.py first")
        yield f"{indent}{name}:\n"
        yield from _description(texts[name]["description"], f"{indent}  ")
        if "version_added" in texts[name]:
            yield f"{indent}  version_added: {texts[name]['version_added']}\n"
        # In a role templates are texts.
        yield f"{indent}  type: {'str' if option['type'] == 'raw' else option['type']}\n"
        for key in ("elements", "choices"):
            value = option.get(key)
            if value:
                yield f"{indent}  {key}: {value if isinstance(value, str) else '[' + ', '.join(value) + ']'}\n"
        if "options" in option:
            yield f"{indent}  options: &{name}\n"
            yield from _lines(option["options"], texts[name]["suboptions"], f"{indent}    ")


def _description(texts: str | list[str], indent: str) -> t.Iterator[str]:
    first = texts if isinstance(texts, str) else texts[0]
    # The first output; what it calls options are the module's, not the role's.
    output = re.sub(r"\bR?[OM]\(", "C(", re.split(r"(?<=\.)\s", first)[0])
    plain = f"{indent}description: {output}\n"
    if len(plain) <= _WIDTH and ": " not in output and " #" not in output:
        yield plain
        return
    yield f"{indent}description: >-\n"
    line = f"{indent} "
    for word in output.split():
        if len(line) + len(word) >= _WIDTH:
            yield f"{line}\n"
            line = f"{indent} "
        line += f" {word}"
    yield f"{line}\n"


if __name__ == "__main__":
    LINKS.write_text(links(), encoding="utf-8")
