# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors

"""Links: what they are, what they should be, and the way from one to the other."""
