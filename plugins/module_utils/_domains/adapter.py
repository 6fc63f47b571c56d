# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a run needs of an adapter: of libvirt (hypervisor.py) or of a domain XML file (xmlfile.py)."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Nic, Paused, PauseFacts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step


class Domains(t.Protocol):
    """Domains that can be observed and changed, and what this run has done to them.

    ``save_limits`` is after how many seconds the save of a domain's guest is aborted, for those that have a limit.
    ``removed`` are the NICs that running guests are to have no more: what apply() stores is without them.
    """

    save_limits: t.Mapping[str, float]
    removed: t.Sequence[Nic]

    @property
    def only_domain(self) -> str:
        """The name of the only domain, "" if there can be several."""

    @property
    def unanswered(self) -> t.AbstractSet[tuple[str, str]]:
        """The NICs (domain, MAC address) that a guest did not release in time."""

    @property
    def warnings(self) -> t.Sequence[str]:
        """What users are to know of the changes so far."""

    @property
    def backup_file(self) -> str | None:
        """The copy that was made before the first change, None if there is none."""

    @property
    def outlives_boot(self) -> bool:
        """Whether outstanding requests are handled after a reboot of this host too."""

    @property
    def pauses(self) -> t.Mapping[str, Paused]:
        """What the pause was for the guest of each domain that this run has paused."""

    def begin(self) -> None:
        """Begin an attempt at the run: forget what an earlier one has done, which was rolled back or kept."""

    def pause_facts(self, host: Host, names: t.Collection[str]) -> t.Mapping[str, PauseFacts]:
        """Return whether the running guests of these domains can be paused, and what that takes."""

    def observe(
        self, names: t.Iterable[str], sources: t.Collection[str] = (), declared: t.Collection[str] = ()
    ) -> Host:
        """Read the domains ``names``, without those that do not exist, and the host's links ``sources`` in full.

        ``declared`` are the networks that interfaces are declared on.
        """

    def with_macs(self, host: Host) -> Host:
        """Return ``host`` with the MAC addresses of its other domains."""

    def require(self, steps: t.Sequence[Step[Nic]]) -> None:
        """Check whether ``steps`` can be applied, before anything is changed.

        :raises MacvtapError: they cannot.
        """

    def apply(self, steps: t.Sequence[Step[Nic]], journal: Journal[Nic] | None = None) -> None:
        """Carry out ``steps``, and record in the journal what is begun.

        :raises MacvtapError: a step failed.
        """

    def revert(self, steps: t.Sequence[Step[Nic]]) -> None:
        """Carry out the plan of an undo, and continue if a part of it fails.

        :raises MacvtapError: with everything that could not be restored.
        """

    def outstanding(self, host: Host) -> t.Sequence[t.Mapping[str, t.Any]]:
        """Return the NICs of ``host`` with an outstanding request to release them: see pending.py."""

    def settle_requests(self, removed: t.Iterable[Nic] = ()) -> None:
        """Make sure that outstanding requests are handled after this run; ``removed`` NICs no longer come back."""
