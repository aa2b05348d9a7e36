"""Hands that act on the rest of the host: mounts, kernels, services. Each looks afterwards whether it helped."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from interlock.errors import InterlockError
from interlock.waits.hands import StepFailed, Treatment
from interlock.waits.image import what_is_wrong
from interlock.waits.read_boot import BOOT, IMAGES

# An initramfs takes a minute or so, removing a kernel some scriptlets.
TOOL_LIMIT, REMOVE_LIMIT, LIMIT = 900.0, 300.0, 60.0


def _run(treatment: Treatment, argv: Sequence[str], limit: float) -> None:
    try:
        treatment.host.runner.run(argv, timeout=limit)
    except InterlockError as error:
        raise StepFailed(detail=str(error)) from error


def remount(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Mount a file system for writing."""
    path = data["path"]
    _run(treatment, ["mount", "-o", data["options"], path], LIMIT)
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise StepFailed(detail=f"{path} is still read-only, though mount(8) has reported success")
    return f"{path} is mounted for writing"


def make_initramfs(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Make the initramfs of one kernel, and look whether it is whole: dracut may succeed with half an image."""
    tool, version = data["tool"], data["version"]
    path = image_path(os.path.basename(tool), version)
    _run(treatment, command(tool, version, path), TOOL_LIMIT)
    wrong = what_is_wrong(path)
    if wrong:
        raise StepFailed(detail=f"{tool} has reported success, but {path} is not whole: {wrong}")
    return f"{path} is made, and whole"


def image_path(tool: str, version: str) -> str:
    """Return where the initramfs of a kernel belongs: where one is, else where the tool's distributions have it."""
    for shape in IMAGES:
        path = f"{BOOT}/{shape.format(version)}"
        if os.path.lexists(path):
            return path
    return f"{BOOT}/{IMAGES[1 if tool == 'dracut' else 0].format(version)}"


def command(tool: str, version: str, path: str) -> list[str]:
    """Return what makes an initramfs with one of the tools that there are."""
    name = os.path.basename(tool)
    if name == "dracut":
        return [tool, "--force", path, version]
    if name == "update-initramfs":
        return [tool, "-u" if os.path.lexists(path) else "-c", "-k", version]
    return [tool, "-o", path, version]


def remove_packages(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Remove packages with rpm, as the user agreed to."""
    packages = list(data["packages"])
    treatment.meant += packages
    _run(treatment, ["rpm", "-e", *packages], REMOVE_LIMIT)
    return f"removed: {', '.join(packages)}"


def update_trust(treatment: Treatment, _data: Mapping[str, Any]) -> str:
    """Have fapolicyd read its trust data anew."""
    _run(treatment, ["fapolicyd-cli", "--update"], LIMIT)
    return "fapolicyd reads its trust data anew"


HANDS: Mapping[str, Callable[[Treatment, Mapping[str, Any]], str]] = {
    "remount": remount,
    "make-initramfs": make_initramfs,
    "remove-packages": remove_packages,
    "update-trust": update_trust,
}
