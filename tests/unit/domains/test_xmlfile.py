# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One domain XML file, with no libvirt: all of the way from options to bytes."""

from __future__ import annotations

import os
import pathlib
import re
import sys
import time
import typing as t

import odd_xml
import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _plan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    declare,
    planner,
    rollback,
    schema,
    xml,
    xmlfile,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Nic, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted

MAC = "52:54:00:00:00:01"
DOMAIN = f"""<?xml version='1.0'?>
<domain type="kvm">
  <name>web1</name><!-- mine -->
  <uuid>0123456789ABCDEF0123456789abcdef</uuid>
  <devices>
    <interface type='bridge'>
      <mac address='{MAC}'/>
      <source bridge='br0'/>
      <model type='virtio'/>
    </interface>
  </devices>
</domain>
"""
TO_DIRECT = {"mac": MAC, "source": "eth0", "mode": "bridge", "convert": True}


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "web1.xml"
    file.write_text(DOMAIN)
    return file


def put(path: str, content: bytes) -> None:
    pathlib.Path(path).write_bytes(content)


def never(path: str, content: bytes) -> None:
    raise AssertionError(f"{path} is written: {content!r}")


def converge(
    file: xmlfile.DomainFile, *options: dict[str, t.Any], check_mode: bool = False, **more: t.Any
) -> _plan.Outcome[Nic, Host]:
    declared = declare.declare(
        [(f"interfaces[{n}]", one) for n, one in enumerate(options)], only_domain=file.only_domain
    )
    return _plan.converge(
        lambda: file.with_macs(
            file.observe(
                {one.domain for one in declared}, (), {n for one in declared if (n := one.given.get("network"))}
            )
        ),
        lambda host, _answers: planner.plan(declared, host, file.unanswered, **more),
        file.apply,
        rollback.undo,
        revert=file.revert,
        check_mode=check_mode,
    )


def test_what_is_in_the_file(path: pathlib.Path) -> None:
    file = xmlfile.open_file(str(path), write=never)
    host = file.observe({"web1"}, {"eth0"})
    domain = host.domains["web1"]
    assert (domain.uuid, domain.running, domain.live) == ("01234567-89ab-cdef-0123-456789abcdef", False, ())
    assert [(iface.mac, iface.type, iface.origin) for iface in domain.stored] == [(MAC, "bridge", "br0")]
    assert (host.links, host.macs, host.uri, domain.document) == (None, {}, f"file {path}", DOMAIN)
    assert file.only_domain == "web1"
    with pytest.raises(MacvtapError, match=r"no domain 'web2' on file .*web1\.xml \(known: web1\)"):
        converge(file, {"domain": "web2", **TO_DIRECT})


def test_an_interface_is_converted_once_and_only_it(path: pathlib.Path) -> None:
    file = xmlfile.open_file(str(path), write=put)
    outcome = converge(file, TO_DIRECT)
    assert outcome.plan.changed
    assert path.read_text() == DOMAIN.replace("type='bridge'", "type='direct'").replace(
        "<source bridge='br0'/>", "<source dev='eth0' mode='bridge'/>"
    )
    again = xmlfile.open_file(str(path), write=never)
    assert not converge(again, TO_DIRECT).plan.changed


def test_a_signal_right_after_the_file_was_written_is_no_other_editor(path: pathlib.Path) -> None:
    signals = [Interrupted("SIGTERM")]

    def interrupted(name: str, content: bytes) -> None:
        put(name, content)
        if signals:
            raise signals.pop()

    with pytest.raises(Interrupted, match=r"^stopped by SIGTERM\. The host is as it was before$"):
        converge(xmlfile.open_file(str(path), write=interrupted), TO_DIRECT)
    assert path.read_text() == DOMAIN


def test_check_mode_writes_nothing(path: pathlib.Path) -> None:
    assert converge(xmlfile.open_file(str(path), write=never), TO_DIRECT, check_mode=True).plan.changed


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


def test_several_at_once_are_one_write(path: pathlib.Path) -> None:
    writes = []

    def counted(name: str, content: bytes) -> None:
        writes.append(name)
        put(name, content)

    file = xmlfile.open_file(str(path), write=counted)
    converge(file, {"source": "eth1", "mode": "vepa"}, TO_DIRECT)
    assert writes == [str(path)]
    converge(file, {"mac": MAC, "state": "absent"}, {"source": "eth1", "boot_order": 1}, {"source": "eth2"})
    assert writes == [str(path)] * 2
    assert [iface.get("source") for iface in file.observe({"web1"}).domains["web1"].stored] == ["eth1", "eth2"]


def test_a_byte_order_mark_and_line_ends_are_kept(path: pathlib.Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + DOMAIN.replace("\n", "\r\n").encode())
    converge(xmlfile.open_file(str(path), write=put), {"source": "eth1", "mode": "bridge", "mac_prefix": "52:54:00"})
    content = path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf<?xml")
    assert content.count(b"\n") == content.count(b"\r\n") == DOMAIN.count("\n") + 5


def test_a_link_stays_one(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link.xml"
    link.symlink_to("web1.xml")
    converge(xmlfile.open_file(str(link), write=put), TO_DIRECT)
    assert link.is_symlink()
    assert "direct" in path.read_text()


def test_another_editor_is_noticed_and_wins(path: pathlib.Path) -> None:
    file = xmlfile.open_file(str(path), write=never)
    host = file.observe({"web1"})
    steps = planner.plan(declare.declare([("", {"domain": "web1", **TO_DIRECT})]), host).steps
    path.write_text(DOMAIN.replace("mine", "yours"))
    with pytest.raises(StaleError, match="changed by another process while this ran: nothing was written"):
        file.apply(steps)


def test_what_fails_after_writing_is_put_back_to_the_byte(path: pathlib.Path) -> None:
    def spoil(name: str, content: bytes) -> None:
        put(name, content.replace(b"eth0", b"eth1"))
        os.utime(name)

    file = xmlfile.open_file(str(path), write=spoil)
    with pytest.raises(MacvtapError, match=r"the host still differs.*is left as it is now"):
        converge(file, TO_DIRECT)

    # Undoing the edit alone would put the interface behind the comment.
    document = DOMAIN.replace("bridge", "direct").replace("  </devices>", "    <!-- last -->\n  </devices>")
    path.write_text(document)
    file = xmlfile.open_file(str(path), write=put)
    host = file.observe({"web1"})
    steps = planner.plan(declare.declare([("", {"domain": "web1", "mac": MAC, "state": "absent"})]), host).steps
    journal: _plan.Journal[Nic] = _plan.Journal()
    file.apply(steps, journal)
    assert MAC not in path.read_text()
    file.revert(rollback.undo(journal, file.observe({"web1"})).steps)
    assert path.read_text() == document


def test_a_failed_write_is_reported_and_leaves_the_file(path: pathlib.Path) -> None:
    def fail(_name: str, _content: bytes) -> None:
        raise RuntimeError("no space")

    with pytest.raises(MacvtapError, match=r"cannot write .*web1\.xml: no space\. The host is as it was before"):
        converge(xmlfile.open_file(str(path), write=fail), TO_DIRECT)
    assert path.read_text() == DOMAIN


def test_a_backup_is_made_once_and_only_for_a_change(path: pathlib.Path) -> None:
    made: list[str] = []

    def backup(name: str) -> str:
        made.append(pathlib.Path(name).read_text())
        return f"{name}.old"

    file = xmlfile.open_file(str(path), write=put, backup=backup)
    converge(file, TO_DIRECT)
    converge(file, TO_DIRECT)
    converge(file, {**TO_DIRECT, "mode": "private"})
    assert (made, file.backup_file) == ([DOMAIN], f"{path}.old")
    file = xmlfile.open_file(str(path), write=put, backup=backup)
    converge(file, {**TO_DIRECT, "mode": "private"})
    assert file.backup_file is None


def test_a_read_only_file_is_not_replaced(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which root never sees: it may write everything.
    monkeypatch.setattr(os, "access", lambda place, _mode: place != str(path))
    with pytest.raises(MacvtapError, match=r"web1\.xml is read-only for this user"):
        converge(xmlfile.open_file(str(path), write=never), TO_DIRECT)


def test_a_file_that_is_a_mount_is_written_into_only_if_that_is_allowed(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xmlfile, "_mounts", lambda: {"/", str(path)})
    for check_mode in (True, False):
        file = xmlfile.open_file(str(path), write=never)
        steps = converge(xmlfile.open_file(str(path), write=put, in_place=True), TO_DIRECT, check_mode=True).plan.steps
        with pytest.raises(MacvtapError, match=r"it is a mount point.* Set unsafe_writes: true"):
            file.require(steps) if check_mode else converge(file, TO_DIRECT)
    assert path.read_text() == DOMAIN
    converge(xmlfile.open_file(str(path), write=put, in_place=True), TO_DIRECT)
    # What is right already need not be written.
    xmlfile.open_file(str(path), write=never).require(())


def test_mounts_are_found_by_their_names() -> None:
    assert {"/", "/proc"} <= xmlfile._mounts()


def test_what_a_daemon_keeps_is_warned_of(monkeypatch: pytest.MonkeyPatch, path: pathlib.Path) -> None:
    assert xmlfile.open_file(str(path), write=never).warnings == []
    monkeypatch.setattr(xmlfile, "_DAEMONS", (f"{path.parent}/",))
    (output,) = xmlfile.open_file(str(path), write=never).warnings
    assert "belongs to a libvirt daemon" in output


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


class Module:
    """As much of AnsibleModule as replaces files."""

    def __init__(self, tmpdir: pathlib.Path) -> None:
        self.tmpdir = str(tmpdir)
        self.params: dict[str, t.Any] = {}
        self.unsafe: bool | None = None

    def atomic_move(self, source: str, target: str, *, unsafe_writes: bool) -> None:
        assert pathlib.Path(target).stat().st_uid == pathlib.Path(source).stat().st_uid
        self.unsafe = unsafe_writes
        os.replace(source, target)


def test_a_module_replaces_the_file(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    module = Module(tmp_path)
    before = path.stat().st_ino
    xmlfile.writer(module)(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_ino != before
    assert module.unsafe is False
    assert [one.name for one in tmp_path.iterdir()] == ["web1.xml"]


@pytest.mark.parametrize("shared", [False, True])
def test_ansible_keeps_owner_mode_and_link(path: pathlib.Path, shared: bool) -> None:
    link = path.with_name("link.xml")
    link.symlink_to(path.name)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    before = path.stat()
    # On another file system than the file, as a remote_tmp often is.
    arguments = {"_ansible_remote_tmp": "/dev/shm" if shared else str(path.parent), "_ansible_keep_remote_files": False}
    with patch_module_args(arguments):
        module = AnsibleModule({})
        file = xmlfile.open_file(str(link), write=xmlfile.writer(module), backup=module.backup_local)
        converge(file, TO_DIRECT)
        module.cleanup(module.tmpdir)
    after = path.stat()
    assert link.is_symlink()
    assert "eth0" in path.read_text()
    assert pathlib.Path(file.backup_file or "").read_text() == DOMAIN
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_a_file_does_not_change_hands(
    path: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: t.Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(MacvtapError, match="Set become: true"):
        xmlfile.writer(Module(tmp_path))(str(path), b"new")
    assert path.read_text() == DOMAIN


OPTIONS = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["eth0", "eth1.5", "ä"]),
        "mode": st.sampled_from(["vepa", "bridge", "private", "passthru"]),
        "model": st.sampled_from(["virtio", "virtio", "virtio-transitional", "e1000e"]),
        "convert": st.just(True),
    },
    optional={
        "state": st.sampled_from(["present", "present", "present", "absent"]),
        "target": st.sampled_from(["web0", ""]),
        "alias": st.sampled_from(["ua-lan", ""]),
        "link_state": st.sampled_from(["up", "down"]),
        "boot_order": st.integers(0, 3),
        "acpi_index": st.integers(0, 3),
        "pci_address": st.sampled_from(["1:2.0", "0000:01:00.0", ""]),
        "trust_guest_rx_filters": st.booleans(),
        "vlan": st.just(0),
        "driver": st.fixed_dictionaries({}, optional={"queues": st.integers(1, 4), "rss": st.booleans()}),
        "rom": st.fixed_dictionaries({}, optional={"bar": st.booleans(), "file": st.just("/a'b")}),
        "bandwidth": st.fixed_dictionaries(
            {}, optional={"inbound": st.just({"average": 0}), "outbound": st.just({"average": 9, "burst": 1})}
        ),
        "virtualport": st.sampled_from([{"type": "none"}, {"type": "802.1Qbg", "managerid": 11}, {"type": "802.1Qbh"}]),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(odd_xml.documents(), st.lists(OPTIONS, min_size=1, max_size=3), st.booleans())
def test_whatever_is_declared_is_there_after_one_run(
    tmp_path: pathlib.Path, odd: odd_xml.Odd, entries: list[dict[str, t.Any]], purge: bool
) -> None:
    path = tmp_path / "odd.xml"
    path.write_bytes(odd.text.encode())
    declared = [{**one, "mac": odd_xml.mac_of(index)} for index, one in enumerate(entries)]
    try:
        converge(xmlfile.open_file(str(path), write=put), *declared, purge=purge)
    except MacvtapError as exc:
        assert "still differs" not in exc.message  # noqa: PT017
        assert path.read_bytes() == odd.text.encode()
        return
    assert not converge(xmlfile.open_file(str(path), write=never), *declared, purge=purge).plan.changed
    # The rest of the document, and the interfaces that are not declared, apart from white space before what has gone.
    left = re.sub(r"\s", "", path.read_bytes().decode())
    undeclared = xml.interfaces(odd.text)[len(declared) :]
    others = [iface.xml for iface in undeclared if not purge or iface.type != "direct"]
    for piece in (odd.pieces[0], *others):
        assert re.sub(r"\s", "", piece) in left
    assert left.endswith(re.sub(r"\s", "", odd.pieces[-1].partition("</devices")[2]))


def test_the_networks_of_a_file_are_not_known(path: pathlib.Path) -> None:
    """Those that the task names are direct ones; an interface on any other is of another type."""
    entry = {"mac": MAC, "network": "lan", "portgroup": "web"}

    def attempt(*options: dict[str, t.Any], **more: t.Any) -> bool:
        return converge(xmlfile.open_file(str(path), write=put), *options, **more).plan.changed

    with pytest.raises(MacvtapError, match=r"^interfaces\[0\]\.mac: .* of type 'bridge'"):
        attempt(entry)
    assert attempt({**entry, "convert": True})
    text = path.read_text()
    assert "<interface type='network'>" in text
    assert "<source network='lan' portgroup='web'/>" in text
    assert not attempt(entry)
    assert attempt({"mac": "52:54:00:00:00:02", "network": "lan1"})
    # An interface on a network that is not named is not removed.
    assert not attempt({"mac": "52:54:00:00:00:03", "state": "absent"}, purge=True)
    with pytest.raises(MacvtapError, match="of type 'network'"):
        attempt({"mac": MAC, "source": "eth0"})
    assert attempt({"mac": MAC, "source": "eth0", "convert": True})
    assert "<source dev='eth0' mode='bridge'/>" in path.read_text()
    assert attempt({"mac": MAC, "source": "eth0"}, {"mac": "52:54:00:00:00:02", "network": "lan1", "state": "absent"})
    assert "network" not in path.read_text()
