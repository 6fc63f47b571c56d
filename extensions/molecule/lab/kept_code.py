# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Keep the code of what Python compiles from zip files, for speed alone.

Ansible sends each module as a zip file of sources, which Python compiles again at each run. Emulated, that takes longer
than what most modules do. A file that is damaged or can't be written is as none.
"""

# All that each start of Python then imports; contextlib and hashlib would take longer than what they are for.
import _imp
import marshal
import os
import zipimport

DIRECTORY = "/var/cache/kept-code"
TYPE_CHECKING = False
if TYPE_CHECKING:
    import types

compile_source = zipimport._compile_source  # type: ignore[attr-defined]


def kept(pathname: str, source: bytes) -> "types.CodeType":
    # By the digest that Python's own files of compiled code have: see PEP 552.
    path = f"{DIRECTORY}/{_imp.source_hash(0, source).hex()}-{len(source)}"
    try:
        with open(path, "rb") as file:
            found: types.CodeType = marshal.load(file)  # noqa: S302
            return found
    except (OSError, ValueError, EOFError, TypeError):
        pass
    code: types.CodeType = compile_source(pathname, source)
    try:
        os.makedirs(DIRECTORY, exist_ok=True)
        own = f"{path}.{os.getpid()}"
        with open(own, "wb") as file:
            marshal.dump(code, file)
        os.replace(own, path)
    except OSError:
        pass
    return code


zipimport._compile_source = kept  # type: ignore[attr-defined]
