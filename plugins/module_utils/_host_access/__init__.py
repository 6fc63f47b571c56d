# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors

"""A host's own way to the guests on its uplink: what it is, what it should be, and the way from one to the other."""
