"""The pure half of the lab: Debian's words in, rpm's words out."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from interlock.lab import translate
from interlock.lab.accounts import Accounts
from interlock.lab.bulletins import LabBulletin, write_updateinfo
from interlock.lab.debs import Deb, DebRelation, parse_relations, parse_status
from interlock.lab.ownership import Entry, assign, decode_capabilities, dropped, is_runtime
from interlock.lab.packaging import make_way
from interlock.lab.spec import Scriptlet, Spec, file_line, file_pattern, write_spec
from interlock.lab.tools import parse_depot_name, tool_files, tool_spec
from interlock.package import Evr, Nevra, Relation

STATUS = """\
Package: libfoo1
Status: install ok installed
Architecture: amd64
Source: foo (1.2)
Version: 1:1.2-3+b1
Provides: foo-abi (= 2)
Depends: libc6 (>= 2.14), mawk | awk
Breaks: old-foo (<< 1.0-2)
Conffiles:
 /etc/foo.conf d41d8cd98f00b204e9800998ecf8427e
 /etc/gone.conf d41d8cd98f00b204e9800998ecf8427e obsolete
Description: a library
 with a long text

Package: half
Status: deinstall ok config-files
Architecture: all
Version: 1
Description: gone
"""


def deb(name: str, version: str = "1-1", source: str = "", **more: object) -> Deb:
    return Deb(name, version, source or name, "amd64", name, **more)  # type: ignore[arg-type]


def test_status_is_read_without_packages_that_are_not_installed() -> None:
    (package,) = parse_status(STATUS)
    assert (package.name, package.version, package.source) == ("libfoo1", "1:1.2-3+b1", "foo")
    assert package.configs == {"/etc/foo.conf"}
    assert package.depends[1] == (DebRelation("mawk"), DebRelation("awk"))
    assert package.conflicts == (DebRelation("old-foo", "<<", "1.0-2"),)


def test_an_architecture_qualifier_is_no_part_of_a_name() -> None:
    assert parse_relations("python3:any (>= 3.9~)") == ((DebRelation("python3", ">=", "3.9~"),),)


@pytest.mark.parametrize(
    ("debian", "rpm"),
    [
        ("2.31-13+deb11u13", "2.31-lab1.13+deb11u13"),
        ("1:8.4p1-5", "1:8.4p1-lab1.5"),
        ("12.4", "12.4-lab1"),
        ("1.2-rc1-4", "1.2_rc1-lab1.4"),
    ],
)
def test_versions(debian: str, rpm: str) -> None:
    assert str(translate.translate_version(debian, "lab1")) == rpm


@pytest.mark.parametrize(("old", "new"), [("1-1", "1-1"), ("1-1+b1", "1-1"), ("1-1", "1-1+b1"), ("3", "3")])
def test_the_same_version_in_the_next_release_is_an_upgrade(old: str, new: str) -> None:
    before, after = translate.translate_version(old, "lab1"), translate.translate_version(new, "lab2")
    assert after.compare(before) > 0


def test_requirements_choose_what_is_there_and_forget_the_old_package_manager() -> None:
    needs = parse_relations("dpkg (>= 1.15), exim | mail-agent, gawk | mawk (>= 1.3), self")
    debs = [deb("self", depends=needs), deb("mawk"), deb("mta", provides=(DebRelation("mail-agent"),)), deb("dpkg")]
    universe = translate.Universe.of(debs, "lab1")
    found = [str(one) for one in translate.requirements(universe.debs["self"], universe)]
    assert found == ["mail-agent", "mawk >= 1.3"]


def test_a_strict_bound_includes_its_end_because_release_strings_differ() -> None:
    universe = translate.Universe.of([deb("a", depends=parse_relations("b (>> 1-2)")), deb("b")], "lab2")
    assert [str(one) for one in translate.requirements(universe.debs["a"], universe)] == ["b >= 1-lab2.2"]


def test_conflicts_with_provided_names_are_left_out() -> None:
    rival = (DebRelation("awk", "<<", "2"), DebRelation("old", "<<", "2-1"), DebRelation("unversioned"))
    universe = translate.Universe.of([deb("a", conflicts=rival), deb("m", provides=(DebRelation("awk"),))], "lab1")
    assert [str(one) for one in translate.conflicts(universe.debs["a"], universe)] == ["old < 2-lab1.1"]


def test_a_vanished_package_is_obsoleted_by_the_most_alike_of_its_source() -> None:
    new = translate.Universe.of(
        [deb("libssl3", source="openssl"), deb("openssl", source="openssl"), deb("base-files")], "lab2"
    )
    old = [deb("libssl1.1", "1.1.1w-0", "openssl"), deb("lonely"), deb("apt"), deb("openssl", source="openssl")]
    taken = translate.successors(old, new)
    assert {name: [one.name for one in debs] for name, debs in taken.items()} == {
        "libssl3": ["libssl1.1"],
        "base-files": ["lonely"],
    }
    (obsolete,) = translate.obsoletes(taken["libssl3"], "lab2")
    assert str(obsolete) == "libssl1.1 < 1.1.1w-lab2"
    assert obsolete.matches(Relation("libssl1.1", "=", translate.translate_version("1.1.1w-0", "lab1")))


def test_spec_file() -> None:
    spec = Spec(
        "foo", Evr(1, "2", "lab1"), "noarch", "100% foo",
        requires=(Relation("bar", ">=", Evr(0, "1")), Relation("passwd", pre=True)),
        entries=(Entry("/etc/foo", "file", 0o640, "root", "adm", config=True),),
        scriptlets=(Scriptlet("post", "echo 100%"),),
    )  # fmt: skip
    text = write_spec(spec)
    for line in (
        "Epoch: 1", "BuildArch: noarch", "Summary: 100%% foo", "Requires: bar >= 1", "Requires(pre): passwd",
        "%post\necho 100%%", '%attr(0640, root, adm) %config(noreplace) "/etc/foo"',
    ):  # fmt: skip
        assert f"\n{line}\n" in text


def test_file_lines() -> None:
    assert file_line(Entry("/usr/bin/[", "file", 0o755, "root", "root")) == '%attr(0755, root, root) "/usr/bin/[[]"'
    assert file_line(Entry("/lib", "link", 0o777, "root", "root")) == '%attr(-, root, root) "/lib"'
    folder = Entry("/var/mail", "directory", 0o2775, "root", "mail")
    assert file_line(folder) == '%attr(2775, root, mail) %dir "/var/mail"'
    ghost = Entry("/etc/passwd", "file", 0o644, "root", "root", config=True, ghost=True)
    assert file_line(ghost).startswith("%attr(0644, root, root) %ghost %config(noreplace)")


def test_patterns_match_one_path_only() -> None:
    assert file_pattern("/a/system-x\\x2dy.slice") == "/a/system-x?x2dy.slice"
    assert file_pattern("/a/100%") == "/a/100%%"


def test_compiled_python_belongs_to_its_source_and_the_rest_to_setup() -> None:
    owners = {"/usr/lib/a": ["a"], "/usr/lib/a/m.py": ["a"], "/usr": ["a", "base-files"]}
    paths = ["/usr", "/usr/lib/a", "/usr/lib/a/m.py", "/usr/lib/a/__pycache__",
             "/usr/lib/a/__pycache__/m.cpython-39.pyc", "/etc/lonely", "/proc/1", "/etc/lab-release"]  # fmt: skip
    found = assign(paths, owners, {"/etc/lab-release": "lab-release"})
    assert found["a"] == paths[1:5]
    assert found["base-files"] == ["/usr"]
    assert (found["lab-setup"], found["lab-release"]) == (["/etc/lonely"], ["/etc/lab-release"])


def test_runtime_and_dropped() -> None:
    assert is_runtime("/proc")
    assert is_runtime("/var/lib/rpm/Packages")
    assert not is_runtime("/var/lib/rpm")
    assert not is_runtime("/process")
    assert dropped("apt")
    assert dropped("libapt-pkg6.0")
    assert not dropped("rpm")


def test_accounts_are_made_with_their_groups_first() -> None:
    accounts = Accounts.parse(
        "root:x:0:0:root:/root:/bin/bash\nmail:x:8:8:mail:/var/mail:/usr/sbin/nologin\n"
        "sshd:x:105:65534::/run/sshd:/usr/sbin/nologin\nbus:x:104:110:Bus:/:/usr/sbin/nologin\n",
        "root:x:0:\nmail:x:8:\nbus:x:110:\nkeys:x:111:\nnogroup:x:65534:\n",
    )
    lines = accounts.scriptlet(["root", "mail", "bus"], ["keys"]).splitlines()
    assert [line.split()[-1] for line in lines] == ["mail", "bus", "keys", "mail", "bus"]
    assert "useradd -r -u 8 " in lines[3]
    assert "useradd -r -M -g bus " in lines[4]
    assert accounts.dynamic([("root", "bus"), ("bus", "mail")]) == (["bus"], ["bus"])


def test_capabilities_in_words() -> None:
    raw = bytes.fromhex("0100000200200000000000000000000000000000")
    assert decode_capabilities(raw) == "cap_net_raw=ep"


def test_a_folder_that_becomes_a_link_is_moved_aside() -> None:
    text = make_way(["/usr/share/zoneinfo/posix"])
    assert 'os.rename("/usr/share/zoneinfo/posix", "/usr/share/zoneinfo/posix.rpmmoved")' in text


def test_updateinfo_is_well_formed() -> None:
    nevra = Nevra("a", Evr(1, "2", "lab1"), "noarch")
    bulletin = LabBulletin(
        "LAB-1", "a & b", "security", "Critical", "2026-01-01 00:00:00", "<text>", ((nevra, "a.rpm"),), True
    )
    update = ElementTree.fromstring(write_updateinfo([bulletin])).find("update")
    assert update is not None
    assert update.findtext("id") == "LAB-1"
    assert update.findtext("title") == "a & b"
    assert update.findtext("reboot_suggested") == "True"
    package = update.find("pkglist/collection/package")
    assert package is not None
    assert package.attrib == {"name": "a", "epoch": "1", "version": "2", "release": "lab1", "arch": "noarch"}


def test_tools_ask_rpm_in_their_scriptlets_and_differ_from_version_to_version() -> None:
    spec = tool_spec(12, 3, "lab2")
    assert str(spec.evr) == "3-lab2"
    assert {one.section for one in spec.scriptlets} == {"pre", "post", "preun", "postun"}
    assert "rpm -q lab-tool-01" in spec.scriptlets[1].body
    second, third = dict(tool_files(1, 2)), dict(tool_files(1, 3))
    assert [path for path in second if second[path] == third[path]] == ["/etc/lab-tool/lab-tool-01.conf"]


def test_update_depots_have_names_for_every_version() -> None:
    found = parse_depot_name("next-updates-17")
    assert found is not None
    assert (found[0].name, found[1]) == ("next", 17)
    assert parse_depot_name("classic-current") is None
