# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What modules do from their options to their result, so that another module can do it as well."""
