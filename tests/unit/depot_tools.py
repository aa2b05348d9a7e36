"""Small real repositories for the tests: built by rpmbuild and createrepo_c once a run, in a second or two."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

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
