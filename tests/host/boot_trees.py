"""Gives lab hosts what containers lack: a real kernel with its modules, an initramfs, and a boot loader's settings.

The kernel is Debian's, unpacked from its package; of its modules those of file systems and virtio are taken. The
initramfs is a small one that is made here, and so are the entries of the boot loaders.
"""

from __future__ import annotations

import lzma
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interlock.lab.cache import Cache, delete_subvolume, snapshot
from interlock.system.run import Runner

PACKAGE = "linux-image-cloud-amd64"
TAKEN = ("kernel/fs/", "kernel/drivers/virtio/", "kernel/lib/")
ROOT = "root=UUID=0a1b2c3d-0000-4000-8000-000000000001 ro quiet"
MACHINE = "0123456789abcdef0123456789abcdef"
BLOCK = "# GRUB Environment Block\n"
Layout = Callable[[Path, str], None]


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package."""

    folder: Path
    release: str

    @property
    def image(self) -> Path:
        return self.folder / f"boot/vmlinuz-{self.release}"


def unpacked_kernel(cache: Cache, runner: Runner) -> Kernel:
    """Return a real kernel, fetched once."""
    folder = cache.home / "kernel"
    if not folder.exists():
        half = cache.home / "kernel.half"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        if runner.run(["apt-cache", "depends", PACKAGE], check=False).status:
            runner.run(["apt-get", "update", "-qq"], timeout=300)
        words = runner.run(["apt-cache", "depends", PACKAGE]).stdout.split()
        name = next(word for word in words if word.startswith("linux-image-") and word != PACKAGE)
        runner.run(["apt-get", "download", "-q", name], timeout=300, cwd=str(half))
        runner.run(["dpkg-deb", "-x", str(next(half.glob("*.deb"))), str(half)], timeout=120)
        half.rename(folder)
    return Kernel(folder, next((folder / "lib/modules").iterdir()).name)


def install_kernel(root: Path, kernel: Kernel) -> None:
    """Put a kernel, its modules and an initramfs into a tree."""
    source = kernel.folder / "lib/modules" / kernel.release
    target = root / "usr/lib/modules" / kernel.release
    listed = [line for line in (source / "modules.order").read_text().split() if line.startswith(TAKEN)]
    for name in listed:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    (target / "modules.dep").write_text("".join(f"{name}:\n" for name in listed))
    shutil.copyfile(kernel.image, root / f"boot/vmlinuz-{kernel.release}")
    shutil.copyfile(kernel.folder / f"boot/config-{kernel.release}", root / f"boot/config-{kernel.release}")
    (root / f"boot/initramfs-{kernel.release}.img").write_bytes(initramfs(kernel.release))


def archive(names: dict[str, bytes]) -> bytes:
    """Return a cpio archive in the kernel's form."""
    parts = []
    for number, (name, content) in enumerate({**names, "TRAILER!!!": b""}.items()):
        mode = 0o040755 if content == b"/" else 0o100755
        data = b"" if content == b"/" else content
        fields = (number + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        parts += [head + bytes(-len(head) % 4), data + bytes(-len(data) % 4)]
    return b"".join(parts)


def contents(release: str) -> bytes:
    """Return what is in an initramfs for a kernel, not compressed."""
    noise = b"".join(zlib.crc32(b"%d" % number).to_bytes(4, "big") for number in range(50_000))
    inside = {"init": b"#!/bin/sh\n", "lib": b"/", "lib/modules": b"/", f"lib/modules/{release}": b"/"}
    return archive({**inside, "bin": b"/", "bin/busybox": noise})


def initramfs(release: str) -> bytes:
    """Return an initramfs as dracut makes them: microcode first, then a compressed archive."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    early = archive({"kernel": b"/", "kernel/x86/microcode/AuthenticAMD.bin": b"microcode"})
    return early + packer.compress(contents(release)) + packer.flush()


def xz_initramfs(release: str) -> bytes:
    return lzma.compress(contents(release), lzma.FORMAT_XZ, lzma.CHECK_CRC32)


def put(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def environment(root: Path, **variables: str) -> None:
    """Write GRUB's environment block."""
    text = BLOCK + "".join(f"{name}={value}\n" for name, value in variables.items())
    put(root, "boot/grub2/grubenv", text.ljust(1024, "#"))


def no_loader(root: Path, release: str) -> None:
    """Leave a kernel that is started from outside: /boot and nothing else."""


def bls(root: Path, release: str) -> None:
    """Make what Fedora and RHEL have: GRUB that reads entries of the Boot Loader Specification."""
    script = """\
set pager=1
if [ -f ${config_directory}/grubenv ]; then
  load_env -f ${config_directory}/grubenv
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="${saved_entry}"
fi
function load_video {
  insmod all_video
}
if [ -n "${boot_counter}" -a "${boot_success}" = "0" ]; then
  if  [ "${boot_counter}" = "0" -o "${boot_counter}" = "-1" ]; then
    set default=1
  fi
fi
### BEGIN /etc/grub.d/10_linux ###
insmod blscfg
blscfg
### BEGIN /etc/grub.d/30_uefi-firmware ###
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
\tfwsetup
}
"""
    put(root, "boot/grub2/grub.cfg", script)
    environment(root, saved_entry=f"{MACHINE}-{release}", kernelopts=ROOT)
    entry = f"""title Lab ({release})
version {release}
linux /vmlinuz-{release}
initrd /initramfs-{release}.img $tuned_initrd
options $kernelopts $tuned_params
grub_class lab
"""
    put(root, f"boot/loader/entries/{MACHINE}-{release}.conf", entry)


def grub_script(root: Path, release: str) -> None:
    """Make what SUSE and Debian have: menu entries in grub.cfg, older ones in a submenu, links to the newest kernel."""

    def entry(name: str, ident: str) -> str:
        return f"""menuentry '{name}' --class gnu-linux $menuentry_id_option '{ident}' {{
\tload_video
\tif [ x$feature_platform_search_hint = xy ]; then
\t  search --no-floppy --fs-uuid --set=root 0a1b2c3d-0000-4000-8000-000000000001
\tfi
\techo\t'Loading Linux ...'
\tlinux\t/boot/vmlinuz-{release} {ROOT}
\tinitrd\t/boot/initramfs-{release}.img
}}
"""

    put(root, "boot/grub2/grub.cfg", f"""if [ "${{next_entry}}" ] ; then
   set default="${{next_entry}}"
else
   set default="${{saved_entry}}"
fi
{entry("Lab", "gnulinux-simple")}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced' {{
{entry(f"Lab, with {release}", f"gnulinux-{release}-advanced")}
}}
""")  # fmt: skip
    environment(root, saved_entry=f"gnulinux-advanced>gnulinux-{release}-advanced")


def systemd_boot(root: Path, release: str) -> None:
    """Make what systemd-boot reads: settings with a pattern for the default, and an entry, both on the ESP."""
    for name in (f"vmlinuz-{release}", f"initramfs-{release}.img"):
        target = root / "boot/efi/lab" / release / name.partition("-")[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        (root / "boot" / name).rename(target)
    put(root, "boot/efi/loader/loader.conf", "timeout 3\ndefault lab-*\n")
    entry = f"""title Lab
version {release}
sort-key lab
linux /lab/{release}/vmlinuz
initrd /lab/{release}/initramfs
options {ROOT}
"""
    put(root, f"boot/efi/loader/entries/lab-{release}.conf", entry)


@contextmanager
def copy_of(root: Path, runner: Runner) -> Iterator[Path]:
    """Give a snapshot of a host's root directory, to be broken; it is removed afterwards."""
    target = root / "srv/copy"
    snapshot(root, target, runner)
    try:
        yield target
    finally:
        delete_subvolume(target, runner)
