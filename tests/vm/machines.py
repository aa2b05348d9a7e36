"""What the machines of these tests are made of: a distribution's kernel, a small initramfs, a small root directory."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import dataclass
from pathlib import Path

from interlock.system.run import Runner

# Its package is named without a version, so that whatever the machine's mirror has will do.
PACKAGE = "linux-image-cloud-amd64"
# In the order in which they can be loaded.
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk")
APPLETS = ("sh", "cut", "mv", "mount", "sleep", "timeout")
# Loads the drivers, mounts the root that the kernel's arguments name, and goes there.
FIND_ROOT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for module in {modules}; do /bin/busybox insmod /modules/$module.ko; done
root=$(/bin/busybox sed -n 's/.*root=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
device=$(/bin/busybox findfs "$root")
/bin/busybox mount -t ext4 "$device" /root || exit 1
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""


@dataclass(frozen=True)
class Kernel:
    """A kernel's image and its modules by name."""

    image: Path
    modules: dict[str, Path]


def fetch_kernel(home: Path, runner: Runner) -> Kernel:
    """Return the kernel from the cache directory, fetched through apt the first time."""
    folder = home / "vm"
    if not (folder / "kernel/boot").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        runner.run(["apt-get", "update", "-qq"], timeout=300)
        wanted = runner.run(["apt-cache", "depends", PACKAGE]).stdout
        name = next(line.split()[1] for line in wanted.splitlines() if line.split()[:1] == ["Depends:"])
        runner.run(["apt-get", "download", name], cwd=str(folder), timeout=300)
        package = next(folder.glob(f"{name}_*.deb"))
        fresh = folder / "kernel.new"
        shutil.rmtree(fresh, ignore_errors=True)
        runner.run(["dpkg-deb", "-x", str(package), str(fresh)], timeout=120)
        fresh.rename(folder / "kernel")
        package.unlink()
    image = next((folder / "kernel/boot").glob("vmlinuz-*"))
    found = (folder / "kernel/lib/modules").rglob("*.ko")
    return Kernel(image, {path.stem: path for path in found if path.stem in MODULES})


def make_initramfs(path: Path, kernel: Kernel, init: str) -> Path:
    """Make an initramfs with ``init``; without one, with the drivers and a way to the real root."""
    folder = path.with_suffix(".folder")
    for name in ("bin", "dev", "proc", "root", "modules"):
        (folder / name).mkdir(parents=True)
    shutil.copy(busybox(), folder / "bin/busybox")
    for name, module in kernel.modules.items():
        shutil.copy(module, folder / f"modules/{name}.ko")
    _program(folder / "init", init or FIND_ROOT.format(modules=" ".join(MODULES)))
    plain = path.with_suffix(".cpio")
    script = 'cd "$0" && find . | cpio -o -H newc --quiet > "$1"'
    Runner().run(["sh", "-c", script, str(folder), str(plain)])
    path.write_bytes(gzip.compress(plain.read_bytes(), 1))
    return path


def make_root(root: Path, init: str, systemctl: str) -> Path:
    """Make a root directory with a shell, an init, and a systemctl that runs a line of shell."""
    for name in ("bin", "sbin", "dev", "proc", "sys", "etc/systemd/system", "var/lib", "run", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox(), root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    _program(root / "sbin/init", init)
    _program(root / "bin/systemctl", f"#!/bin/busybox sh\n{systemctl or ':'}\n")
    _program(root / "bin/journalctl", "#!/bin/busybox sh\n:\n")
    return root


def busybox() -> str:
    """Return the static program that is a whole user space."""
    found = shutil.which("busybox")
    assert found is not None, "install busybox-static (tools/system_packages.sh does)"
    return found


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
