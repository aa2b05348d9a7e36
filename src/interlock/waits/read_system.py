"""Reads what of the rest of the host bears on its packages: file systems, kernels, the loader, what starts at boot."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from interlock.waits.conditions import System
from interlock.waits.facts import Facts
from interlock.waits.read_boot import read_boot
from interlock.waits.read_mounts import read_mounts

if TYPE_CHECKING:
    from interlock.waits.look import Place

LIBRARIES = (
    "lib64", "usr/lib64", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu",
)  # fmt: skip
LOADERS = ("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1")
# Both say of which build they are: ``GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36`` in the library,
# ``ld.so (Debian GLIBC 2.36-9) stable release version 2.36`` in the loader (until 2.32 it had no such text).
_BUILD = re.compile(
    rb"(?:GNU C Library|ld\.so) (\([^)\n]{1,80}\) )?(?:stable|development) release version ([0-9]{1,3}\.[0-9]{1,3})"
)
_LARGEST = 8 << 20


def read_system(place: Place, facts: Facts) -> System:
    """Return mounts, kernels and the like."""
    system = read_boot(place, facts)
    return system._replace(
        mounts=read_mounts(place, facts), loader=read_loader(place), offline_update=read_offline_update(place, facts),
        fapolicyd=read_fapolicyd(place, facts),
    )  # fmt: skip


def read_loader(place: Place) -> str:
    """Say how the dynamic loader and the C library differ; empty where they are of one build, or do not say."""
    for folder in LIBRARIES:
        inside = place.path(f"/{folder}")
        library = build_of(os.path.join(inside, "libc.so.6"))
        loaders = ((name, build_of(os.path.join(inside, name))) for name in LOADERS)
        for name, build in loaders:
            if library and build and library != build:
                return f"/{folder}/libc.so.6 is of {library}, /{folder}/{name} is of {build}"
    return ""


def build_of(path: str) -> str:
    """Return the build that a loader or a C library says it is of, or an empty string."""
    try:
        with open(path, "rb") as stream:
            found = _BUILD.search(stream.read(_LARGEST))
    except OSError:
        return ""
    return (
        "" if found is None else b" ".join([found.group(1) or b"", found.group(2)]).decode("ascii", "replace").strip()
    )


def read_offline_update(place: Place, facts: Facts) -> str:
    """Return where ``/system-update`` leads while the host is in an offline update; empty where it is not."""
    for path in ("/system-update", "/etc/system-update"):
        if os.path.islink(place.path(path)) and _is_updating(place, facts):
            return os.readlink(place.path(path))
    return ""


def _is_updating(place: Place, facts: Facts) -> bool:
    """Say whether this boot is the update's own: its generator has then made it the target, in place of the usual."""
    target = place.path("/run/systemd/generator.early/default.target")
    return os.path.islink(target) and os.path.basename(os.readlink(target)) == "system-update.target"


def read_fapolicyd(place: Place, facts: Facts) -> str:
    """Say that fapolicyd runs with other trust data than the packages on the disk; empty where it does not."""
    daemons = [one for one in facts.processes.values() if one.name == "fapolicyd"]
    trust, database = place.path("/var/lib/fapolicyd/data.mdb"), place.path(facts.database.path)
    if not daemons:
        return ""
    try:
        if not _denies(place):
            return ""
        older = os.stat(trust).st_mtime < os.stat(database).st_mtime
    except OSError:
        return ""
    return f"/var/lib/fapolicyd/data.mdb is older than {facts.database.path}" if older else ""


def _denies(place: Place) -> bool:
    """Say whether the daemon refuses what it does not know; in its permissive mode it only writes it down."""
    try:
        with open(place.path("/etc/fapolicyd/fapolicyd.conf"), encoding="utf-8", errors="replace") as stream:
            rows = [line.split("#")[0].partition("=") for line in stream]
    except OSError:
        return True
    return not any(name.strip() == "permissive" and value.strip() == "1" for name, _, value in rows)
