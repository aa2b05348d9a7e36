"""The disk image of a virtual machine, made file by file from a picture of the root directory, without mounting it."""

from __future__ import annotations

import os
import shutil
import uuid

from interlock.boot import rehearse_scripts as scripts
from interlock.boot.rehearse_container import picture_words, put_sentinel
from interlock.boot.rehearse_tree import Picture, Task
from interlock.errors import CommandFailed, CommandTimedOut, InterlockError
from interlock.host.context import Host

IMAGE_LIMIT = 600.0
# Beyond a quarter more than root has in use: the file is sparse, so what is not used costs nothing.
ROOM = 512 << 20


class NotBootable(InterlockError):
    """{detail}."""

    hint = "{advice}"


def not_bootable(identity: str, subject: str, detail: str, advice: str) -> NotBootable:
    """Return the error that says why no machine can be booted."""
    return NotBootable(id=identity, subject=subject, detail=detail, advice=advice)


def root_identity(host: Host, root: str, kind: str) -> str:
    """Return the UUID for the image: root's own, which an initramfs may wait for, or a new one.

    mkfs.btrfs makes no second file system of a UUID that is there already.
    """
    done = host.runner.run(["findmnt", "-n", "-o", "UUID", "-T", root], check=False)
    try:
        return str(uuid.UUID(done.stdout.strip() if kind == "ext4" else ""))
    except ValueError:
        return str(uuid.uuid4())


def image_kind(host: Host, root: str) -> str:
    """Return what the image is to be: as root where that can be made without mounting it, else ext4."""
    return "btrfs" if file_system(host, root) == "btrfs" and shutil.which("mkfs.btrfs") else "ext4"


def make_image(host: Host, task: Task, picture: Picture, identity: str, kind: str) -> None:
    """Make the disk image of a picture, with the sentinel in it."""
    folder, root = task.folder, task.root
    put_sentinel(folder, task.token, scripts.IN_IMAGE)
    found = os.statvfs(root)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    environment = {
        "OUT": folder.inside("out"), "UNIT": scripts.UNIT, "WAITING_UNITS": " ".join(scripts.WAITING_UNITS),
        "IMAGE": folder.inside("disk.img"), "SIZE": str(used * 5 // 4 + ROOM), "IDENTITY": identity, "KIND": kind,
    }  # fmt: skip
    words = ["unshare", "--mount", *picture_words(host, folder, picture, scripts.IMAGE, root)]
    try:
        host.runner.run(words, timeout=IMAGE_LIMIT, env=environment)
    except (CommandFailed, CommandTimedOut) as error:
        said = error.fields.get("stderr") or f"not finished after {IMAGE_LIMIT:g} s"
        advice = "See that there is space below /var/lib/interlock, or rehearse in a container."
        raise not_bootable(
            "rehearsal-unavailable", "image", f"no image of {root} could be made: {said}", advice
        ) from None


def file_system(host: Host, root: str) -> str:
    """Return the kind of file system that ``root`` lies on, as the kernel names it."""
    return host.runner.run(["findmnt", "-n", "-o", "FSTYPE", "-T", root], check=False).stdout.strip()
