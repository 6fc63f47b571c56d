# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links that a unit of ours makes at boot, with no network manager: the unit, its program and its files. Pure.

There is one file per uplink. It has a block for each link, what is below before what is on it, in the words of ``ip``.
The unit is bound to the uplink and runs again when that comes back. It removes nothing and sets nothing down.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import SETTINGS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import permissions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import commands, escaping, shared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    HEADER,
    LINKS_DIR,
    PROGRAM,
    TEMPLATE,
    UNIT,
    UNIT_DIR,
    UNIT_LINK,
    UPLINKS_FILE,
    File,
    Kept,
)

# As the parent: the uplink, whatever its name is at that boot.
UPLINK = "%"
# Above the blocks: nobody else sets the uplink up.
UP = "uplink up"

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
        *:*) [ -e "$device" ] && case $(readlink -f "$device")/ in */"$1"/*) return 0 ;; esac ;;
    esac
    return 1
}}

# Whether the uplink that the file is for is there, which leaves its name in $uplink.
is_there() {{
    case $1 in
        altname:*)
            set -- $(ip -o link show dev "${{1#altname:}}" 2>/dev/null)
            uplink=${{2%%[@:]*}}
            [ "$uplink" ] ;;
        *:*)
            for uplink in $(ls /sys/class/net); do
                is_meant "$1" && return
            done
            return 1 ;;
        *) uplink=$1; [ -e "/sys/class/net/$1" ] ;;
    esac
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
                    kind=${{line##* type }}
                    kind=${{kind%% *}}
                    [ "$(ip -o link show dev "$name" type "$kind" 2>/dev/null)" ] ||
                        echo "<4>$name: it is there already and is not a $kind link, and is left as it is"
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
    for file in $(ls {LINKS_DIR} 2>/dev/null); do
        until is_there "$file" || [ "$tries" -le 0 ]; do
            tries=$((tries - 1))
            sleep 0.5
        done
        if is_there "$file"; then
            systemctl start --no-block "macvtap-links@$(systemd-escape -- "$uplink").service"
        else
            echo "<4>${{file#altname:}}: it is not there, and so its links are not; they come when it comes"
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

_VLAN = re.compile(r" type vlan protocol (\S+) id (\d+)$", re.MULTILINE)
_MAC_COLONS = 5


@dataclass(frozen=True)
class Entry:
    """A link as a file says it: on ``parent``, a link of the same file, or on the uplink itself (``UPLINK``)."""

    name: str
    kind: str
    parent: str
    text: str
    key: str = ""
    """What the uplink is found by, which the file is named by."""

    @property
    def vlan(self) -> tuple[str, int] | None:
        """Protocol and id of a VLAN link."""
        found = _VLAN.search(self.text)
        return (found[1], int(found[2])) if found else None

    @property
    def passthru(self) -> bool:
        return " mode passthru" in self.text.partition("\n")[0]


def entry(kept: Kept, parent: str, *, stack: bool = True) -> Entry:
    """Return what makes the link on ``parent``; without ``stack`` a companion's addresses are a manager's."""
    lines = [" ".join(commands.add(kept, parent))]
    # An alias alone has spaces.
    lines += [
        f"alias {kept.alias}" if words[4:5] == ["alias"] else " ".join(words) for words in commands.settings(kept)
    ]
    if kept.kind == COMPANION:
        lines += [f"sysctl {path} {value}" for path, value in settings(kept.name).items()]
    whose = f"{kept.tap_owner or ''}{'' if kept.tap_group is None else f':{kept.tap_group}'}"
    if (whose or kept.tap_mode is not None) and " " not in whose:
        # udev sets them too, but from systemd 258 on no owner who is no system user.
        lines.append(f"tap {whose or '-'} {permissions(kept.tap_mode) or '-'}")
    if kept.up:
        lines.append(f"link set dev {kept.name} up")
    if kept.kind == COMPANION and stack:
        lines += [" ".join(commands.address(kept, one)) for one in kept.addresses]
        lines += [" ".join(commands.route(kept, one)) for one in kept.routes]
    return Entry(kept.name, kept.kind, parent, "".join(f"{line}\n" for line in lines), kept.parent.key)


def settings(name: str) -> dict[str, int]:
    """Return the kernel's settings of a companion by their paths below /proc/sys."""
    return {f"net/{setting.replace('/', f'/conf/{name}/')}": value for setting, value in SETTINGS.items()}


def parse(files: t.Iterable[File]) -> dict[str, Entry]:
    """Return what the files of the unit have, by name."""
    entries = {}
    for file in files:
        if file.path.startswith(f"{LINKS_DIR}/"):
            for name, (kind, text) in shared.parse(file.text)[1].items():
                key = file.path[len(LINKS_DIR) + 1 :]
                entries[name] = Entry(name, kind, shared.parent_of(text) or UPLINK, text, key)
    return entries


def uplink_of(name: str, entries: t.Mapping[str, Entry]) -> str:
    """Return what the uplink is found by that ``name`` stands on in the end."""
    seen = set()
    while name in entries and name not in seen:
        seen.add(name)
        one = entries[name]
        if one.parent == UPLINK:
            return one.key
        name = one.parent
    return name


def set_up(files: t.Iterable[File]) -> set[str]:
    """Return the uplinks that the unit sets up, by what they are found by."""
    prefix = f"{LINKS_DIR}/"
    return {one.path[len(prefix) :] for one in files if one.path.startswith(prefix) and shared.parse(one.text)[0] == UP}


def render(entries: t.Mapping[str, Entry], up: t.Collection[str] = ()) -> t.Iterator[File]:
    """Yield the files that make ``entries``, none if there are none; :func:`parse` gives the same again.

    ``up`` are the uplinks that nobody else sets up.
    """
    by_key: dict[str, list[Entry]] = {}
    for one in entries.values():
        by_key.setdefault(uplink_of(one.name, entries), []).append(one)
    for key, some in by_key.items():
        yield File(
            f"{LINKS_DIR}/{key}",
            shared.render(UP if key in up else "", {one.name: (one.kind, one.text) for one in some}),
        )
        if not _is_found(key):
            unit = escaping.escape(key)
            wants = f"{UNIT_DIR}/sys-subsystem-net-devices-{unit}.device.wants"
            yield File(f"{wants}/macvtap-links@{unit}.service", target=TEMPLATE)
    if by_key:
        yield File(UNIT, _ALL)
        yield File(UNIT_LINK, target=UNIT)
        yield File(TEMPLATE, _UNIT)
        yield File(PROGRAM, _PROGRAM)
    rules = "".join(rule for key in sorted(by_key) for rule in _rules(key))
    if rules:
        yield File(UPLINKS_FILE, f"{HEADER}\n{rules}")


def _is_found(key: str) -> bool:
    """Whether the uplink is found by an address, and may have any name then."""
    return ":" in key


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
    elif _is_found(key):
        yield f'{matches}, KERNELS=="{key}", SUBSYSTEMS=="pci", {start}'
