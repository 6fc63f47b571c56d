# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Values that a user gives: numbers, names and texts, refused in one way wherever they are given. Pure."""

from __future__ import annotations

import re

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _numbers
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

NAME_BYTES = 15  # IFNAMSIZ less the final NUL
ALTNAME_BYTES = 127  # ALTIFNAMSIZ less the final NUL
U31_MAX, U32_MAX = (1 << 31) - 1, (1 << 32) - 1


def check_range(value: int | None, least: int, most: int, path: str) -> None:
    if value is not None and not least <= _numbers.whole(value, path) <= most:
        raise MacvtapError(f"{value} is not between {least} and {most}", path=path)


def check_bytes(text: str, most: int, path: str) -> None:
    size = len(text.encode())
    if size > most:
        raise MacvtapError(f"it has {size} bytes and the kernel allows {most}; shorten it", path=path)


def check_name(name: str, most: int, path: str) -> None:
    size = len(name.encode())
    if size > most:
        raise MacvtapError(f"'{name}' has {size} bytes and the kernel allows {most}; shorten it", path=path)
    # dev_valid_name(), and % because the kernel takes a new link's name for a template (mt%d).
    if name in {"", ".", ".."} or re.search(r"[/:%\s\0]", name):
        raise MacvtapError(f"'{name}' cannot name a link: no white space, no / : % and not . or ..", path=path)


def check_link_name(name: str, path: str) -> None:
    """Refuse what no link can be called, of whatever kind it is."""
    check_name(name, NAME_BYTES, path)
    # addrconf_sysctl_register(), devinet_sysctl_register(): there they stand for every link.
    if name in ("all", "default"):
        raise MacvtapError(f"the kernel's settings call every link '{name}', so that none can be called so", path=path)
    # To the kernel's isspace(), which takes bytes for Latin-1, that byte is white space: "à" in UTF-8 ends with it.
    if b"\xa0" in name.encode():
        raise MacvtapError(f"'{name}' has the byte a0 in UTF-8, which the kernel takes for white space", path=path)
