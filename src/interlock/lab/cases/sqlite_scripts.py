"""Programs that the lab runs on a host to bring its SQLite database into trouble."""

from __future__ import annotations

# Takes SQLite's write lock as any program may that knows the file, and never lets go.
HOLD = """
import sqlite3, time
connection = sqlite3.connect("/var/lib/rpm/rpmdb.sqlite", isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
open("/run/case-held", "w").close()
while True:
    time.sleep(100)
"""

# A transaction through the bindings whose callback looks into the database's files, as fapolicyd's plugin once did:
# the close drops every lock that the library has on them.
DROP = """
import os, rpm, sys, time
def called(what, amount, total, key, data):
    if what == rpm.RPMCALLBACK_INST_OPEN_FILE:
        return os.open(key, os.O_RDONLY)
    if what == rpm.RPMCALLBACK_INST_START:
        for name in ("rpmdb.sqlite", "rpmdb.sqlite-shm", ".rpm.lock"):
            open(os.path.join("/var/lib/rpm", name), "rb").close()
        open("/run/case-dropped", "w").close()
        while True:
            time.sleep(100)
transaction = rpm.TransactionSet()
transaction.setVSFlags(-1)
with open(sys.argv[1], "rb") as package:
    header = transaction.hdrFromFdno(package.fileno())
transaction.addInstall(header, sys.argv[1], "i")
transaction.run(called, "")
"""

# Fills root pages of indexes with random bytes; the packages' own pages stay whole.
DAMAGE = """
import random, sqlite3, sys
path, chance = "/var/lib/rpm/rpmdb.sqlite", random.Random(int(sys.argv[1]))
connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
size = connection.execute("PRAGMA page_size").fetchone()[0]
rows = connection.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index' AND rootpage > 0 ORDER BY rootpage")
pages = chance.sample([row[0] for row in rows], 6)
with open(path, "r+b") as stream:
    for page in pages:
        stream.seek((page - 1) * size)
        stream.write(bytes(chance.randrange(256) for _ in range(size)))
"""

# Starts a rebuild, stops it as soon as it has rpm's lock, lets another transaction queue up, and lets it go on.
REBUILD = """
import os, signal, subprocess, sys, time
lock = "/var/lib/rpm/.rpm.lock"
open(lock, "a").close()
inode = f":{os.stat(lock).st_ino} "
rebuild = subprocess.Popen(["rpm", "--rebuilddb"])
def locked(waiting):
    with open("/proc/locks") as stream:
        return any(inode in line and ("->" in line) == waiting for line in stream)
while not locked(False):
    if rebuild.poll() is not None:
        sys.exit("the rebuild was over before it could be stopped")
os.kill(rebuild.pid, signal.SIGSTOP)
subprocess.run(["systemd-run", "--quiet", "--unit=case-waiter", "--property=KillMode=process", "--",
                "script", "-qec", f"rpm -Uv {sys.argv[1]}", "/dev/null"], check=True)
begun = time.monotonic()
while not locked(True) and time.monotonic() < begun + 20:
    time.sleep(0.05)
os.kill(rebuild.pid, signal.SIGCONT)
sys.exit(rebuild.wait())
"""

# Rebuilds again and again beside queries of root, until one of these opens the database between the rebuild's two
# renames: it makes an empty one there, and the second rename fails.
OVERTAKE = """
import subprocess, sys, time
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
begun = time.monotonic()
while time.monotonic() < begun + 100:
    queries = [subprocess.Popen("while :; do rpm -q rpm; done", shell=True, **quiet) for _ in range(3)]
    subprocess.run(["rpm", "--rebuilddb"], **quiet)
    for query in queries:
        query.kill()
        query.wait()
    if not subprocess.run(["rpm", "-qa"], capture_output=True).stdout:
        sys.exit(0)
sys.exit("no query came between the two renames")
"""
