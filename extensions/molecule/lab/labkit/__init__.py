# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Hypervisors, a switch and guests on one machine, out of namespaces; see ../lab.py for the commands."""
