# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program that makes links at boot, and the units that run it: their texts.

It is a POSIX shell program, since Python is not to be needed at boot. It removes nothing and sets nothing down.
"""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER

PROGRAM = "/etc/linuxvirt-macvtap/make-links"
LINKS_DIR = "/etc/linuxvirt-macvtap/links"

# In a file, as the parent: the uplink, whatever its name is at that boot.
UPLINK = "%"
# Above the blocks: nobody else sets the uplink up.
UP = "uplink up"

UNIT = rf"""{HEADER}
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
ALL_UNIT = f"""{HEADER}
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

# ifupdown runs it by this, on hosts without systemd. Measured with 0.8.41: a stanza needs no link of its name. There is
# nothing for "down": who restarts networking is not to cut off guests. Which link is an uplink, the program finds out.
STANZA = f"""auto macvtap-links
iface macvtap-links inet manual
    pre-up for link in /sys/class/net/*; do sh {PROGRAM} ${{link##*/}}; done"""

TEXT = rf"""{HEADER}
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

# The uplinks that a file is for, by their name, MAC address, PCI address or alternative name.
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
                # The uplink may get its own later.
                *" mtu "[0-9]*) [ "$tries" -gt 0 ] && late=$late$1$newline || failed "$1" "$said" ;;
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
        until found=$(uplinks "$file"); [ "$found" ] || [ "$tries" -le 0 ]; do
            tries=$((tries - 1))
            sleep 0.5
        done
        [ "$found" ] || echo "<4>${{file#altname:}}: it is not there, and so its links are not; they come when it comes"
        for uplink in $found; do
            systemctl start --no-block "macvtap-links@$(systemd-escape -- "$uplink").service"
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
