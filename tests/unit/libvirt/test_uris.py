# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which URIs mean this host, and what is advised where no daemon answers."""

from __future__ import annotations

import re

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris

MISSING = "Failed to connect socket to '/var/run/libvirt/{}': No such file or directory"
START = "Is the daemon running? Start libvirtd.socket or, where libvirt has a daemon for each driver, {}.socket"
REFUSED = "This user has no permission. Set become: true, or add the user to the group of the daemon's socket"
SSH = "Does ssh to hv2 work for this user without a prompt? If so, does libvirt run there?"


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("qemu:///system", True),
        ("qemu:///session", True),
        ("qemu:///embed?root=/var/lib/x", True),
        ("qemu+unix:///system", True),
        ("qemu+unix:///system?socket=/run/other/libvirt-sock", True),
        ("qemu://hv2/system", False),
        ("qemu+ssh://hv2/system", False),
        ("qemu+ssh://root@hv2:22/system?socket=/run/libvirt/libvirt-sock", False),
        ("qemu+tls://[2001:db8::1]/system", False),
        # A tunnel may end anywhere, and so may a command.
        ("qemu+tcp:///system", False),
        ("qemu+ssh://localhost/system", False),
        ("qemu+ext:///system?command=/bin/there", False),
        ("test:///default", False),
        ("lxc:///system", False),
        ("", False),
    ],
)
def test_whose_guests_are_on_this_host(uri: str, local: bool) -> None:
    assert uris.is_local(uri) is local


NO_DRIVER = "libvirt has no driver foo; the guests of QEMU and KVM are those of qemu:///system"


@pytest.mark.parametrize(
    ("uri", "message", "advice"),
    [
        ("qemu:///system", MISSING.format("libvirt-sock"), START.format("virtqemud")),
        ("lxc:///system", MISSING.format("virtlxcd-sock"), START.format("virtlxcd")),
        ("", MISSING.format("libvirt-sock"), START.format("virtqemud")),
        ("qemu+unix:///system?socket=/none", "Failed to connect socket to '/none': x", START.format("virtqemud")),
        (
            "qemu:///system",
            "End of file while reading data: Input/output error",
            START.format("virtqemud") + " (it listens on /run/libvirt/libvirt-sock or /run/libvirt/virtqemud-sock)",
        ),
        (
            "qemu+unix:///system?socket=/run/x",
            "Cannot recv data: Connection reset by peer",
            START.format("virtqemud") + " (it listens on /run/x)",
        ),
        (
            "qemu:///session",
            MISSING.format("libvirt-sock"),
            "libvirt starts this daemon itself. Check that its package is installed (libvirtd or virtqemud)",
        ),
        ("qemu:///system", "Failed to connect socket to '/run/x': Permission denied", REFUSED),
        ("qemu:///system", "authentication unavailable: no polkit agent available to authenticate", REFUSED),
        ("qemu:///system", "authentication failed: access denied by policy", REFUSED),
        ("qemu:///system", "internal error: Unable to get system bus connection: Could not connect", REFUSED),
        (
            "qemu+ssh://root@hv2/system",
            "Cannot recv data: ssh: connect to host hv2 port 22: Connection refused: Connection reset by peer",
            SSH,
        ),
        (
            "qemu+ssh://hv2/system",
            "Cannot recv data: alice@hv2: Permission denied (publickey).: Connection reset by peer",
            SSH,
        ),
        (
            "qemu+ssh://hv2/system",
            "End of file while reading data: virt-ssh-helper: cannot connect to '/run/libvirt/libvirt-sock': x",
            START.format("virtqemud").replace("running", "running on hv2"),
        ),
        (
            "qemu+tcp:///system",
            "unable to connect to server at 'localhost:16509': Connection refused",
            "Does the daemon on localhost listen for tcp? Start libvirtd-tcp.socket there or, where libvirt has a "
            "daemon for each driver, virtproxyd-tcp.socket",
        ),
        (
            "qemu://hv2/system",
            "unable to connect to server at 'hv2:16514': Connection refused",
            "Does the daemon on hv2 listen for tls? Start libvirtd-tls.socket there or, where libvirt has a daemon for "
            "each driver, virtproxyd-tls.socket",
        ),
        ("qemu:///nonsense", "internal error: unexpected qemu URI path '/nonsense', try qemu:///system", ""),
        ("foo:///system", "no connection driver available for foo:///system", NO_DRIVER),
        ("QEMU:///system", "no connection driver available", NO_DRIVER.replace("foo", "QEMU")),
        ("web1", "no connection driver available", "A libvirt URI begins with the driver, as qemu:///system does"),
        ("foo:///system", "Failed to connect socket to '/var/run/libvirt/virtfood-sock': No such file", NO_DRIVER),
    ],
)
def test_what_to_do_where_no_daemon_answers(uri: str, message: str, advice: str) -> None:
    assert uris.advice(uri, message) == advice


@pytest.mark.parametrize(
    ("uri", "codes", "advice"),
    [
        ("qemu:///system", {"denied": True}, REFUSED),
        (
            "qemu:///system",
            {"silent": True},
            START.format("virtqemud") + " (it listens on /run/libvirt/libvirt-sock or ",
        ),
        ("foo:///system", {"silent": True}, NO_DRIVER),
        ("foo:///system", {"no_driver": True}, NO_DRIVER),
        ("qemu:///system", {}, ""),
    ],
)
def test_in_another_language_the_code_decides_or_nothing_does(uri: str, codes: dict[str, bool], advice: str) -> None:
    message = uris.advice(uri, "Verbindung fehlgeschlagen: Keine Berechtigung", **codes)
    assert message.startswith(advice)
    assert bool(message) == bool(codes)


MALFORMED = (
    "qemu+ssh://[hv2/system",
    "qemu+ssh://[hv2]/system",
    "qemu+ssh://[]/system",
    "qemu://a]b/system",
    "qemu+tcp://[fe80::1",
    # Full-width forms, of which an IDN has a slash.
    "qemu+ssh://hv\u2100.example/system",
    "qemu:///\udc80",
    "qemu:///system\0",
)


@pytest.mark.parametrize("uri", MALFORMED)
@pytest.mark.parametrize("path", ["uri", "macvtap_domains_uri"])
def test_what_is_no_uri_is_refused_with_the_option(uri: str, path: str) -> None:
    with pytest.raises(MacvtapError, match=rf"^{path}: {re.escape(repr(uri))} is not a libvirt URI: .*qemu:///system"):
        uris.validate(uri, path)
    with pytest.raises(MacvtapError, match=r"^uri: "):
        uris.is_local(uri)
    with pytest.raises(MacvtapError, match=r"^uri: "):
        uris.is_session(uri)
    # A report may have one.
    assert uris.names_host(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "qemu+ssh://hv2:x/system",
        "qemu+tcp://hv2:99999/system",
        "qemu+tcp://hv2:-1/system",
        " qemu:///system",
        "qemu:///sys tem\n",
        "qemu+unix:///system?socket=/a b",
        "qemu+tls://[fe80::1%25eth0]:16514/system",
        "qemu+tls://[2001:db8::1%eth0]/system",
        "",
    ],
)
def test_what_libvirt_itself_refuses_or_may_take_is_left_to_it(uri: str) -> None:
    uris.validate(uri)
    assert uris.is_local(uri) is (uri in {"qemu:///sys tem\n", "qemu+unix:///system?socket=/a b"})
