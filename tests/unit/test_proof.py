"""What must hold before an upgrade counts as done: programs run, and rpm can write its database."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made import Programs, host_at

from interlock.errors import CommandMissing
from interlock.host.context import Host
from interlock.rpmdb.backend import Database
from interlock.system.run import Completed
from interlock.system.trace import Trace, TracePointRaised
from interlock.upgrade import proof
from interlock.upgrade.verify import Finding

EVAL_BACKEND, EVAL_PATH = "%{?_db_backend}", "%{_dbpath}"


class Rpm(Programs):
    """An rpm that wants one format, looks in one place, and lists some packages."""

    def __init__(self, wanted: str, place: str, listed: str = "") -> None:
        super().__init__()
        self.said = {EVAL_BACKEND: f"{wanted}\n", EVAL_PATH: f"{place}\n", proof.NEVRA_FORMAT: listed}

    def run(self, argv: Sequence[str], **_options: Any) -> Completed:
        self.asked.append(tuple(argv))
        return Completed(tuple(argv), 0, self.said.get(argv[-1], ""), "", 0.0)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Return a directory that holds a Berkeley DB database."""
    written = tmp_path / "written"
    written.mkdir(mode=0o755)
    (written / "Packages").touch()
    return written


def convert(tmp_path: Path, rpm: Rpm, written: Path, trace: Trace = Trace({})) -> list[Finding]:  # noqa: B008
    base = host_at(tmp_path)
    host = Host(base.paths, rpm, base.clock, base.proc, trace)
    database = Database(str(tmp_path / "rpm"), str(tmp_path / "rpm"), "bdb", "bdb", "")
    return proof.convert(host, database, str(written), ["a-1-1.noarch", "b-2:1-1.noarch"])


@pytest.mark.parametrize("wanted", ["bdb", "", "bdb_ro"])
def test_the_same_format_is_left_alone(tmp_path: Path, written: Path, wanted: str) -> None:
    rpm = Rpm(wanted, str(tmp_path / "rpm"))
    assert convert(tmp_path, rpm, written) == []
    assert {argv[1] for argv in rpm.asked} == {"--eval"}


def test_another_format_is_made_and_counted(tmp_path: Path, written: Path) -> None:
    rpm = Rpm("sqlite", str(tmp_path / "rpm"), "a-1-1.noarch\nb-2:1-1.noarch\n")
    assert convert(tmp_path, rpm, written) == []
    assert ("rpmdb", "--rebuilddb", "--dbpath", str(written)) in rpm.asked


def test_a_conversion_keeps_the_mode(tmp_path: Path, written: Path) -> None:
    class Closing(Rpm):
        def run(self, argv: Sequence[str], **options: Any) -> Completed:
            if argv[0] == "rpmdb":
                os.chmod(written, 0o700)
            return super().run(argv, **options)

    convert(tmp_path, Closing("sqlite", str(tmp_path / "rpm")), written)
    assert written.stat().st_mode & 0o7777 == 0o755


def test_a_conversion_that_loses_a_package(tmp_path: Path, written: Path) -> None:
    rpm = Rpm("sqlite", str(tmp_path / "rpm"), "a-1-1.noarch\n")
    assert convert(tmp_path, rpm, written) == [Finding("b-2:1-1.noarch", "is not in the package database")]


def test_the_trace_point_comes_before_the_conversion(tmp_path: Path, written: Path) -> None:
    rpm = Rpm("sqlite", str(tmp_path / "rpm"))
    with pytest.raises(TracePointRaised):
        convert(tmp_path, rpm, written, Trace({"migrate.begin": "raise"}))
    assert "rpmdb" not in {argv[0] for argv in rpm.asked}


def test_an_rpm_that_looks_elsewhere(tmp_path: Path, written: Path) -> None:
    (finding,) = convert(tmp_path, Rpm("bdb", "/usr/lib/sysimage/rpm"), written)
    assert finding.detail == f"now looks for its database in /usr/lib/sysimage/rpm, not in {tmp_path}/rpm"


def test_keys_are_no_packages_of_a_plan() -> None:
    assert proof.packages(frozenset({"a-1-1.noarch"}), ["a-1-1.noarch", "gpg-pubkey-1-2.(none)"]) == []


def test_programs_that_do_not_run() -> None:
    class Broken(Programs):
        def run(self, argv: Sequence[str], **_options: Any) -> Completed:
            if argv[0] == "rpm":
                raise CommandMissing(program="rpm")
            if argv[0] == "/bin/true":
                raise PermissionError(13, "Permission denied")
            return Completed(tuple(argv), 127, "", "error while loading shared libraries: libc.so.6\n", 0.0)

    assert [(one.subject, one.detail) for one in proof.programs_run(Broken())] == [
        ("/bin/true", "cannot be started: [Errno 13] Permission denied"),
        ("/bin/sh", "ends with status 127: error while loading shared libraries: libc.so.6"),
        ("rpm", "cannot be started: The program rpm is not on this host."),
    ]


def test_programs_that_run() -> None:
    programs = Programs()
    assert proof.programs_run(programs) == []
    assert [argv[0] for argv in programs.asked] == ["/bin/true", "/bin/sh", "rpm"]
