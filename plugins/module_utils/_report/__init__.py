# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a fleet has and declares, shown as a table, as Markdown, as a page and as a picture. Pure."""
