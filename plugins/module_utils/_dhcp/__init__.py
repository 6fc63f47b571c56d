# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Macvlan shims that get an IPv4 address by DHCP: which commands make their network manager ask for it now."""
