# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What could not be checked of a host, and declarations that do not take effect yet. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.declared import Values

# The prefix of failures since ansible-core 2.19. It names the task and its argument, which are preflight's own.
_ANSIBLE_PREFIX = re.compile(
    r"^(Task failed: )?(Finalization of task args for '[^']*' failed: )?(Error while resolving value for '[^']*': )?"
)
_COMPARED = "its declarations were compared"
# The beginning of the reason why a host was not compared, if Ansible cannot connect to it.
UNREACHABLE = "cannot be reached"
# What the gaps are about: a whole host, its libvirt, and declared guests which no host has.
HOST = "host"
LIBVIRT = "libvirt"
NOWHERE = "nowhere"


def of_host(name: str, data: Values) -> list[dict[str, str]]:
    """Return the gaps of one host, each with host, what and reason."""
    if data.get("outside"):
        unreadable = data.get("unreadable")
        error = f"not compared, because a variable cannot be read: {first_line(unreadable)}"
        known = error if unreadable else _COMPARED
        return [{"host": name, "what": "limit", "reason": f"outside of --limit or macvtap_hosts; {known}"}]
    if data.get("unreadable"):
        # Reported as a conflict, which implies the rest.
        return []
    found = data.get("found") or {}
    # A host without libvirt may be no hypervisor, or not yet.
    declares = (data.get("declared") or {}).get("macvtap_domains_interfaces")
    reasons = [(HOST, host_error(found)), (LIBVIRT, libvirt_error(found) if declares else "")]
    reasons += [("domain", reason) for reason in _of_domains(found, declares)]
    return [{"host": name, "what": what, "reason": reason} for what, reason in reasons if reason]


def _of_domains(found: Values, declares: t.Any) -> t.Iterator[str]:
    """Return why valid declarations of some domains do not take effect, or not yet."""
    entries = declares if isinstance(declares, (list, tuple)) else ()
    names = {str(entry.get("domain")) for entry in entries if isinstance(entry, t.Mapping)}
    for domain in found.get("domains") or ():
        name = domain["name"]
        if name not in names:
            continue
        if not domain.get("persistent", True):
            yield (
                f"domain {name} is transient: libvirt stores no configuration of it, so the role will fail on this "
                "host. Define it first (virsh define)"
            )
        if domain.get("saved"):
            yield (
                f"domain {name} has a managed save: its next start restores the NICs that it was saved with. The "
                "declaration takes effect when the domain is stopped and started after that, or after virsh "
                f"managedsave-remove {name}"
            )


def nowhere(fleet: t.Mapping[str, Values]) -> t.Iterator[dict[str, str]]:
    """Return the gaps of domains that may be on other hosts than those which declare them, and that none has."""
    found = {name: data.get("found") or {} for name, data in fleet.items()}
    there = {domain["name"] for one in found.values() for domain in one.get("domains") or ()}
    looked_at = {name for name, one in found.items() if not (host_error(one) or libvirt_error(one))}
    for name, data in fleet.items():
        declared = data.get("declared") or {}
        if declared.get("macvtap_domains_on_missing") != "skip" or data.get("outside") or name not in looked_at:
            continue
        missing = [domain for domain in _named(declared.get("macvtap_domains_interfaces")) if domain not in there]
        reasons = [f"no host that was looked at has a domain {domain!r}" for domain in missing]
        if len(missing) > 1 and looked_at != fleet.keys():
            # They are likely on a host that was not looked at: one line is enough.
            reasons = [f"no host that was looked at has {len(missing)} of its domains, such as {missing[0]!r}"]
        yield from ({"host": name, "what": NOWHERE, "reason": reason} for reason in reasons)


def _named(declares: t.Any) -> list[str]:
    """Return the domains that a list of NICs names, in order."""
    entries = declares if isinstance(declares, (list, tuple)) else ()
    present = (one for one in entries if isinstance(one, t.Mapping) and one.get("state") != "absent")
    # A name that YAML takes for a number is one, as it is for the module.
    return list(dict.fromkeys(str(one["domain"]) for one in present if one.get("domain") is not None))


def host_error(found: Values) -> str:
    """Return why a host was not inspected, or "" if it was."""
    if "links" in found:
        return ""
    error = UNREACHABLE if found.get("unreachable") else "could not be checked"
    message = first_line(found.get("msg"))
    return f"{error}: {message}" if message else error


def first_line(message: t.Any) -> str:
    """Return the first line of an error message, without what Ansible puts before it."""
    return (_ANSIBLE_PREFIX.sub("", str(message or "").strip()).splitlines() or [""])[0]


def libvirt_error(found: Values) -> str:
    """Return why the guests of a host are not known, or "" if they are, or if the host was not looked at.

    A host without libvirt is no exception: a hypervisor that lacks only the Python library looks the same.
    """
    libvirt = found.get("libvirt") or {}
    if host_error(found) or libvirt.get("available"):
        return ""
    return first_line(libvirt.get("reason")) or "libvirt was not queried"
