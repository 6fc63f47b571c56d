# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links that a program of ours makes at boot, with no network manager: its units, its text and its files. Pure.

There is one file per uplink. It has a block for each link, what is below before what is on it, in the words of ``ip``
(iproute2 5.12; bclim came with 6.4 and is not among them). A systemd unit that is bound to the uplink runs the program,
and again when the uplink comes back. It removes nothing and sets nothing down.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _managed_blocks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import SETTINGS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Wanted, permissions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.escaping import escape
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    IFUPDOWN,
    SYSTEMD,
    UNIT_DIR,
    Desired,
)

TEMPLATE = f"{UNIT_DIR}/macvtap-links@.service"
PROGRAM = "/etc/linuxvirt-macvtap/make-links"
LINKS_DIR = "/etc/linuxvirt-macvtap/links"
UPLINKS_FILE = "/etc/udev/rules.d/90-macvtap-uplinks.rules"
# Of all uplinks, for libvirt to wait for.
UNIT = f"{UNIT_DIR}/macvtap-links.service"
UNIT_LINK = f"{UNIT_DIR}/multi-user.target.wants/macvtap-links.service"

# As the parent: the uplink, whatever its name is at that boot.
UPLINK = "%"
# Above the blocks: nobody else sets the uplink up; and ifupdown runs the program, not systemd.
UP, BY_IFUPDOWN = "uplink up", "# run by ifupdown"

_UNIT = rf"""{HEADER}
[Unit]
Description=VLAN, macvtap and macvlan links on %I
BindsTo=sys-subsystem-net-devices-%i.device
After=sys-subsystem-net-devices-%i.device
Before=libvirtd.service virtqemud.service libvirt-guests.service network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {PROGRAM} %I

[Install]
WantedBy=sys-subsystem-net-devices-%i.device
"""

# It wants no device unit: systemd would wait 90 seconds for one that does not come. What it queues is before libvirt by
# itself.
_ALL = f"""{HEADER}
[Unit]
Description=VLAN, macvtap and macvlan links on all uplinks
Before=libvirtd.service virtqemud.service libvirt-guests.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {PROGRAM}

[Install]
WantedBy=multi-user.target
"""

_PROGRAM = rf"""{HEADER}
# Makes the links that the files in {LINKS_DIR} have for the uplink $1.
# Without one it waits for those that have files, 10 seconds in all, so that libvirt does.
# Each is made by itself: what cannot be made is logged, and all else is made.
# A link that is there is left as it is: a guest may be on it.
uplink=$1
newline='
'
late=

failed() {{
    echo "<4>$name: ip $1: ${{2%%"$newline"*}}"
}}

# Whether the file is for this uplink: by its name, MAC address, PCI address or alternative name.
is_meant() {{
    device=/sys/class/net/$uplink/device
    case $1 in
        "$uplink") return 0 ;;
        altname:*)
            case $(ip -o link show dev "${{1#altname:}}" 2>/dev/null) in
                *[0-9]": $uplink: "* | *[0-9]": $uplink@"*) return 0 ;;
            esac ;;
        ??:??:??:??:??:??) [ -e "$device" ] && [ "$(cat "/sys/class/net/$uplink/address")" = "$1" ] && return 0 ;;
        *:*) case $(readlink -f "$device")/ in */"$1"/*) return 0 ;; esac ;;
    esac
    return 1
}}

# The permissions of the tap, if the node is this link's.
tap() {{
    tap=tap$(cat "/sys/class/net/$name/ifindex")
    node=/dev/$tap
    number=$(stat -c '0x%t 0x%T' "$node") || return
    [ "$((${{number% *}})):$((${{number#* }}))" = "$(cat "/sys/class/net/$name/$tap/dev")" ] || return
    [ "$1" = - ] || chown "$1" "$node"
    [ "$2" = - ] || chmod "$2" "$node"
}}

make() {{
    skip=
    while IFS= read -r line; do
        case $line in
            '' | '#'*) ;;
            '{UP}') ip link set dev "$uplink" up ;;
            'link add '*)
                case $line in
                    'link add link {UPLINK} '*) line="link add link $uplink ${{line#link add link {UPLINK} }}" ;;
                esac
                name=${{line#* name }}
                name=${{name%% *}}
                skip=
                if [ -e "/sys/class/net/$name" ]; then
                    skip=yes
                elif ! said=$(ip $line 2>&1); then
                    failed "$line" "$said"
                    skip=yes
                fi ;;
            *) [ "$skip" ] || step "$line" ;;
        esac
    done
}}

step() {{
    case $1 in
        # Without IPv6 there are none of its settings.
        'sysctl '*) set -- $1; [ ! -e "/proc/sys/$2" ] || echo "$3" > "/proc/sys/$2" ;;
        'tap '*) tap ${{1#tap }} ;;
        'alias '*) said=$(ip link set dev "$name" alias "${{1#alias }}" 2>&1) || failed "$1" "$said" ;;
        *)
            said=$(ip $1 2>&1) && return
            case $1:$said in
                *" mtu "[0-9]*) late=$late$1$newline ;;
                # A VLAN link comes up with what it is on.
                *' up:'*'Network is down'*) ;;
                # There is no IPv6, and so nothing that would make addresses.
                *' addrgenmode none:'*'not supported'*) ;;
                *) failed "$1" "$said" ;;
            esac ;;
    esac
}}

set -f
if [ ! "$uplink" ]; then
    tries=20
    for uplink in $(ls {LINKS_DIR} 2>/dev/null); do
        case $uplink in *:*) continue ;; esac
        until [ -e "/sys/class/net/$uplink" ] || [ "$tries" -le 0 ]; do
            tries=$((tries - 1))
            sleep 0.5
        done
        if [ -e "/sys/class/net/$uplink" ]; then
            systemctl start --no-block "macvtap-links@$(systemd-escape -- "$uplink").service"
        else
            echo "<4>$uplink: it is not there, and so its links are not; they come when it comes"
        fi
    done
    exit 0
fi
for file in $(ls {LINKS_DIR} 2>/dev/null); do
    is_meant "$file" && make < "{LINKS_DIR}/$file"
done
tries=16
while [ "$late" ] && [ -e "/sys/class/net/$uplink" ]; do
    waiting=$late late= tries=$((tries - 1))
    while IFS= read -r line; do
        [ "$line" ] || continue
        said=$(ip $line 2>&1) && continue
        late=$late$line$newline
        name=${{line#link set dev }} name=${{name%% *}}
        [ "$tries" -gt 0 ] || failed "$line" "$said"
    done <<END
$waiting
END
    [ "$tries" -gt 0 ] || break
    [ ! "$late" ] || sleep 0.5
done
exit 0
"""

# A request of iproute2 has room for 1024 bytes.
_MACS_AT_ONCE = 40
_ALTNAMES_AT_ONCE = 4
_MAC_COLONS = 5


@dataclass(frozen=True)
class Entry:
    """A link as a file has it: on ``parent``, a link of the same file, or on the uplink itself (``UPLINK``).

    ``key`` is what the uplink is found by, which the file is named by; ``starter`` is who runs the program for it.
    """

    name: str
    kind: str
    parent: str = ""
    text: str = ""
    key: str = ""
    starter: str = SYSTEMD

    @property
    def words(self) -> dict[str, str]:
        """What the link is made with, by the word of ``ip`` before it."""
        words = self.text.partition("\n")[0].split()[2:]
        return dict(zip(words[::2], words[1::2]))

    @property
    def vlan(self) -> tuple[str, int] | None:
        """Protocol and id of a VLAN link."""
        return (self.words["protocol"], int(self.words["id"])) if self.words.get("type") == "vlan" else None

    @property
    def passthru(self) -> bool:
        return self.words.get("mode") == "passthru"


class SystemdUnit:
    """The unit, and the files that it makes links by."""

    patterns = (
        f"{LINKS_DIR}/*",
        PROGRAM,
        TEMPLATE,
        f"{UNIT_DIR}/*.wants/macvtap-links@*.service",
        UPLINKS_FILE,
        UNIT,
        UNIT_LINK,
    )
    validators: t.ClassVar[dict[str, tuple[str, ...]]] = {UPLINKS_FILE: ("udevadm", "verify", "{}")}

    def parse(self, files: t.Iterable[File]) -> tuple[dict[str, Entry], set[str]]:
        """Return the links that the files have, by name, and the keys of the uplinks that the program sets up."""
        entries, up = {}, set()
        for file in files:
            if not file.path.startswith(f"{LINKS_DIR}/"):
                continue
            key = file.path[len(LINKS_DIR) + 1 :]
            head, blocks = _managed_blocks.parse(file.text)
            if UP in head.splitlines():
                up.add(key)
            starter = IFUPDOWN if BY_IFUPDOWN in head.splitlines() else SYSTEMD
            for name, (kind, text) in blocks.items():
                entries[name] = Entry(name, kind, Entry(name, kind, text=text).words["link"], text, key, starter)
        return entries, up

    def render(self, entries: t.Mapping[str, Entry], up: t.Collection[str] = ()) -> t.Iterator[File]:
        """Yield the files that make ``entries``, none if there are none; :meth:`parse` gives the same again."""
        by_key: dict[str, list[Entry]] = {}
        for one in entries.values():
            by_key.setdefault(one.key, []).append(one)
        started = {key for key, some in by_key.items() if some[0].starter == SYSTEMD}
        for key, some in by_key.items():
            lines = ([UP] if key in up else []) + ([] if key in started else [BY_IFUPDOWN])
            order = sorted(
                some, key=lambda one: (len(_below(one, entries)), _managed_blocks.KINDS.index(one.kind), one.name)
            )
            blocks = {one.name: (one.kind, one.text) for one in order}
            yield File(f"{LINKS_DIR}/{key}", _managed_blocks.render("\n".join(lines), blocks, list(blocks)))
        if by_key:
            yield File(PROGRAM, _PROGRAM)
        if started:
            yield from (File(TEMPLATE, _UNIT), File(UNIT, _ALL), File(UNIT_LINK, target=UNIT))
        for unit in (escape(key) for key in started if not is_found(key)):
            wants = f"{UNIT_DIR}/sys-subsystem-net-devices-{unit}.device.wants"
            yield File(f"{wants}/macvtap-links@{unit}.service", target=TEMPLATE)
        rules = "".join(rule for key in sorted(started) for rule in _rules(key))
        if rules:
            yield File(UPLINKS_FILE, f"{HEADER}\n{rules}")


def is_found(key: str) -> bool:
    """Whether the uplink is found by an address or an alternative name, and may have any name then."""
    return ":" in key


def by_uplink(entries: t.Mapping[str, Entry], declared: t.Collection[str]) -> dict[str, Entry]:
    """Return the entries with the keys of the uplinks that they stand on in the end.

    Who runs the program for an uplink is who does for what is ``declared`` on it, whatever it was before.
    """
    keys = {}
    for name, one in entries.items():
        base = _below(one, entries)[-1]
        keys[name] = base.key if base.parent == UPLINK else base.parent
    starters = {keys[name]: entries[name].starter for name in declared}
    return {
        name: replace(one, key=keys[name], starter=starters.get(keys[name], one.starter))
        for name, one in entries.items()
    }


def _below(one: Entry, entries: t.Mapping[str, Entry]) -> list[Entry]:
    """Return the entry and those that it stands on, down to the uplink."""
    found = [one]
    while found[-1].parent in entries and len(found) <= len(entries):
        found.append(entries[found[-1].parent])
    return found


def _rules(key: str) -> t.Iterator[str]:
    """Yield what starts the unit for an uplink that may have another name each time."""
    start = 'PROGRAM=="/bin/systemd-escape -- $name", ENV{SYSTEMD_WANTS}+="macvtap-links@$result.service"\n'
    matches = 'SUBSYSTEM=="net", ACTION!="remove"'
    if key.startswith("altname:"):
        # Those that udev gives.
        for source in ("ONBOARD", "SLOT", "PATH", "MAC"):
            yield f'{matches}, ENV{{ID_NET_NAME_{source}}}=="{key[len("altname:") :]}", {start}'
    elif key.count(":") == _MAC_COLONS:
        yield f'{matches}, ATTR{{address}}=="{key}", TEST=="device", {start}'
    elif is_found(key):
        yield f'{matches}, KERNELS=="{key}", SUBSYSTEMS=="pci", {start}'


def entry(desired: Desired, parent: str, key: str) -> Entry:
    """Return what makes the link on ``parent``, an entry's name or ``UPLINK``."""
    lines = [_add(desired, parent), *_settings(desired.link)]
    if desired.kind == COMPANION:
        lines += [f"sysctl {path} {value}" for path, value in settings(desired.name).items()]
    lines += _tap(desired.link)
    if desired.link.state == "up":
        lines.append(f"link set dev {desired.name} up")
    if desired.kind == COMPANION and desired.manager is None:
        lines += [f"address replace {one} dev {desired.name}" for one in desired.stack.addresses]
        for route in desired.stack.routes:
            source = f" src {route.source}" if route.source else ""
            lines.append(f"route replace {route.destination} dev {desired.name} proto static{source}")
    text = "".join(f"{line}\n" for line in lines)
    return Entry(desired.name, desired.kind, parent, text, key, desired.backend)


def settings(name: str) -> dict[str, int]:
    """Return the kernel's settings of a companion by their paths below /proc/sys."""
    return {f"net/{setting.replace('/', f'/conf/{name}/')}": value for setting, value in SETTINGS.items()}


def _add(desired: Desired, parent: str) -> str:
    link = desired.link
    given = {
        "numtxqueues": link.tx_queues,
        "numrxqueues": link.rx_queues,
        "address": link.mac,
        "txqueuelen": link.txqueuelen,
        "group": link.group,
    }
    words = [f"link add link {parent} name {link.name}"]
    words += [f"{word} {value}" for word, value in given.items() if value is not None]
    if desired.vlan is not None:
        return " ".join([*words, "type vlan protocol {} id {}".format(*desired.vlan)])
    words.append(f"type {link.kind} mode {link.mode}")
    # At once: either flag alone would take the other one away. ip takes it with this mode only.
    words += ["nopromisc"] if link.promiscuous is False and link.mode == "passthru" else []
    words += ["nodst"] if link.nodst else []
    words += [f"bcqueuelen {link.bcqueuelen}"] if link.bcqueuelen is not None else []
    macs = sorted(link.source_macs or ())[:_MACS_AT_ONCE]
    return " ".join([*words, *(["macaddr set", *macs] if macs else [])])


def _settings(link: Wanted) -> t.Iterator[str]:
    """Yield what is set when the link is there: one thing each, so that what cannot be set costs nothing else."""
    dev = f"link set dev {link.name}"
    if link.mtu:
        yield f"{dev} mtu {link.mtu}"
    if link.alias:
        yield f"alias {link.alias}"
    if link.addrgenmode:
        yield f"{dev} addrgenmode {link.addrgenmode}"
    if link.allmulticast and link.mode == "passthru" and link.state != "down":
        # macvlan_open() does not pass it on to the parent, and what was never added is taken off its count later.
        yield f"{dev} up"
    if link.allmulticast and not (link.mode == "passthru" and link.state == "down"):
        yield f"{dev} allmulticast on"
    altnames = sorted(link.altnames or ())
    for start in range(0, len(altnames), _ALTNAMES_AT_ONCE):
        names = (f"altname {name}" for name in altnames[start : start + _ALTNAMES_AT_ONCE])
        yield f"link property add dev {link.name} {' '.join(names)}"
    for mac in sorted(link.source_macs or ())[_MACS_AT_ONCE:]:
        yield f"{dev} type macvtap macaddr add {mac}"


def _tap(link: Wanted) -> t.Iterator[str]:
    """Yield the permissions of the tap; udev sets them too, but from systemd 258 on no owner who is no system user."""
    owner = f"{link.tap_owner or ''}{'' if link.tap_group is None else f':{link.tap_group}'}"
    if (owner or link.tap_mode is not None) and " " not in owner:
        yield f"tap {owner or '-'} {permissions(link.tap_mode) or '-'}"
