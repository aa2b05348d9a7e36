"""Staging: every package of a plan in a directory of ours, whole, signed and the one that the depot said.

Has no effect but on that directory; can be broken off and run again, and then fetches only what is missing. The
caller gives a private copy of the rpm database for the keys: no environment of the live one is ever opened.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Callable

from interlock.depot import fetch
from interlock.depot.errors import (
    BadSignature,
    DamagedPackage,
    UnknownKey,
    UnsignedPackage,
    WrongPackage,
    some_names,
)
from interlock.depot.keys import Key, kept_paths, states
from interlock.depot.metadata import DepotPackage
from interlock.depot.signatures import AT_A_TIME, SignatureCheck, Trust, batches, check_signatures, with_states
from interlock.depot.source import Source, open_source
from interlock.depot.trust_errors import ExpiredPackageKey, RevokedPackageKey
from interlock.package import Evr, Nevra
from interlock.system.durable import sync_directory
from interlock.system.run import Runner
from interlock.upgrade.plan import Plan

KEYS_LIMIT = 60.0
BYTES_A_SECOND = 2 * 1024 * 1024
_FORMAT = "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%|SOURCEPACKAGE?{src}:{%{ARCH}}|\\n"


@dataclass(frozen=True)
class StageProgress:
    """How far staging is. ``step`` is ``fetch`` or ``check``; ``package`` is the one just begun or going on."""

    step: str
    package: str
    number: int
    total: int
    bytes_done: int
    bytes_total: int


Progress = Callable[[StageProgress], None]


@dataclass(frozen=True)
class Staged:
    """Where the staged packages are: the path of each, all of them in ``directory``."""

    directory: str
    files: Mapping[Nevra, str]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, for ``from_json``."""
        names = {str(nevra): os.path.basename(path) for nevra, path in self.files.items()}
        return {"directory": self.directory, "files": names}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Staged:
        """Read what ``to_json`` wrote; ValueError where a file would lie outside of the directory."""
        directory = str(row["directory"])
        names = {Nevra.parse(text): str(name) for text, name in row["files"].items()}
        if any(os.path.basename(name) != name or not name for name in names.values()):
            raise ValueError("a staged file lies outside of its directory")
        return cls(directory, {nevra: os.path.join(directory, name) for nevra, name in names.items()})


def stage(
    plan: Plan,
    depot_location: str,
    directory: str,
    runner: Runner,
    *,
    dbpath: str,
    progress: Progress,
    allow_unsigned: bool = False,
    allowed: Collection[str] = (),
    kept: str = "",
) -> Staged:
    """Bring the packages of ``plan`` from the depot into ``directory`` and check each of them.

    ``dbpath`` is a private copy of the rpm database whose keys are trusted, and so are those in the directory ``kept``;
    ``allowed`` narrows them down to some fingerprints. Raises DepotMissing, DepotUnreadable, FileMissing,
    TruncatedPackage, DigestMismatch, DamagedPackage, WrongPackage (exit status 7); UnsignedPackage (not where
    ``allow_unsigned``), UnknownKey, ExpiredPackageKey, RevokedPackageKey, BadSignature, NoSpaceToStage (3); and what
    the runner raises.
    """
    source = open_source(depot_location)
    fetch.make_directory(directory)
    files = _fetch_all(plan.packages, source, directory, progress)
    checks = _Checks(runner, dbpath, progress, _trusted(kept, dbpath, runner), allowed)
    _check_trust(plan.packages, files, source.location, checks, allow_unsigned)
    return Staged(directory, files)


def _fetch_all(
    packages: Sequence[DepotPackage], source: Source, directory: str, progress: Progress
) -> dict[Nevra, str]:
    there = {one.nevra for one in packages if fetch.is_fetched(one, directory)}
    missing = [one for one in packages if one.nevra not in there]
    fetch.check_space(missing, directory)
    total, done = sum(one.download_size for one in missing), 0
    for number, package in enumerate(missing, 1):

        def tell(received: int, number: int = number, package: DepotPackage = package) -> None:
            nonlocal done
            done += received
            progress(StageProgress("fetch", str(package.nevra), number, len(missing), done, total))

        tell(0)
        fetch.fetch(package, source, directory, tell)
    sync_directory(directory)
    return {one.nevra: fetch.path_of(one, directory) for one in packages}


def _trusted(kept: str, dbpath: str, runner: Runner) -> tuple[Key, ...]:
    """Let rpm's copy know the kept keys as well, and return what is known of all."""
    paths = kept_paths(kept)
    if paths:
        runner.run(["rpmkeys", "--dbpath", dbpath, "--import", *paths], timeout=KEYS_LIMIT)
    query = ["rpm", "--dbpath", dbpath, "-q", "gpg-pubkey", "--qf", "%{DESCRIPTION}\\n"]
    return states(runner.run(query, check=False, timeout=KEYS_LIMIT).stdout, runner)


@dataclass(frozen=True)
class _Checks:
    runner: Runner
    dbpath: str
    progress: Progress
    keys: Sequence[Key]
    allowed: Collection[str]

    def limit(self, packages: Sequence[DepotPackage]) -> float:
        """Return how many seconds the check of these may take on a slow disk."""
        return 60 + sum(one.download_size for one in packages) / BYTES_A_SECOND


def _check_trust(
    packages: Sequence[DepotPackage],
    files: Mapping[Nevra, str],
    depot: str,
    checks: _Checks,
    allow_unsigned: bool,
) -> None:
    """Check the signatures of all, so that an error names all that it is about; then what the files hold."""
    size, done = sum(one.download_size for one in packages), 0
    by_path = {files[one.nevra]: one for one in packages}
    groups = list(batches(list(by_path)))
    found: dict[Nevra, SignatureCheck] = {}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = pool.map(lambda group: _check_group([by_path[path] for path in group], group, checks), groups)
        names = [pool.submit(_check_names, [by_path[path] for path in one], one, depot, checks) for one in groups]
        for group, answer in zip(groups, answers):
            found.update({by_path[path].nevra: answer[path] for path in group})
            done += sum(by_path[path].download_size for path in group)
            first = str(by_path[group[0]].nevra)
            checks.progress(StageProgress("check", first, len(found), len(by_path), done, size))
        _judge(found, depot, allow_unsigned)
        for name in names:
            name.result()


def _check_group(
    packages: Sequence[DepotPackage], paths: Sequence[str], checks: _Checks
) -> Mapping[str, SignatureCheck]:
    found = check_signatures(paths, checks.runner, checks.dbpath, checks.limit(packages))
    return {path: with_states(check, checks.keys, checks.allowed) for path, check in found.items()}


def _judge(found: Mapping[Nevra, SignatureCheck], depot: str, allow_unsigned: bool) -> None:
    def named(trust: Trust) -> dict[str, Any]:
        some = {str(nevra): check for nevra, check in found.items() if check.trust == trust}
        if not some:
            return {}
        first = next(iter(some.values()))
        keys = some_names(dict.fromkeys(key for check in some.values() for key in check.keys))
        return {"package": some_names(some), "depot": depot, "key": keys, "detail": first.detail}

    for trust, error in (
        (Trust.DAMAGED, DamagedPackage), (Trust.BAD_SIGNATURE, BadSignature), (Trust.REVOKED_KEY, RevokedPackageKey),
        (Trust.EXPIRED_KEY, ExpiredPackageKey), (Trust.UNKNOWN_KEY, UnknownKey), (Trust.UNSIGNED, UnsignedPackage),
    ):  # fmt: skip
        fields = named(trust)
        if fields and not (trust is Trust.UNSIGNED and allow_unsigned):
            raise error(**fields)


def _check_names(packages: Sequence[DepotPackage], paths: Sequence[str], depot: str, checks: _Checks) -> None:
    """Check that each file holds the package that the metadata said; both may be signed, yet differ."""
    argv = ["rpm", "--dbpath", checks.dbpath, "-qp", "--nosignature", "--nomanifest", "--qf", _FORMAT, *paths]
    lines = checks.runner.run(argv, timeout=checks.limit(packages)).stdout.splitlines()
    for package, line in zip(packages, lines):
        found = _nevra(line)
        if found != package.nevra:
            raise WrongPackage(file=package.location, depot=depot, found=found, package=package.nevra)
    if len(lines) != len(packages):
        detail = f"rpm printed {len(lines)} names for {len(packages)} files"
        raise DamagedPackage(package=some_names(str(one.nevra) for one in packages), depot=depot, detail=detail)


def _nevra(line: str) -> Nevra:
    name, epoch, version, release, arch = line.split("\t")
    return Nevra(name, Evr(int(epoch), version, release), arch)
