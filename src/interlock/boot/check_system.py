"""Judges what else a system needs to come up."""

from __future__ import annotations

from collections.abc import Iterator

from interlock.boot.boot_programs import Programs
from interlock.boot.boot_system import Essentials
from interlock.boot.check_programs import judge_programs
from interlock.boot.verdict import Reason

OWNER = "Install the package that owns it again; `rpm -qf` names it."


def judge_system(found: Essentials, programs: Programs, options: str = "") -> list[Reason]:
    """Return what speaks against a boot; ``options`` are the arguments that the kernel would get.

    Where a merged directory leads nowhere nothing more is said of the programs in it: all of them are lost by that.
    """
    return [*judge_essentials(found, options), *([] if found.broken_links else judge_programs(programs))]


def judge_essentials(found: Essentials, options: str = "") -> Iterator[Reason]:
    """Yield what speaks against a boot, programs left aside."""
    for path in found.broken_links:
        detail = "it leads nowhere: every program that is started by a path below it is lost"
        yield Reason("directory-link-broken", path, detail, f"ln -sfn usr{path} {path}")
    if not found.root_account:
        detail = "it has no account with the number 0"
        yield Reason("root-account-missing", "/etc/passwd", detail, "Restore it from /etc/passwd- or a backup.")
    if not found.os_release:
        detail = "it is missing: the initramfs would not go over to a system without it"
        yield Reason("os-release-missing", "/etc/os-release", detail, OWNER)
    if found.default_target:
        detail = f"{found.default_target}: systemd would have nothing to boot into"
        yield Reason("default-target-broken", "default.target", detail, "systemctl set-default multi-user.target")
    if found.policy_missing and "selinux=0" not in options and "enforcing=0" not in options:
        detail = "SELinux is to enforce it, and it is not there: systemd would stop at once"
        yield Reason("selinux-policy-missing", found.policy_missing, detail, "Install selinux-policy-targeted again.")
    if found.update:
        detail = f"it leads to {found.update}: the next boot would be an update, not this system"
        advice = "Cancel it (`dnf offline clean`, `pkcon offline-update cancel`) or carry it out first."
        yield Reason("offline-update-pending", "/system-update", detail, advice)
