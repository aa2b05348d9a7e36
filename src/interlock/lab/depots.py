"""Makes directories of signed packages into depots: metadata and bulletins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from interlock.lab.bulletins import LabBulletin, write_updateinfo
from interlock.lab.releases import Release, step_into
from interlock.lab.signing import SigningKey, is_signed, sign_metadata
from interlock.package import Evr, Nevra
from interlock.system.run import Runner

_QUERY = "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\n"


def read_packages(folder: Path, runner: Runner) -> tuple[tuple[Nevra, str], ...]:
    """Return name, version and file of every package in ``folder``."""
    files = sorted(folder.glob("*.rpm"))
    argv = ["rpm", "-qp", "--nosignature", "--nodigest", "--queryformat", _QUERY, *map(str, files)]
    rows = [line.split("\t") for line in runner.run(argv, timeout=120).stdout.splitlines()]
    return tuple((Nevra(row[0], Evr(int(row[1]), row[2], row[3]), row[4]), path.name) for row, path in zip(rows, files))


def make_depot(folder: Path, bulletins: Sequence[LabBulletin], runner: Runner, key: SigningKey | None = None) -> None:
    """Write the metadata of a depot beside its packages, signed with ``key`` if there is one."""
    create = ["createrepo_c", "--quiet", "--no-database", "--general-compress-type=gz", str(folder)]
    runner.run(create, timeout=300)
    document = folder / "updateinfo.xml"
    document.write_text(write_updateinfo(bulletins))
    modify = ["modifyrepo_c", "--mdtype=updateinfo", "--compress-type=gz", str(document)]
    runner.run([*modify, str(folder / "repodata")], timeout=60)
    document.unlink()
    if key is not None:
        sign_metadata(folder, key, runner)


def sign_unsigned(folder: Path, key: SigningKey, runner: Runner) -> None:
    """Sign the depots below ``folder`` that were made before depots were signed."""
    for name in names(folder) if folder.is_dir() else []:
        if (folder / name / "repodata/repomd.xml").exists() and not is_signed(folder / name):
            sign_metadata(folder / name, key, runner)


def release_depot(release: Release) -> str:
    """Return the name of the depot that has all packages of ``release``."""
    return step_into(release) or f"{release.name}-base"


def release_bulletin(release: Release, packages: tuple[tuple[Nevra, str], ...]) -> LabBulletin:
    """Return the bulletin of a whole release."""
    return LabBulletin(
        id=f"LAB-{release.name.upper()}-01",
        title=f"{release.name} release",
        kind="enhancement",
        severity="Important",
        issued=f"2026-0{release.number}-01 00:00:00",
        description=f"All packages of {release.title}. glibc, Python, systemd and rpm are among them.",
        packages=packages,
        reboot=True,
    )


def publish(half_made: Path, depot: Path) -> None:
    """Put a finished depot in its place, instead of what was there."""
    old = depot.with_name(f".{depot.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if depot.exists():
        os.rename(depot, old)
    os.rename(half_made, depot)
    shutil.rmtree(old, ignore_errors=True)


def names(folder: Path) -> list[str]:
    """Return the depots that are there."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
