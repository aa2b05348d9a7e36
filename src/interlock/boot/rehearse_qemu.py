"""The deep depth: kernel, initramfs and user space boot in a virtual machine, from an image made of a picture of root.

A mounted file system cannot be read from its block device in one state, so the image is made file by file from the
same picture that the container uses: ext4 or btrfs, as root is, sparse, with root's own UUID, so that ``root=UUID=...``
and a host's own initramfs fit. The disk hangs on the kind of controller that the host's own hangs on, where QEMU has
it, since an initramfs often has the driver of no other. KVM is used where a guest really runs on it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

from interlock.boot.rehearse_console import Followed, Follower, terminal
from interlock.boot.rehearse_entry import BootEntry, adapt_arguments, default_entry
from interlock.boot.rehearse_image import image_kind, make_image, not_bootable, root_identity
from interlock.boot.rehearse_tree import Folder, Task, take_picture
from interlock.errors import CommandTimedOut
from interlock.host.context import Host
from interlock.system.proc import read_text
from interlock.system.run import end_session

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

EMULATORS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm", "qemu-kvm")
# With a working KVM a tenth of this is enough; one that itself is emulated gets there late, and then hangs later on.
PROBE_LIMIT = 2.0
# A boot sector that says 0x10 to the device that ends the machine, which makes its status 0x21.
PROBE_SECTOR = bytes.fromhex("b010e6f4f4ebfd").ljust(510, b"\0") + b"\x55\xaa"
PROBE_STATUS = 0x21
# The firmware boots from no smaller disk.
PROBE_DISK = 1 << 20
LEAST_MEMORY, MOST_MEMORY = 512, 2048
_MACHINE = ("-M", "q35", "-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot")
# The host's driver of the root disk, and what QEMU has of that kind.
CONTROLLERS = {
    "virtio_blk": ("virtio-blk-pci,drive=disk",),
    "virtio_scsi": ("virtio-scsi-pci", "scsi-hd,drive=disk"),
    "nvme": ("nvme,drive=disk,serial=rehearsal",),
    "ahci": ("ide-hd,drive=disk",),
    "megaraid_sas": ("megasas", "scsi-hd,drive=disk"),
    "mptsas": ("mptsas1068", "scsi-hd,drive=disk"),
    "vmw_pvscsi": ("pvscsi", "scsi-hd,drive=disk"),
}


class Booted(NamedTuple):
    """How the machine went, and what it was made of."""

    followed: Followed
    notes: tuple[str, ...]


def boot_machine(host: Host, task: Task, entry: Optional[BootEntry]) -> Booted:
    """Boot a machine until its sentinel is heard, it ends, or its time is over. Raises NotBootable."""
    folder, root = task.folder, task.root
    program = find_emulator()
    chosen = check_entry(entry or default_entry(root, read_text(f"{host.proc.folder}/cmdline")), root)
    kind = image_kind(host, root)
    picture, identity = take_picture(host, root, folder), root_identity(host, root, kind)
    make_image(host, task, picture, identity, kind)
    accelerator = "kvm" if kvm_works(host, folder, program) else "tcg"
    words = machine_words(host, program, accelerator, chosen._replace(
        arguments=adapt_arguments(chosen.arguments, identity, kind)), controller_of(root))  # fmt: skip
    words += ["-drive", f"file={folder.inside('disk.img')},format=raw,if=none,id=disk,cache=unsafe"]
    note = f"{chosen.kernel} in QEMU ({accelerator}), root from a picture ({picture.kind}) as {kind}"
    followed = follow_machine(host, task, words)
    if followed.status:
        # Also after a panic the machine itself ends with 0: this is QEMU's own failure.
        said = (followed.console.strip().splitlines() or ["it said nothing"])[-1]
        detail = f"QEMU ended with status {followed.status}: {said}"
        raise not_bootable(
            "rehearsal-unavailable", "qemu", detail, f"See {folder.console}, or rehearse in a container."
        )
    return Booted(followed, (note,))


def find_emulator() -> str:
    """Return QEMU's program."""
    found = next((path for path in map(shutil.which, EMULATORS) if path), None)
    if found is None or os.uname().machine != "x86_64":
        advice = "Install qemu-kvm or qemu-system-x86, or rehearse in a container."
        raise not_bootable("rehearsal-unavailable", "qemu", "QEMU for x86_64 is not on this host", advice)
    return found


def check_entry(entry: Optional[BootEntry], root: str) -> BootEntry:
    """Return the entry. Raises NotBootable where there is no kernel, or no initramfs that the entry names."""
    advice = "Install the kernel again; see that /boot is mounted."
    if entry is None:
        raise not_bootable(
            "rehearsal-kernel-missing", os.path.join(root, "boot"), "the default boot entry has no kernel here", advice
        )
    for path in filter(None, (entry.kernel, entry.initramfs)):
        if not os.path.isfile(path):
            raise not_bootable("rehearsal-kernel-missing", path, f"{path} is not there", advice)
    return entry


def kvm_works(host: Host, folder: Folder, program: str) -> bool:
    """Say whether a guest runs on KVM: the device alone proves nothing."""
    return os.path.exists("/dev/kvm") and guest_runs(host, folder, program, "kvm")


def guest_runs(host: Host, folder: Folder, program: str, accelerator: str) -> bool:
    """Say whether a guest of one sector gets as far as to end itself."""
    sector = os.path.join(folder.inside("out"), "probe.img")
    with open(sector, "wb") as stream:
        stream.write(PROBE_SECTOR.ljust(PROBE_DISK, b"\0"))
    words = [program, *_MACHINE, *_processor(accelerator), "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    words += ["-drive", f"file={sector},format=raw,if=ide,snapshot=on"]
    try:
        return host.runner.run(words, timeout=PROBE_LIMIT, check=False).status == PROBE_STATUS
    except CommandTimedOut:
        return False


def machine_words(
    host: Host, program: str, accelerator: str, entry: BootEntry, controller: Sequence[str]
) -> list[str]:  # fmt: skip
    """Return the command of the machine; its console is its standard output. It has no network."""
    memory = max(LEAST_MEMORY, min(MOST_MEMORY, host.proc.available_memory() // (2 << 20)))
    words = [program, *_MACHINE, *_processor(accelerator), "-m", str(memory), "-serial", "stdio"]
    words += ["-device", "virtio-rng-pci", "-kernel", entry.kernel, "-append", entry.arguments]
    words += ["-initrd", entry.initramfs] if entry.initramfs else []
    return words + [word for device in controller for word in ("-device", device)]


def _processor(accelerator: str) -> list[str]:
    return ["-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "max"]


def controller_of(root: str) -> Sequence[str]:
    """Return QEMU's devices for a disk of the kind that ``root`` lies on; virtio where that is not known."""
    device = os.stat(root).st_dev
    path = os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    while path.startswith("/sys/devices/"):
        driver = os.path.basename(os.path.realpath(os.path.join(path, "driver")))
        if driver in CONTROLLERS:
            return CONTROLLERS[driver]
        path = os.path.dirname(path)
    return CONTROLLERS["virtio_blk"]


def follow_machine(host: Host, task: Task, words: Sequence[str]) -> Followed:
    """Run the machine and follow its console; nothing of it runs after."""
    end = f"@{task.token} end"
    with terminal() as (ours, theirs):
        child = host.runner.start(words, stdout=theirs, stderr=theirs)
        try:
            return Follower(host, task.folder.console, ours).follow(
                child, lambda follower: follower.text() if follower.says(end) else "", task.limit
            )
        finally:
            end_session(child)
