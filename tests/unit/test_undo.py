"""The undo store: what was there comes back byte for byte, and a store that is not whole changes nothing."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.upgrade.undo_entry import ManifestDamaged, look_at, read_manifest
from interlock.upgrade.undo_keep import Concern, Keeper, Owned, is_complete
from interlock.upgrade.undo_restore import Restorer, StoreDamaged


def put(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a small system: /lib is a link to usr/lib, as on hosts of today."""
    root = tmp_path / "root"
    put(root / "usr/bin/tool", "tool 1", 0o4755)
    put(root / "usr/bin/plain", "plain 1", 0o755)
    put(root / "usr/lib/libc.so.6", "libc 1")
    put(root / "usr/lib/cache", "made by a scriptlet")
    put(root / "usr/lib/old/only", "goes away")
    put(root / "usr/local/own", "the administrator's")
    put(root / "etc/passwd", "root:x:0:0\n")
    put(root / "etc/shadow", "root:!\n", 0o600)
    put(root / "boot/vmlinuz", "kernel 1")
    put(root / "opt/other/file", "of a package that stays")
    os.symlink("usr/lib", root / "lib")
    os.symlink("libc.so.6", root / "usr/lib/libc.so")
    os.link(root / "usr/bin/plain", root / "usr/bin/twin")
    return root


def owned(root: Path, *paths: str) -> dict[str, Owned]:
    found = {}
    for path in paths:
        real = root / path.lstrip("/")
        if real.is_file() and not real.is_symlink():
            digest = hashlib.sha256(real.read_bytes()).hexdigest()
            found[path] = Owned(f"sha256:{digest}", real.stat().st_size, int(real.stat().st_mtime))
        else:
            found[path] = Owned("", 0, 0)
    return found


REPLACED = (
    "/usr/bin/tool", "/usr/bin/plain", "/usr/bin/twin", "/lib/libc.so.6", "/usr/lib/libc.so", "/usr/lib/old/only",
    "/usr/lib/old",
)  # fmt: skip
BROUGHT = (*REPLACED[:5], "/usr/lib/new", "/usr/lib/new/file", "/var/lib/thing")


@pytest.fixture
def store(root: Path, tmp_path: Path) -> str:
    concern = Concern(owned(root, *REPLACED), frozenset(BROUGHT), frozenset({"/opt/other/file"}))
    folder = str(tmp_path / "store")
    Keeper(folder, concern, str(root)).keep()
    return folder


def replace(path: Path, text: str, mode: int = 0o755) -> None:
    """Do as rpm does: a new file renamed over the old one, whose inode loses its privileges."""
    if path.exists():
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o777)
    put(path.with_name(f"{path.name};new"), text, mode)
    os.rename(path.with_name(f"{path.name};new"), path)


def upgrade(root: Path) -> None:
    for name in ("tool", "plain", "twin"):
        replace(root / "usr/bin" / name, f"{name} 2", 0o4755)
    replace(root / "usr/lib/libc.so.6", "libc 2", 0o644)
    (root / "usr/lib/libc.so").unlink()
    put(root / "usr/lib/libc.so", "no link any more")
    (root / "usr/lib/old/only").unlink()
    (root / "usr/lib/old").rmdir()
    put(root / "usr/lib/new/file", "new")
    put(root / "var/lib/thing", "new")
    put(root / "usr/lib/cache", "written in place")
    put(root / "etc/passwd", "root:x:0:0\nnew:x:999:999\n")
    (root / "etc/shadow").chmod(0o644)
    put(root / "boot/vmlinuz", "kernel 2")


def manifest(root: Path) -> dict[str, object]:
    """Return everything of a tree that can be seen, times of directories aside that hold what an upgrade brings."""
    rows = {}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            entry, found = look_at(str(path))
            assert found is not None
            content = path.read_bytes() if stat.S_ISREG(found.st_mode) else b""
            times = 0 if path in (root / "var", root / "var/lib") else entry.modified
            rows[str(path.relative_to(root))] = (entry._replace(path="", modified=times), content, found.st_nlink > 1)
    return {name: row for name, row in rows.items() if not name.startswith("var")}


def linked_apart(rows: dict[str, object]) -> dict[str, object]:
    """Leave out whether a file has several names: the store itself is one of them."""
    return {name: row[:2] for name, row in rows.items()}  # type: ignore[index]


def test_all_comes_back(root: Path, store: str) -> None:
    before = linked_apart(manifest(root))
    upgrade(root)
    assert linked_apart(manifest(root)) != before
    assert Restorer(store, str(root)).restore()
    assert linked_apart(manifest(root)) == before
    assert not (root / "var/lib/thing").exists()
    assert os.path.samefile(root / "usr/bin/plain", root / "usr/bin/twin")
    assert stat.S_IMODE((root / "usr/bin/tool").stat().st_mode) == 0o4755


def test_doing_it_again_changes_nothing(root: Path, store: str) -> None:
    upgrade(root)
    Restorer(store, str(root)).restore()
    assert Restorer(store, str(root)).restore() == []


def test_nothing_is_to_be_done_on_a_host_that_did_not_change(root: Path, store: str) -> None:
    assert is_complete(store)
    assert Restorer(store, str(root)).differences() == []


def test_links_take_no_space_and_what_nobody_owns_is_copied(root: Path, store: str) -> None:
    entries = {entry.path: entry for entry in read_manifest(f"{store}/manifest.jsonl")}
    assert entries["/usr/bin/tool"].how == "link"
    assert entries["/usr/lib/libc.so.6"].how == "link"
    assert entries["/usr/lib/cache"].how == "copy"
    assert entries["/etc/passwd"].how == "copy"
    assert entries["/usr/lib/new"].kind == "absent"
    assert "/usr/local/own" not in entries
    assert "/opt/other/file" not in entries


def cut(store: Path) -> None:
    lines = (store / "manifest.jsonl").read_text().splitlines(keepends=True)
    (store / "manifest.jsonl").write_text("".join(lines[:-2]))


def flip_in_the_list(store: Path) -> None:
    text = (store / "manifest.jsonl").read_text()
    (store / "manifest.jsonl").write_text(text.replace('"/etc/passwd"', '"/etc/passwe"'))


@pytest.mark.parametrize("damage", [cut, flip_in_the_list])
def test_a_damaged_list_is_no_list(store: str, damage: Callable[[Path], None]) -> None:
    damage(Path(store))
    with pytest.raises(ManifestDamaged):
        Restorer(store)


def lose(path: Path) -> None:
    path.unlink()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [lose, flip])
@pytest.mark.parametrize("victim", ["/usr/bin/tool", "/usr/lib/cache", "/etc/passwd"])
def test_a_damaged_content_is_noticed_before_anything_is_changed(
    root: Path, store: str, victim: str, damage: Callable[[Path], None]
) -> None:
    upgrade(root)
    entry = {one.path: one for one in read_manifest(f"{store}/manifest.jsonl")}[victim]
    damage(Path(store, "files", entry.name))
    after = manifest(root)
    with pytest.raises(StoreDamaged, match=victim):
        Restorer(store, str(root)).restore()
    assert manifest(root) == after


def test_a_directory_that_became_a_link_becomes_one_again(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root / "usr/lib/x/file", "old")
    concern = Concern(owned(root, "/usr/lib/x", "/usr/lib/x/file"), frozenset({"/usr/lib/x", "/usr/lib/y"}))
    Keeper(str(tmp_path / "store"), concern, str(root)).keep()
    (root / "usr/lib/x/file").unlink()
    (root / "usr/lib/x").rmdir()
    (root / "usr/lib/y").mkdir()
    os.symlink("y", root / "usr/lib/x")
    Restorer(str(tmp_path / "store"), str(root)).restore()
    assert (root / "usr/lib/x/file").read_text() == "old"
    assert not (root / "usr/lib/x").is_symlink()
    assert not (root / "usr/lib/y").exists()
