# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program that creates links at boot, and the units and rules that start it: their texts.

It is a POSIX shell program, so that boot does not need Python. It removes nothing and sets nothing down.
"""

from __future__ import annotations

import os

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR

# The parent in a file: the uplink, whatever its name is at that boot.
UPLINK = "%"
# A line above the blocks: nothing else sets the uplink up.
UP = "uplink up"

_UNIT = f"""{HEADER}
[Unit]
Description=VLAN, macvtap and macvlan links on {{on}}
Before=libvirtd.service virtqemud.service libvirt-guests.service{{order}}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {model.PROGRAM}{{uplink}}
{{install}}"""
# Each uplink has an instance of the template, which is named by the path of its device in /sys: by that name systemd
# starts what udev wants without one (since 236, by RULES). A name with an escape in it, such as br\x2dlan, is not put
# into the rule: systemd 233 to 257 drops the backslash.
_ORDER = " network-online.target\nBindsTo=%i.device\nAfter=%i.device"
_NAME = os.path.basename(model.TEMPLATE)
_INSTANCE = f'systemd-escape --path --template={_NAME} "$(readlink -f "/sys/class/net/$uplink")"'
# If the uplink disappears meanwhile, systemd ends the program, which is not a failure.
TEMPLATE = _UNIT.format(on="%f", order=_ORDER, uplink=" %f\nSuccessExitStatus=SIGTERM", install="")
# It requires no device unit: systemd waits 90 seconds for one that does not come.
UNIT = _UNIT.format(on="all uplinks", order="", uplink="", install="\n[Install]\nWantedBy=multi-user.target\n")

# What udev makes names of. What else gives a link an alternative name, no rule can ask for.
UDEV_NAMES = ("ID_NET_NAME_ONBOARD", "ID_NET_NAME_SLOT", "ID_NET_NAME_PATH", "ID_NET_NAME_MAC")
_BY_ALTNAME = "\n".join(f'TEST=="{LINKS_DIR}/altname:$env{{{name}}}", GOTO="macvtap_start"' for name in UDEV_NAMES)

# They start the unit when an uplink with a file appears. A link that is no device has the MAC address of another one.
RULES = f"""{HEADER}
SUBSYSTEM!="net", GOTO="macvtap_end"
ACTION=="remove", GOTO="macvtap_end"
TEST=="{LINKS_DIR}/$name", GOTO="macvtap_start"
TEST=="device", TEST=="{LINKS_DIR}/$attr{{address}}", GOTO="macvtap_start"
SUBSYSTEMS=="pci", TEST=="{LINKS_DIR}/$id", GOTO="macvtap_start"
{_BY_ALTNAME}
GOTO="macvtap_end"

LABEL="macvtap_start"
ENV{{SYSTEMD_WANTS}}+="{_NAME}"

LABEL="macvtap_end"
"""

# ifupdown runs the program by this. A stanza needs no link of its name (0.8.41). "down" must not disconnect guests.
STANZA = f"""auto macvtap-links
iface macvtap-links inet manual
    pre-up for link in /sys/class/net/*; do sh {model.PROGRAM} ${{link##*/}}; done"""

PROGRAM = rf"""{HEADER}
# Creates the links that the files in {LINKS_DIR} have for the uplink $1, a name or its path in /sys.
# Without $1 it waits for the uplinks that have files, 10 seconds in total, so that libvirt waits too.
# A link that cannot be created is logged, and all others are created.
# A link that exists is left as it is: a guest may be using it.
uplink=${{1##*/}}
newline='
'
late=

failed() {{
    echo "<4>$name: ip $1: ${{2%%"$newline"*}}"
}}

# Prints the uplinks of a file, which is named by a name, MAC address, PCI address or alternative name.
uplinks() {{
    case $1 in
        altname:*)
            set -- $(ip -o link show dev "${{1#altname:}}" 2>/dev/null)
            link=${{2%:}}
            [ -e "/sys/class/net/$link" ] || link=${{link%@*}}
            echo "$link" ;;
        *:*)
            for link in $(ls /sys/class/net); do
                device=/sys/class/net/$link/device
                [ -e "$device" ] || continue
                case $(cat "${{device%device}}address")$(readlink -f "$device")/ in
                    "$1"/* | */"$1"/*) echo "$link" ;;
                esac
            done ;;
        *) [ ! -e "/sys/class/net/$1" ] || echo "$1" ;;
    esac
}}

# Sets owner and mode of the tap, if the device node is this link's.
tap() {{
    tap=tap$(cat "/sys/class/net/$name/ifindex")
    node=/dev/$tap
    number=$(stat -c '0x%t 0x%T' "$node") || return
    [ "$((${{number% *}})):$((${{number#* }}))" = "$(cat "/sys/class/net/$name/$tap/dev")" ] || return
    [ "$1" = - ] || chown "$1" "$node"
    [ "$2" = - ] || chmod "$2" "$node"
}}

# Creates a link by the command $1, unless there is one of its name.
add() {{
    skip=yes
    if [ -e "/sys/class/net/$name" ]; then
        [ "$(ip -o link show dev "$name" type "$kind" 2>/dev/null)" ] ||
            echo "<4>$name: this link exists and is not a $kind link; it is left as it is"
    elif message=$(ip $1 2>&1); then
        skip=
    else
        failed "$1" "$message"
    fi
}}

# Whether the route of this command exists, and is not another one to the same destination.
has() {{
    set -- $1
    case $3 in *:*) family=-6 ;; *) family=-4 ;; esac
    [ "$(ip "$family" route show "$3" dev "$5" proto static 2>/dev/null)" ]
}}

make() {{
    while IFS= read -r line; do
        case $line in
            '# vlan '* | '# macvtap '* | '# macvlan '*) set -- $line; kind=$2 name=$3 ;;
            '' | '#'*) ;;
            '{UP}') ip link set dev "$uplink" up ;;
            'link add link {UPLINK} '*) add "link add link $uplink ${{line#link add link {UPLINK} }}" ;;
            'link add '*) add "$line" ;;
            *) [ "$skip" ] || step "$line" ;;
        esac
    done
}}

step() {{
    case $1 in
        # Without IPv6 its settings do not exist.
        'sysctl '*) set -- $1; [ ! -e "/proc/sys/$2" ] || echo "$3" > "/proc/sys/$2" ;;
        'tap '*) set -- "${{1#tap }}"; tap "${{1% *}}" "${{1##* }}" ;;
        # Earlier versions wrote it so, and a route that something else has was replaced.
        'route replace '*) step "route add ${{1#route replace }}" ;;
        'alias '*) message=$(ip link set dev "$name" alias "${{1#alias }}" 2>&1) || failed "$1" "$message" ;;
        *)
            message=$(ip $1 2>&1) && return
            case $1:$message in
                # The uplink may get a larger one later.
                *" mtu "[0-9]*) [ "$tries" -gt 0 ] && late=$late$1$newline || failed "$1" "$message" ;;
                # A VLAN link comes up with its parent.
                *' up:'*'Network is down'*) ;;
                'route add '*:*'File exists'*) has "$1" || failed "$1" "$message" ;;
                # Without IPv6 nothing creates addresses.
                *' addrgenmode none:'*'not supported'*) ;;
                *) failed "$1" "$message" ;;
            esac ;;
    esac
}}

set -f
if [ ! "$uplink" ]; then
    tries=20
    for file in $(ls {LINKS_DIR} 2>/dev/null); do
        until found=$(uplinks "$file"); [ "$found" ] || [ "$tries" -le 0 ]; do
            tries=$((tries - 1))
            sleep 0.5
        done
        [ "$found" ] || echo "<4>${{file#altname:}}: this uplink does not exist; its links are created when it appears"
        for uplink in $found; do
            # A path can be too long for the name of a unit.
            if unit=$({_INSTANCE}); then
                systemctl start --no-block "$unit"
            else
                sh {model.PROGRAM} "$uplink"
            fi
        done
    done
    exit 0
fi
tries=16
for file in $(ls {LINKS_DIR} 2>/dev/null); do
    for found in $(uplinks "$file"); do
        [ "$found" != "$uplink" ] || make < "{LINKS_DIR}/$file"
    done
done
while [ "$late" ] && [ -e "/sys/class/net/$uplink" ]; do
    sleep 0.5
    again=$late late= tries=$((tries - 1))
    while IFS= read -r line; do
        name=${{line#link set dev }} name=${{name%% *}}
        [ ! "$line" ] || step "$line"
    done <<END
$again
END
done
exit 0
"""
