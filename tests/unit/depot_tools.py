"""Small real repositories for the tests: built by rpmbuild and createrepo_c once a run, in a second or two."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from interlock.depot.metadata import DepotPackage
from interlock.package import Evr, Nevra, Package, Relation

ENVIRONMENT = {**os.environ, "LC_ALL": "C", "HOME": "/nonexistent"}


@dataclass(frozen=True)
class Spec:
    """One package to build; the relations are lines of a spec file."""

    name: str
    version: str = "1"
    release: str = "1"
    epoch: int = 0
    lines: tuple[str, ...] = field(default=())
    files: tuple[str, ...] = field(default=())


def spec_text(spec: Spec) -> str:
    """Return a spec file that needs no source."""
    words = f"{spec.name} {spec.version} {spec.release}"
    made = "".join(
        f"mkdir -p %{{buildroot}}{os.path.dirname(one)}\necho {words} > %{{buildroot}}{one}\n" for one in spec.files
    )
    return "\n".join([
        f"Name: {spec.name}", f"Version: {spec.version}", f"Release: {spec.release}",
        *([f"Epoch: {spec.epoch}"] if spec.epoch else []), "Summary: test", "License: none", "BuildArch: noarch",
        "AutoReqProv: no", *spec.lines, "%description", "test", "%install", made, "%files", *spec.files, "",
    ])  # fmt: skip


def build(specs: Sequence[Spec], directory: str) -> list[str]:
    """Build packages and return their paths."""
    top = tempfile.mkdtemp(prefix="interlock-rpmbuild-")
    try:
        paths = []
        for index, spec in enumerate(specs):
            path = os.path.join(top, f"{index}.spec")
            with open(path, "w") as stream:
                stream.write(spec_text(spec))
            paths.append(path)
        subprocess.run(
            ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {top}", "--define", f"_rpmdir {directory}",
             "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
             "--define", "_build_id_links none", *paths],
            check=True, env=ENVIRONMENT, capture_output=True,
        )  # fmt: skip
    finally:
        shutil.rmtree(top)
    return [os.path.join(directory, f"{one.name}-{one.version}-{one.release}.noarch.rpm") for one in specs]


def create_repository(directory: str, *options: str) -> None:
    """Run createrepo_c."""
    subprocess.run(["createrepo_c", "-q", *options, directory], check=True, capture_output=True)


def scratch() -> str:
    """Return a directory that is removed when the run ends."""
    directory = tempfile.mkdtemp(prefix="interlock-test-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


ARCHES = ("noarch", "x86_64", "i686", "aarch64", "(none)")


def write_repository(directory: str, files: Mapping[str, bytes], **wrong: str) -> str:
    """Write ``repodata`` by hand: the bytes of each kind, with right checksums unless ``wrong`` gives others."""
    folder = os.path.join(directory, "repodata")
    os.makedirs(folder, exist_ok=True)
    rows = []
    for kind, content in files.items():
        with open(os.path.join(folder, kind), "wb") as stream:
            stream.write(content)
        location = wrong.get("location", f"repodata/{kind}")
        rows.append(
            f'<data type="{kind}"><checksum type="{wrong.get("kind", "sha256")}">'
            f"{wrong.get('checksum', hashlib.sha256(content).hexdigest())}</checksum>"
            f'<location href="{location}"/><size>{wrong.get("size", len(content))}</size></data>'
        )
    with open(os.path.join(folder, "repomd.xml"), "w") as stream:
        stream.write(f"<repomd><revision>7</revision>{''.join(rows)}</repomd>")
    return directory


def primary(*packages: str) -> bytes:
    """Return a primary.xml of these package elements."""
    head = '<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm">'
    return f'<?xml version="1.0" encoding="UTF-8"?>{head}{"".join(packages)}</metadata>'.encode()


def package_xml(
    name: str = "tool",
    *,
    version: str = "1",
    arch: str = "noarch",
    location: str = "tool.rpm",
    more: str = "",
    checksum: str = "a" * 64,
    epoch: str = "0",
) -> str:
    """Return a package element."""
    return (
        f'<package type="rpm"><name>{name}</name><arch>{arch}</arch><version epoch="{epoch}" ver="{version}" rel="1"/>'
        f'<checksum type="sha256" pkgid="YES">{checksum}</checksum><size package="10" installed="20" archive="5"/>'
        f'<location href="{location}"/><format>{more}</format></package>'
    )


def package(
    nevra: str,
    *,
    provides: str = "",
    requires: str = "",
    conflicts: str = "",
    obsoletes: str = "",
    files: Sequence[str] = (),
    size: int = 100,
) -> Package:
    """Return a package; relations are given as in a spec file, apart by commas; it provides its own name."""
    known = Nevra.parse(nevra if nevra.rpartition(".")[2] in ARCHES else f"{nevra}.noarch")
    own = Relation(known.name, "=", known.evr)
    return Package(
        known, (own, *relations(provides)), relations(requires), relations(conflicts), relations(obsoletes),
        tuple(files), size,
    )  # fmt: skip


def relations(text: str) -> tuple[Relation, ...]:
    """Read ``a, b >= 1``."""
    found = []
    for one in filter(None, (part.strip() for part in text.split(","))):
        words = one.split()
        plain = one.startswith("(") or len(words) == 1
        found.append(Relation(one) if plain else Relation(words[0], words[1], Evr.parse(words[2])))
    return tuple(found)


def offered(*packages: Package) -> tuple[DepotPackage, ...]:
    """Return packages as a depot has them."""
    return tuple(
        DepotPackage(one, f"{one.nevra}.rpm", "sha256", hashlib.sha256(str(one.nevra).encode()).hexdigest(), 10)
        for one in packages
    )


SPECS = (
    Spec("tool", "2", lines=("Requires: libtool >= 2", "Requires(pre): /usr/bin/helper", "Provides: tool(x) = 3:2-1")),
    Spec("libtool", "2", epoch=1, lines=("Obsoletes: oldtool < 2", "Conflicts: tool < 1.5", "Recommends: nothing")),
    Spec("helper", "1", files=("/usr/bin/helper", "/usr/share/helper/data", "/etc/helper.conf")),
)
UPDATEINFO = """<?xml version="1.0" encoding="UTF-8"?>
<updates>
 <update from="security@example.org" status="final" type="security" version="1">
  <id>EX-2024-1</id><title>tool: mended</title><severity>Important</severity>
  <issued date="2024-02-03 04:05:06"/><updated date="1706933106"/><description>What it mends.</description>
  <references><reference href="https://example.org/1" id="CVE-2024-1" title="a hole" type="cve"/></references>
  <pkglist><collection short="c"><name>c</name>
   <package name="tool" version="2" release="1" epoch="0" arch="noarch" src="tool-2-1.src.rpm">
    <filename>tool-2-1.noarch.rpm</filename><reboot_suggested>True</reboot_suggested></package>
   <package name="tool" version="2" release="1" epoch="0" arch="src"><filename>tool-2-1.src.rpm</filename></package>
  </collection></pkglist>
 </update>
</updates>
"""


@functools.cache
def repository() -> str:
    """Return a repository of ``SPECS`` with one bulletin; not to be changed."""
    directory = scratch()
    build(SPECS, directory)
    create_repository(directory)
    path = os.path.join(directory, "updateinfo.xml")
    with open(path, "w") as stream:
        stream.write(UPDATEINFO)
    subprocess.run(["modifyrepo_c", "--mdtype=updateinfo", path, os.path.join(directory, "repodata")],
                   check=True, capture_output=True)  # fmt: skip
    os.unlink(path)
    return directory
