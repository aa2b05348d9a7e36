"""Judges the programs that every boot runs: are they there, whole, and of one build with their libraries?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Optional

from interlock.boot.boot_elf import Elf
from interlock.boot.boot_programs import INIT, SHELL, Part, Programs, Start
from interlock.boot.verdict import Reason

# Since this release the loader names its release as the library does.
LOADER_SAYS = (2, 33)
GLIBC = re.compile(
    r"^(ld-linux.*|ld64.*|ld-\d.*|ld\.so.*|(lib(c|m|mvec|dl|rt|pthread|resolv|util|anl|nsl|nss_\w+)"
    r"(\.so.*|-\d[\d.]*\.so)))$"
)
NAMED = re.compile(r"^(?:ld|lib\w+)-(\d+\.\d+)\.so$")
GLIBC_ADVICE = "Do not reboot. Install one version of glibc as a whole: `interlock resume`, or rpm with its package."
FILE_ADVICE = "Install the package that owns it again; `rpm -qf` names it."


def judge_programs(programs: Programs) -> list[Reason]:
    """Return what speaks against starting these programs."""
    reasons = [reason for one in programs.starts for reason in _started(one)]
    broken = [reason for part in programs.parts.values() for reason in _broken(programs, part)]
    absent = [reason for part in programs.parts.values() for reason in _absent(part)]
    # The loader is also a library by its name: that it is not there is said once.
    gone = {os.path.basename(one.subject) for one in absent if one.id == "loader-missing"}
    absent = [one for one in absent if one.id == "loader-missing" or one.subject not in gone]
    unfit = list(_glibc(programs)) if not broken else []
    if not (broken or unfit or absent):
        unfit = list(_versions(programs))
    return _once([*reasons, *broken, *absent, *unfit])


def _once(reasons: list[Reason]) -> list[Reason]:
    return list({(one.id, one.subject): one for one in reversed(reasons)}.values())[::-1]


def _started(start: Start) -> Iterator[Reason]:
    kind = "shell" if start.asked == SHELL else "init"
    if not start.path:
        yield Reason(f"{kind}-missing", start.asked, "there is no such program, or its link leads nowhere", FILE_ADVICE)
    elif not start.runnable:
        name = f"{kind}-not-executable" if start.asked in (INIT, SHELL) else "program-not-executable"
        yield Reason(name, start.asked, "nobody may execute it", f"chmod 755 {start.path}, or: {FILE_ADVICE}")


def _broken(programs: Programs, part: Part) -> Iterator[Reason]:
    if part.wrong:
        yield Reason(f"{_kind(programs, part.path)}-broken", part.path, part.wrong, FILE_ADVICE)


def _kind(programs: Programs, path: str) -> str:
    """Say what a file is for the boot: what only a library is, is told by exclusion."""
    asked = {one.path: one.asked for one in programs.starts}
    if path in asked:
        return {SHELL: "shell"}.get(asked[path], "init" if asked[path] == programs.starts[0].asked else "program")
    loaders = {part.interpreter_at for part in programs.parts.values()}
    return "loader" if path in loaders else "library"


def _absent(part: Part) -> Iterator[Reason]:
    if part.interpreter and not part.interpreter_at:
        detail = f"{part.path} is started by it, and it is not there, or its link leads nowhere"
        yield Reason("loader-missing", part.interpreter, detail, FILE_ADVICE)
    for name, found in part.needs:
        if not found:
            yield Reason("library-missing", name, f"{part.path} needs it, and it is nowhere", FILE_ADVICE)


def _glibc(programs: Programs) -> Iterator[Reason]:
    """Find a library of one glibc beside the loader or a library of another."""
    for part in programs.parts.values():
        for name, found in part.needs:
            if part.elf and found and _of_glibc(part.path) and _of_glibc(found):
                provider = programs.parts[found]
                detail = _mismatch(part, part.elf, name, provider)
                if detail:
                    yield Reason("libc-loader-mismatch", part.path, detail, GLIBC_ADVICE)


def _of_glibc(path: str) -> bool:
    return GLIBC.match(os.path.basename(path)) is not None


def _mismatch(part: Part, elf: Elf, name: str, provider: Part) -> str:
    if provider.elf is None:
        return ""
    ours, theirs = _release(part.path, elf), _release(provider.path, provider.elf)
    if ours and theirs and ours != theirs:
        return f"it is of glibc {ours}, {provider.path} of {theirs}"
    if ours and not theirs and _numbers(ours) >= LOADER_SAYS and os.path.basename(provider.path).startswith("ld"):
        return f"it is of glibc {ours}, {provider.path} of one before {'.'.join(map(str, LOADER_SAYS))}"
    lacking = sorted(elf.requires.get(name, frozenset()) - provider.elf.defines)
    lacking += [symbol for symbol, library in elf.wanted if library == name and symbol not in provider.elf.private]
    return f"it needs {', '.join(lacking[:4])} of {provider.path}, which does not have it" if lacking else ""


def _release(path: str, elf: Elf) -> str:
    match = NAMED.match(os.path.basename(path))
    return elf.release or (match.group(1) if match else "")


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


def _versions(programs: Programs) -> Iterator[Reason]:
    """Find symbol versions that the library found for them does not have."""
    for part in programs.parts.values():
        for name, found in part.needs:
            lacking = _lacking(part.elf, name, programs.parts[found].elf) if found else []
            if lacking:
                detail = f"{part.path} needs {', '.join(lacking[:4])} of it, and it does not have that"
                yield Reason("library-version-missing", found, detail, FILE_ADVICE)


def _lacking(elf: Optional[Elf], name: str, provider: Optional[Elf]) -> list[str]:
    if elf is None or provider is None:
        return []
    return sorted(elf.requires.get(name, frozenset()) - provider.defines)
