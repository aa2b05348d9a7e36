"""Builds what is missing: trees first, as many at a time as there are processors, then one image after the other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

from interlock.errors import InterlockError
from interlock.lab.cache import Cache, Progress, delete_subvolume, locked
from interlock.lab.depots import sign_unsigned
from interlock.lab.errors import ImageBuildFailed
from interlock.lab.image import Builder, build_image, image_is_made
from interlock.lab.releases import Release, predecessor
from interlock.lab.signing import ensure_key
from interlock.lab.trees import ensure_tree, find_mirror
from interlock.system.run import Runner


def ensure_images(
    cache: Cache,
    releases: Sequence[Release],
    runner: Runner,
    environment: Mapping[str, str],
    progress: Progress,
    *,
    jobs: int = os.cpu_count() or 1,
) -> list[str]:
    """Build the images of ``releases`` that are missing, and return the names of those that were built."""
    if all(image_is_made(cache, release) for release in releases):
        sign_unsigned(cache.depots, ensure_key(cache.keys, runner), runner)
        return []
    with locked(cache, "build.lock", progress):
        wanted = [release for release in releases if not image_is_made(cache, release)]
        if wanted:
            clear_work(cache, runner)
            builder = Builder(cache, ensure_key(cache.keys, runner), runner, progress, jobs)
            mirror = find_mirror(runner, environment)
            _fetch(builder, wanted, mirror)
            for release in wanted:
                _noting(cache, release, lambda one: build_image(builder, one))
    return [release.name for release in wanted]


def _fetch(builder: Builder, wanted: Sequence[Release], mirror: str) -> None:
    needed = _with_predecessors(wanted)

    def fetch(release: Release) -> None:
        ensure_tree(builder.cache, release, mirror, builder.runner, builder.progress)

    with ThreadPoolExecutor(builder.jobs) as pool:
        jobs = [pool.submit(_noting, builder.cache, release, fetch) for release in needed]
        for job in jobs:
            job.result()


def _with_predecessors(releases: Sequence[Release]) -> list[Release]:
    found: list[Release] = []
    for release in releases:
        for one in (predecessor(release), release):
            if one is not None and one not in found:
                found.append(one)
    return found


def _noting(cache: Cache, release: Release, work: Callable[[Release], None]) -> None:
    try:
        work(release)
    except InterlockError as error:
        log = cache.logs / f"build-{release.name}.log"
        log.write_text(f"{error}\n")
        detail = str(error)
        raise ImageBuildFailed(release=release.name, detail=detail[-400:], log=log) from error


def clear_work(cache: Cache, runner: Runner) -> None:
    """Remove what a killed builder left. Only under build.lock."""
    for path in cache.work.iterdir():
        if path.is_dir() and os.lstat(path).st_ino == 256:
            delete_subvolume(path, runner)
        else:
            shutil.rmtree(path, ignore_errors=True)
