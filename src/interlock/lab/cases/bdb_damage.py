"""Berkeley DB cases in which something outside of rpm touched the environment, the indexes or the C library."""

from __future__ import annotations

from interlock.lab.cases.bdb_waits import DATA, PROBE, blocked_reader, started
from interlock.lab.cases.case import LabCase, Made, Scene

REGIONS = tuple(f"/var/lib/rpm/__db.00{number}" for number in (1, 2, 3))
# An agent that opens the database once and keeps it open, as inventory agents do.
AGENT = "import rpm, time; ts = rpm.TransactionSet(); ts.openDB(); list(ts.dbMatch()); time.sleep(86400)"

# An agent that opens the database for every question, and never closes it, until no other rpm can open it.
LEAK = """import rpm, resource, time
resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
kept = []
try:
    while True:
        kept.append(rpm.TransactionSet())
        kept[-1].openDB()
        kept.append(kept[-1].dbMatch())
        next(kept[-1])
except Exception as error:
    print(error, flush=True)
open("/run/case-full", "w").close()
time.sleep(86400)
"""


def damage(scene: Scene, what: str) -> None:
    """Have the host's regions damaged, while nobody uses them."""
    (scene.host.root / "root/damage_regions.py").write_text((DATA / "damage_regions.py").read_text())
    scene.must(f"rpm -qa >/dev/null && python3 /root/damage_regions.py {what}")


def panic(scene: Scene) -> Made:
    """Damage the mutexes; the next rpm finds it out and sets the panic mark."""
    damage(scene, "mutexes")
    said = scene.shell("rpm -qa 2>&1 >/dev/null; rpm -qa 2>&1 >/dev/null").stdout
    if "DB_RUNRECOVERY" not in said:
        raise scene.failed(f"rpm does not refuse the damaged regions: {said[-300:]}")
    return Made("the shared regions are damaged, and the library has set its panic mark", files=REGIONS)


def version_mismatch(scene: Scene) -> Made:
    """Let the environment be another library's: readers go on without it, transactions are refused."""
    damage(scene, "version")
    return Made("the environment says that Berkeley DB 4.8.30 made it", files=REGIONS)


def region_removed(scene: Scene) -> Made:
    """Remove the regions under a reader; the next rpm makes new ones."""
    reader = blocked_reader(scene)
    scene.must("rm /var/lib/rpm/__db.* && rpm -qa >/dev/null")
    return Made(f"rpm (pid {reader}) uses regions that were removed", {"reader": reader}, REGIONS)


def glibc_replaced(scene: Scene) -> Made:
    """Install the C library anew under an agent that has the environment open; another rpm shares it then."""
    agent = started(scene, "case-agent", f'exec python3 -c "{AGENT}"')
    scene.wait(f"grep -q __db.002 /proc/{agent}/maps && sleep 0.5", what="the agent to open the database")
    scene.must("rpm -U --replacepkgs /srv/depots/classic-base/libc6-2.31-*.rpm", 90)
    scene.must("rpm -qa >/dev/null")
    return Made(f"an agent (pid {agent}) uses the environment with the C library of before", {"agent": agent})


def index_disagrees(scene: Scene) -> Made:
    """Lose what was written to the index by name: the list of all has the package, the index has not."""
    scene.must("cp -a /var/lib/rpm/Name /root/Name")
    scene.must(f"rpm -U --replacepkgs {PROBE}")
    scene.must("cp -a /root/Name /var/lib/rpm/Name && rm -f /var/lib/rpm/__db.*")
    name = scene.must(f"rpm -qp --qf '%{{NEVRA}}' {PROBE}").strip()
    if scene.shell("rpm -q lab-tool-01").status == 0 or "lab-tool-01" not in scene.must("rpm -qa"):
        raise scene.failed("the index by name has the package all the same")
    return Made(f"rpm -qa lists {name}, rpm -q does not know it", packages=[name])


def lockers_exhausted(scene: Scene) -> Made:
    """Have an agent open the database again and again without closing it."""
    (scene.host.root / "root/leak.py").write_text(LEAK)
    agent = started(scene, "case-agent", "exec python3 /root/leak.py")
    scene.wait("test -e /run/case-full", what="the agent to fill the environment's tables")
    said = scene.shell("rpm -qa 2>&1 >/dev/null").stdout
    if "unable to allocate" not in said and "out of available" not in said:
        raise scene.failed(f"rpm still opens the database: {said[-300:]}")
    return Made(
        f"an agent (pid {agent}) has taken every locker and mutex of the environment", {"agent": agent}, REGIONS
    )


CASES: tuple[LabCase, ...] = (
    LabCase("bdb-panic", "classic", panic),
    LabCase("bdb-glibc-replaced", "classic", glibc_replaced),
    LabCase("bdb-lockers-exhausted", "classic", lockers_exhausted),
    LabCase("bdb-version-mismatch", "classic", version_mismatch),
    LabCase("bdb-index-disagrees", "classic", index_disagrees),
    LabCase("bdb-region-removed", "classic", region_removed),
)
