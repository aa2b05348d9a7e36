"""Judges whether the file systems that a boot waits for exist, and whether there is room where boot files go."""

from __future__ import annotations

from collections.abc import Iterator

from interlock.boot.boot_mounts import FSTAB, Mounts, Room, Wanted
from interlock.boot.verdict import Reason

# systemd goes on without these, or they are not needed to come up.
SPARED = frozenset({"nofail", "noauto", "x-systemd.automount", "_netdev", "x-systemd.makefs"})
NOT_WAITED_FOR = frozenset({"swap", "nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p", "virtiofs", "tmpfs"})
MOST_RESERVE = 16 << 20
SHARE = 0.01
FSTAB_ADVICE = "Mend the line, or give it the option nofail; then `systemctl daemon-reload` and `mount -a`."


def judge_mounts(mounts: Mounts, has_kernel: bool) -> list[Reason]:
    """Return what speaks against these; ``has_kernel`` says that this system keeps kernels of its own."""
    rooms = mounts.rooms if has_kernel else ()
    return [
        *(reason for one in mounts.wanted for reason in _line(one, mounts)),
        *(_crypt(one) for one in mounts.crypts if one.what in (mounts.absent or ()) and not one.options & SPARED),
        *(_bad(line) for line in mounts.bad_lines),
        *(_unmounted(one) for one in mounts.wanted if has_kernel and _is_lost(one, mounts)),
        *(reason for room in rooms for reason in _room(room)),
    ]


def _bad(line: str) -> Reason:
    detail = f"the line {line!r} has fewer than three words"
    return Reason("fstab-line-broken", FSTAB, detail, FSTAB_ADVICE)


def _line(one: Wanted, mounts: Mounts) -> Iterator[Reason]:
    if one.options & SPARED or one.kind in NOT_WAITED_FOR:
        return
    # A mapped name comes into being at boot, by crypttab.
    mapped = one.what.startswith("/dev/mapper/") and one.what.rpartition("/")[2] in [
        crypt.where for crypt in mounts.crypts
    ]
    if one.what in (mounts.absent or ()) and not mapped:
        detail = f"{one.where} is to be mounted from it, and there is no such device: the boot would wait for it"
        yield Reason("fstab-device-missing", one.what, detail, FSTAB_ADVICE)
    if one.what in mounts.absent_sources:
        detail = f"{one.where} is to show it, and it is not there"
        yield Reason("fstab-source-missing", one.what, detail, FSTAB_ADVICE)


def _crypt(one: Wanted) -> Reason:
    detail = f"{one.where} is to be opened from it, and there is no such device: the boot would wait for it"
    return Reason("crypttab-device-missing", one.what, detail, "Mend the line in /etc/crypttab, or give it nofail.")


def _is_lost(one: Wanted, mounts: Mounts) -> bool:
    known = mounts.mounted is not None and one.where not in mounts.mounted
    return known and one.where in ("/boot", "/boot/efi", "/efi") and not one.options & SPARED


def _unmounted(one: Wanted) -> Reason:
    detail = (
        f"{FSTAB} has it on {one.what}, and it is not mounted: what was installed there went to another file system"
    )
    return Reason("boot-not-mounted", one.where, detail, f"mount {one.where}, then install the kernel's package again.")


def _room(room: Room) -> Iterator[Reason]:
    reserve = min(MOST_RESERVE, int(room.size * SHARE))
    if room.free < reserve or room.files == 0:
        detail = f"{room.free >> 10} KiB are free, at least {reserve >> 10} KiB should be"
        if room.files == 0:
            detail = "not one more file can be made there"
        yield Reason("boot-space", room.where, detail, "Remove a kernel that is not used: `dnf remove` or `zypper rm`.")
