"""The boot check's readers and judgements, each on what was made for it; whole systems are in tests/host."""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from made import SOURCE

from interlock.boot.boot_bls import read_systemd_boot
from interlock.boot.boot_choice import newest_kernel, read_choice
from interlock.boot.boot_elf import BrokenElf, read_elf
from interlock.boot.boot_entry import Choice, Entry, fill_in, find_file
from interlock.boot.boot_grub import read_grub
from interlock.boot.boot_grub_script import read_script
from interlock.boot.boot_image import Image, read_kernel
from interlock.boot.boot_initramfs import Initramfs, name_release, read_content
from interlock.boot.boot_kernel import Booted, Modules, argument, read_booted
from interlock.boot.boot_mounts import Mounts, Room, Wanted, read_mounts
from interlock.boot.boot_packages import Packages, duplicates, leftovers
from interlock.boot.boot_programs import Part, Programs, Start, read_programs
from interlock.boot.boot_system import Essentials, read_essentials
from interlock.boot.boot_tree import Tree
from interlock.boot.check import judge_no_kernel
from interlock.boot.check_kernel import judge_booted, judge_choice, judge_root
from interlock.boot.check_mounts import judge_mounts
from interlock.boot.check_packages import judge_packages
from interlock.boot.check_programs import judge_programs
from interlock.boot.check_system import judge_essentials, judge_system
from interlock.boot.verdict import Reason

RELEASE = "6.1.0-9-lab"
ROOT = "root=UUID=1 ro"


def ids(reasons: object) -> list[str]:
    return [reason.id for reason in reasons]  # type: ignore[attr-defined]


class Made:
    """A tree in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = Tree(str(root))

    def put(self, name: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def link(self, name: str, target: str) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def grub(self, script: str, environment: str = "") -> Choice | None:
        self.put("boot/grub2/grub.cfg", script)
        if environment:
            self.put("boot/grub2/grubenv", f"# GRUB Environment Block\n{environment}\n".ljust(1024, "#"))
        return read_grub(self.tree)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


class TestWithoutLoader:
    def test_as_suse_links_kernels(self, made: Made) -> None:
        """The kernel lies with its modules; /boot has links to it, and links without a version to the newest."""
        made.put(f"usr/lib/modules/{RELEASE}/vmlinuz", kernel())
        made.put(f"usr/lib/modules/{RELEASE}/modules.dep", "kernel/a.ko.zst:\n")
        made.put(f"usr/lib/modules/{RELEASE}/kernel/a.ko.zst", "x")
        made.put(f"boot/initrd-{RELEASE}", initramfs())
        made.link("lib", "usr/lib")
        made.link(f"boot/vmlinuz-{RELEASE}", f"../usr/lib/modules/{RELEASE}/vmlinuz")
        made.link("boot/vmlinuz", f"vmlinuz-{RELEASE}")
        made.link("boot/initrd", f"initrd-{RELEASE}")
        choice = read_choice(made.tree)
        assert choice is not None
        assert choice.loader == ""
        assert choice.entry is not None
        booted = read_booted(made.tree, choice.entry, 62)
        assert judge_booted(booted, None, False) == []
        assert booted.release == RELEASE
        (made.root / f"boot/initrd-{RELEASE}").unlink()
        assert ids(judge_booted(read_booted(made.tree, choice.entry, 62), None, False)) == ["initramfs-missing"]

    def test_the_newest(self, made: Made) -> None:
        for version in ("6.9.1-lab", "6.10.2-lab", "0-rescue-12"):
            made.put(f"boot/vmlinuz-{version}")
        found = newest_kernel(made.tree)
        assert found is not None
        assert found.version == "6.10.2-lab"

    def test_no_kernel_at_all(self, made: Made) -> None:
        assert read_choice(made.tree) is None
        container, machine = Packages(9, "", (), (), ()), Packages(9, "", (), (), (), True)
        assert judge_no_kernel(made.tree, container) == []
        assert ids(judge_no_kernel(made.tree, machine)) == ["kernel-missing"]
        made.put("etc/fstab", "UUID=1 /boot ext4 defaults 0 0\n")
        assert judge_no_kernel(made.tree, machine) == []

    def test_a_loader_without_settings(self, made: Made) -> None:
        made.put("etc/default/grub", "GRUB_TIMEOUT=5\n")
        choice = read_choice(made.tree)
        assert choice is not None
        assert ids(judge_choice(choice)) == ["boot-entry-missing"]


class TestTree:
    def test_links_stay_inside(self, made: Made) -> None:
        made.put("usr/lib/systemd/systemd")
        made.link("lib", "usr/lib")
        made.link("sbin/init", "/lib/systemd/systemd")
        made.link("up", "../../../../etc/passwd")
        assert made.tree.resolve("/sbin/init") == "/usr/lib/systemd/systemd"
        assert made.tree.resolve("/up") is None
        assert made.tree.resolve("/sbin/../usr/./lib") == "/usr/lib"

    def test_loops_and_dead_ends(self, made: Made) -> None:
        made.link("one", "two")
        made.link("two", "one")
        made.link("dangling", "nowhere")
        made.put("file")
        assert [made.tree.resolve(path) for path in ("/one", "/dangling", "/file/below", "/\0")] == [None] * 4
        assert made.tree.is_link("/dangling")
        assert not made.tree.exists("/dangling")
        assert made.tree.names("/file") == []


GRUB = """
set default="{default}"
menuentry 'First' --class x $menuentry_id_option 'first' {{
    linux /vmlinuz-1 root=/dev/a
    initrd /ucode.img /initrd-1
}}
submenu 'More' --id more {{
    menuentry 'Old one' $menuentry_id_option 'old-1' {{
        linux16 /vmlinuz-2 root=/dev/b
    }}
    menuentry "Old two" {{
        linuxefi ($root)/vmlinuz-3 \\
            root=/dev/c
    }}
}}
menuentry 'Xen' --id=xen {{
    multiboot2 /xen.gz placeholder ${{xen_rm_opts}}
    module2 /vmlinuz-4 placeholder root=/dev/d
    module2 --nounzip /initrd-4
}}
menuentry 'Firmware' {{ fwsetup }}
"""


class TestGrub:
    @pytest.mark.parametrize(
        ("default", "kernel"),
        [
            ("0", "/vmlinuz-1"), ("", "/vmlinuz-1"), ("first", "/vmlinuz-1"), ("First", "/vmlinuz-1"),
            ("1>0", "/vmlinuz-2"), ("1", "/vmlinuz-2"), ("more>old-1", "/vmlinuz-2"), ("More>Old two", "/vmlinuz-3"),
            ("1>1", "/vmlinuz-3"), ("2", "/vmlinuz-4"), ("xen", "/vmlinuz-4"), ("3", ""),
            ("Old two", None), ("4", None), ("1>2", None), ("old-1", None),
        ],
    )  # fmt: skip
    def test_default(self, made: Made, default: str, kernel: str | None) -> None:
        choice = made.grub(GRUB.format(default=default))
        assert choice is not None
        found = choice.entry.kernel if choice.entry else None
        assert found in (kernel, f"(){kernel}")

    def test_what_is_in_an_entry(self) -> None:
        entries = [menu.entry for menu in read_script(GRUB.format(default="0"), "x", {}).menus]
        assert entries[0].initramfs == ("/ucode.img", "/initrd-1")
        assert entries[2].options.split() == ["root=/dev/c"]
        assert (entries[3].hypervisor, entries[3].kernel, entries[3].initramfs) == (
            "/xen.gz", "/vmlinuz-4", ("/initrd-4",),
        )  # fmt: skip

    def test_saved_entries(self, made: Made) -> None:
        script = GRUB.format(default="${saved_entry}")
        for environment, kernel in (("saved_entry=xen", "/vmlinuz-4"), ("saved_entry=", "/vmlinuz-1")):
            choice = made.grub(script, environment)
            assert choice is not None
            assert choice.entry is not None
            assert choice.entry.kernel == kernel

    def test_the_next_boot_alone(self, made: Made) -> None:
        once = 'if [ "${next_entry}" ] ; then\n set default="${next_entry}"\nelse\n set default="0"\nfi\n'
        script = once + GRUB.format(default="0").replace('set default="0"', "")
        choice = made.grub(script, "next_entry=xen")
        assert choice is not None
        assert choice.wanted == "xen"
        choice = made.grub(script, "saved_entry=xen")
        assert choice is not None
        assert choice.wanted == "0"

    @pytest.mark.parametrize(
        ("environment", "wanted"),
        [
            ("saved_entry=a", "a"), ("saved_entry=a\nboot_success=0\nboot_counter=1", "a"),
            ("saved_entry=a\nboot_success=0\nboot_counter=0", "1"),
            ("saved_entry=a\nboot_success=1\nboot_counter=0", "a"),
            ("saved_entry=a\nnext_entry=b", "b"), ("kernelopts=x", ""),
        ],
    )  # fmt: skip
    def test_conditions(self, environment: str, wanted: str) -> None:
        script = """
if [ -f ${config_directory}/grubenv ]; then
  load_env -f ${config_directory}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="${saved_entry}"
fi
function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
    default=never
  fi
}
# Don't go on for ever.
if [ -n "${boot_counter}" -a "${boot_success}" = "0" ]; then
  if  [ "${boot_counter}" = "0" -o "${boot_counter}" = "-1" ]; then
    set default=1
    set boot_counter=-1
  else
    decrement boot_counter
  fi
fi
if [ -n "$extra_cmdline" ]; then
  submenu "Snapshot #$number" {
    menuentry "If OK, run 'snapper rollback' and reboot." { true; }
  }
fi
if [ x$grub_platform = xxen ]; then set default=2; insmod lzopio; fi
menuentry "a" {
  if [ x$feature_platform_search_hint = xy ]; then search --hint; else set default=3; fi
  linux /a;
}
if [ "${a}" != "" ]; then set default=4; elif [ ! -z "${a}" ]; then set default=5; else true; fi
"""
        found = read_script(script, "x", dict(line.split("=", 1) for line in environment.splitlines()))
        assert found.variables["default"] == wanted
        assert [menu.places for menu in found.menus] == [("0", "a")]
        assert found.menus[0].entry.kernel == "/a"

    def test_boot_loader_specification(self, made: Made) -> None:
        for version in ("6.9.1", "6.10.2", "6.10.10"):
            text = f"title T {version}\nlinux /vmlinuz-{version}\ninitrd /i-{version}\noptions $kernelopts\toptions2\n"
            made.put(f"boot/loader/entries/id-{version}.conf", text)
        script = 'menuentry "before" {\n}\nset default="${saved_entry}"\nblscfg\nmenuentry "after" {\n}\n'
        expected = {"1": "6.10.10", "3": "6.9.1", "id-6.10.2": "6.10.2", "T 6.9.1": "6.9.1"}
        for saved, version in expected.items():
            choice = made.grub(script, f"kernelopts=root=/dev/x ro\nsaved_entry={saved}")
            assert choice is not None
            assert choice.entry is not None
            assert choice.entry.kernel == f"/vmlinuz-{version}"
            assert choice.entry.options == "root=/dev/x ro options2"
        choice = made.grub(script, "saved_entry=4")
        assert choice is not None
        assert choice.entry is not None
        assert choice.entry.title == "after"

    def test_a_script_that_is_cut_off(self, made: Made) -> None:
        whole = GRUB.format(default="xen")
        for size in range(0, len(whole), 7):
            made.grub(whole[:size])

    def test_variables(self) -> None:
        assert fill_in("a $b ${c}d $none", {"b": "1", "c": "$b"}) == "a 1 1d "


class TestPaths:
    @pytest.mark.parametrize(
        ("named", "lies"),
        [
            ("/vmlinuz", "boot/vmlinuz"), ("/boot/vmlinuz", "boot/vmlinuz"), ("/@/boot/vmlinuz", "boot/vmlinuz"),
            ("(hd0,gpt2)/vmlinuz", "boot/vmlinuz"), ("/lab/linux", "boot/efi/lab/linux"),
            ("lab/linux", "efi/lab/linux"),
            ("/@/.snapshots/1/snapshot/boot/vmlinuz", "boot/vmlinuz"),
        ],
    )  # fmt: skip
    def test_found(self, made: Made, named: str, lies: str) -> None:
        made.put(lies)
        assert find_file(made.tree, named) == f"/{lies}"

    def test_not_found(self, made: Made) -> None:
        made.put("boot/vmlinuz")
        assert find_file(made.tree, "/other/vmlinuz") is None


class TestSystemdBoot:
    @pytest.mark.parametrize(
        ("settings", "chosen"),
        [
            ("", "b-2"), ("default a-*", "a-1"), ("default b-2.conf", "b-2"), ("default @saved", "b-2"),
            ("default c", None), ("default u-3.efi", "u-3+2"), ("#default c\ntimeout 0\ndefault  A-1", "a-1"),
        ],
    )  # fmt: skip
    def test_default(self, made: Made, settings: str, chosen: str | None) -> None:
        made.put("efi/loader/loader.conf", settings)
        made.put("efi/loader/entries/a-1.conf", "sort-key lab\nversion 1\nlinux /a\noptions root=1\n")
        made.put("efi/loader/entries/b-2.conf", "sort-key lab\nversion 2\nlinux /b\ninitrd /i\ninitrd /j\noptions x\n")
        made.put("boot/loader/entries/bad+0-3.conf", "sort-key a\nversion 9\nlinux /bad\n")
        made.put("efi/EFI/Linux/u-3+2.efi", "")
        choice = read_systemd_boot(made.tree)
        assert choice is not None
        assert (choice.entry.id if choice.entry else None) == chosen
        assert choice.entries[-1].id == "bad+0-3"

    def test_unified(self, made: Made) -> None:
        path = made.put(f"efi/EFI/Linux/lab-{RELEASE}.efi", unified())
        choice = read_choice(made.tree)
        assert choice is not None
        assert choice.entry is not None
        booted = read_booted(made.tree, choice.entry, 62)
        assert booted.image is not None
        assert (booted.release, booted.root, booted.image.wrong) == (RELEASE, "UUID=1", "")
        assert booted.images[0][1] is not None
        assert booted.images[0][1].releases == (RELEASE,)
        assert ids(judge_booted(booted, None, True)) == ["modules-missing"]
        whole = path.read_bytes()
        path.write_bytes(whole[:-900])
        assert ids(judge_booted(read_booted(made.tree, choice.entry, 62), None, True)) == ["kernel-truncated"]
        path.write_bytes(b"")
        assert ids(judge_booted(read_booted(made.tree, choice.entry, 62), None, True)) == ["kernel-empty"]


def kernel(release: str = RELEASE, size: int = 20_000) -> bytes:
    """Return what begins like a bzImage."""
    image = bytearray(size // 16 * 16)
    image[0x1F1] = 3
    image[0x1F4:0x1F8] = struct.pack("<I", (len(image) - 4 * 512) // 16)
    image[0x202:0x206] = b"HdrS"
    image[0x20E:0x210] = struct.pack("<H", 0x400)
    text = f"{release} (a@b) #1 SMP".encode()
    image[0x600 : 0x600 + len(text)] = text
    image[-1] = 1
    return bytes(image)


def unified() -> bytes:
    """Return an EFI program with the sections of a unified kernel image."""
    texts = {
        b".osrel": b'NAME=x\nPRETTY_NAME="Lab Linux"\n', b".uname": RELEASE.encode(), b".cmdline": b"root=UUID=1 ro\0",
        b".initrd": initramfs(), b".linux": kernel(),
    }  # fmt: skip
    head = bytearray(4096)
    head[:2] = b"MZ"
    head[0x3C:0x40] = struct.pack("<I", 0x80)
    head[0x80:0x98] = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(texts), 0, 0, 0, 0, 0)
    body = b""
    for number, (name, content) in enumerate(texts.items()):
        row = struct.pack("<8sIIIIIIHHI", name, len(content), 0, len(content), 4096 + len(body), 0, 0, 0, 0, 0)
        head[0x98 + 40 * number : 0x98 + 40 * number + 40] = row
        body += content
    return bytes(head) + body


def archive(*names: str) -> bytes:
    parts = []
    for name in (*names, "TRAILER!!!"):
        fields = (1, 0o100755, 0, 0, 1, 0, 4 if name != "TRAILER!!!" else 0, 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        parts.append(head + bytes(-len(head) % 4) + (b"data" if name != "TRAILER!!!" else b""))
    return b"".join(parts)


def initramfs(release: str = RELEASE) -> bytes:
    packer = zlib.compressobj(wbits=31)
    inside = archive("init", "usr/lib/modules", f"usr/lib/modules/{release}")
    return archive("early_cpio", "kernel/x86/microcode/GenuineIntel.bin") + packer.compress(inside) + packer.flush()


def zstd_frame(*blocks: bytes) -> bytes:
    """Return a frame of stored blocks."""
    parts = [b"\x28\xb5\x2f\xfd\x00\x58"]
    for number, block in enumerate(blocks):
        parts.append(((len(block) << 3) | (number == len(blocks) - 1)).to_bytes(3, "little") + block)
    return b"".join(parts)


class TestKernelImage:
    def test_whole_and_not(self) -> None:
        image = kernel()
        assert read_kernel(image, len(image), 62) == (RELEASE, "")
        assert "cut off" in read_kernel(image, len(image) - 16, 62)[1]
        assert "zeros" in read_kernel(bytes(4096), 4096, 62)[1]
        assert "does not begin" in read_kernel(b"hello" * 1000, 5000, 62)[1]

    def test_other_processors(self) -> None:
        assert read_kernel(b"MZ" + bytes(54) + b"ARM\x64" + b"x" * 2000, 2060, 183) == ("", "")
        head = b"\x7fELF\x02\x01" + bytes(34) + struct.pack("<Q", 9000) + bytes(10) + struct.pack("<HH", 64, 10)
        assert read_kernel(head + bytes(64), 9640, 21) == ("", "")
        assert "cut off" in read_kernel(head + bytes(64), 9639, 21)[1]


class TestInitramfs:
    def test_gzip(self) -> None:
        found = read_content(initramfs() + bytes(512), "x")
        assert (found.wrong, found.read, found.releases) == ("", True, (RELEASE,))

    def test_every_length_but_the_whole_is_broken(self) -> None:
        whole = initramfs()
        for size in range(len(whole)):
            assert read_content(whole[:size], "x").wrong, size

    def test_several_parts(self) -> None:
        packed = initramfs()
        assert read_content(packed + bytes(8) + initramfs("5.1") + bytes(4), "x").releases == ("5.1", RELEASE)
        assert read_content(packed + zstd_frame(b"a"), "x")[2:] == ("", False, ())
        assert read_content(packed + b"x = 1\n\0\0" + b"12345678" + b"#BOOTCONFIG\n", "x").wrong == ""

    def test_an_archive_that_ends_within_a_whole_compressed_part(self) -> None:
        packer = zlib.compressobj(wbits=31)
        inside = archive("init", "a", "b")
        for size in (10, 130, 300, len(inside) - 100):
            packer = zlib.compressobj(wbits=31)
            assert "middle" in read_content(packer.compress(inside[:size]) + packer.flush(), "x").wrong

    def test_not_compressed(self) -> None:
        whole = archive("init", "lib/modules/5.1")
        assert read_content(whole, "x").releases == ("5.1",)
        assert "middle" in read_content(whole[:-20], "x").wrong

    def test_xz(self) -> None:
        whole = lzma.compress(os.urandom(9000), check=lzma.CHECK_CRC32)
        assert read_content(archive("early") + whole + bytes(256), "x").wrong == ""
        for size in (20, 4000, len(whole) - 1):
            assert "middle" in read_content(whole[:size], "x").wrong
        assert "hole" in read_content(whole[:200] + bytes(5000) + whole[5200:], "x").wrong

    def test_zstd(self) -> None:
        whole = zstd_frame(b"a" * 5000, b"b" * 100) + zstd_frame(b"c" * 10)
        assert read_content(whole + bytes(64), "x").wrong == ""
        for size in (5, 7, 4000, 5020, len(whole) - 3):
            assert read_content(whole[:size], "x").wrong, size
        assert read_content(whole[:300] + bytes(5000), "x").wrong

    def test_lz4(self) -> None:
        whole = b"\x02\x21\x4c\x18" + struct.pack("<I", 500) + b"a" * 500 + struct.pack("<I", 20) + b"b" * 20
        assert read_content(whole, "x").wrong == ""
        assert "middle" in read_content(whole[:-1], "x").wrong

    def test_others(self) -> None:
        assert read_content(bz2.compress(b"x"), "x").wrong == ""
        assert "no archive" in read_content(b"<html>", "x").wrong
        assert "no archive" in read_content(initramfs() + b"junk", "x").wrong
        assert "zeros" in read_content(bytes(9000), "x").wrong
        assert "no /init" in read_content(archive("microcode"), "x").wrong

    @pytest.mark.parametrize(
        ("path", "release"),
        [
            ("/boot/initramfs-5.14.0-70.el9.x86_64.img", "5.14.0-70.el9.x86_64"),
            ("/boot/initrd.img-6.1.0-9", "6.1.0-9"),
            ("/boot/initrd-5.3.18-22-default", "5.3.18-22-default"), ("/boot/initramfs-linux.img", ""),
            ("/boot/initramfs-0-rescue-0123.img", ""), ("/lab/6.1/initrd", ""),
        ],
    )  # fmt: skip
    def test_names(self, path: str, release: str) -> None:
        assert name_release(path) == release


ENTRY = Entry("id", "title", "/x.conf", "/vmlinuz", ("/initramfs",), ROOT)
GOOD = Initramfs("/boot/initramfs", 9, "", True, (RELEASE,))
MODULES = Modules(f"/lib/modules/{RELEASE}", True, True, 1, 9)


def booted_with(**changes: object) -> list[str]:
    whole = Booted(ENTRY, Image("/boot/vmlinuz", 9, RELEASE), (("/i", GOOD),), RELEASE, MODULES, "UUID=1")
    return ids(judge_booted(whole._replace(**changes), None, True))


class TestEntryJudged:
    def test_good(self) -> None:
        assert booted_with() == []

    def test_without_an_initramfs(self) -> None:
        assert booted_with(images=()) == ["initramfs-missing"]
        assert booted_with(images=(), root="/dev/vda1") == []
        assert booted_with(images=(), root="PARTUUID=1-2") == []
        assert booted_with(images=(), modules=MODULES._replace(wanted=False)) == []
        assert booted_with(images=(), root="/dev/mapper/vg-root") == ["initramfs-missing"]

    def test_an_archive_that_only_adds(self) -> None:
        microcode = Initramfs("/boot/ucode.img", 9, "it has no /init", True)
        assert booted_with(images=(("/u", microcode), ("/i", GOOD))) == []
        assert booted_with(images=(("/u", microcode),)) == ["initramfs-broken"]
        assert booted_with(images=(("/i", GOOD), ("/j", None))) == ["initramfs-missing"]

    def test_for_another_kernel_by_name(self) -> None:
        unread = Initramfs("/boot/initrd-5.3.18-22-default", 9)
        assert booted_with(images=(("/i", unread),)) == ["initramfs-for-another-kernel"]
        assert booted_with(images=(("/i", unread),), release="5.3.18-22-default") == []

    def test_built_in_kernel(self) -> None:
        nothing = Modules("/lib/modules/x", False, False)
        assert booted_with(modules=nothing) == []
        assert booted_with(modules=nothing._replace(wanted=True)) == ["modules-missing"]
        assert booted_with(modules=MODULES._replace(listed=0, files=0)) == []

    def test_arguments(self) -> None:
        bare = ENTRY._replace(options="ro quiet")
        assert booted_with(entry=bare, root="") == ["root-argument-missing"]
        assert booted_with(entry=bare._replace(options="ostree=/x"), root="") == []
        whole = Booted(bare, None, (), "", None, "")
        assert ids(judge_booted(whole, "", True)) == ["entry-kernel-missing"]
        assert argument("root=a ro root=b", "root") == "b"

    def test_hypervisor(self) -> None:
        assert booted_with(hypervisor="it is empty") == ["hypervisor-broken"]

    def test_root_device(self) -> None:
        assert ids(judge_root("UUID=1", frozenset({"UUID=1"}))) == ["root-device-missing"]
        assert judge_root("UUID=1", None) == []

    def test_no_entry(self) -> None:
        assert ids(judge_choice(Choice("GRUB", "/x", "old", None, (ENTRY,)))) == ["default-entry-missing"]
        assert ids(judge_choice(Choice("GRUB", "/x", "", None))) == ["boot-entry-missing"]


class TestMounts:
    def test_lines(self, made: Made) -> None:
        made.put(
            "etc/fstab", "# x\nUUID=1 / ext4 defaults 0 1\n/a\\040b /srv/\tnone bind\n/dev/sdb1 none swap sw\nhalf\n"
        )
        made.put("a b/file")
        found = read_mounts(made.tree, "UUID=1")
        assert found.wanted[0] == Wanted("UUID=1", "/", "ext4", frozenset({"defaults"}))
        assert found.wanted[1].where == "/srv"
        assert (found.bad_lines, found.absent, found.absent_sources) == (("half",), None, frozenset())

    def test_devices(self) -> None:
        def judged(what: str, options: str = "defaults", kind: str = "ext4", crypt: str = "") -> list[str]:
            wanted = (Wanted(what, "/data", kind, frozenset(options.split(","))),)
            absent = frozenset({"UUID=gone", "/dev/mapper/c1"})
            return ids(
                judge_mounts(
                    Mounts(wanted, (), absent, frozenset(), None, (Wanted("UUID=1", crypt, "crypt", frozenset()),), ()),
                    True,
                )
            )

        assert judged("UUID=gone") == ["fstab-device-missing"]
        assert judged("UUID=there") == []
        assert judged("UUID=gone", "ro,nofail") == judged("UUID=gone", "noauto") == []
        assert judged("UUID=gone", kind="swap") == []
        assert judged("/dev/mapper/c1") == ["fstab-device-missing"]
        assert judged("/dev/mapper/c1", crypt="c1") == []

    @pytest.mark.parametrize(
        ("what", "there"),
        [
            ("UUID=ABCD-12ef", True), ("UUID=abcd-12EF", True), ('LABEL="my disk"', True), ("LABEL=My disk", False),
            ("PARTUUID=7f/PARTNROFF=1", True), ("UUID=other", False), ("/dev/vda1", True), ("/dev/vda2", False),
            ("/dev/a:/dev/b", True), ("/dev/root", True), ("tank/root", True), ("UUID=", True),
        ],
    )  # fmt: skip
    def test_devices_of_the_machine(self, made: Made, what: str, there: bool) -> None:
        for name in ("by-uuid/abcd-12EF", "by-label/my\\x20disk", "by-partuuid/7f"):
            made.put(f"dev/disk/{name}")
        made.put("dev/vda1")
        what = what.replace('"', "")
        assert read_mounts(made.tree, what).absent == (frozenset() if there else frozenset({what}))

    def test_no_devices_can_be_seen(self, made: Made) -> None:
        assert read_mounts(made.tree, "UUID=1").absent is None

    def test_crypttab(self, made: Made) -> None:
        made.put("etc/crypttab", "# c\nc1 UUID=gone none luks\nc2 /dev/x - nofail\nhalf\n")
        found = read_mounts(made.tree, "")
        assert [one.where for one in found.crypts] == ["c1", "c2"]
        absent = found._replace(absent=frozenset({"UUID=gone", "/dev/x"}))
        assert ids(judge_mounts(absent, True)) == ["crypttab-device-missing"]

    def test_boot_is_not_mounted(self) -> None:
        def judged(mounted: frozenset[str] | None, options: str = "defaults", kernel: bool = True) -> list[str]:
            wanted = (Wanted("UUID=1", "/boot", "ext4", frozenset({options})),)
            return ids(judge_mounts(Mounts(wanted, (), None, frozenset(), mounted, (), ()), kernel))

        assert judged(frozenset({"/"})) == ["boot-not-mounted"]
        assert judged(frozenset({"/", "/boot"})) == []
        assert judged(frozenset({"/"}), "noauto") == []
        assert judged(None) == []
        assert judged(frozenset({"/"}), kernel=False) == []

    @pytest.mark.parametrize(
        ("size", "free", "files", "denied"),
        [
            (1 << 30, 50 << 20, 9, False), (1 << 30, 5 << 20, 9, True), (1 << 40, 17 << 20, 9, False),
            (1 << 40, 15 << 20, 9, True), (1 << 30, 50 << 20, 0, True), (1 << 29, 50 << 20, -1, False),
        ],
    )  # fmt: skip
    def test_room(self, size: int, free: int, files: int, denied: bool) -> None:
        mounts = Mounts((), (), None, frozenset(), None, (), (Room("/boot", size, free, files),))
        assert ids(judge_mounts(mounts, True)) == (["boot-space"] if denied else [])
        assert judge_mounts(mounts, False) == []


class TestPackages:
    def test_duplicates(self) -> None:
        rows = [["a", "a-1-1.x86_64", "x86_64", "a "], ["a", "a-1-1.i686", "i686", "a "]]
        assert list(duplicates(rows)) == []
        assert list(duplicates([*rows, ["a", "a-2-1.x86_64", "x86_64", "a "]])) == [("a-1-1.x86_64", "a-2-1.x86_64")]
        for name, provides in (("kernel-core", ""), ("vmx", "multiversion(kernel) "), ("x", "installonlypkg(kernel)")):
            assert list(duplicates([[name, f"{name}-{n}", "x86_64", provides] for n in "12"])) == []

    def test_leftovers(self, made: Made) -> None:
        made.put("usr/bin/a;65a1b2c3")
        made.put("usr/local/b;65a1b2c3")
        made.put("usr/bin/c;00000001")
        made.put("usr/bin/d;now")
        assert list(leftovers(made.tree, 0x65A1B2C4)) == ["/usr/bin/a;65a1b2c3"]
        assert list(leftovers(made.tree, 0x65A1B2C3)) == []

    def test_judged(self) -> None:
        good = Packages(9, "", (), (), ())
        assert list(judge_packages(good)) == []
        assert ids(judge_packages(good._replace(installed=None, unreadable="x"))) == ["packages-unreadable"]
        assert ids(judge_packages(good._replace(installed=0))) == ["packages-unreadable"]
        many = tuple(f"/usr/{number};65a1b2c3" for number in range(9))
        reason: Reason = next(iter(judge_packages(good._replace(leftovers=many))))
        assert reason.detail.endswith("and 4 more")


def compiled(path: Path, source: str, *words: str) -> None:
    text = path.with_suffix(".c")
    text.write_text(source)
    subprocess.run(["cc", "-o", path, text, *words], check=True, timeout=60)


class TestElf:
    @pytest.fixture
    def pair(self, made: Made) -> Made:
        """Return a tree with a program and the library that it takes a symbol's version of."""
        for folder in ("sbin", "usr/lib", "bin", "lib64"):
            (made.root / folder).mkdir(parents=True)
        script = made.put("versions", "LAB_1 { global: one; };\nLAB_2 { global: two; } LAB_1;\n")
        library = made.root / "usr/lib/liblab.so"
        compiled(library, "int one(void){return 1;} int two(void){return 2;}", "-shared", "-fPIC", "-nostdlib",
                 f"-Wl,--version-script={script}", "-Wl,-soname,liblab.so")  # fmt: skip
        compiled(made.root / "sbin/init", "int two(void); void _start(void){two();}", "-nostdlib", str(library),
                 "-Wl,--dynamic-linker=/lib64/ld.so")  # fmt: skip
        made.put("bin/sh", "#!/sbin/init\n", 0o755)
        made.put("lib64/ld.so", library.read_bytes(), 0o755)
        return made

    def test_good(self, pair: Made) -> None:
        programs = read_programs(pair.tree)
        assert set(programs.parts) == {"/sbin/init", "/bin/sh", "/usr/lib/liblab.so", "/lib64/ld.so"}
        assert judge_programs(programs) == []

    def test_an_older_library(self, pair: Made) -> None:
        script = pair.put("versions", "LAB_1 { global: one; };\n")
        compiled(pair.root / "usr/lib/liblab.so", "int one(void){return 1;}", "-shared", "-fPIC", "-nostdlib",
                 f"-Wl,--version-script={script}", "-Wl,-soname,liblab.so")  # fmt: skip
        reasons = judge_programs(read_programs(pair.tree))
        assert ids(reasons) == ["library-version-missing"]
        assert "LAB_2" in reasons[0].detail

    def test_cut_off_anywhere(self, pair: Made) -> None:
        """A file that is cut off is broken, or nothing that the loader reads is gone; it never is an unknown error."""
        path = pair.root / "usr/lib/liblab.so"
        whole, broken = path.read_bytes(), 0
        for size in range(0, len(whole), 97):
            path.write_bytes(whole[:size])
            try:
                read_elf(str(path))
            except BrokenElf:
                broken += 1
        assert broken > 10
        path.write_bytes(whole[:500])
        assert ids(judge_programs(read_programs(pair.tree))) == ["library-broken"]

    def test_any_byte_changed(self, pair: Made) -> None:
        path = pair.root / "usr/lib/liblab.so"
        whole = path.read_bytes()
        for place in range(0, min(len(whole), 2000)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            begun = time.monotonic()
            try:
                read_elf(str(path))
            except BrokenElf:
                pass
            assert time.monotonic() - begun < 1.0

    def test_missing(self, pair: Made) -> None:
        (pair.root / "usr/lib/liblab.so").unlink()
        assert ids(judge_programs(read_programs(pair.tree))) == ["library-missing"]
        (pair.root / "lib64/ld.so").unlink()
        assert sorted(ids(judge_programs(read_programs(pair.tree)))) == ["library-missing", "loader-missing"]

    def test_folders_of_the_configuration(self, pair: Made) -> None:
        (pair.root / "opt").mkdir()
        (pair.root / "usr/lib/liblab.so").rename(pair.root / "opt/liblab.so")
        pair.put("etc/ld.so.conf", "include ld.so.conf.d/*.conf\n")
        assert ids(judge_programs(read_programs(pair.tree))) == ["library-missing"]
        pair.put("etc/ld.so.conf.d/lab.conf", "# x\n/opt\n")
        assert judge_programs(read_programs(pair.tree)) == []

    def test_empty(self) -> None:
        nothing = Programs((Start("/sbin/init", "", False), Start("/bin/sh", "/bin/sh", True)), {})
        assert ids(judge_programs(nothing)) == ["init-missing"]
        broken = Programs((Start("/sbin/init", "/i", True),), {"/i": Part("/i", None, "it is empty")})
        assert ids(judge_programs(broken)) == ["init-broken"]


class TestSystem:
    GOOD = Essentials(True, True, "", (), "", "")

    def test_target(self, made: Made) -> None:
        made.put("usr/lib/systemd/systemd")
        made.put("usr/lib/systemd/system/multi-user.target")
        found = read_essentials(made.tree)
        assert found.default_target
        made.link("etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")
        assert read_essentials(made.tree).default_target == ""
        assert read_essentials(made.tree, "rescue.target").default_target
        made.link("etc/systemd/system/rescue.target", "/dev/null")
        assert "masked" in (read_essentials(made.tree, "rescue.target").default_target or "")

    def test_another_init(self, made: Made) -> None:
        assert read_essentials(made.tree).default_target is None

    def test_arguments_that_excuse(self) -> None:
        found = self.GOOD._replace(policy_missing="/etc/selinux/x/policy")
        assert ids(judge_essentials(found)) == ["selinux-policy-missing"]
        assert ids(judge_essentials(found, "ro selinux=0")) == []

    def test_programs_in_a_lost_directory(self) -> None:
        programs = Programs((Start("/sbin/init", "", False),), {})
        assert ids(judge_system(self.GOOD, programs)) == ["init-missing"]
        lost = self.GOOD._replace(broken_links=("/sbin",))
        assert ids(judge_system(lost, programs)) == ["directory-link-broken"]


def test_nothing_but_text_is_needed_to_look() -> None:
    """The check is imported without what needs libraries that an upgrade may be replacing."""
    script = "import sys; import interlock.boot.check; print(sorted({'rpm', 'sqlite3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(SOURCE)}, capture_output=True,
                          text=True, check=True, timeout=60)  # fmt: skip
    assert done.stdout == "['sqlite3']\n"
