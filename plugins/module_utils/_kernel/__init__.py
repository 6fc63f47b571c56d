# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether a host's kernel can do macvtap, from which source that is known, and loading the module."""
