# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Imports of third-party libraries, done only when they are needed.

pyroute2 alone takes longer to import than everything else that a module does. ansible-test imports every file on
machines that have none of these libraries.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
import types
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, MissingLibraryError

# One name on every distribution family that the roles know (Debian, RHEL, SUSE).
_PACKAGES = {
    "pyroute2": "python3-pyroute2",
    "lxml": "python3-lxml",
    "libvirt": "python3-libvirt",
    "nftables": "python3-nftables",
}
_PACKAGES_SUSE = {**_PACKAGES, "libvirt": "python3-libvirt-python"}
_INSTALLERS = (
    ({"debian", "ubuntu"}, "apt install", _PACKAGES),
    ({"rhel", "fedora", "centos"}, "dnf install", _PACKAGES),
    ({"suse", "opensuse", "sles"}, "zypper install", _PACKAGES_SUSE),
)


def load(library: str, *submodules: str) -> t.Any:
    """Import ``library`` and its ``submodules`` and return the library.

    :raises MissingLibraryError: naming the package of this host's distribution.
    """
    try:
        for submodule in submodules:
            importlib.import_module(f"{library}.{submodule}")
        return importlib.import_module(library)
    except ImportError as exc:
        raise MissingLibraryError(library, install_hint(library, _read_os_release()), traceback.format_exc()) from exc


def load_part(library: str, submodule: str) -> t.Any:
    """Import one submodule of ``library`` without running the library's own ``__init__``, and return it.

    The part of pyroute2 that encodes messages takes 20 ms to import; the whole library takes 170 ms to 270 ms.

    :raises MissingLibraryError: as :func:`load`.
    """
    name = f"{library}.{submodule}"
    spec = importlib.util.find_spec(library) if library not in sys.modules else None
    if spec is not None and spec.submodule_search_locations is not None:
        package = types.ModuleType(library)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[library] = package
        try:
            return importlib.import_module(name)
        except Exception:  # pylint: disable=broad-except  # a version whose submodules need the whole library
            for half_loaded in [one for one in sys.modules if one.startswith(f"{library}.")]:
                del sys.modules[half_loaded]
        finally:
            # A later import, such as one by the submodule itself, must get the real library.
            sys.modules.pop(library, None)
    load(library, submodule)
    return sys.modules[name]


def check_version(library: str, least: tuple[int, ...], exc: Exception) -> None:
    """Replace ``exc`` by a clear error if the library is too old.

    :raises MacvtapError: naming the required and the installed version.
    """
    import importlib.metadata

    try:
        installed = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return
    numbers = tuple(int(part) for part in re.findall(r"[0-9]+", installed)[: len(least)])
    if numbers < least:
        required = ".".join(map(str, least))
        raise MacvtapError(
            f"the Python library {library} {required} or newer is needed, found {installed} ({sys.executable}). "
            "Upgrade it, or install a newer one for this interpreter with pip"
        ) from exc


def missing_packages() -> list[str]:
    """Return this distribution's packages of the libraries that this interpreter does not find, sorted by name."""
    _command, packages = _installer(_read_os_release())
    return sorted(packages[library] for library in _PACKAGES if importlib.util.find_spec(library) is None)


def install_hint(library: str, os_release: str) -> str:
    """Return how to install ``library`` on the system that ``os_release`` (the file's text) describes."""
    command, packages = _installer(os_release)
    if command:
        return f"{command} {packages[library]}"
    return f"install the distribution's package of it (often {_PACKAGES[library]})"


def _installer(os_release: str) -> tuple[str, t.Mapping[str, str]]:
    """Return the command that installs packages, "" if it is not known, and the packages of the libraries."""
    ids = _text.distribution(os_release)
    for family, command, packages in _INSTALLERS:
        if ids & family:
            return command, packages
    return "", _PACKAGES


def _read_os_release() -> str:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            # An unexpected encoding must not hide the missing library.
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            continue
    return ""
