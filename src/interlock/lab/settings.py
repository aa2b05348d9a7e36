"""The lab's own settings in an image: how rpm finds its database, whom it trusts, and devices for loop mounts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from interlock.lab.releases import Release
from interlock.lab.signing import SigningKey

KEY_PATH = "/etc/pki/rpm-gpg/RPM-GPG-KEY-lab"
MACROS_PATH = "/usr/lib/rpm/macros.d/macros.lab"
RELEASE_PATH = "/etc/lab-release"
DEVICES_PATH = "/usr/lib/systemd/system/lab-devices.service"
DEVICES_LINK = "/usr/lib/systemd/system/sysinit.target.wants/lab-devices.service"

_DEVICES_UNIT = """\
[Unit]
Description=Loop devices for the hosts of the Interlock lab
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c '[ -e /dev/loop-control ] || mknod -m 600 /dev/loop-control c 10 237; \
for n in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do [ -e /dev/loop$n ] || mknod -m 600 /dev/loop$n b 7 $n; done'
"""

# systemd makes subvolumes of these where they are missing; a host must be one subvolume, else a snapshot lacks them.
_FOLDERS = ("home", "srv", "var/tmp", "var/lib/machines", "var/lib/portables", "var/log/journal", "srv/depots")
# No terminal waits for a login in a container, and the lab's network is never "online".
_MASKED = ("console-getty.service", "getty@tty1.service", "systemd-networkd-wait-online.service")


def macros(release: Release) -> str:
    """Return rpm's macros of a release. Only Berkeley DB must be asked for by name."""
    backend = f"%_db_backend {release.backend}\n" if release.backend == "bdb" else ""
    return f"# The package database of {release.title}\n%_dbpath /var/lib/rpm\n{backend}"


def write_settings(root: Path, release: Release, key: SigningKey) -> list[str]:
    """Write the lab's settings into the tree at ``root``; return the paths that the release package shall own."""
    _write(root, MACROS_PATH, macros(release))
    _write(root, RELEASE_PATH, f"{release.title}\n")
    _write(root, DEVICES_PATH, _DEVICES_UNIT)
    _write(root, KEY_PATH, key.public.read_text())
    _link(root, DEVICES_LINK, "../lab-devices.service")
    _write(root, "/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    _write(root, "/etc/hostname", "lab\n")
    _write(root, "/etc/machine-id", "")
    _name_variant(root, release)
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for unit in _MASKED:
        _link(root, f"/etc/systemd/system/{unit}", "/dev/null")
    (root / "etc/systemd/system/getty.target.wants/getty@tty1.service").unlink(missing_ok=True)
    return [MACROS_PATH, RELEASE_PATH, DEVICES_PATH, DEVICES_LINK, KEY_PATH, *_parents(KEY_PATH, 2)]


def _parents(path: str, count: int) -> list[str]:
    return [str(parent) for parent in list(Path(path).parents)[:count]]


def _name_variant(root: Path, release: Release) -> None:
    path = root / "usr/lib/os-release"
    lines = f'VARIANT="{release.title}"\nVARIANT_ID=lab-{release.name}\n'
    path.write_text(path.read_text() + lines)


def _write(root: Path, path: str, text: str) -> None:
    target = Path(f"{root}{path}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(0o644)


def _link(root: Path, path: str, target: str) -> None:
    link = Path(f"{root}{path}")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    os.symlink(target, link)


def forget_identity(root: Path) -> None:
    """Remove what building left behind and every host must have for itself."""
    (root / "etc/machine-id").write_text("")
    for name in ("run", "dev", "tmp", "var/tmp"):
        for path in (root / name).iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
