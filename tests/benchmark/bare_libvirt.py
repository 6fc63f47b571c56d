# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt with nothing around it: `bare_libvirt.py URI connect|define|dump|undefine FILE`.

FILE has domains' XML, as a JSON list. `connect` does all that `define` does except for defining them.
"""

from __future__ import annotations

import json
import sys

import libvirt


def main(uri: str, action: str, path: str) -> None:
    with open(path, encoding="utf-8") as file:
        documents = json.load(file)
    connection = libvirt.open(uri)
    if action == "define":
        for document in documents:
            connection.defineXML(document)
    elif action == "dump":
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        json.dump([domain.XMLDesc(flags) for domain in connection.listAllDomains()], sys.stdout)
    elif action == "undefine":
        for domain in connection.listAllDomains():
            if domain.isActive():
                domain.destroy()
            domain.undefine()


if __name__ == "__main__":
    main(*sys.argv[1:])
