"""The rest of the host: file systems, kernels, the loader, and the cases that no lab host can have for real."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made import MadeProc, Programs, host_at

from interlock.system.clock import ManualClock
from interlock.waits.conditions import Mount, System
from interlock.waits.cure_system import CURES
from interlock.waits.diagnose import diagnose
from interlock.waits.facts import Database, Facts, FileLock, Process
from interlock.waits.find_system import DETECTORS
from interlock.waits.finding import PROVEN, WAITS, Finding
from interlock.waits.graph import build_graph
from interlock.waits.hands import StepFailed, Treatment
from interlock.waits.hands_system import command, image_path, make_initramfs, remount, remove_packages
from interlock.waits.image import what_is_wrong
from interlock.waits.look import Place
from interlock.waits.read_boot import read_boot, version_key
from interlock.waits.read_mounts import Row, mounted_at, parse, read_mounts
from interlock.waits.read_system import read_system

DATABASE = Database("/var/lib/rpm", "sqlite", (), "/var/lib/rpm/.rpm.lock")
MIB = 1 << 20


def facts_of(system: System, *processes: Process, **more: object) -> Facts:
    facts = Facts(1000.0, DATABASE, {one.pid: one for one in processes}, system=system)
    return facts._replace(**more)  # type: ignore[arg-type]


def found(facts: Facts) -> list[Finding]:
    graph = build_graph(facts)
    return [finding for detect in DETECTORS for finding in detect(facts, graph)]


def cpio(name: bytes = b"etc/passwd", content: bytes = b"root") -> bytes:
    """Return an archive of one file in the form that the kernel reads."""

    def member(title: bytes, data: bytes) -> bytes:
        numbers = [1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(title) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + title + b"\0"
        padded = head + b"\0" * (-len(head) % 4)
        return padded + data + b"\0" * (-len(data) % 4)

    return member(name, content) + member(b"TRAILER!!!", b"")


PACKERS: list[Callable[[bytes], bytes]] = [gzip.compress, lzma.compress, bz2.compress]


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("early", [b"", cpio() + b"\0" * 400])
def test_an_image_is_whole_or_cut_off(tmp_path: Path, pack: Callable[[bytes], bytes], early: bytes) -> None:
    path = tmp_path / "image"
    whole = early + pack(cpio(content=os.urandom(5000)))
    path.write_bytes(whole)
    assert what_is_wrong(str(path)) == ""
    path.write_bytes(whole[:-20])
    assert what_is_wrong(str(path)) == "it ends in the middle"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "it is empty"),
        (b"\0" * 4096, "it is empty"),
        (cpio(), ""),
        (cpio()[:-60], "it ends in the middle of an archive"),
        (cpio()[:150], "it ends in the middle of an archive"),
        (b"070701 is no archive" * 20, "it ends in the middle of an archive"),
        (b"\x28\xb5\x2f\xfd of zstd nothing can be said", ""),
        (gzip.compress(cpio(), mtime=0)[:-8] + b"damaged!", "it ends in the middle"),
    ],
)
def test_other_images(tmp_path: Path, content: bytes, wrong: str) -> None:
    (tmp_path / "image").write_bytes(content)
    assert what_is_wrong(str(tmp_path / "image")) == wrong


def test_an_image_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "image")
    assert what_is_wrong(str(tmp_path / "image")) == "it is no file"


class Tree:
    """The root directory of a host."""

    def __init__(self, root: Path) -> None:
        self.root = root / "root"
        self.proc = MadeProc(root / "proc")
        self.put("var/lib/rpm/rpmdb.sqlite")
        (self.root / "boot").mkdir()
        self.place = Place(self.proc.reader, self.root, Programs({}), ManualClock(), str(root / "scratch"))

    def put(self, name: str, content: bytes = b"x") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def kernel(self, version: str, image: bytes | None = None, modules: bool = True) -> None:
        self.put(f"boot/vmlinuz-{version}", b"k" * 1000)
        if modules:
            self.put(f"usr/lib/modules/{version}/modules.dep")
        if image is not None:
            self.put(f"boot/initramfs-{version}.img", image)

    def look(self, *processes: Process) -> Facts:
        facts = facts_of(System(), *processes)
        return facts._replace(system=read_system(self.place, facts))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_healthy_host_has_nothing(tree: Tree) -> None:
    good = gzip.compress(cpio())
    for version in ("5.10.0-9", "6.1.0-10"):
        tree.kernel(version, good)
    tree.kernel("6.2.0-rescue", modules=False)
    facts = tree.look()
    assert facts.system is not None
    assert facts.system.kernels == ("5.10.0-9", "6.1.0-10")
    assert facts.system.initramfs == {}
    assert found(facts) == []


def test_no_kernel_here_needs_an_initramfs(tree: Tree) -> None:
    tree.kernel("6.1.0-10")
    assert found(tree.look()) == []
    assert found(Tree(tree.root / "empty").look()) == []


@pytest.mark.parametrize("sign", ["usr/bin/dracut", "boot/loader/entries/a.conf", "boot/initramfs-5.1.0-1.img"])
def test_a_kernel_without_initramfs_where_one_is_needed(tree: Tree, sign: str) -> None:
    tree.kernel("6.1.0-10")
    if "initramfs" in sign:
        tree.kernel("5.1.0-1", gzip.compress(cpio()))
    else:
        tree.put(sign, b"title Linux\ninitrd /initramfs\n").chmod(0o755)
    (finding,) = found(tree.look())
    assert (finding.id, finding.files) == ("no-initramfs", ("/boot/vmlinuz-6.1.0-10",))
    assert finding.proof == ("/boot/vmlinuz-6.1.0-10 needs an initramfs: there is none",)


def test_kernels_are_sorted_as_people_do() -> None:
    names = ["6.10.0-1", "6.9.0-2", "5.14.0-362.el9", "5.14.0-70.el9"]
    assert sorted(names, key=version_key) == ["5.14.0-70.el9", "5.14.0-362.el9", "6.9.0-2", "6.10.0-1"]


def test_which_kernels_must_stay(tree: Tree) -> None:
    for version in ("5.1.0-1", "5.2.0-1", "5.3.0-1", "5.4.0-1"):
        tree.kernel(version)
    (tree.root / "boot/vmlinuz").symlink_to("vmlinuz-5.2.0-1")
    tree.put("boot/grub2/grubenv", b"saved_entry=abc-5.1.0-1\n")
    assert read_boot(tree.place, facts_of(System())).keep == ("5.1.0-1", "5.2.0-1", "5.4.0-1")


BOOT = Mount("/boot", "ext4", True, 10 * MIB, 500 * MIB)
KERNELS = System(
    mounts=(BOOT,), kernels=("5.1", "5.2", "5.3"), images={"5.1": 30 * MIB, "5.2": 60 * MIB, "5.3": 60 * MIB},
    owners={"5.1": "kernel-5.1-1.x86_64", "5.2": "kernel-5.2-1.x86_64", "5.3": "kernel-5.3-1.x86_64"}, keep=("5.3",),
)  # fmt: skip


def test_a_full_boot_loses_as_many_old_kernels_as_it_takes() -> None:
    facts = facts_of(KERNELS)
    (finding,) = found(facts)
    assert (finding.id, finding.sure) == ("boot-full", PROVEN)
    (step,) = CURES["boot-full"](finding, facts).steps
    assert step.data["packages"] == ["kernel-5.1-1.x86_64", "kernel-5.2-1.x86_64"]
    small = facts_of(KERNELS._replace(mounts=(BOOT._replace(free=35 * MIB),)))
    (step,) = CURES["boot-full"](found(small)[0], small).steps
    assert step.data["packages"] == ["kernel-5.1-1.x86_64"]


@pytest.mark.parametrize("changed", [{"keep": ("5.1", "5.2", "5.3")}, {"owners": {}}, {"keep": ("5.2", "5.3")}])
def test_what_may_not_go_is_for_a_person_to_decide(changed: dict[str, Any]) -> None:
    facts = facts_of(KERNELS._replace(**changed))
    cure = CURES["boot-full"](found(facts)[0], facts)
    assert cure.steps == ()
    assert "what may go" in cure.decide


def test_a_boot_with_room_or_without_a_file_system_of_its_own_is_fine() -> None:
    assert found(facts_of(KERNELS._replace(mounts=(BOOT._replace(free=60 * MIB),)))) == []
    assert found(facts_of(KERNELS._replace(mounts=(BOOT._replace(path="/"),)))) == []


LINES = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 8:1 /var/lib/rpm /var/lib/rpm ro,relatime - ext4 /dev/sda1 rw
31 22 8:2 / /data\\040disk ro - xfs /dev/sdb1 ro
not a line
"""


def test_the_mount_that_a_path_lies_on() -> None:
    rows = [row for row in map(parse, LINES.splitlines()) if row is not None]
    assert [row.path for row in rows] == ["/", "/var/lib/rpm", "/data disk"]
    paths = ("/var/lib/rpm", "/var/lib/rpm/x", "/var/lib/rpmx", "/data disk/y")
    assert [mounted_at(rows, path) for path in paths] == [rows[1], rows[1], rows[0], rows[2]]
    above = Row("8:3", "/", frozenset({"rw"}), "tmpfs", frozenset({"rw"}))
    assert mounted_at([*rows, above], "/") == above
    assert mounted_at([], "/") is None


@pytest.mark.parametrize(
    ("options", "fstab", "expected"),
    [
        ("ro - ext4 /dev/sda1 rw", "", (False, True, False)),
        ("ro - ext4 /dev/sda1 ro", "", (False, False, False)),
        ("ro - ext4 /dev/sda1 ro", "/dev/sda1 / ext4 defaults,ro 0 1", (False, False, True)),
        ("ro - ext4 /dev/sda1 ro", "# /dev/sda1 / ext4 ro 0 1", (False, False, False)),
        ("rw - ext4 /dev/sda1 rw", "/dev/sda1 / ext4 ro 0 1", (True, False, False)),
    ],
)
def test_whether_a_mount_can_and_may_be_written(
    tree: Tree, options: str, fstab: str, expected: tuple[bool, bool, bool]
) -> None:
    tree.put("etc/fstab", f"{fstab}\n".encode())
    tree.proc.put("7/mountinfo", f"22 1 254:99 / / {options}\n")
    facts = facts_of(System(), Process(7, "init", "init", 0, "S", 1, 1.0))
    mount = read_mounts(tree.place, facts)[0]
    assert (mount.writable, mount.bound, mount.meant) == expected
    named = [one.id for one in found(facts_of(System(mounts=(mount,))))]
    assert named == ([] if mount.writable or mount.meant else ["read-only-database"])


def test_a_file_system_with_faults_is_not_written() -> None:
    mount = Mount("/var", "ext4", False, MIB, MIB)
    facts = facts_of(System(mounts=(mount,)))
    (finding,) = found(facts)
    (step,) = CURES[finding.id](finding, facts).steps
    assert step.data == {"path": "/var", "options": "remount,rw"}
    facts = facts_of(System(mounts=(mount._replace(faults="ext4 has counted 3 errors on sda1"),)))
    cure = CURES[finding.id](found(facts)[0], facts)
    assert cure.steps == ()
    assert "fsck" in cure.decide


LIBC = b"\0GNU C Library (Debian GLIBC %s) stable release version %s.\nCopyright\0"
LOADER = b"\0ld.so (Debian GLIBC %s) stable release version %s.\0"


@pytest.mark.parametrize(
    ("library", "loader", "broken"),
    [
        (LIBC % (b"2.36-9", b"2.36"), LOADER % (b"2.36-9", b"2.36"), False),
        (LIBC % (b"2.41-12", b"2.41"), LOADER % (b"2.36-9", b"2.36"), True),
        (LIBC % (b"2.36-10", b"2.36"), LOADER % (b"2.36-9", b"2.36"), True),
        # The loader of an older glibc does not say of which build it is.
        (LIBC % (b"2.31-13", b"2.31"), b"\x7fELF nothing", False),
        (b"", LOADER % (b"2.36-9", b"2.36"), False),
    ],
)
def test_a_loader_of_another_build_than_the_library(tree: Tree, library: bytes, loader: bytes, broken: bool) -> None:
    tree.put("lib/x86_64-linux-gnu/libc.so.6", library)
    tree.put("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", loader)
    facts = tree.look()
    findings = found(facts)
    assert [one.id for one in findings] == (["loader-broken"] if broken else [])
    if broken:
        assert findings[0].files == (
            "/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        )  # fmt: skip
        assert "Do not log out" in CURES["loader-broken"](findings[0], facts).decide
        # In the middle of a transaction that gets on it is only a moment.
        lock = FileLock(1, "POSIX", True, 5, DATABASE.lock, (0, 1), 9, 0, None, False)
        busy = facts._replace(
            locks=(lock,), moving=frozenset({5}), processes={5: Process(5, "rpm", "rpm -U", 1, "R", 1, 1.0)}
        )
        assert found(busy) == []


def booted_for_update(tree: Tree) -> None:
    (tree.root / "system-update").symlink_to("/var/lib/system-update")
    early = tree.root / "run/systemd/generator.early"
    early.mkdir(parents=True)
    (early / "default.target").symlink_to("/usr/lib/systemd/system/system-update.target")


def test_an_offline_update_that_nobody_carries_out(tree: Tree) -> None:
    (tree.root / "system-update").symlink_to("/var/lib/system-update")
    # Prepared for the next boot: nothing is wrong yet.
    assert found(tree.look()) == []
    (tree.root / "system-update").unlink()
    booted_for_update(tree)
    facts = tree.look()
    (finding,) = found(facts)
    assert (finding.id, finding.files) == ("offline-update-pending", ("/system-update",))
    assert "no program of an update runs" in finding.proof[0]
    assert CURES[finding.id](finding, facts).decide


def test_an_offline_update_is_left_alone_while_it_gets_on(tree: Tree) -> None:
    booted_for_update(tree)
    worker = Process(50, "pk-offline-upda", "/usr/libexec/pk-offline-update", 1, "S", 1, 700.0)
    facts = tree.look(worker)
    (finding,) = found(facts)
    assert (finding.pids, finding.since) == ((50,), 700.0)
    assert found(facts._replace(moving=frozenset({50}))) == []


@pytest.mark.parametrize(("permissive", "newer", "named"), [("0", True, True), ("1", True, False), ("0", False, False)])
def test_trust_data_that_are_older_than_the_packages(tree: Tree, permissive: str, newer: bool, named: bool) -> None:
    tree.put("etc/fapolicyd/fapolicyd.conf", f"# policy\npermissive = {permissive}\n".encode())
    trust = tree.put("var/lib/fapolicyd/data.mdb")
    os.utime(trust, (1000, 1000))
    os.utime(tree.root / "var/lib/rpm", (2000, 2000) if newer else (500, 500))
    daemon = Process(60, "fapolicyd", "/usr/sbin/fapolicyd", 1, "S", 1, 9.0)
    facts = tree.look(daemon)
    findings = found(facts)
    assert [(one.id, one.pids) for one in findings] == ([("fapolicyd-denies", (60,))] if named else [])
    assert found(tree.look()) == []
    if named:
        (step,) = CURES["fapolicyd-denies"](findings[0], facts).steps
        assert step.act == "update-trust"
        lock = FileLock(1, "POSIX", True, 5, DATABASE.lock, (0, 1), 9, 0, None, False)
        assert CURES["fapolicyd-denies"](findings[0], facts._replace(locks=(lock,))).decide


def test_a_query_that_waits_for_a_transaction() -> None:
    locks = tuple(FileLock(1, "POSIX", pid == 5, pid, DATABASE.lock, (0, 1), 9, 0, None, pid == 6) for pid in (5, 6))
    writer = Process(5, "rpm", "rpm -U a.rpm", 1, "R", 1, 60.0)
    reader = Process(6, "rpm", "rpm -qa", 1, "S", 2, 30.0, call=(72, 3, 7))
    facts = facts_of(System(), writer, reader, locks=locks)
    (finding,) = diagnose(facts, build_graph(facts))
    assert (finding.id, finding.sure, finding.pids, finding.since) == ("query-takes-lock", WAITS, (6, 5), 30.0)
    assert "rpm -U a.rpm (pid 5)" in finding.proof[0]
    assert CURES["query-takes-lock"](finding, facts).steps == ()
    other = reader._replace(command="rpm -U b.rpm")
    assert "query-takes-lock" not in [
        one.id for one in diagnose(facts_of(System(), writer, other, locks=locks), build_graph(facts))
    ]


def test_how_each_tool_is_called(tmp_path: Path) -> None:
    path = str(tmp_path / "image")
    assert command("/usr/bin/dracut", "6.1", path) == ["/usr/bin/dracut", "--force", path, "6.1"]
    assert command("/usr/sbin/mkinitramfs", "6.1", path) == ["/usr/sbin/mkinitramfs", "-o", path, "6.1"]
    assert command("/usr/sbin/update-initramfs", "6.1", path)[1:] == ["-c", "-k", "6.1"]
    Path(path).touch()
    assert command("/usr/sbin/update-initramfs", "6.1", path)[1:] == ["-u", "-k", "6.1"]
    assert image_path("dracut", "0.0-none") == "/boot/initramfs-0.0-none.img"
    assert image_path("mkinitramfs", "0.0-none") == "/boot/initrd.img-0.0-none"


class Statvfs:
    """A file system that is read-only where it is called ``/still``."""

    def __init__(self, path: str) -> None:
        self.f_flag = os.ST_RDONLY if path == "/still" else 0


def test_a_hand_looks_whether_it_has_helped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", Statvfs)
    treatment = Treatment(host_at(tmp_path), facts_of(System()), str(tmp_path), ["a-1-1.noarch"])
    with pytest.raises(StepFailed, match=r"has reported success, but /boot/initramfs-0\.0-none\.img is not whole"):
        make_initramfs(treatment, {"tool": "/usr/bin/dracut", "version": "0.0-none"})
    with pytest.raises(StepFailed, match="/still is still read-only"):
        remount(treatment, {"path": "/still", "options": "remount,rw"})
    assert remount(treatment, {"path": str(tmp_path), "options": "remount,rw"}).endswith("is mounted for writing")
    assert remove_packages(treatment, {"packages": ["a-1-1.noarch"]}) == "removed: a-1-1.noarch"
    assert treatment.meant == ["a-1-1.noarch"]
