# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether a host's kernel supports macvtap, which source shows that, and loading the module."""
