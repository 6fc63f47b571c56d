# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""XML files that cannot be read, edited or validated: each is refused, or there is a warning."""

from __future__ import annotations

import os
import pathlib
import re
import sys
import time

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import schema, xmlfile
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

from .xmlfiles import DOMAIN, MAC, TO_DIRECT, converge, never, put


def test_check_mode_refuses_what_the_run_could_not_edit(path: pathlib.Path) -> None:
    path.write_text(re.sub("<devices>.*</devices>", "", DOMAIN, flags=re.S))
    file = xmlfile.open_file(str(path), write=never)
    planned = converge(file, {**TO_DIRECT, "model": "virtio"}, check_mode=True).plan
    with pytest.raises(MacvtapError, match=r"has no <devices>$"):
        file.require(planned.steps)


@pytest.mark.skipif(schema.missing() is not None, reason=f"{schema.missing()}")
def test_what_libvirts_schema_does_not_allow_is_not_written(path: pathlib.Path) -> None:
    file = xmlfile.open_file(str(path), write=never)
    options = {**TO_DIRECT, "source": "a+b"}
    with pytest.raises(MacvtapError, match=r"^interfaces\[0\]\.source: libvirt's schema does not allow 'a\+b': "):
        converge(file, options)
    steps = converge(file, options, check_mode=True).plan.steps
    with pytest.raises(MacvtapError, match=r"^interfaces\[0\]\.source: libvirt's schema"):
        file.require(steps)
    # What others have written may be changed.
    path.write_text(DOMAIN.replace("bridge='br0'", "bridge='br+0'"))
    converge(xmlfile.open_file(str(path), write=put), TO_DIRECT)
    path.write_text(path.read_text().replace("dev='eth0'", "dev='a+b'"))
    assert converge(xmlfile.open_file(str(path), write=put), {"mac": MAC, "boot_order": 1}).plan.changed


def test_a_file_that_cannot_be_validated_is_written_with_a_warning(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lxml", None)
    file = xmlfile.open_file(str(path), write=put)
    converge(file, TO_DIRECT)
    (warning,) = file.warnings
    assert warning.startswith("not validated against libvirt's schema: ")


@pytest.mark.parametrize("name", ["", "\0", "/srv/web1\0.xml", "/srv/\ud800.xml"])
def test_what_cannot_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(MacvtapError, match=r"^xml_file: "):
        xmlfile.open_file(name, write=never)


BOMB = "<!DOCTYPE d [<!ENTITY a 'aaaa'>" + "".join(
    f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(12)
)


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xef\xbb\xbf", "not well formed"),
        (b"nonsense", "not well formed"),
        (b"{}" * 1000, "not well formed"),
        (b"<network><name>a</name></network>", "its root is <network>"),
        (b"<domain><devices/></domain>", "no <name>"),
        (b"<domain><name></name></domain>", "no <name>"),
        (f"{BOMB}]><domain><name>&m;</name></domain>".encode(), "DOCTYPE"),
        (b"<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain><name>&x;</name></domain>", "DOCTYPE"),
        (DOMAIN.encode("utf-16"), "UTF-16, and libvirt reads UTF-8 only.*iconv -f UTF-16 -t UTF-8"),
        (DOMAIN.encode("utf-16-le"), "UTF-16"),
        (DOMAIN.encode("utf-32"), "UTF-32"),
        (DOMAIN.replace("1.0'", "1.0' encoding='latin1'").replace("mine", "\xe9").encode("latin1"), "file is latin1,"),
        (DOMAIN.replace("mine", "\xe9").encode("latin1"), "not UTF-8 at byte 66"),
        (DOMAIN.replace("mine", "\0").encode(), "NUL"),
        (b"\xed\xa0\x80", "not UTF-8"),
        (b"<domain><name>a</name>" + b"<a>" * 100_000, "levels of elements"),
        (b"<domain><name>a</name><a b='" + b"x" * 17_000_000, "larger than 16 MiB"),
        (b"<domain><name>a</name><a b='" + b"x" * 15_000_000, "not well formed"),
        (b" " * 50_000_000 + b"<domain/>", "16 MiB|empty"),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
def test_what_cannot_be_edited_is_refused_quickly_and_named(path: pathlib.Path, content: bytes, output: str) -> None:
    path.write_bytes(content)
    began = time.process_time()
    with pytest.raises(MacvtapError, match=output) as caught:
        xmlfile.open_file(str(path), write=never)
    assert time.process_time() - began < 2
    assert str(caught.value).startswith(f"xml_file: {path}")
    assert path.read_bytes() == content


def test_what_is_no_file_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "loose").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("round")
    os.mkfifo(tmp_path / "pipe")
    for name, output in {
        "missing": "No such file",
        "loose": r"\(it is .*/nowhere\): No such file",
        "round": "symbolic links",
        "pipe": "not a file",
        ".": "not a file",
    }.items():
        with pytest.raises(MacvtapError, match=output):
            xmlfile.open_file(str(tmp_path / name), write=never)
    with pytest.raises(MacvtapError, match="not a file"):
        xmlfile.open_file("/dev/zero", write=never)
