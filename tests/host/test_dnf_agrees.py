"""We and `dnf updateinfo` agree on which bulletins apply, for generated hosts and depots.

`make soak` takes two hundred (INTERLOCK_GENERATED); the seed is printed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from conftest import Host

from interlock.depot.bulletin import BulletinStatus, bulletin_states
from interlock.depot.repository import open_depot
from interlock.lab.bulletins import LabBulletin
from interlock.lab.depots import make_depot, read_packages
from interlock.lab.recipe import Recipe, build
from interlock.package import Evr, Nevra, Package
from interlock.system.run import Runner

NAMES, VERSIONS = "abcdefgh", ("1", "1.1", "1.9", "1.10", "2~rc1", "2", "2^git")
SEED = int(os.environ.get("INTERLOCK_SEED", "20261123"))
COUNT = int(os.environ.get("INTERLOCK_GENERATED", "15"))
# dnf lists what a bulletin names even where the depot has not the package.
APPLIES = (BulletinStatus.APPLICABLE, BulletinStatus.MISSING_PACKAGE)
# One dnf for each host, with its own root and nothing of this one.
SCRIPT = """
cd /srv/generated
for one in */; do
  one=${one%/}; root=/srv/generated/$one/root; mkdir -p $root/etc
  (cd $one && rpm --root $root --initdb && xargs -r rpm --root $root -i --justdb --nodeps --nosignature --noscripts \
    --oldpackage --force --ignorearch < installed) >/dev/null 2>&1 </dev/null
  echo "host $one"
  rpm --root $root -qa --qf '%{NAME}-%{VERSION}\\n' | sed 's/^/installed /'
  timeout 60 dnf -q --installroot=$root --releasever=1 --setopt=reposdir=/nowhere --setopt=cachedir=/var/cache \
    --repofrompath=g,file:///srv/generated/$one/depot --repo=g --nogpgcheck updateinfo list --available 2>&1 \
    | sed 's/^/listed /'
done
"""


def generate(
    chance: random.Random, place: Path, packages: Sequence[tuple[Nevra, str]], universe: Path, runner: Runner
) -> None:
    """Make one host's list of packages, and a depot with bulletins for some of them, and for some that it lacks."""
    depot = place / "depot"
    depot.mkdir(parents=True)
    offered = chance.sample(packages, chance.randint(1, len(packages)))
    for _, file in offered:
        os.link(universe / file, depot / file)
    rows = []
    for number in range(chance.randint(1, 6)):
        named = tuple(chance.sample(packages, chance.randint(1, 4)))
        rows.append(LabBulletin(f"G-{number}", "Generated", chance.choice(["security", "bugfix"]), "Low",
                                "2026-01-01 00:00:00", "x", named))  # fmt: skip
    make_depot(depot, rows, runner)
    installed = [chance.choice([one for one in packages if one[0].name == f"g-{name}"])[1]
                 for name in chance.sample(NAMES, chance.randint(1, len(NAMES)))]  # fmt: skip
    (place / "installed").write_text("".join(f"/srv/universe/{file}\n" for file in installed))


def test_dnf_agrees_on_which_bulletins_apply(host_of: Callable[..., Host], tmp_path: Path) -> None:
    print(f"seed {SEED}, {COUNT} hosts")
    host, chance = host_of("current"), random.Random(SEED)
    universe = Path(host.root) / "srv/universe"
    build([Recipe(f"g-{name}", version) for name in NAMES for version in VERSIONS], universe, tmp_path, host.lab.runner)
    packages = read_packages(universe, host.lab.runner)
    for number in range(COUNT):
        generate(chance, Path(host.root) / f"srv/generated/{number:03d}", packages, universe, host.lab.runner)
    lines = host.shell(SCRIPT, timeout=60 + 5 * COUNT).stdout.splitlines()
    theirs = answers(lines)
    assert len(theirs) == COUNT
    differing = {name: (listed, ours(Path(host.root) / f"srv/generated/{name}/depot", installed))
                 for name, (installed, listed) in theirs.items()}  # fmt: skip
    assert {name: both for name, both in differing.items() if both[0] != both[1]} == {}
    # Nobody can agree by saying nothing.
    assert any(listed for _, listed in theirs.values())


def answers(lines: Sequence[str]) -> dict[str, tuple[list[Package], set[str]]]:
    """Return for each host what is installed there, and the bulletins that dnf lists."""
    found: dict[str, tuple[list[Package], set[str]]] = {}
    name = ""
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "host":
            name = rest
            found[name] = ([], set())
        elif kind == "installed":
            package, version = rest.rsplit("-", 1)
            found[name][0].append(Package(Nevra(package, Evr(0, version, "1"), "noarch")))
        else:
            assert rest.startswith("G-"), line
            found[name][1].add(rest.split()[0])
    return found


def ours(depot: Path, installed: Sequence[Package]) -> set[str]:
    return {one.bulletin.id for one in bulletin_states(open_depot(str(depot)), installed) if one.status in APPLIES}
