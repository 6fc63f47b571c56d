# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Domain XML as no library writes it and people's files may have it: every freedom that XML gives, at random."""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass

from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME, IN_XML, Field

_Tree = t.Dict[t.Tuple[str, ...], t.Dict[str, str]]

# Things in an <interface> that no field is about. Each looks like something that it is not.
UNKNOWN = (
    "<!-- <source dev='no' mode='vepa'/></interface> -->",
    "<!--><interface type='direct'>-->",
    '<?odd <mac address="52:54:00:00:00:01"/> ?>',
    "<![CDATA[</interface><model type='no'/>]]>",
    "&lt;model type='no'/&gt;&#x20;",
    "<x:note xmlns:x='urn:x' t='>' u='\"/>'><x:source dev='no'/><mac address='no'/></x:note>",
    "<qemu:source dev='no'/>",
    "<mystery dev = \"'\" ><source dev='no' mode='no'/><target dev='no'/></mystery >",
    "<teaming type='persistent'/>",
    "<tune><sndbuf>1600</sndbuf></tune>",
    "<model_ type='no'/>",
)
# What an interface of type direct cannot have.
FOREIGN = (
    "<mtu size='1500'/>",
    "<filterref filter='clean-traffic'><parameter name='IP' value='1'/></filterref>",
    "<downscript path='/bin/true'/>",
)
_SPACES = (" ", " ", "\n      ", "\t", "   ", " \n\n")
_ORIGINS: t.Mapping[str, t.Mapping[str, str]] = {
    "bridge": {"bridge": "br0"},
    "network": {"network": "default", "portgroup": "a&b"},
    "ethernet": {},
    "user": {},
    "hostdev": {"missing": "yes"},
}
_OF_NETWORK = {"network", "portgroup"}
_OF_PLACE = {*_OF_NETWORK, "source", "mode"}
_TEXT = st.sampled_from(["eth0", "it's", 'a "b"', "<&gt;>", "\r", "\n\t", " "]) | st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=12,
)
# Most of what can go wrong in writing goes wrong with these.
_FREE = [field for field in IN_XML if field.kind == "str" and not field.choices and field.name != "pci_address"]


@dataclass(frozen=True)
class Odd:
    """A document: ``pieces`` are what is around the interfaces ``nics``, of which piece 0 is before the first."""

    pieces: tuple[str, ...]
    nics: tuple[str, ...]
    unknown: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        return self.pieces[0] + "".join(nic + piece for nic, piece in zip(self.nics, self.pieces[1:]))

    def with_nic(self, index: int, nic: str) -> str:
        nics = (*self.nics[:index], nic, *self.nics[index + 1 :])
        return Odd(self.pieces, nics, self.unknown).text


def value_of(field: Field) -> st.SearchStrategy[str]:
    """Values of a field in libvirt's words; texts are any that XML can hold."""
    if field.name == "pci_address":
        return st.from_regex(r"\A[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]\Z")
    if field.kind == "bool":
        return st.sampled_from(field.bool_words)
    if field.kind == "int":
        return st.integers(0, 1 << 32).map(str)
    return st.sampled_from(field.choices) if field.choices else _TEXT


def names() -> st.SearchStrategy[str]:
    """Names of networks and portgroups, which have any characters."""
    return _TEXT


def values(*, most: int = 12) -> st.SearchStrategy[dict[str, str]]:
    chosen = st.lists(st.sampled_from(_FREE) | st.sampled_from(IN_XML), max_size=most, unique=True)
    drawn = chosen.flatmap(lambda fields: st.fixed_dictionaries({field.name: value_of(field) for field in fields}))
    return drawn.map(_written)


def _written(values: t.Mapping[str, str]) -> dict[str, str]:
    """Return them as libvirt writes them."""
    return placed({n: text for n, message in values.items() if (text := BY_NAME[n].normalize(message)) is not None})


def placed(values: t.Mapping[str, str]) -> dict[str, str]:
    """Return ``values`` of an interface that is either on a network or on an uplink."""
    others = ("source", "mode") if "network" in values else ("portgroup",)
    return {name: text for name, text in values.items() if name not in others}


def mac_of(index: int) -> str:
    return f"52:54:00:00:{index >> 8:02x}:{index & 255:02x}"


def documents(kinds: t.Sequence[str] = ("direct", *_ORIGINS), most: int = 4) -> st.SearchStrategy[Odd]:
    """Documents, each made from one number: a draw for each character of each would take most of the tests' time."""

    def document(seed: int) -> Odd:
        rng = random.Random(seed)
        return write(rng, [(rng.choice(kinds), _values(rng)) for _number in range(rng.randint(1, most))])

    return st.integers(0, 1 << 32).map(document)


def write(rng: random.Random, nics: t.Sequence[tuple[str, t.Mapping[str, str]]]) -> Odd:
    """Write a document that has interfaces of these types and values, otherwise at random."""
    newline = rng.choice(("\n", "\n", "\r\n"))
    texts, unknown, pieces = [], [], [_head(rng)]
    for index, (kind, wanted) in enumerate(nics):
        text, odd = _nic(rng, kind, mac_of(index), wanted)
        texts.append(text.replace("\n", newline))
        unknown.append(tuple(one.replace("\n", newline) for one in odd))
        pieces.append(
            rng.choice(("", "\n    ", "<!-- <interface> -->\n    ", "<hostdev><mac address='no'/></hostdev>\n    "))
        )
    pieces[-1] += (
        "\n  </devices\n>\n  <qemu:commandline>\n    <qemu:arg value='-netdev'/><qemu:interface type='direct'/>\n"
        "  </qemu:commandline>\n</domain>\n<!-- after -->" + rng.choice(("", "\n"))
    )
    return Odd(tuple(piece.replace("\n", newline) for piece in pieces), tuple(texts), tuple(unknown))


def _values(rng: random.Random) -> dict[str, str]:
    found = {}
    for field in rng.sample(IN_XML, rng.randint(0, 12)):
        if field.name == "pci_address":
            found[field.name] = f"0000:{rng.randrange(256):02x}:{rng.randrange(32):02x}.{rng.randrange(8)}"
        elif field.kind == "int":
            found[field.name] = str(rng.randrange(1 << rng.randint(1, 32)))
        else:
            plain = field.choices or (field.bool_words if field.kind == "bool" else ("virtio", "eth0", _mixed(rng)))
            found[field.name] = rng.choice(plain)
    return found


def _mixed(rng: random.Random) -> str:
    return "".join(rng.choice("ab é☃\U0001f408<>&'\"=/]\n\t\r\\ ") for _number in range(rng.randint(1, 12)))


def _head(rng: random.Random) -> str:
    return (
        rng.choice(("", "\ufeff"))
        + rng.choice(("", "<?xml version='1.0' encoding=\"iso-8859-1\"?>\n", '<?xml version="1.0"?>'))
        + "<!-- <interface type='direct'/> -->\n<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        + "\n  <name>w\u00e9b&amp;1 \u2603</name>"
        + "\n  <description><![CDATA[<interface type='direct'> </devices>]]></description>"
        + "\n  <metadata><x:devices xmlns:x='urn:x'><interface/></x:devices></metadata>\n"
        + rng.choice(("  <devices>\n    ", "  <devices><emulator a='>'>/usr/bin/q</emulator>", "<devices\n>"))
    )


def _nic(rng: random.Random, kind: str, mac: str, wanted: t.Mapping[str, str]) -> tuple[str, list[str]]:
    tree: _Tree = {(): {"type": kind}, ("mac",): {"address": mac.upper()}}
    if _ORIGINS.get(kind):
        tree["source",] = dict(_ORIGINS[kind])
    for field in IN_XML:
        if field.name in wanted and field.name not in (_OF_NETWORK if kind == "direct" else _OF_PLACE):
            for length in range(1, len(field.element)):
                tree.setdefault(field.element[:length], {})
            tree.setdefault(field.element, {}).update(field.write(wanted[field.name]))
    if kind != "direct" and ("bandwidth", "inbound") in tree:
        tree["bandwidth", "inbound"]["floor"] = "1"
    odd = [one for one in UNKNOWN if rng.random() < 0.2]
    foreign = [one for one in FOREIGN if kind != "direct" and rng.random() < 0.3]
    rng.shuffle(odd)
    children = [_element(rng, path, tree) for path in tree if len(path) == 1]
    rng.shuffle(children)
    for one in (*odd, *foreign):
        children.insert(rng.randint(0, len(children)), one)
    # What is kept is to be kept in its order.
    odd = sorted(odd, key=children.index)
    return _tag(rng, "interface", tree[()], rng.choice(("", "\n      ")).join(["", *children, ""])), odd


def _element(rng: random.Random, path: tuple[str, ...], tree: _Tree) -> str:
    inner = [_element(rng, below, tree) for below in tree if below[:-1] == path and below]
    return _tag(rng, path[-1], tree[path], rng.choice(("", "\n        ")).join(["", *inner, ""]) if inner else "")


def _tag(rng: random.Random, name: str, attributes: t.Mapping[str, str], inside: str) -> str:
    pairs = [*attributes.items()]
    rng.shuffle(pairs)
    if rng.random() < 0.2:
        pairs.insert(0, ("unknown", "<>&'\" \u2603"))
    message = "".join(_attribute(rng, key, value) for key, value in pairs)
    space = rng.choice(("", "", " ", "\n      "))
    if not inside and rng.random() < 0.7:
        return f"<{name}{message}{space}/>"
    return f"<{name}{message}{space}>{inside}</{name}{space}>"


def _attribute(rng: random.Random, name: str, value: str) -> str:
    quote = rng.choice("'\"")
    message = "".join(_character(rng, character, quote) for character in value)
    return rng.choice(_SPACES) + name + rng.choice(("=", "=", " = ", "\n=")) + quote + message + quote


def _character(rng: random.Random, character: str, quote: str) -> str:
    named = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}
    if character in "\n\t\r" or rng.random() < 0.1:
        return rng.choice((f"&#{ord(character)};", f"&#x{ord(character):x};"))
    if character in "&<" or character == quote or (character in named and rng.random() < 0.3):
        return named[character]
    return character
