"""A large depot's metadata, generated from a seed: as many packages as a release has, shaped like Fedora's own."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from interlock.depot.bulletin import Bulletin
from interlock.depot.updateinfo_write import write_updateinfo
from interlock.package import Evr, Nevra

WORDS = ("the", "a", "package", "of", "tools", "library", "for", "and", "with", "to", "server", "client", "shared")
BOTTOM = 300
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common" '
    'xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{count}">\n'
)


def make_metadata(folder: Path, installed: Sequence[Nevra], packages: int, bulletins: int, seed: int) -> None:
    """Write ``repodata`` for that many packages, among them a later version of each that is installed."""
    chance = random.Random(seed)
    nevras = [Nevra(one.name, Evr(one.evr.epoch, f"{one.evr.version}.1", "1"), one.arch) for one in installed]
    nevras += [Nevra(f"made-{number:05d}", Evr(0, f"{chance.randint(0, 9)}.{number % 7}", "1"), "x86_64")
               for number in range(packages - len(nevras))]  # fmt: skip
    body = "".join(_package(number, nevras, chance) for number in range(len(nevras)))
    rows = [
        Bulletin(f"MADE-{number}", f"Update {number}", "Important", "security", "2026-01-01 00:00:00",
                 description=_text(chance, 80), packages=tuple(chance.sample(nevras, chance.randint(1, 8))))
        for number in range(bulletins)
    ]  # fmt: skip
    document = write_updateinfo(rows, {})
    repodata = folder / "repodata"
    repodata.mkdir(parents=True)
    files = {"primary": HEAD.format(count=len(nevras)) + body + "</metadata>\n", "updateinfo": document}
    data = "".join(_data(repodata, kind, text) for kind, text in files.items())
    head = '<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1790000000</revision>'
    (repodata / "repomd.xml").write_text(f"{head}{data}</repomd>\n")


def _data(repodata: Path, kind: str, text: str) -> str:
    content = gzip.compress(text.encode(), 6)
    (repodata / f"{kind}.xml.gz").write_bytes(content)
    digests = f'<checksum type="sha256">{hashlib.sha256(content).hexdigest()}</checksum>'
    digests += f'<open-checksum type="sha256">{hashlib.sha256(text.encode()).hexdigest()}</open-checksum>'
    sizes = f"<size>{len(content)}</size><open-size>{len(text.encode())}</open-size>"
    place = f'<location href="repodata/{kind}.xml.gz"/><timestamp>1790000000</timestamp>'
    return f'<data type="{kind}">{digests}{place}{sizes}</data>'


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))


def _package(number: int, others: Sequence[Nevra], chance: random.Random) -> str:
    one = others[number]
    ver = f"epoch={quoteattr(str(one.evr.epoch))} ver={quoteattr(one.evr.version)} rel={quoteattr(one.evr.release)}"
    size = chance.randint(2_000, 2_000_000)
    return (
        f'<package type="rpm"><name>{one.name}</name><arch>{one.arch}</arch><version {ver}/>'
        f'<checksum type="sha256" pkgid="YES">{chance.getrandbits(256):064x}</checksum>'
        f"<summary>{_text(chance, 8)}</summary><description>{_text(chance, 60)}</description>"
        f'<url>https://example.org/{one.name}</url><time file="1790000000" build="1790000000"/>'
        f'<size package="{size}" installed="{size * 3}" archive="{size * 3}"/><location href="{one.name}.rpm"/>'
        f"<format><rpm:license>MIT</rpm:license><rpm:group>Made</rpm:group><rpm:buildhost>b</rpm:buildhost>"
        f'<rpm:sourcerpm>{one.name}.src.rpm</rpm:sourcerpm><rpm:header-range start="1" end="9000"/>'
        f"<rpm:provides>{''.join(_provides(one, ver, chance))}</rpm:provides>"
        f"<rpm:requires>{''.join(_requires(number, others, chance))}</rpm:requires>"
        f"<file>/usr/bin/{one.name}</file><file>/etc/{one.name}.conf</file></format></package>\n"
    )


def _provides(one: Nevra, ver: str, chance: random.Random) -> Iterator[str]:
    yield f'<rpm:entry name="{one.name}" flags="EQ" {ver}/>'
    yield f'<rpm:entry name="{one.name}({one.arch})" flags="EQ" {ver}/>'
    for number in range(chance.randint(0, 5)):
        yield f'<rpm:entry name="lib{one.name}.so.{number}()(64bit)"/>'


def _requires(number: int, others: Sequence[Nevra], chance: random.Random) -> Iterator[str]:
    """Yield requirements as a release has them: nearly all need what is at the bottom, and some their neighbours."""
    bottom = chance.sample(others[:BOTTOM], chance.randint(0, 6))
    beside = [others[max(0, number - chance.randint(1, 5))] for _ in range(chance.randint(0, 2))]
    for one in dict.fromkeys((*bottom, *(beside if number >= BOTTOM else ()))):
        yield f'<rpm:entry name="{one.name}"/>'
    yield '<rpm:entry name="rpmlib(CompressedFileNames)" flags="LE" epoch="0" ver="3.0.4" rel="1"/>'
