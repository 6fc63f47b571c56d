# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validates one ``<interface>`` element against libvirt's schema with libxml2, where these are installed.

declare.py and validate.py refuse first what options can do wrong. This finds the rest, such as a link's name with
characters that the schema does not know.
"""

from __future__ import annotations

import functools
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import (
    MacvtapError,
    MissingLibraryError,
    join_path,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import spans

_DIRECTORIES = ("/usr/share/libvirt/schemas", "/usr/local/share/libvirt/schemas")
_FILE = "domaincommon.rng"
# With the pattern of an interface as its start, libxml2's errors are about the interface, not about the domain.
_GRAMMAR = (
    '<grammar xmlns="http://relaxng.org/ns/structure/1.0" '
    'datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes"><include href={}/>'
    '<start><ref name="interface"/></start></grammar>'
)
# A valid value of what an interface cannot be without.
_REQUIRED = {"source": "eth0"}


def validate(before: Iface | None, after: Iface | None, path: str) -> None:
    """Refuse an interface that violates the schema only after the change.

    What others have written is not judged: an interface that violates the schema already may be changed.

    :raises MacvtapError: with the path of the option if it is a single one, and libxml2's reason.
    """
    reason = violation(element.render(after)) if after is not None else None
    if after is None or reason is None or (before is not None and violation(element.render(before))):
        return
    option = _option_at_fault(before, after)
    what = repr(after.get(option)) if option else "this"
    raise MacvtapError(
        f"libvirt's schema does not allow {what}: {reason}", path=join_path(path, option) if option else path
    )


def violation(text: str, directories: t.Sequence[str] = _DIRECTORIES) -> str | None:
    """Return how the text of an ``<interface>`` violates the schema; None if it does not, or cannot be validated."""
    if missing(directories) is not None:
        return None
    etree = _deps.load("lxml", "etree").etree
    schema = _schema(_find(directories) or "")
    try:
        root = etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
    except etree.XMLSyntaxError as exc:
        # The document may declare its prefix further out.
        return str(exc.msg)
    if schema.validate(root):
        return None
    errors = list(schema.error_log)
    # The first names the innermost element. Only an attribute's error says more.
    return str(next((one for one in errors if one.type_name == "RELAXNG_ERR_INVALIDATTR"), errors[0]).message)


def missing(directories: t.Sequence[str] = _DIRECTORIES) -> str | None:
    """Return why :func:`violation` cannot validate anything here, None if it can."""
    if _find(directories) is None:
        return f"libvirt's schema ({_FILE}) is not in {' or '.join(directories)}"
    try:
        _deps.load("lxml", "etree")
    except MissingLibraryError as exc:
        return exc.message
    return None


def _find(directories: t.Sequence[str]) -> str | None:
    paths = (os.path.join(directory, _FILE) for directory in directories)
    return next((path for path in paths if os.path.isfile(path)), None)


@functools.cache
def _schema(path: str) -> t.Any:
    etree = _deps.load("lxml", "etree").etree
    return etree.RelaxNG(etree.fromstring(_GRAMMAR.format(spans.quote(path).decode())))


def _option_at_fault(before: Iface | None, after: Iface) -> str:
    """Return the option without which the schema allows ``after``, "" if it is not a single one."""
    old = before.values if before is not None else {}
    for name, value in after.values.items():
        if value != old.get(name):
            rest = {**after.values, name: old.get(name, _REQUIRED.get(name))}
            without = {one: text for one, text in rest.items() if text is not None}
            if violation(element.render(replace(after, values=without))) is None:
                return name
    return ""
