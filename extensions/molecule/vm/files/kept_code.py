# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Keep the code of what Python compiles from zip files, for speed alone.

Ansible sends each module as a zip file of sources, which Python compiles again at each run. Emulated, that takes longer
than what most modules do. A file that is damaged or can't be written is as none.
"""

import contextlib
import hashlib
import marshal
import os
import types
import zipimport

DIRECTORY = "/var/cache/kept-code"
compile_source = zipimport._compile_source


def kept(pathname: str, source: bytes) -> types.CodeType:
    path = f"{DIRECTORY}/{hashlib.sha256(source).hexdigest()}"
    with contextlib.suppress(OSError, ValueError, EOFError, TypeError), open(path, "rb") as file:
        found: types.CodeType = marshal.load(file)  # noqa: S302
        return found
    code: types.CodeType = compile_source(pathname, source)
    with contextlib.suppress(OSError):
        os.makedirs(DIRECTORY, exist_ok=True)
        own = f"{path}.{os.getpid()}"
        with open(own, "wb") as file:
            marshal.dump(code, file)
        os.replace(own, path)
    return code


zipimport._compile_source = kept
