# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""macvtap_persistence: what of the links is written down, so that it is there after a reboot."""
