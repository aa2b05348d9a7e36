"""Damages the shared regions of rpm's Berkeley DB environment. Usage: damage_regions.py mutexes|version

mutexes  writes nonsense over the kind of every mutex, as a stray write of some process would: the library's next use
         of one fails, and it sets the panic mark itself
version  has the environment say that Berkeley DB 4.8.30 made it, as a program with a library of its own would
"""

from __future__ import annotations

import struct
import sys

FOLDER = "/var/lib/rpm"
KIND = 16
FOREIGN = (4, 8, 30)


def damage_mutexes() -> None:
    """Find the array of mutexes by its description near the begin of the region, and spoil each."""
    with open(f"{FOLDER}/__db.002", "r+b") as region:
        content = region.read()
        for at in range(0, 4096, 8):
            start, first, size = struct.unpack_from("<QQQ", content, at)
            if 128 <= size <= 256 and 64 <= start <= first < start + size:
                for record in range(first, len(content) - size, size):
                    region.seek(record + KIND)
                    region.write(b"\x7f\x7f\x00\x00")
                return
        raise SystemExit("the array of mutexes was not found")


def change_version() -> None:
    """Write another version into the head of the environment."""
    with open(f"{FOLDER}/__db.001", "r+b") as region:
        region.seek(8)
        region.write(struct.pack("<3I", *FOREIGN))


if __name__ == "__main__":
    {"mutexes": damage_mutexes, "version": change_version}[sys.argv[1]]()
