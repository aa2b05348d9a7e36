"""Cases of the lab: the family of ``interlock.waits.find_system``.

The lab's hosts are containers and have no kernel. What is made here are packages with the files of one, small, and a
tool that makes an initramfs: a stand-in by name and by what it writes, a compressed cpio archive that is whole.
"""

from __future__ import annotations

from interlock.lab.cases.case import LabCase, Made, Scene
from interlock.lab.recipe import Recipe

# An empty cpio archive (its trailer only), as octal for printf(1).
TRAILER = "070701" + "0" * 8 * 11 + "0000000B" + "0" * 8 + "TRAILER!!!" + "\\000" * 4
TOOL = f"""#!/bin/sh
# dracut --force FILE VERSION: a stand-in.
test -d "/usr/lib/modules/$3" || exit 1
printf "{TRAILER}" | gzip > "$2"
"""
KIB = 100


def _kernel(version: str, scripts: dict[str, str], size: int = 1) -> Recipe:
    """Return the package of a kernel; its image has ``size`` KiB."""
    files = {f"/boot/vmlinuz-{version}": "k" * 1024 * size, f"/usr/lib/modules/{version}/modules.dep": "none"}
    return Recipe(f"kernel-{version.partition('-')[0]}", "1", files, scripts)


def no_initramfs(scene: Scene) -> Made:
    """A kernel's %posttrans fails, and another's tool was cut off in the middle; rpm has reported success for both."""
    tool = Recipe("lab-dracut", "1", {"/usr/bin/dracut": TOOL}, {"post": "chmod 0755 /usr/bin/dracut"})
    missing, cut = "6.1.0-case", "6.2.0-case"
    image = f"/boot/initramfs-{cut}.img"
    fails = _kernel(missing, {"posttrans": "echo no space left on device >&2; exit 1"})
    truncates = _kernel(cut, {"posttrans": f"dracut --force {image} {cut} && truncate -s 20 {image}"})
    paths = scene.packages(tool, fails, truncates)
    for path in paths:
        scene.must(f"rpm -Uv {path}")
    if scene.shell(f"test ! -e /boot/initramfs-{missing}.img && test -s {image}").status != 0:
        raise scene.failed("the scriptlets did not do what they were to")
    return Made(
        f"{missing} has no initramfs, that of {cut} is cut off after 20 bytes",
        files=[f"/boot/vmlinuz-{missing}", f"/boot/vmlinuz-{cut}"],
        packages=["kernel-6.1.0-1-1.noarch", "kernel-6.2.0-1-1.noarch"],
    )


def boot_full(scene: Scene) -> Made:
    """A small /boot with three kernels, into which no fourth fits; the oldest neither runs nor is the default."""
    scene.must(f"mount -t tmpfs -o size={KIB * 4 + 20}k,mode=755 tmpfs /boot")
    versions = [f"6.{minor}.0-case" for minor in (1, 2, 3)]
    for path in scene.packages(*(_kernel(version, {}, KIB) for version in versions)):
        scene.must(f"rpm -Uv --oldpackage {path}")
    scene.must("dd if=/dev/zero of=/boot/grub.cfg bs=1k count=60 2>/dev/null")
    fourth = scene.packages(_kernel("6.4.0-case", {}, KIB))[0]
    if scene.shell(f"rpm -Uv --test {fourth}").status == 0:
        raise scene.failed("a fourth kernel still fits into /boot")
    return Made("/boot is full", files=["/boot"], packages=["kernel-6.1.0-1-1.noarch"])


def read_only_database(scene: Scene) -> Made:
    """The database's directory is mounted read-only, as after somebody's repair or a wrong unit."""
    scene.must("mount --bind /var/lib/rpm /var/lib/rpm && mount -o remount,bind,ro /var/lib/rpm")
    if scene.shell("rpm -Uv --replacepkgs /srv/depots/current-updates-1/*.rpm").status == 0:
        raise scene.failed("rpm still writes its database")
    return Made("the package database cannot be written", files=["/var/lib/rpm"])


CASES: tuple[LabCase, ...] = (
    LabCase("no-initramfs", "current", no_initramfs),
    LabCase("boot-full", "current", boot_full),
    LabCase("read-only-database", "current", read_only_database),
)
