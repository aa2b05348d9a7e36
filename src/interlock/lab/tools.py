"""Small packages for everyday upgrades: twelve tools whose every version is an update with a bulletin of its own.

Their scriptlets ask rpm about themselves and each other, as packages do, so a wedged database is felt at once.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Optional

from interlock.lab.bulletins import LabBulletin
from interlock.lab.cache import Cache, Progress
from interlock.lab.depots import make_depot, publish, read_packages
from interlock.lab.ownership import Entry
from interlock.lab.packaging import build_packages
from interlock.lab.releases import Release, find_release
from interlock.lab.signing import SigningKey, sign
from interlock.lab.spec import Scriptlet, Spec
from interlock.package import Evr, Nevra, Relation
from interlock.system.run import Runner

RECIPE = "1"
COUNT = 12
_NAME = re.compile(r"^(?P<release>[a-z]+)-updates-(?P<version>[1-9]\d*)$")
_SEVERITIES = ("Moderate", "Important", "Critical", "Low")
_KINDS = ("bugfix", "security", "security", "enhancement")


def depot_name(release: Release, version: int) -> str:
    """Return the name of the depot that has one version of the tools."""
    return f"{release.name}-updates-{version}"


def parse_depot_name(name: str) -> Optional[tuple[Release, int]]:
    """Return release and version of an update depot's name, or None of another's."""
    match = _NAME.match(name)
    return (find_release(match["release"]), int(match["version"])) if match else None


def tool_spec(number: int, version: int, mark: str) -> Spec:
    """Return one tool of one version."""
    name = _tool(number)
    paths = [path for path, _ in tool_files(number, version)]
    folders = ["/etc/lab-tool", f"/usr/share/{name}"]
    entries = [Entry(path, "directory", 0o755, "root", "root") for path in folders]
    entries += [_file_entry(path) for path in paths]
    return Spec(
        name=name,
        evr=Evr(0, str(version), mark),
        arch="noarch",
        summary=f"Tool {number} of the Interlock lab",
        requires=(Relation("/bin/sh"), Relation("rpm")),
        entries=tuple(entries),
        scriptlets=_scriptlets(number),
    )


def _file_entry(path: str) -> Entry:
    mode = 0o755 if path.startswith("/usr/bin/") else 0o644
    return Entry(path, "file", mode, "root", "root", config=path.startswith("/etc/"))


def _tool(number: int) -> str:
    return f"lab-tool-{number:02d}"


def _scriptlets(number: int) -> tuple[Scriptlet, ...]:
    itself, other = _tool(number), _tool(number % COUNT + 1)
    return (
        Scriptlet("pre", f"rpm -q {itself} >/dev/null || :"),
        Scriptlet("post", f"rpm -q {other} >/dev/null || :"),
        Scriptlet("preun", f"rpm -q {itself} >/dev/null || :"),
        Scriptlet("postun", f"rpm -q {other} >/dev/null || :"),
    )


def tool_files(number: int, version: int) -> list[tuple[str, str]]:
    """Return the paths of one tool with their contents; every version changes all but one."""
    name = _tool(number)
    files = [
        (f"/usr/bin/{name}", f"#!/bin/sh\necho {name} {version}\n"),
        (f"/etc/lab-tool/{name}.conf", f"# settings of {name}\nlevel = {number}\n"),
    ]
    files += [(f"/usr/share/{name}/data-{part}", _data(name, version, part)) for part in range(1, 6)]
    return files


def _data(name: str, version: int, part: int) -> str:
    line = hashlib.sha256(f"{name} {version} {part}".encode()).hexdigest()
    return f"{line}\n" * (64 * part)


def ensure_updates(
    cache: Cache, release: Release, version: int, key: SigningKey, *, runner: Runner, progress: Progress
) -> Path:
    """Return the depot with ``version`` of the tools for ``release``, making it where it is not there yet."""
    name = depot_name(release, version)
    depot = cache.depots / name
    if depot.exists() and cache.made("depot", name, RECIPE):
        return depot
    progress(f"making the depot {name}")
    cache.unstamp("depot", name)
    work = cache.work / f"updates-{name}"
    shutil.rmtree(work, ignore_errors=True)
    _write_files(work / "root", version)
    specs = [tool_spec(number, version, release.mark) for number in range(1, COUNT + 1)]
    packages = build_packages(specs, work / "root", work / "packages", work / "rpmbuild", runner, jobs=1)
    sign(packages, key, runner, jobs=1)
    bulletin = update_bulletin(release, version, read_packages(work / "packages", runner))
    make_depot(work / "packages", [bulletin], runner, key)
    publish(work / "packages", depot)
    shutil.rmtree(work)
    cache.stamp("depot", name, RECIPE)
    return depot


def _write_files(root: Path, version: int) -> None:
    for number in range(1, COUNT + 1):
        for path, text in tool_files(number, version):
            target = Path(f"{root}{path}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)


def update_bulletin(release: Release, version: int, packages: tuple[tuple[Nevra, str], ...]) -> LabBulletin:
    """Return the bulletin of one version of the tools."""
    return LabBulletin(
        id=f"LAB-2026-{version:04d}",
        title=f"Lab tools {version} for {release.name}",
        kind=_KINDS[version % len(_KINDS)],
        severity=_SEVERITIES[version % len(_SEVERITIES)],
        issued=f"2026-{version % 12 + 1:02d}-{version % 28 + 1:02d} 00:00:00",
        description=f"Version {version} of the twelve tools of the lab. No restart is needed.",
        packages=packages,
    )
