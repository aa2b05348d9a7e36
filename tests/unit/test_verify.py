"""What is really on the disk, and in the database."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from interlock.upgrade.verify import (
    CONFIG,
    GHOST,
    MISSING_OK,
    VERIFY_DIGEST,
    VERIFY_LINK,
    FileChecker,
    Finding,
    PayloadFile,
    as_rows,
    compare_packages,
    payload_files,
    same_packages,
    stamp_of,
    summary,
)

ALL_CHECKS = VERIFY_DIGEST | VERIFY_LINK
REGULAR, LINK, FOLDER = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755


def payload(
    path: Path, content: str = "", *, mode: int = REGULAR, link: str = "", flags: int = 0, verify: int = ALL_CHECKS
) -> PayloadFile:
    digest = hashlib.sha256(content.encode()).hexdigest() if mode == REGULAR else ""
    return PayloadFile("a-1-1.noarch", str(path), mode, digest, "sha256", link, flags, verify)


def checker(*files: PayloadFile) -> FileChecker:
    made = FileChecker()
    made.expect("a-1-1.noarch", list(files))
    return made


def findings(*files: PayloadFile) -> list[Finding]:
    return checker(*files).finish(frozenset())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("content")
    return path


def test_right_content(path: Path) -> None:
    assert findings(payload(path, "content")) == []


def test_wrong_content_is_named_with_its_package(path: Path) -> None:
    assert findings(payload(path, "other")) == [
        Finding(f"{path} (a-1-1.noarch)", "has another content (7 bytes)"),
    ]  # fmt: skip


def test_proven_files_are_not_read_again(path: Path) -> None:
    made = checker(payload(path, "content"))
    made.unpacked("a-1-1.noarch")
    assert made.work()
    assert not made.work()
    assert made.finish(frozenset()) == []
    assert made.read == 1


def test_content_that_changes_after_it_was_proven_is_noticed(path: Path) -> None:
    made = checker(payload(path, "content"))
    made.unpacked("a-1-1.noarch")
    made.work()
    times = path.stat()
    path.write_text("CONTENT")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert [one.detail for one in made.finish(frozenset())] == ["has another content (7 bytes)"]
    assert made.read == 2


def test_a_file_that_is_replaced_after_it_was_proven_is_noticed(path: Path) -> None:
    made = checker(payload(path, "content"))
    made.unpacked("a-1-1.noarch")
    made.work()
    path.with_name("new").write_text("another")
    os.rename(path.with_name("new"), path)
    assert len(made.finish(frozenset())) == 1


def test_content_that_changes_while_it_is_read_is_not_proven(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = checker(payload(path, "content"))
    whole = hashlib.new

    def slow(*words: object, **more: object) -> object:
        path.write_text("content")
        os.utime(path, ns=(1, 1))
        return whole(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "new", slow)
    made.unpacked("a-1-1.noarch")
    made.work()
    assert made.proven == {}


def test_what_was_wrong_for_a_while_may_be_right_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "late"
    made = checker(payload(path, "content"))
    made.unpacked("a-1-1.noarch")
    made.work()
    path.write_text("content")
    assert made.finish(frozenset()) == []


def test_what_was_never_unpacked_is_looked_at(path: Path) -> None:
    assert len(checker(payload(path, "other")).finish(frozenset())) == 1


def test_a_package_that_nobody_expects_brings_nothing() -> None:
    made = checker()
    made.unpacked("b-1-1.noarch")
    assert not made.work()


@pytest.mark.parametrize("flags", [CONFIG, GHOST, CONFIG | MISSING_OK])
def test_configuration_and_ghosts_may_differ(path: Path, flags: int) -> None:
    made = checker(payload(path, "other", flags=flags))
    assert made.files == 0
    assert made.finish(frozenset()) == []


def test_what_verify_leaves_out_may_differ(path: Path) -> None:
    assert findings(payload(path, "other", verify=VERIFY_LINK)) == []
    link = path.with_name("link")
    link.symlink_to("elsewhere")
    assert findings(payload(link, mode=LINK, link="file", verify=VERIFY_DIGEST)) == []


@pytest.mark.parametrize(("mode", "flags", "details"), [
    (REGULAR, 0, ["is missing"]), (LINK, 0, ["is missing"]), (FOLDER, 0, ["is missing"]), (REGULAR, MISSING_OK, []),
])  # fmt: skip
def test_missing(tmp_path: Path, mode: int, flags: int, details: list[str]) -> None:
    assert [one.detail for one in findings(payload(tmp_path / "none", mode=mode, flags=flags))] == details


def test_links(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("target-that-is-not-there")
    assert findings(payload(link, mode=LINK, link="target-that-is-not-there")) == []
    assert [one.detail for one in findings(payload(link, mode=LINK, link="other"))] == [
        "points to target-that-is-not-there, not to other",
    ]  # fmt: skip


def test_one_kind_in_the_place_of_another(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    assert [one.detail for one in findings(payload(path, mode=LINK, link="x"))] == ["is no symbolic link"]
    assert [one.detail for one in findings(payload(link, "content"))] == ["is no regular file"]


def test_below_something_that_is_no_directory(path: Path) -> None:
    assert [one.detail for one in findings(payload(path / "below"))] == ["cannot be looked at: Not a directory"]


def test_what_rpm_did_not_install_is_not_looked_at(path: Path) -> None:
    made = checker(payload(path, "other"), payload(path.with_name("none")))
    assert made.finish(frozenset({str(path), str(path.with_name("none"))})) == []


def test_old_packages_have_md5(path: Path) -> None:
    digest = hashlib.md5(b"content").hexdigest()
    (row,) = payload_files("old-1-1.noarch", 1, [(str(path), -32348, digest, "", 0, ALL_CHECKS)])
    assert row.algorithm == "md5"
    assert stat.S_ISREG(row.mode), "rpm gives modes as signed numbers"
    assert findings(row) == []
    path.write_text("other")
    assert len(findings(row)) == 1


def test_digests_are_taken_in_a_way_that_fips_mode_allows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hashlib.new

    def fips(name: str, content: bytes = b"", *, usedforsecurity: bool = True) -> object:
        if name == "md5" and usedforsecurity:
            raise ValueError("disabled for FIPS")
        return whole(name, content)

    monkeypatch.setattr(hashlib, "new", fips)
    rows = [(str(path), REGULAR, hashlib.md5(b"content", usedforsecurity=False).hexdigest(), "", 0, ALL_CHECKS)]
    assert findings(*payload_files("old-1-1.noarch", 1, rows)) == []


def test_stamps(path: Path, tmp_path: Path) -> None:
    before = stamp_of(str(path))
    assert before == stamp_of(str(path))
    path.chmod(0o600)
    assert stamp_of(str(path)) != before
    assert stamp_of(str(tmp_path / "none")) is None


# -- packages ------------------------------------------------------------------------------------------------------


def test_packages_as_planned() -> None:
    assert compare_packages(frozenset({"a-1-1.noarch", "b-1-1.noarch"}), ["b-1-1.noarch", "a-1-1.noarch"]) == []


def test_packages_that_differ() -> None:
    found = compare_packages(
        frozenset({"a-2-1.noarch", "b-1-1.noarch"}), ["a-1-1.noarch", "b-1-1.noarch", "b-1-1.noarch"]
    )
    assert found == [
        Finding("a-2-1.noarch", "is not in the package database"),
        Finding("a-1-1.noarch", "is in the package database, but not planned"),
        Finding("b-1-1.noarch", "is in the package database 2 times"),
    ]


def test_a_conversion_that_loses_one() -> None:
    assert same_packages(["a", "b"], ["a"]) == [Finding("b", "is not in the package database")]
    assert same_packages(["a", "b"], ["b", "a"]) == []


def test_a_line_for_people() -> None:
    many = [Finding(f"p{number}", "is missing") for number in range(7)]
    assert summary(many[:2]) == "p0 is missing; p1 is missing"
    assert summary(many).endswith("p4 is missing; and 2 more")
    assert as_rows(many[:1]) == [{"subject": "p0", "detail": "is missing"}]
