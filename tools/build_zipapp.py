"""Builds ``build/interlock.pyz``: the part of Interlock that runs on hosts, in one file.

The lab stays out: hosts have no use for it. Times in the archive are fixed, so the same source gives the same file.
Beside the source, which runs everywhere, the archive has it compiled for those versions of Python that hosts have and
that are found on this machine; a host with another one compiles at each start, which takes it a tenth of a second.
Nothing in the archive is compressed: unpacking costs each start more than the space is worth.
"""

from __future__ import annotations

import json
import marshal
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = (
    "lab",
    "manager",
    "cli/lab.py",
    "cli/lab_cases.py",
    "cli/demo.py",
    "cli/hosts.py",
    "cli/baselines.py",
    "cli/rollouts.py",
)
FIXED_TIME = (2020, 1, 1, 0, 0, 0)
INTERPRETER = b"#!/usr/bin/env python3\n"
# The versions of the hosts; the one that builds is always among them.
VERSIONS = ("3.9", "3.11", "3.13")
# Compiled code fits one version only, which its magic number names. It lies in one entry for each version, for reading
# the archive's directory takes time for each entry; modules that are not in it come from the source as ever.
MAIN = '''\
import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER
from importlib.machinery import ModuleSpec
from zipimport import zipimporter


class Compiled:
    """Finds and loads the modules that are compiled for this version of Python."""

    def __init__(self, archive, content):
        self.archive = archive
        size = int.from_bytes(content[:4], "little")
        self.index, self.codes = marshal.loads(content[4 : 4 + size]), memoryview(content)[4 + size :]

    def find_spec(self, name, path=None, target=None):
        if name not in self.index:
            return None
        file, package = self.index[name][:2]
        spec = ModuleSpec(name, self, origin=f"{self.archive.archive}/{file}", is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations.append(spec.origin.rpartition("/")[0])
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        first, last = self.index[module.__name__][2:]
        exec(marshal.loads(self.codes[first:last]), module.__dict__)

    def get_data(self, path):
        return self.archive.get_data(path)

    def get_source(self, name):
        return self.archive.get_source(name)


# What is imported of the host's own (its rpm bindings) leaves nothing behind.
sys.dont_write_bytecode = True
archive = zipimporter(sys.path[0])
try:
    sys.meta_path.insert(0, Compiled(archive, archive.get_data(f"compiled/{MAGIC_NUMBER.hex()}")))
except OSError:
    pass  # Another version than those: it compiles the source at each start.


def other_interpreter():
    """Return another Python of this host that has not been tried; empty where there is none."""
    tried = [sys.executable, *os.environ.get("INTERLOCK_TRIED", "").split(":")]
    names = sorted(name for name in os.listdir("/usr/bin") if name.startswith("python3.") and name[8:].isdigit())
    found = next((f"/usr/bin/{name}" for name in names if f"/usr/bin/{name}" not in tried), "")
    os.environ["INTERLOCK_TRIED"] = ":".join([*tried, found])
    return found


try:
    from interlock.cli.main import main
    status = main()
except ImportError as error:
    # In the middle of an upgrade one Python may be half there while another one, older or newer, is whole.
    other = other_interpreter()
    if (error.name or "").startswith("interlock"):
        raise
    if not other:
        advice = "if an upgrade was cut off, reset this machine: what runs before the next boot puts it back"
        sys.exit(f"interlock: this host's Python is not whole ({error}); {advice}")
    os.execv(other, [other, *sys.argv])
sys.exit(status)
'''
COMPILE = """\
import importlib.util, json, marshal, sys
rows = json.load(sys.stdin)
codes = {name: marshal.dumps(compile(text, name, "exec", dont_inherit=True)).hex() for name, text in rows.items()}
json.dump([importlib.util.MAGIC_NUMBER.hex(), codes], sys.stdout)
"""


def sources(package: Path) -> list[Path]:
    """Return the files that travel, in a stable order."""
    found = sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    left_out = [package / name for name in LEFT_OUT]
    return [path for path in found if not any(path == one or one in path.parents for one in left_out)]


def build(source: Path, target: Path) -> None:
    """Write the archive, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(f".tmp{os.getpid()}")
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in sources(source / "interlock")}
    with temporary.open("wb") as stream:
        stream.write(INTERPRETER)
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name, content in {**files, "__main__.py": MAIN.encode()}.items():
                archive.writestr(zipfile.ZipInfo(name, FIXED_TIME), content)
            for name, content in compiled(files):
                archive.writestr(zipfile.ZipInfo(name, FIXED_TIME), content)
    temporary.chmod(0o755)
    temporary.rename(target)


def compiled(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield an entry for each version, with all modules compiled for it."""
    texts = {name: content.decode() for name, content in files.items() if name.endswith(".py")}
    done: set[str] = set()
    for program in interpreters():
        # The order of sets in compiled code follows the seed of hashes.
        found = subprocess.run(
            [program, "-s", "-S", "-c", COMPILE], input=json.dumps(texts), capture_output=True, check=False, text=True,
            env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
        )  # fmt: skip
        magic, codes = json.loads(found.stdout) if found.returncode == 0 else ("", {})
        if magic and magic not in done:
            done.add(magic)
            yield f"compiled/{magic}", _joined({name: bytes.fromhex(code) for name, code in codes.items()})


def _joined(codes: dict[str, bytes]) -> bytes:
    """Return modules in one piece: the size of the index, the index, and the code of one after the other."""
    index: dict[str, tuple[str, bool, int, int]] = {}
    first = 0
    for name, code in codes.items():
        package = name.endswith("/__init__.py")
        module = name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
        index[module] = (name, package, first, first + len(code))
        first += len(code)
    head = marshal.dumps(index, 2)
    return len(head).to_bytes(4, "little") + head + b"".join(codes.values())


def interpreters() -> Iterator[str]:
    """Yield the interpreters to compile with: this one, and those of the hosts' versions that are on this machine."""
    yield sys.executable
    shims = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    for version in VERSIONS:
        places = [*sorted(Path(shims, "versions").glob(f"{version}.*/bin")), *map(Path, os.get_exec_path())]
        programs = (place / f"python{version}" for place in places if place.name != "shims")
        yield from map(str, (one for one in programs if os.access(one, os.X_OK)))


if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    build(root / "src", Path(sys.argv[1]) if len(sys.argv) > 1 else root / "build/interlock.pyz")
