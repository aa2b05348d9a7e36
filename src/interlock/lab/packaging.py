"""Turns a tree into specs, and specs into packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from interlock.lab import translate
from interlock.lab.accounts import Accounts
from interlock.lab.debs import Deb, canonical
from interlock.lab.ownership import RELEASE_PACKAGE, SETUP, Entry, assign, describe, listed_owners, walk
from interlock.lab.releases import Release
from interlock.lab.spec import Scriptlet, Spec, rpm_arch, write_spec
from interlock.package import Evr, Relation
from interlock.system.run import Runner

# Libraries and programs of rpm need the macros of the release beside them: those come first.
_NEEDS_RELEASE = ("librpm", "rpm")

_RESTART = "if [ -d /run/systemd/system ]; then {command} || :; fi"
_FIXED_SCRIPTLETS: Mapping[str, tuple[Scriptlet, ...]] = {
    # Once per transaction that brings or removes libraries, as Fedora's glibc does it.
    "libc-bin": (
        Scriptlet("transfiletriggerin -P 2000000 -- /usr/lib", "/sbin/ldconfig"),
        Scriptlet("transfiletriggerpostun -P 2000000 -- /usr/lib", "/sbin/ldconfig"),
    ),
    "systemd": (Scriptlet("posttrans", _RESTART.format(command="systemctl daemon-reexec")),),
    # A server of before the upgrade cannot start the session program of after it. Open sessions live on.
    "openssh-server": (
        Scriptlet("posttrans", _RESTART.format(command="systemctl --no-block try-restart ssh.service")),
    ),
}


@dataclass(frozen=True)
class Before:
    """The release before this one: what a host has that is upgraded."""

    tree: Path
    debs: Sequence[Deb]


@dataclass(frozen=True)
class Tree:
    """A tree ready for packaging: ``root`` as a host shall have it, ``debs`` as its origin described it."""

    root: Path
    debs: Sequence[Deb]
    release: Release
    released_paths: Sequence[str]
    before: Optional[Before] = None


def plan_specs(tree: Tree) -> list[Spec]:
    """Return one spec for every package of the tree, and two for what no package owned."""
    universe = translate.Universe.of(tree.debs, tree.release.mark)
    contents = _contents(tree, universe)
    taken = translate.successors(tree.before.debs, universe) if tree.before else {}
    accounts = Accounts.read(tree.root)
    specs = [
        _spec(deb, universe, contents.get(deb.name, ()), taken.get(deb.name, ())) for deb in universe.debs.values()
    ]
    evr = Evr(0, str(tree.release.number), tree.release.mark)
    specs += [
        Spec(RELEASE_PACKAGE, evr, "noarch", tree.release.title, entries=contents.get(RELEASE_PACKAGE, ())),
        Spec(SETUP, evr, "noarch", "Accounts and settings of the host", entries=contents.get(SETUP, ())),
    ]
    return [_with_scriptlets(spec, accounts, tree.before) for spec in specs]


def _contents(tree: Tree, universe: translate.Universe) -> dict[str, tuple[Entry, ...]]:
    accounts = Accounts.read(tree.root)
    configs = {canonical(tree.root, path) for deb in tree.debs for path in deb.configs}
    owners = listed_owners(tree.root, list(universe.debs.values()))
    paths = list(walk(tree.root))
    extra = dict.fromkeys(tree.released_paths, RELEASE_PACKAGE)
    assigned = assign(paths, owners, extra)
    # What was only a setting of the host is one in the package too.
    configs |= {path for path in assigned.get(SETUP, ()) if path.startswith("/etc/")}
    return {
        name: tuple(describe(tree.root, path, accounts, configs) for path in mine) for name, mine in assigned.items()
    }


def _spec(deb: Deb, universe: translate.Universe, entries: Sequence[Entry], taken: Sequence[Deb]) -> Spec:
    needs = translate.requirements(deb, universe)
    if deb.name.startswith(_NEEDS_RELEASE):
        needs = (*needs, Relation(RELEASE_PACKAGE, ">=", Evr(0, universe.mark[len("lab") :])))
    return Spec(
        name=deb.name,
        evr=translate.translate_version(deb.version, universe.mark),
        arch=rpm_arch(deb.arch),
        summary=deb.summary,
        requires=needs,
        provides=translate.provisions(deb, universe),
        conflicts=translate.conflicts(deb, universe),
        obsoletes=translate.obsoletes(taken, universe.mark),
        entries=tuple(entries),
    )


def _with_scriptlets(spec: Spec, accounts: Accounts, before: Optional[Before]) -> Spec:
    scriptlets = list(_FIXED_SCRIPTLETS.get(spec.name, ()))
    if spec.name == SETUP:
        users, groups = [user.name for user in accounts.users], [group.name for group in accounts.groups]
    else:
        users, groups = accounts.dynamic((entry.user, entry.group) for entry in spec.entries)
    makes = accounts.scriptlet(users, groups)
    if makes:
        scriptlets.append(Scriptlet("pre", makes))
        spec = replace(spec, requires=(*spec.requires, Relation("passwd", pre=True)))
    moved = _folders_that_become_links(spec.entries, before)
    if moved:
        scriptlets.append(Scriptlet("pretrans -p <lua>", make_way(moved)))
    return replace(spec, scriptlets=tuple(scriptlets))


def _folders_that_become_links(entries: Iterable[Entry], before: Optional[Before]) -> list[str]:
    if before is None:
        return []
    links = [entry.path for entry in entries if entry.kind == "link"]
    return [path for path in links if _is_folder(str(before.tree) + path)]


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def make_way(paths: Sequence[str]) -> str:
    """Return the Lua text that moves directories aside which become links: rpm itself cannot."""
    lines = []
    for path in paths:
        lines += [
            f'status = posix.stat("{path}")',
            'if status and status.type == "directory" then',
            f'  os.rename("{path}", "{path}.rpmmoved")',
            "end",
        ]
    return "\n".join(lines)


_MACROS: Mapping[str, str] = {
    "_binary_payload": "w2.zstdio",
    "_build_id_links": "none",
    "_buildhost": "lab",
    "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
    "__spec_install_pre": "%{nil}",
    "__spec_clean_cmd": "true",
    "__os_install_post": "%{nil}",
    "__arch_install_post": "%{nil}",
    "__check_files": "%{nil}",
    "_binaries_in_noarch_packages_terminate_build": "0",
    "_invalid_encoding_terminates_build": "0",
}


def build_packages(
    specs: Sequence[Spec], root: Path, target: Path, work: Path, runner: Runner, *, jobs: int = 2
) -> list[Path]:
    """Build every spec from the files under ``root`` into ``target``, and return the packages."""
    shutil.rmtree(work, ignore_errors=True)
    # All that rpmbuild would make itself: where two of them make it at once, one of them fails.
    for folder in (work, target, *(work / name for name in ("BUILD", "BUILDROOT", "SRPMS", "home"))):
        folder.mkdir(parents=True, exist_ok=True)
    texts = _write_specs(specs, work)
    shares = [texts[start : start + 20] for start in range(0, len(texts), 20)]
    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(_build_share, share, root, target, work, runner) for share in shares]:
            done.result()
    return sorted(target.glob("*.rpm"))


def _write_specs(specs: Sequence[Spec], work: Path) -> list[Path]:
    paths: list[Path] = []
    for spec in sorted(specs, key=lambda one: -len(one.entries)):
        paths.append(work / f"{spec.name}.spec")
        paths[-1].write_text(write_spec(spec))
    return paths


def _build_share(specs: Sequence[Path], root: Path, target: Path, work: Path, runner: Runner) -> None:
    macros = {**_MACROS, "_topdir": str(work), "_rpmdir": str(target), "_tmppath": str(work)}
    words = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    argv = ["rpmbuild", "-bb", "--noclean", "--buildroot", str(root), *words, *map(str, specs)]
    runner.run(argv, timeout=1200, env={"HOME": str(work / "home")})


def owned(specs: Iterable[Spec]) -> set[str]:
    """Return every path that some package owns."""
    return {entry.path for spec in specs for entry in spec.entries}
