# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Companions whose IPv4 address a network manager gets by DHCP: who is told of what has been written, and when."""
