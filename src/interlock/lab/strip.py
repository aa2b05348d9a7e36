"""Takes a tree's old package manager out of it, and what its own first start would have made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from interlock.lab.debs import canonical, read_debs
from interlock.lab.ownership import dropped

_TREES = (
    "etc/apt", "etc/dpkg", "var/lib/dpkg", "var/lib/apt", "var/cache/apt", "var/cache/debconf", "var/lib/ucf",
    "var/lib/systemd/deb-systemd-helper-enabled", "var/lib/systemd/deb-systemd-helper-masked",
    "var/lib/systemd/deb-systemd-user-helper-enabled", "usr/share/debconf", "var/cache/ldconfig",
)  # fmt: skip
_FILES = (
    "etc/ssh/ssh_host_*", "etc/resolv.conf", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-",
    "etc/subuid-", "etc/subgid-", "etc/debconf.conf", "etc/ucf.conf", "etc/adduser.conf", "etc/deluser.conf",
    "etc/.pwd.lock", "usr/bin/sh.distrib", "usr/share/man/man1/sh.distrib.1.gz", "var/lib/dbus/machine-id",
)  # fmt: skip
_EMPTIED = ("dev", "run", "tmp", "var/tmp")


def strip_tree(root: Path) -> None:
    """Remove what has no place on a host of the lab from the tree at ``root``."""
    _remove_dropped_packages(root)
    for name in _TREES:
        shutil.rmtree(root / name, ignore_errors=True)
    for pattern in _FILES:
        for path in root.glob(pattern):
            path.unlink()
    for name in _EMPTIED:
        _empty(root / name)
    _remove_dangling_links(root / "etc/systemd/system", root)


def _remove_dropped_packages(root: Path) -> None:
    debs = read_debs(root)
    kept = {canonical(root, path) for deb in debs if not dropped(deb.name) for path in deb.files}
    gone = {canonical(root, path) for deb in debs if dropped(deb.name) for path in deb.files} - kept
    folders: list[Path] = []
    for path in sorted(gone, reverse=True):
        outside = Path(f"{root}{path}")
        if outside.is_dir() and not outside.is_symlink():
            folders.append(outside)
        else:
            outside.unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _remove_dangling_links(folder: Path, root: Path) -> None:
    for path in folder.glob("**/*"):
        if path.is_symlink() and not _target_exists(path, root):
            path.unlink()


def _target_exists(link: Path, root: Path) -> bool:
    target = os.readlink(link)
    if target == "/dev/null":
        return True
    inside = target if target.startswith("/") else f"{os.path.dirname(str(link))[len(str(root)) :]}/{target}"
    return os.path.lexists(f"{root}{canonical(root, os.path.normpath(inside))}")
