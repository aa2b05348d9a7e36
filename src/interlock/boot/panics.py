"""What a console says when a system does not come up: known texts, each with a name, a meaning and the next step.

The table is data. A line of a console is compared in order, so a special text stands before the general one it
contains; what is not in the table is still no success, because success is a sentinel and never the lack of an error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

_COLOURS = re.compile(r"\x1b\[[0-9;?!]*[A-Za-z]|\x1b[()][A-Z0-9]|[\x00-\x08\x0b-\x1f\x7f]")
_LIBRARIES = (
    "Boot nothing; `interlock rollback` brings the libraries back, or reinstall the package that has this file."
)
_INITRAMFS = "Make the initramfs again (dracut --force, update-initramfs -u) and see that it has the root's driver."
_KERNEL = "Boot the kernel before it, and report the console's text to whoever made this one."
_ROOT = "Compare root= of the boot entry with `blkid`, and see that the initramfs has the driver of that disk."


class Panic(NamedTuple):
    """One known text. ``last`` says that nothing can come after it, so that nobody need wait for the limit."""

    name: str
    pattern: str
    meaning: str
    advice: str
    last: bool = True


class Seen(NamedTuple):
    """A known text that was found: which, and the console's own line."""

    panic: Panic
    line: str


PANICS = (
    Panic(
        "half-upgraded service console", r"COS Panic: Int3 @ mp_register_ioapic",
        "the service console's kernel met files of two versions: its upgrade ended in the middle",
        "Do not reboot. `interlock resume` completes or undoes the upgrade from the packages that are there.",
    ),
    Panic(
        "service console panic", r"COS Panic: ",
        "the service console's kernel stopped", "Do not reboot. " + _KERNEL,
    ),
    Panic(
        "root file system not found by the kernel", r"VFS: Unable to mount root fs|VFS: Cannot open root device",
        "the kernel has no driver for the root file system, or no initramfs that has one", _INITRAMFS,
    ),
    Panic(
        "no init", r"No working init found|Requested init .* failed \(error|No init found",
        "the kernel could start none of the programs that would be the first process",
        "See that /sbin/init leads to a program, and that its loader is there.",
    ),
    Panic(
        "init cannot be executed", r"Failed to execute \S*init\S*[,:]? .*error -?\d+|Failed to execute /\S*init",
        "the first program is damaged, of another machine, or lacks its loader",
        "Reinstall the package that owns /sbin/init, and glibc.",
    ),
    Panic(
        "library version missing", r"version [`'\"]?GLIBC_[0-9.]+['\"]? not found|GLIBC_[0-9.]+['\"]? not found",
        "a program is newer than the C library: half of an upgrade is missing", _LIBRARIES,
    ),
    Panic(
        "library missing", r"error while loading shared libraries: \S+",
        "a program needs a library that is not there or not whole", _LIBRARIES, last=False,
    ),
    Panic(
        "loader and C library do not fit", r"(?:relocation|symbol lookup) error: |Inconsistency detected by ld\.so",
        "libraries of two versions are mixed: half of an upgrade is missing", _LIBRARIES, last=False,
    ),
    Panic(
        "init died", r"Attempted to kill init!",
        "the first process ended, and the kernel with it", "The lines before it say what init lacked. " + _LIBRARIES,
    ),
    Panic(
        "kernel bug", r"not syncing: Fatal exception|Kernel BUG at|kernel BUG at|Oops: .*#",
        "the kernel stopped itself on an error of its own", _KERNEL,
        last=False,
    ),
    Panic(
        "out of memory at boot", r"not syncing: (?:Out of memory|System is deadlocked on memory)",
        "the memory did not suffice to boot", "Give the rehearsal, or the host, more memory; see the initramfs's size.",
    ),
    Panic(
        "initramfs damaged", r"Initramfs unpacking failed|invalid magic at start of compressed archive"
        r"|junk (?:in|within) compressed archive", "the initramfs is cut off or damaged", _INITRAMFS, last=False,
    ),
    Panic("kernel panic", r"Kernel panic - not syncing", "the kernel stopped itself", _KERNEL),
    Panic(
        "root device not found by dracut",
        r"dracut-initqueue(?:\[\d+\])?:? .*(?:timeout|Could not boot)|dracut.*Could not boot|dracut:/#",
        "the initramfs waited in vain for the root device", _ROOT,
    ),
    Panic(
        "root device not found by initramfs-tools",
        r"Gave up waiting for (?:root|suspend/resume|root file system) device|ALERT!.*does not exist",
        "the initramfs waited in vain for the root device", _ROOT,
    ),
    Panic(
        "initramfs shell", r"^\(initramfs\)|BusyBox v\S+ .*built-in shell",
        "the initramfs gave up and opened a shell", _ROOT,
    ),
    Panic(
        "root cannot be entered", r"switch_root: .*(?:failed|cannot|not a rootfs)|Failed to switch root",
        "the initramfs found a root that it could not change to",
        "See that the root has /sbin/init and the directories /dev, /proc, /run and /sys.",
    ),
    Panic(
        "boot loader without a system", r"grub rescue>|error: no such (?:device|partition)|^GRUB _|minimal BASH-like",
        "the boot loader did not find its files", "Install the boot loader again (grub2-install) and its menu.",
    ),
    Panic(
        "SELinux policy", r"Unable to load SELinux [Pp]olicy|Failed to load SELinux policy",
        "SELinux is enforcing and has no policy that can be loaded",
        "Reinstall selinux-policy-targeted, or boot with enforcing=0 once and relabel.",
    ),
    Panic(
        "basic file systems", r"Failed to mount (?:early )?API filesystems",
        "init could not mount /proc, /sys or /dev", "Reinstall systemd; see that these directories exist.",
    ),
    Panic(
        "init gave up", r"Freezing execution|systemd.*Caught <(?:SEGV|ABRT|BUS|ILL|FPE)>",
        "init met an error that it cannot go on from", "Reinstall systemd and the libraries that it needs.",
    ),
    Panic(
        "no default target", r"Failed to (?:load|start|isolate) default target|Default target not found",
        "init does not know what to bring up", "Mend it: systemctl set-default multi-user.target.",
    ),
    Panic(
        "emergency mode", r"You are in emergency mode|Entering emergency mode|Reached target.*Emergency Mode"
        r"|emergency\.target.*- Emergency",
        "something that the boot needs failed, usually a mount of /etc/fstab",
        "The lines before it name the unit; compare /etc/fstab with `blkid`.",
    ),
    Panic(
        "rescue mode", r"You are in rescue mode|Reached target.*Rescue Mode",
        "the system came up for repair only", "Mend the default target, or the boot entry that asks for `single`.",
    ),
    Panic(
        "file system check", r"UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY|fsck failed with exit status [4-9]",
        "a file system has errors that need a person", "Run fsck from a rescue system before rebooting.",
    ),
)  # fmt: skip
_COMPILED = tuple((panic, re.compile(panic.pattern)) for panic in PANICS)


def plain_lines(console: str) -> list[str]:
    """Return the console's lines without colours and other controls."""
    return [_COLOURS.sub("", line).rstrip() for line in console.replace("\r", "\n").split("\n") if line.strip()]


def recognise(console: str) -> Optional[Seen]:
    """Return the known text of a console that says most: the first of the table that occurs, with its first line."""
    lines = plain_lines(console)
    for panic, pattern in _COMPILED:
        line = next((one for one in lines if pattern.search(one)), None)
        if line is not None:
            return Seen(panic, line.strip())
    return None
