# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Tables of the fields of an XML element: option, place, and values as libvirt writes them.

Pure. The rows that interfaces and networks have in common are here.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

YES_NO = ("no", "yes")
ON_OFF = ("off", "on")
# The spellings of a mode in options. passthru is the word of the kernel and of iproute2.
MODES = ("bridge", "vepa", "private", "passthrough", "passthru", "auto")
# virDomainNetModel: libvirt accepts these in any case, and writes them so. It keeps others as they are.
_MODELS = {
    name.lower(): name
    for name in (
        *("netfront", "rtl8139", "virtio", "e1000", "e1000e", "igb", "virtio-transitional", "virtio-non-transitional"),
        *("usb-net", "spapr-vlan", "lan9118", "scm91c111", "vlance", "vmxnet", "vmxnet2", "vmxnet3"),
        *("Am79C970A", "Am79C973", "82540EM", "82545EM", "82543GC"),
    )
}


@dataclass(frozen=True)
class Field:
    """One field of an element; its name is the path of its option.

    ``element`` is the path of names from the element to the one with the ``attribute``, () for the element itself.
    ``impact`` is the least that gives a running guest a new value; with the libvirt versions ``replug_versions``
    (10.0.0 is 10000000) it is a replug. ``implied`` is libvirt's value where the attribute is missing. ``bool_words``
    are libvirt's words for false and true. ``cleared_by`` is the option's value that removes the element. ``added`` is
    the first version with the field, 0 for all supported ones; older versions silently drop it. ``outside_xml`` is
    whether the field is not in libvirt's XML: a running guest's link has it, and a udev rule sets it at the next start.
    ``omitted`` are values that equal the default and that libvirt omits.
    """

    name: str
    element: tuple[str, ...]
    attribute: str
    kind: str = "str"
    impact: Impact = Impact.REPLUG
    replug_versions: range = range(0)
    implied: str | None = None
    bool_words: tuple[str, str] = YES_NO
    choices: tuple[str, ...] = ()
    cleared_by: str | int | None = None
    added: int = 0
    outside_xml: bool = False
    omitted: tuple[str, ...] = ()

    def text(self, value: t.Any) -> str | None:
        """Return the option's value as libvirt writes it, None for a value that removes the element."""
        if value == self.cleared_by:
            return None
        return self.bool_words[bool(value)] if self.kind == "bool" else self.normalize(str(value))

    def normalize(self, text: str) -> str | None:
        """Return a value as libvirt writes it, None for a value that it omits.

        Desired and current values both pass through here, so a different spelling is no difference. A value that
        libvirt would refuse is returned unchanged.
        """
        if self.name == "model":
            return _MODELS.get(text.lower(), text)
        if self.name == "mode":
            # passthru is the word of the kernel and of iproute2; libvirt accepts only passthrough.
            return "passthrough" if text == "passthru" else text
        if self.name == "pci_address":
            return pci_address(text) or text
        if self.name == "virtualport.instanceid":
            return uuid(text) or text
        if self.kind != "int":
            return text
        number = _number(text)
        return None if number in self.omitted else number

    def value(self, text: str | None) -> t.Any:
        """Return what libvirt writes as the option's value."""
        if text is None:
            return None
        if self.kind == "bool":
            return text == self.bool_words[1]
        number = _text.number(text) if self.kind == "int" else None
        return text if number is None else number

    def read(self, attributes: t.Mapping[str, str]) -> str | None:
        if self.name == "pci_address":
            return _read_pci(attributes)
        text = attributes.get(self.attribute)
        return None if text is None else self.normalize(text)

    def write(self, text: str) -> dict[str, str]:
        return _write_pci(text) if self.name == "pci_address" else {self.attribute: text}


# Prefixes of fields that belong to a value of another field: libvirt refuses the parameters of one type of virtual port
# in another, and a network has its own portgroups.
_BELONGS_TO: t.Mapping[str, str] = {"virtualport.type": "virtualport.", "network": "portgroup"}


class Table:
    """The fields of one kind of element, in libvirt's order, as ``fields`` and ``by_name``; ``in_xml`` are in its XML.

    ``order`` is libvirt's order of the children. A new one goes behind the last of its predecessors.

    :raises ValueError: ``order`` lacks the child that a field is in: a new element would be rendered without the field.
    """

    def __init__(self, order: tuple[str, ...], *fields: Field) -> None:
        missing = {field.element[0] for field in fields if field.element} - set(order)
        if missing:
            raise ValueError(f"not in the order of the children: {', '.join(sorted(missing))}")
        self.order = order
        self.fields = fields
        self.in_xml = tuple(field for field in fields if not field.outside_xml)
        self.by_name: t.Mapping[str, Field] = {field.name: field for field in fields}
        self._parts = tuple((field.name, field.name.split(".")) for field in fields)
        # Fields without which the rest of their element is meaningless.
        self._heads = tuple(field.name for field in fields if "." in field.name and field.cleared_by is not None)

    def nested(self, values: t.Mapping[str, str]) -> dict[str, t.Any]:
        """Return ``values`` as the options have them: ``driver.queues`` under ``driver``.

        What is no option is left out.
        """
        found: dict[str, t.Any] = {}
        for name, text in values.items():
            if name not in self.by_name:
                continue
            *outer, last = name.split(".")
            inner = found
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[last] = self.by_name[name].value(text)
        return found

    def flat(self, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Return the fields that are set in ``options``, by field name; the inverse of :meth:`nested`."""
        # Most elements set few of them.
        set_options = {name for name, value in options.items() if value is not None}
        found = {}
        for name, parts in self._parts:
            if parts[0] in set_options:
                value: t.Any = options
                for part in parts:
                    value = (value or {}).get(part)
                if value is not None:
                    found[name] = value
        return found

    def merged(self, current: t.Mapping[str, str], desired: t.Mapping[str, str | None]) -> dict[str, str]:
        """Merge ``desired`` into ``current``; removing a head field removes the rest of its element."""
        removed = self.removed_with(current, desired)
        found = {name: value for name, value in current.items() if not (removed and name.startswith(removed))}
        found.update((name, value) for name, value in desired.items() if value is not None)
        for name, value in desired.items():
            if value is None:
                found.pop(name, None)
        return found

    def removed_with(self, current: t.Mapping[str, str], desired: t.Mapping[str, str | None]) -> tuple[str, ...]:
        """Return the name prefixes of the fields that ``desired`` removes, directly or with their head field."""
        removed = self._removed(desired)
        return (*removed, *(rest for n, rest in _BELONGS_TO.items() if desired.get(n) not in {None, current.get(n)}))

    def meaningless(self, current: t.Mapping[str, str], desired: t.Mapping[str, str]) -> set[tuple[str, ...]]:
        """Return the elements of which nothing has a meaning any more, not even what is no field.

        They have lost their head or their only field, or are of another value of what they belong to.
        """
        lost = [field for field in self.in_xml if field.name in current and field.name not in desired]
        elements = [field.element for field in self.in_xml]
        changed = tuple(rest for name, rest in _BELONGS_TO.items() if current.get(name) != desired.get(name))
        return {
            field.element
            for field in lost
            if field.name in self._heads or elements.count(field.element) == 1 or field.name.startswith(changed)
        }

    def without_cleared(self, desired: t.Mapping[str, str | None]) -> dict[str, str | None]:
        """Return ``desired`` without parts of a default that it clears, such as the peak of a removed limit."""
        removed = self._removed(desired)
        return {
            name: value
            for name, value in desired.items()
            if name in self._heads or not (removed and name.startswith(removed))
        }

    def _removed(self, desired: t.Mapping[str, str | None]) -> tuple[str, ...]:
        return tuple(
            f"{name.rpartition('.')[0]}." for name, value in desired.items() if value is None and name in self._heads
        )

    def specification(self) -> dict[str, t.Any]:
        """Return the fields' argument specification."""
        spec: dict[str, t.Any] = {}
        for field in self.fields:
            *outer, last = field.name.split(".")
            inner = spec
            for part in outer:
                inner = inner.setdefault(part, {"type": "dict", "options": {}})["options"]
            inner[last] = {"type": field.kind, **({"choices": list(field.choices)} if field.choices else {})}
        return spec


_PARAMETERS = ("virtualport", "parameters")
VIRTUALPORT: tuple[Field, ...] = (
    Field("virtualport.type", ("virtualport",), "type", choices=("802.1Qbg", "802.1Qbh", "none"), cleared_by="none"),
    Field("virtualport.managerid", _PARAMETERS, "managerid", "int"),
    Field("virtualport.typeid", _PARAMETERS, "typeid", "int"),
    Field("virtualport.typeidversion", _PARAMETERS, "typeidversion", "int"),
    Field("virtualport.instanceid", _PARAMETERS, "instanceid"),
    Field("virtualport.profileid", _PARAMETERS, "profileid"),
)
VLAN = Field("vlan", ("vlan", "tag"), "id", "int", cleared_by=0)


def bandwidth(**of_running: t.Any) -> tuple[Field, ...]:
    """Return the rows of both directions; ``of_running`` says how a running guest gets them."""
    return tuple(
        Field(
            f"bandwidth.{direction}.{name}",
            ("bandwidth", direction),
            name,
            "int",
            **({"cleared_by": 0} if name == "average" else {"omitted": ("0",)}),
            **of_running,
        )
        for direction in ("inbound", "outbound")
        for name in ("average", "peak", "burst")
    )


def clears_default(option: str, own: t.Any, default: t.Any) -> bool:
    """Whether an entry's value for a dict option replaces the task's default, instead of being merged with it.

    An empty dictionary does, and so does another virtual port type, which has other parameters.
    """
    if not isinstance(own, dict) or not isinstance(default, dict):
        return False
    kind, others = own.get("type"), default.get("type")
    return _is_empty(own) or (option == "virtualport" and None not in {kind, others} and kind != others)


def _is_empty(value: t.Any) -> bool:
    return all(map(_is_empty, value.values())) if isinstance(value, dict) else value is None


def pci_address(text: str) -> str | None:
    """As :func:`_values.pci_address`, without PCI domains above ffff, which libvirt does not support."""
    address = _values.pci_address(text)
    return address if address is not None and len(address) == len("0000:01:00.0") else None


def uuid(text: str) -> str | None:
    """Return a UUID as libvirt writes it, or None where ``text`` is none."""
    digits = re.sub(r"[\s-]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{32}", digits):
        return None
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _number(text: str) -> str:
    try:
        return str(int(text, 16 if text.strip().lower().startswith("0x") else 10))
    except ValueError:
        return text


def _read_pci(attributes: t.Mapping[str, str]) -> str | None:
    if attributes.get("type") != "pci":
        return None
    try:
        domain, bus, slot, function = (int(attributes.get(a, "0"), 0) for a in ("domain", "bus", "slot", "function"))
    except ValueError:
        return None
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _write_pci(text: str) -> dict[str, str]:
    domain, bus, slot, function = re.split("[:.]", text)
    return {"type": "pci", "domain": f"0x{domain}", "bus": f"0x{bus}", "slot": f"0x{slot}", "function": f"0x{function}"}
