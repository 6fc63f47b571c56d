# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The table of all fields of a direct interface: their place in the element, and how a running guest gets them.

Pure. Measured with libvirt 9.0, and read in qemuDomainChangeNet(): libvirt changes link state and bandwidth of a
running guest, and refuses source, mode, virtualport, model, driver and target. The same holds for 11.3.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import (
    MODES,
    ON_OFF,
    VIRTUALPORT,
    VLAN,
    Field,
    Table,
    bandwidth,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# When libvirt 10.0 updates an interface, it loses the flag that it has created the link. The link then outlives the
# guest, with the guest's address, and the guest cannot start again. 9.0 has no such flag, and 10.1 keeps it (release
# notes: "Don't lose 'created' flag in qemuDomainChangeNet()").
_LOSES_CREATED_FLAG = range(9_001_000, 10_001_000)
# The models whose <driver> libvirt keeps; others lose it.
VIRTIO = ("virtio", "virtio-transitional", "virtio-non-transitional")


def _driver(attribute: str, kind: str = "bool", **more: t.Any) -> Field:
    return Field(f"driver.{attribute}", ("driver",), attribute, kind, bool_words=ON_OFF, **more)


# libvirt's order within <interface>, of its children and of their fields.
_ORDER = (
    *("mac", "source", "virtualport", "vlan", "bandwidth", "target", "model", "driver", "link", "boot", "alias"),
    *("rom", "acpi", "address"),
)
TABLE = Table(
    _ORDER,
    Field(
        "trust_guest_rx_filters",
        (),
        "trustGuestRxFilters",
        "bool",
        Impact.LIVE,
        # 9.0 reports success but changes nothing; 10.0 changes it.
        range(_LOSES_CREATED_FLAG.stop),
        implied="no",
    ),
    Field("allmulticast", (), "", "bool", Impact.LIVE, implied="no", outside_xml=True),
    # A NIC on a network of libvirt has these two, and the network has its source and mode: see networks.py. On an
    # update of a running guest, 9.0 reports success for either and changes nothing.
    Field("network", ("source",), "network"),
    Field("portgroup", ("source",), "portgroup", cleared_by=""),
    Field("source", ("source",), "dev"),
    # The kernel changes it under a running guest, but libvirt does not: see impact.need().
    Field("mode", ("source",), "mode", choices=MODES, implied="vepa"),
    *VIRTUALPORT,
    VLAN,
    *bandwidth(impact=Impact.LIVE, replug_versions=_LOSES_CREATED_FLAG),
    Field("target", ("target",), "dev", cleared_by=""),
    Field("model", ("model",), "type"),
    _driver("name", "str", choices=("qemu", "vhost")),
    _driver("txmode", "str", choices=("iothread", "timer")),
    _driver("ioeventfd"),
    _driver("event_idx"),
    _driver("queues", "int", omitted=("1",)),
    _driver("rx_queue_size", "int", added=2_003_000),
    _driver("tx_queue_size", "int", added=3_007_000),
    _driver("rss", added=8_003_000),
    _driver("rss_hash_report", added=8_003_000),
    _driver("packed", added=6_003_000),
    _driver("iommu", added=3_005_000),
    _driver("ats", added=3_005_000),
    _driver("page_per_vq", added=7_009_000),
    Field("link_state", ("link",), "state", impact=Impact.LIVE, implied="up", choices=("up", "down")),
    # Fields that matter only at boot need a restart, not a replug.
    Field("boot_order", ("boot",), "order", "int", Impact.RESTART, cleared_by=0),
    Field("alias", ("alias",), "name", cleared_by=""),
    Field("rom.enabled", ("rom",), "enabled", "bool", Impact.RESTART),
    Field("rom.bar", ("rom",), "bar", "bool", Impact.RESTART, bool_words=ON_OFF),
    Field("rom.file", ("rom",), "file", "str", Impact.RESTART),
    Field("acpi_index", ("acpi",), "index", "int", cleared_by=0, added=7_003_000),
    Field("pci_address", ("address",), ""),
)
# The fields that say where an interface is connected, in two ways that exclude each other.
OF_UPLINK, OF_NETWORK = ("source", "mode"), ("network", "portgroup")
CONNECTION = (*OF_UPLINK, *OF_NETWORK)
FIELDS, IN_XML, BY_NAME = TABLE.fields, TABLE.in_xml, TABLE.by_name
OUTSIDE_XML = tuple(field.name for field in FIELDS if field.outside_xml)
# libvirt generates such names where none is set, for as long as the guest runs. There are others: see is_generated().
GENERATED_PREFIXES = {"target": guard_commands.BY_LIBVIRT, "alias": ("net", "hostdev")}


def is_generated(name: str, text: str) -> bool:
    """Whether ``text`` is a target or an alias of a running guest alone: libvirt's, or one that a guard needs."""
    prefixes = GENERATED_PREFIXES.get(name, ())
    by_libvirt = any(re.fullmatch(f"{prefix}[0-9]+", text) for prefix in prefixes)
    return by_libvirt or (name == "target" and guard_commands.is_named_for_nic(text))


def without_generated(values: t.Mapping[str, str]) -> dict[str, str]:
    """Return ``values`` without the names that were generated for a running guest."""
    return {name: text for name, text in values.items() if not is_generated(name, text)}
