"""Small packages and depots for tests and scenarios, made with the real tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from interlock.lab.signing import SigningKey, sign, sign_metadata
from interlock.system.run import Runner

HEAD = """Name: {name}
Version: {version}
Release: 1
Summary: A package of a test
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
{relations}
%description
A package of a test.
%install
{install}
"""


@dataclass(frozen=True)
class Recipe:
    """A package to be made. ``files`` maps paths to their content, ``scripts`` section names to shell."""

    name: str
    version: str = "1"
    files: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    requires: Sequence[str] = ()
    obsoletes: Sequence[str] = ()

    def spec(self) -> str:
        """Return the spec file."""
        relations = "".join(f"Requires: {one}\n" for one in self.requires)
        relations += "".join(f"Obsoletes: {one}\n" for one in self.obsoletes)
        install = "\n".join(
            f"mkdir -p %{{buildroot}}{Path(path).parent}\nprintf '%s' '{text}' > %{{buildroot}}{path}"
            for path, text in self.files.items()
        )
        scripts = "\n".join(f"%{section}\n{text}\n" for section, text in self.scripts.items())
        head = HEAD.format(name=self.name, version=self.version, relations=relations, install=install or ":")
        return head + scripts + "\n%files\n" + "\n".join(self.files) + "\n"


def build(recipes: Sequence[Recipe], target: Path, work: Path, runner: Runner) -> list[Path]:
    """Build packages into ``target`` and return their files, unsigned."""
    work.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    defines = {
        "_topdir": work,
        "_rpmdir": target,
        "_rpmfilename": "%{NAME}-%{VERSION}-%{RELEASE}.noarch.rpm",
        "_binary_payload": "w6.gzdio",
        "__os_install_post": "%{nil}",
        "_build_id_links": "none",
    }
    words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
    specs = []
    for recipe in recipes:
        specs.append(work / f"{recipe.name}-{recipe.version}.spec")
        specs[-1].write_text(recipe.spec())
    runner.run(["rpmbuild", "-bb", *words, *map(str, specs)], timeout=120)
    return [target / f"{recipe.name}-{recipe.version}-1.noarch.rpm" for recipe in recipes]


def make_depot(
    folder: Path,
    recipes: Sequence[Recipe],
    work: Path,
    runner: Runner,
    key: SigningKey | None,
    *,
    metadata_key: SigningKey | None = None,
) -> Path:
    """Make a depot of newly built packages, signed with ``key`` if there is one, metadata with ``metadata_key``."""
    packages = build(recipes, folder, work, runner)
    if key is not None:
        sign(packages, key, runner)
    index(folder, runner, metadata_key or key)
    return folder


def index(folder: Path, runner: Runner, key: SigningKey | None) -> None:
    """Write a depot's metadata, signed with ``key`` if there is one."""
    runner.run(["createrepo_c", "--quiet", "--general-compress-type=gz", str(folder)], timeout=60)
    if key is not None:
        sign_metadata(folder, key, runner)
