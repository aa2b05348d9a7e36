"""Hands that act on files: put aside, put back from a package.

Rules. A file is never written in place: the new one is made beside it, gets its owner, mode and time, and is renamed
over it. What is on the disk is looked at again before anything is done to it: it may have been put right meanwhile.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from interlock.rpmdb.unfinished import is_leftover
from interlock.system import durable, linux
from interlock.system.run import Runner
from interlock.waits import package_files
from interlock.waits.cure_state import some
from interlock.waits.hands import StepFailed, Treatment
from interlock.waits.package_payload import Taken, take


def put_aside(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Move rpm's unfinished files out of the way."""
    moved = []
    for path in data["files"]:
        if is_leftover(path, treatment.host.clock.now()) and os.path.lexists(path):
            target = os.path.join(treatment.aside, path.lstrip("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.move(path, target)
            moved.append(path)
    return f"in {treatment.aside} are now: {some(moved)}" if moved else "what rpm did not finish is gone already"


def restore_files(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Put files back from the package files of their packages; every package is looked for before any is changed."""
    by_package: dict[str, list[str]] = {}
    for nevra, path in data["files"]:
        by_package.setdefault(nevra, []).append(path)
    wanted = {nevra: package_files.identity(treatment, nevra) for nevra in by_package}
    found = package_files.find(treatment, list(wanted.values()))
    for nevra, paths in by_package.items():
        _restore(treatment, found[wanted[nevra]], paths)
    paths = list(dict.fromkeys(path for _, path in data["files"]))
    return f"put back: {some(paths)}, from {some(sorted(found.values()))}"


def _restore(treatment: Treatment, package: str, paths: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(dir=treatment.folder) as folder:
        taken = take(treatment.host.runner, package, paths, folder)
        for path in paths:
            _replace(treatment.host.runner, path, taken[path])


def _replace(runner: Runner, path: str, taken: Taken) -> None:
    temporary = f"{path}.interlock-{os.getpid()}"
    try:
        _copy_durably(taken.content, temporary)
        os.chown(temporary, _number(taken.owner, _user), _number(taken.group, _group))
        os.chmod(temporary, taken.mode)
        _keep_attributes(path, temporary)
        if taken.capabilities:
            # The kernel took them away when the file lost its content.
            runner.run(["setcap", taken.capabilities, temporary])
        os.utime(temporary, (taken.modified, taken.modified))
        os.rename(temporary, path)
    except BaseException:
        durable.remove_file(temporary)
        raise
    durable.sync_directory(os.path.dirname(path))


def _copy_durably(source: str, target: str) -> None:
    with open(source, "rb") as reading, open(target, "xb") as writing:
        if not linux.clone_file(reading.fileno(), writing.fileno()):
            shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())


def _keep_attributes(path: str, temporary: str) -> None:
    """Give the new file the old one's extended attributes: its security label, its capabilities."""
    try:
        for name in os.listxattr(path, follow_symlinks=False):
            os.setxattr(temporary, name, os.getxattr(path, name, follow_symlinks=False))
    except OSError:
        return


def _number(name: str, ask: Callable[[str], Optional[int]]) -> int:
    number = ask(name)
    # rpm itself gives a file to root where its owner does not exist.
    return 0 if number is None else number


def _user(name: str) -> Optional[int]:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _group(name: str) -> Optional[int]:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def install_files(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Install package files, in one transaction."""
    paths = list(data["files"])
    run_rpm(treatment, ["-U", "--", *paths])
    return f"rpm installed {', '.join(paths)}"


def run_rpm(treatment: Treatment, words: Sequence[str]) -> None:
    """Run the host's rpm; StepFailed with what it said where it does not succeed."""
    done = treatment.host.runner.run(["rpm", *words], timeout=900, check=False)
    if done.status != 0:
        said = (done.stderr or done.stdout).strip()[-400:]
        raise StepFailed(detail=f"`rpm {' '.join(words)}` ended with {done.status}: {said}")


HANDS: Mapping[str, Callable[[Treatment, Mapping[str, Any]], str]] = {
    "put-aside": put_aside,
    "restore-files": restore_files,
    "install-files": install_files,
}
