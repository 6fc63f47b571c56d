# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which names and texts can be written into configuration files as they are. Pure."""

from __future__ import annotations

import re

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# No pattern, quote, comment, substitution or option of any of the formats; a leading dot would hide the file. A = would
# end the name: in "auto a=b" of interfaces(5), and in sysctl.d(5).
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,+@-]*")


def check_name(name: str, path: str) -> None:
    """Refuse a name that some file would read otherwise (``*`` is a pattern to udev and to networkd)."""
    # ifname_valid() of systemd: a number is an index to it.
    if not _NAME.fullmatch(name) or name.isdigit() or name in {"all", "default"}:
        raise MacvtapError(
            f"'{name}' cannot be written into configuration files: letters, digits and any of _ . , + @ - can, not "
            "digits alone, and not the words all and default. Choose another name, or set backend: none for this link",
            path=path,
        )


def check_text(text: str, path: str) -> None:
    """Refuse a text that would end the value that it is in."""
    found = re.search(r"[\x00-\x1f\x7f\"'\\`\u2028\u2029\ud800-\udfff]", text)
    if found:
        raise MacvtapError(
            f"{found[0]!r} cannot be written into configuration files. Leave it out, or set backend: none for this "
            "link",
            path=path,
        )


def escape(name: str) -> str:
    """Return the name as a part of a unit's name, as ``systemd-escape`` does."""
    return "".join(
        char if re.fullmatch(r"[A-Za-z0-9:_.]", char) else "".join(f"\\x{byte:02x}" for byte in char.encode())
        for char in name
    )
