"""Cases of the lab: the family of ``interlock.waits.find_state``."""

from __future__ import annotations

from interlock.lab.cases.case import LabCase, Made, Scene
from interlock.lab.recipe import Recipe

MAIN = "/var/lib/rpm/rpmdb.sqlite"
# Holds every package of the release `current`.
DEPOT = "/srv/depots/classic-current"
OWN = "/srv/case"
CONFIG_OR_GHOST = 1 | 64
EMPTIED = 4

UNINDEX = """
import sqlite3
connection = sqlite3.connect("{main}")
number, = connection.execute("SELECT hnum FROM Name WHERE key = ?", ("{name}",)).fetchone()
connection.execute("DELETE FROM Name WHERE hnum = ?", (number,))
connection.commit()
"""
# Letters and digits for letters and digits, so that the record keeps its shape and only its digest is wrong.
DAMAGE = """
import re, sqlite3
connection = sqlite3.connect("{main}")
number, = connection.execute("SELECT hnum FROM Name WHERE key = ?", ("{name}",)).fetchone()
blob, = connection.execute("SELECT blob FROM Packages WHERE hnum = ?", (number,)).fetchone()
start = re.compile(rb"[a-z0-9]{{4}}").search(blob, len(blob) // 2).start()
blob = blob[:start] + bytes(byte ^ 1 for byte in blob[start:start + 4]) + blob[start + 4:]
connection.execute("UPDATE Packages SET blob = ? WHERE hnum = ?", (blob, number))
connection.commit()
"""


def _python(scene: Scene, text: str) -> None:
    path = scene.host.root / "srv/case/make.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    scene.must("python3 /srv/case/make.py")


def _any_package(scene: Scene) -> tuple[str, str]:
    """Return name and NEVRA of an installed package, chosen by chance."""
    listed = scene.must("rpm -qa --qf '%{NAME} %{NEVRA}\\n' 'lib*'").splitlines()
    name, nevra = scene.random.choice(sorted(listed)).split()
    return name, nevra


def index_disagrees(scene: Scene) -> Made:
    """9: a package is among all packages, but the index by name does not lead to it."""
    name, nevra = _any_package(scene)
    _python(scene, UNINDEX.format(main=MAIN, name=name))
    if scene.shell(f"rpm -qa | grep -qF {nevra} && ! rpm -q {name}").status != 0:
        raise scene.failed(f"rpm still finds {name} by its name")
    return Made(f"the row of {name} is gone from the index by name", packages=[nevra])


def nested_rpm(scene: Scene) -> Made:
    """13: a %post installs another package with rpm, which fails; the outer transaction returns 0."""
    other = Recipe("case-other", files={"/usr/share/case-other": "other"})
    inner = f"{OWN}/case-other-1-1.noarch.rpm"
    outer = Recipe("case-outer", files={"/usr/share/case-outer": "outer"}, scripts={"post": f"rpm -i {inner} || :"})
    _, path = scene.packages(other, outer)
    scene.must(f"rpm -i {path}")
    if scene.shell("rpm -q case-outer && ! rpm -q case-other").status != 0:
        raise scene.failed("the nested rpm did its work")
    text = f"the %post of case-outer ran `rpm -i {inner}`, which failed; its own rpm returned 0"
    return Made(text, files=[inner], packages=["case-other-1-1.noarch", "case-outer-1-1.noarch"])


def header_damaged(scene: Scene) -> Made:
    """22: a few bytes in the middle of a package's header are others."""
    name, nevra = _any_package(scene)
    _python(scene, DAMAGE.format(main=MAIN, name=name))
    if scene.shell(f"rpm -qa | grep -qF {nevra}").status == 0:
        raise scene.failed(f"rpm still lists {nevra}")
    return Made(f"the header of {name} is damaged, and rpm passes over it", packages=[nevra])


def interrupted(scene: Scene) -> Made:
    """26: rpm is killed while the old version's %postun runs; a file is then neither version's."""
    files = "/opt/case-twice/one", "/opt/case-twice/two"
    old, new = (
        Recipe("case-twice", version, dict.fromkeys(files, version), {"postun": "sleep 86400\n:"})
        for version in ("1", "2")
    )
    first, second = scene.packages(old, new)
    scene.must(f"rpm -i {first}")
    scene.start("case-twice", f"exec rpm -U {second}")
    orphan = int(scene.wait("pgrep -f '^/bin/sh /var/tmp/rpm-tmp'", what="the scriptlet"))
    scene.must("pkill -KILL -x rpm; while pgrep -x rpm; do sleep 0.05; done; printf torn >/opt/case-twice/two")
    if scene.must("rpm -q case-twice").split() != ["case-twice-1-1.noarch", "case-twice-2-1.noarch"]:
        raise scene.failed("not both versions are in the database")
    text = "rpm was killed in the middle of an upgrade: case-twice is there in both versions, a scriptlet still runs"
    packages = ["case-twice-2-1.noarch", "case-twice-1-1.noarch"]
    return Made(text, {"scriptlet": orphan}, ["/opt/case-twice/two"], packages)


def zero_bytes(scene: Scene) -> Made:
    """27: files of packages have no content any more."""
    form = "[%{=NEVRA}\\t%{FILENAMES}\\t%{FILESIZES}\\t%{FILEFLAGS}\\t%{FILEMODES:perms}\\n]"
    rows = [line.split("\t") for line in scene.must(f"rpm -qa --qf '{form}'").splitlines()]
    fit = [
        (package, path)
        for package, path, size, flags, mode in rows
        if path.startswith("/usr/share/") and mode[0] == "-" and int(size) and not int(flags) & CONFIG_OR_GHOST
        and not package.startswith(("lab-", "gpg-pubkey"))
    ]  # fmt: skip
    chosen = scene.random.sample(sorted(fit), EMPTIED)
    for _, path in chosen:
        scene.must(f"test -s '{path}' && truncate -s 0 '{path}'")
    packages = sorted({package for package, _ in chosen})
    return Made(f"{EMPTIED} files of packages are empty", files=[path for _, path in chosen], packages=packages)


def partial(scene: Scene) -> Made:
    """29: the disk is full in the middle of an upgrade of three packages: the first is in, the others are not."""
    trio = [_trio(version) for version in ("1", "2")]
    paths = scene.packages(*(recipe for version in trio for recipe in version))
    scene.must("mkdir -p /opt/case && mount -t tmpfs -o size=2M tmpfs /opt/case")
    # Transactions are told apart by the second in which they began.
    scene.must(f"rpm -i {' '.join(paths[:3])}; t=$(date +%s); while test $(date +%s) = $t; do sleep 0.1; done")
    done = scene.shell(f"rpm -U {' '.join(paths[3:])}")
    # The reason that rpm prints is that of a later call; so it is the disk itself that is asked.
    full = scene.must("df --output=avail /opt/case | tail -n 1").strip() == "0"
    if not full or "case-tool-2-1.noarch: install failed" not in done.stderr:
        raise scene.failed(f"the disk was not full: {done.stderr[-300:]}")
    # What filled the disk is gone again by the time somebody looks.
    scene.must("rm /opt/case/log; rm -f /srv/case/case-*-1-1.noarch.rpm")
    packages = ["case-tool-1-1.noarch", "case-libs-2-1.noarch"]
    return Made("case-libs was upgraded, then the disk was full: case-tool and case-extra were not", packages=packages)


def _trio(version: str) -> tuple[Recipe, Recipe, Recipe]:
    fill = {"post": "head -c 4M /dev/zero >/opt/case/log 2>/dev/null || :"} if version == "2" else {}
    libs = Recipe("case-libs", version, {"/opt/case/libs": version}, fill)
    tool = Recipe("case-tool", version, {"/opt/case/tool": version * 9000}, requires=[f"case-libs = {version}"])
    extra = Recipe("case-extra", version, {"/opt/case/extra": version * 9000}, requires=[f"case-tool = {version}"])
    return libs, tool, extra


CASES: tuple[LabCase, ...] = (
    LabCase("bdb-index-disagrees", "current", index_disagrees),
    LabCase("nested-rpm-lost", "current", nested_rpm),
    LabCase("header-damaged", "current", header_damaged, ("--depot", DEPOT)),
    LabCase("interrupted-transaction", "current", interrupted, ("--depot", OWN)),
    LabCase("zero-byte-files", "current", zero_bytes, ("--depot", DEPOT)),
    LabCase("partial-transaction", "current", partial, ("--depot", OWN)),
)
