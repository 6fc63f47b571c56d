# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether the switch port behind a link reflects frames, which mode vepa lives on."""
