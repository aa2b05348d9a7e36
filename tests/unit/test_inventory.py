"""The inventory of a fleet: hosts added, imported, chosen and removed; from a file with a mistake nothing is taken."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text, update

from interlock.manager import inventory
from interlock.manager.errors import BadImport, DatabaseFromTheFuture, HostNotListed, HostThere
from interlock.manager.hosts_file import read_hosts
from interlock.manager.inventory import Entry
from interlock.manager.package_sets import intern_set, read_sets
from interlock.manager.store import DatabaseUnusable, default_url, open_store
from interlock.manager.tables import SETTINGS


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_store(f"sqlite:///{tmp_path / 'deep/manager.db'}")


def test_a_host_is_added_chosen_and_removed(engine: Engine) -> None:
    entry = Entry("web1", user="ops", sudo=True, groups=("web", "prod"), labels={"rack": "7"})
    inventory.add(engine, entry)
    (known,) = inventory.choose(engine)
    assert known.entry == Entry("web1", "web1", user="ops", sudo=True, groups=("prod", "web"), labels={"rack": "7"})
    assert (known.state, known.seen_at) == ("new", None)
    with pytest.raises(HostThere, match="web1"):
        inventory.add(engine, entry)
    inventory.pin(engine, "web1", "ssh-ed25519 AAAA")
    assert inventory.choose(engine)[0].entry.host_key == "ssh-ed25519 AAAA"
    inventory.remove(engine, "web1")
    assert inventory.choose(engine) == []
    for action in (lambda: inventory.remove(engine, "web1"), lambda: inventory.pin(engine, "web1", "x"),
                   lambda: inventory.choose(engine, ["web1"])):  # fmt: skip
        with pytest.raises(HostNotListed):
            action()


@pytest.mark.parametrize(
    ("names", "groups", "labels", "expected"),
    [
        ([], [], {}, "abc"), (["a", "b"], [], {}, "ab"), ([], ["web"], {}, "ab"), ([], ["web", "db"], {}, "abc"),
        ([], [], {"env": "prod"}, "ac"), ([], ["web"], {"env": "prod"}, "a"), ([], [], {"env": "prod", "x": "y"}, ""),
        (["b"], ["db"], {}, ""),
    ],
)  # fmt: skip
def test_hosts_are_chosen_by_name_group_and_label(
    engine: Engine, names: list[str], groups: list[str], labels: dict[str, str], expected: str
) -> None:
    inventory.bring(engine, [
        Entry("a", groups=("web",), labels={"env": "prod"}), Entry("b", groups=("web",), labels={"env": "test"}),
        Entry("c", groups=("db",), labels={"env": "prod"}),
    ])  # fmt: skip
    assert "".join(one.entry.name for one in inventory.choose(engine, names, groups, labels)) == expected


@pytest.mark.parametrize(
    "entry",
    [Entry(""), Entry("-x"), Entry("a b"), Entry("a;b"), Entry("a", address="$(x)"), Entry("a", user="-l"),
     Entry("a", port=0), Entry("a", port=70000), Entry("a", groups=("x y",)), Entry("a", labels={"": "x"}),
     Entry("a", jump="../x"), Entry("a" * 300)],
)  # fmt: skip
def test_what_cannot_be_a_host_is_refused(engine: Engine, entry: Entry) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        inventory.add(engine, entry)
    assert inventory.choose(engine) == []


def test_what_is_not_ours_is_in_the_inventory(engine: Engine) -> None:
    inventory.add(engine, Entry("esxi1", product="VMware ESXi 8.0"))
    row = inventory.choose(engine)[0].to_json()
    assert (row["state"], row["product"]) == ("not-ours", "VMware ESXi 8.0")


CSV = "name,address,port,user,sudo,groups,labels\nweb1,10.0.0.1,2222,ops,yes,web prod,rack=7 env=prod\ndb1,,,,,,\n"
ROWS: list[dict[str, Any]] = [
    {"name": "web1", "address": "10.0.0.1", "port": 2222, "user": "ops", "sudo": True, "groups": ["web", "prod"],
     "labels": {"rack": "7", "env": "prod"}},
    {"name": "db1"},
]  # fmt: skip


@pytest.mark.parametrize("content", [CSV, "\ufeff" + CSV.replace("\n", "\r\n"), json.dumps(ROWS)])
def test_files_are_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "hosts"
    path.write_text(content, newline="")
    labels = {"rack": "7", "env": "prod"}
    assert read_hosts(str(path)) == [
        Entry("web1", "10.0.0.1", 2222, "ops", sudo=True, groups=("web", "prod"), labels=labels), Entry("db1")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "no hosts"), ("name\n", "no hosts"), ("name\na\nb c\nd;e\n", "line 3: name cannot be.*line 4"),
        ("name\na\na\n", "line 3: the name a was there before"), ("name,colour\na,red\n", "'colour' is not known"),
        ("name,port\na,x\n", "port cannot be"), ("name,sudo\na,perhaps\n", "neither yes nor no"),
        ("name,labels\na,x\n", "key=value"), ("[1]", "not an object"), ('[{"name": ["a"]}]', "not a word"),
        ("[{", "Expecting"), ('[{"name": "a", "user": "-oProxyCommand=x"}]', "user cannot be"),
    ],
)  # fmt: skip
def test_a_file_with_a_mistake_is_named_by_line(tmp_path: Path, content: str, why: str) -> None:
    path = tmp_path / "hosts"
    path.write_text(content)
    with pytest.raises(BadImport, match=why) as caught:
        read_hosts(str(path))
    assert str(path) in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_second_import_brings_up_to_date_and_keeps_pinned_keys(engine: Engine) -> None:
    assert inventory.bring(engine, [Entry("a", groups=("old",)), Entry("b")]) == (2, 0)
    inventory.pin(engine, "a", "key")
    assert inventory.bring(engine, [Entry("a", "10.0.0.1", groups=("new",)), Entry("c")]) == (1, 1)
    found = {one.entry.name: one.entry for one in inventory.choose(engine)}
    assert (found["a"].address, found["a"].groups, found["a"].host_key) == ("10.0.0.1", ("new",), "key")
    assert sorted(found) == ["a", "b", "c"]


def test_ten_thousand_hosts_are_imported_and_changed(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_text("name,groups,labels\n" + "".join(f"h{n},g{n % 40} all,n={n}\n" for n in range(10_000)))
    begun = time.monotonic()
    assert inventory.bring(engine, read_hosts(str(path))) == (10_000, 0)
    print(f"10,000 hosts in {time.monotonic() - begun:.1f} s")
    assert len(inventory.choose(engine, groups=["g7"])) == 250
    assert inventory.bring(engine, read_hosts(str(path))) == (0, 10_000)


def test_like_hosts_share_a_set(engine: Engine) -> None:
    with engine.begin() as connection:
        first = intern_set(connection, ["b-1-1.noarch", "a-1-1.noarch", "a-1-1.noarch"])
        assert intern_set(connection, ["a-1-1.noarch", "b-1-1.noarch"]) == first
        second = intern_set(connection, [*(f"p{n}-1-1.noarch" for n in range(1500)), "a-1-1.noarch"])
        assert second != first
        nevras, sets = read_sets(connection)
    assert sorted(nevras[one] for one in sets[first]) == ["a-1-1.noarch", "b-1-1.noarch"]
    assert len(sets[second]) == 1501


def test_where_the_database_is() -> None:
    assert default_url({}, True) == "sqlite:////var/lib/interlock/manager/manager.db"
    assert default_url({"HOME": "/home/me"}, False) == "sqlite:////home/me/.local/share/interlock/manager.db"
    assert default_url({"INTERLOCK_DATABASE": "/x/y.db"}, True) == "sqlite:////x/y.db"
    assert default_url({"INTERLOCK_DATABASE": "postgresql://h/d"}, True) == "postgresql://h/d"


def test_a_database_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database\n" * 100)
    for place in ("file", "file/deeper.db"):
        with pytest.raises(DatabaseUnusable, match="file"):
            open_store(f"sqlite:///{tmp_path / place}")
    with pytest.raises(DatabaseUnusable) as caught:
        open_store("postgresql+nothing://me:secret@nowhere/x")
    assert "secret" not in str(caught.value)


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'm.db'}"
    with open_store(url).begin() as connection:
        connection.execute(update(SETTINGS).values(value="99"))
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    with pytest.raises(DatabaseFromTheFuture, match="99"):
        open_store(url)
