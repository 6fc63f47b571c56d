# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What preflight compares of a fleet: one host's report, and all hosts' conflicts. Nothing here changes anything."""
