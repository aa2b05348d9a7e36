"""What is left out of a large depot makes no difference: plans and states are the same as from the whole."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from depot_tools import write_repository

from interlock.depot import relevant
from interlock.depot.bulletin import Bulletin, bulletin_states
from interlock.depot.errors import BadMetadata
from interlock.depot.relevant import RelevantReader
from interlock.depot.repository import open_depot
from interlock.depot.updateinfo_write import write_updateinfo
from interlock.package import Evr, Nevra, Package, Relation
from interlock.upgrade.plan import make_plan

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common" '
    'xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">\n'
)
FLAGS = {"<": "LT", "<=": "LE", "=": "EQ", ">=": "GE", ">": "GT"}
NAMES = [f"p{number}" for number in range(24)]
# Capabilities as real packages have them, and such as must be escaped in XML.
CAPABILITIES = ["cap-a", "lib.so()(64bit)", 'odd("x"&<y>)', "/usr/bin/tool", "font(:lang=en)", "(cap-a if p1)",
                "(p2 or p3)"]  # fmt: skip


def relation(chance: random.Random, names: Sequence[str]) -> Relation:
    name = chance.choice(names)
    if name.startswith(("/", "(")) or chance.random() < 0.6:
        return Relation(name)
    return Relation(name, chance.choice(list(FLAGS)), Evr(0, str(chance.randint(1, 4)), ""))


def package(chance: random.Random, name: str, version: int) -> Package:
    plain = [one for one in CAPABILITIES if not one.startswith(("/", "("))]
    own = Relation(name, "=", Evr(0, str(version), "1"))
    return Package(
        Nevra(name, Evr(0, str(version), "1"), chance.choice(["noarch", "x86_64"])),
        provides=(own, *(Relation(one) for one in chance.sample(plain, chance.randint(0, 1)))),
        requires=tuple(relation(chance, [*NAMES, *CAPABILITIES]) for _ in range(chance.choice([0, 0, 1, 2]))),
        conflicts=tuple(relation(chance, NAMES) for _ in range(chance.choice([0, 0, 0, 0, 1]))),
        obsoletes=tuple(relation(chance, NAMES) for _ in range(chance.choice([0, 0, 0, 0, 0, 1]))),
        files=("/usr/bin/tool",) if chance.random() < 0.1 else (),
        size=chance.randint(0, 10),
    )


def entries(kind: str, relations: Sequence[Relation]) -> str:
    rows = []
    for one in relations:
        evr = f' flags="{FLAGS[one.sense]}" epoch="{one.evr.epoch}" ver="{one.evr.version}"' if one.sense else ""
        rel = f' rel="{one.evr.release}"' if one.evr.release else ""
        name = (
            '"' + one.name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;") + '"'
        )
        rows.append(f"<rpm:entry name={name}{evr}{rel}/>")
    return f"<rpm:{kind}>{''.join(rows)}</rpm:{kind}>" if rows else ""


def element(one: Package) -> str:
    version = f'<version epoch="0" ver="{one.nevra.evr.version}" rel="{one.nevra.evr.release}"/>'
    kinds = ("provides", "requires", "conflicts", "obsoletes")
    relations = "".join(entries(kind, getattr(one, kind)) for kind in kinds)
    files = "".join(f"<file>{path}</file>" for path in one.files)
    digest = f"{abs(hash(one.nevra)):064x}"
    return (
        f'<package type="rpm">\n  <name>{one.name}</name>\n  <arch>{one.nevra.arch}</arch>\n  {version}\n'
        f'  <checksum type="sha256" pkgid="YES">{digest}</checksum><summary>a</summary>'
        f'<size package="10" installed="{one.size}" archive="10"/>\n<location href={quoteattr(f"{one.nevra}.rpm")}/>\n'
        f"  <format>\n{relations}{files}</format>\n</package>\n"
    )


def text(packages: Sequence[Package]) -> bytes:
    return f"{HEAD}{''.join(map(element, packages))}</metadata>\n".encode()


@pytest.mark.parametrize("seed", range(150))
def test_plans_and_states_are_those_of_the_whole(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    offered = [package(chance, name, chance.randint(1, 4)) for name in chance.choices(NAMES, k=20)]
    installed = [package(chance, name, chance.randint(1, 3)) for name in chance.sample(NAMES, chance.randint(1, 8))]
    nevras = sorted({one.nevra for one in offered}, key=str)
    rows = [
        Bulletin(f"B-{number}", "t", "Low", "bugfix", "2026-01-01",
                 packages=tuple(chance.sample(nevras, min(len(nevras), chance.randint(1, 3)))),
                 recalled=chance.random() < 0.1)
        for number in range(4)
    ]  # fmt: skip
    document = write_updateinfo(rows, {}).encode()
    write_repository(str(tmp_path), {"primary": text(offered), "updateinfo": document})
    whole, part = open_depot(str(tmp_path)), open_depot(str(tmp_path), installed=installed)
    assert part.total == len(offered)
    assert set(part.packages) <= set(whole.packages)
    assert make_plan(installed, part) == make_plan(installed, whole)
    assert bulletin_states(part, installed) == bulletin_states(whole, installed)
    for one in rows:
        if not one.recalled:
            assert make_plan(installed, part, bulletins=[one.id]) == make_plan(installed, whole, bulletins=[one.id])


def test_most_of_a_depot_is_passed_over(tmp_path: Path) -> None:
    alone = [Package(Nevra(f"q{number}", Evr(0, "2", "1"), "noarch")) for number in range(500)]
    write_repository(str(tmp_path), {"primary": text(alone)})
    found = open_depot(str(tmp_path), installed=[Package(Nevra("q7", Evr(0, "1", "1"), "noarch"))])
    assert ([one.name for one in found.packages], found.total) == (["q7"], 500)


GOOD = Package(Nevra("good", Evr(0, "2", "1"), "noarch"), provides=(Relation("good"),))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<name>good", "<!-- <package --><name>good"), ("<name>good", "<name><![CDATA[good]]>"),
        ('encoding="UTF-8"', 'encoding="ISO-8859-1"'), ("xmlns:rpm=", "xmlns:r="), ("<metadata", "<metadata a='1'"),
        ("</package>\n", "</package>\n<other/>"), ("</metadata>", "<?x y?></metadata>"),
    ],
)  # fmt: skip
def test_a_text_of_another_form_is_read_in_full(old: str, new: str, tmp_path: Path) -> None:
    content = text([GOOD]).replace(old.encode(), new.encode(), 1)
    assert RelevantReader.of([content]) is None
    write_repository(str(tmp_path), {"primary": content})
    found = open_depot(str(tmp_path), installed=[])
    assert len(found.packages) == found.total <= 1


def test_a_text_that_is_too_large_is_read_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relevant, "SIZE_LIMIT", 100)
    assert RelevantReader.of([text([GOOD])]) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<name>good", "<name>../good"), ("<name>good", "<name>"), ('epoch="0"', 'epoch="-1"'),
        ('ver="2"', 'ver="2-3"'),
        ('href="good', 'href="../../good'), ('href="good', 'href="/good'), ('package="10"', 'package="-10"'),
        ("<arch>noarch</arch>", "<arch/>"),
    ],
)  # fmt: skip
def test_what_is_odd_is_read_and_said_even_where_it_does_not_matter(old: str, new: str, tmp_path: Path) -> None:
    write_repository(str(tmp_path), {"primary": text([GOOD]).replace(old.encode(), new.encode(), 1)})
    whole, part = open_depot(str(tmp_path)), open_depot(str(tmp_path), installed=[])
    assert part.defects == whole.defects
    assert len(part.defects) == 1


@pytest.mark.parametrize("content", [HEAD.encode() + b"<package>", text([GOOD])[:-20], HEAD.encode() + b"</metadata"])
def test_what_is_not_well_formed_is_refused(content: bytes, tmp_path: Path) -> None:
    write_repository(str(tmp_path), {"primary": content})
    with pytest.raises(BadMetadata, match="not well-formed"):
        open_depot(str(tmp_path), installed=[])
