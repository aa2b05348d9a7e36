"""Keys that an administrator adds, lists and removes; real keys of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.depot.keys import (
    admissible,
    describe_keys,
    forget,
    keep,
    kept_paths,
    owner_of,
    read_kept,
    states,
)
from interlock.depot.signatures import SignatureCheck, Trust, with_states
from interlock.depot.trust_errors import BadKey
from interlock.lab.key_maker import KeyMaker, key_maker
from interlock.system.run import Runner


@pytest.fixture(scope="module")
def maker() -> Iterator[KeyMaker]:
    with key_maker() as found:
        for name in ("good", "other", "revoked"):
            found.make(name)
        found.revoke("revoked")
        found.make_expired("expired")
        found.make("weak", algorithm="rsa1024")
        found.make("dsa", algorithm="dsa2048")
        yield found


@pytest.mark.parametrize(("name", "state"), [("good", "valid"), ("expired", "expired"), ("revoked", "revoked")])
def test_a_key_is_described(maker: KeyMaker, name: str, state: str) -> None:
    (key,) = describe_keys([maker.armor(name)], Runner())
    assert (key.fingerprint, key.user, key.state) == (maker.fingerprint(name), name, state)
    assert (key.expires is None) == (name != "expired")


def test_several_armors_are_described_together(maker: KeyMaker) -> None:
    found = describe_keys([maker.armor("good"), maker.armor("other")], Runner())
    assert [key.user for key in found] == ["good", "other"]
    assert describe_keys([], Runner()) == ()


@pytest.mark.parametrize(
    ("name", "why"), [("expired", "expired"), ("revoked", "revoked"), ("weak", "1024 bits"), ("dsa", "DSA")]
)
def test_a_key_of_no_use_is_refused_and_says_why(maker: KeyMaker, tmp_path: Path, name: str, why: str) -> None:
    path = tmp_path / "key"
    path.write_text(maker.armor(name))
    with pytest.raises(BadKey, match=why) as caught:
        keep(str(tmp_path / "keys"), str(path), Runner())
    assert caught.value.exit_status == 3
    assert kept_paths(str(tmp_path / "keys")) == []


@pytest.mark.parametrize("content", [b"", b"junk", b"\x99junk", b"x" * 2_000_000])
def test_a_file_without_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(BadKey, match=str(path)):
        admissible(str(path), Runner())


def test_a_secret_key_is_refused(maker: KeyMaker, tmp_path: Path) -> None:
    path = tmp_path / "key"
    maker.gpg("--armor", "--output", str(path), "--export-secret-keys", "good")
    with pytest.raises(BadKey, match="secret"):
        admissible(str(path), Runner())


@pytest.mark.parametrize("armor", ["--armor", "--no-armor"])
def test_two_keys_of_one_file_are_kept_each_by_itself(maker: KeyMaker, tmp_path: Path, armor: str) -> None:
    path, folder = tmp_path / "keys.asc", str(tmp_path / "kept")
    maker.gpg(armor, "--output", str(path), "--export", "good", "other")
    keep(folder, str(path), Runner())
    armors, defects = read_kept(folder)
    assert defects == []
    assert sorted(key.user for one in armors for key in describe_keys([one], Runner())) == ["good", "other"]
    assert forget(folder, maker.fingerprint("good"))
    assert not forget(folder, maker.fingerprint("good"))
    assert not forget(folder, "../x")
    assert [key.user for one in read_kept(folder)[0] for key in describe_keys([one], Runner())] == ["other"]


def test_a_damaged_kept_key_is_named_and_the_others_count(maker: KeyMaker, tmp_path: Path) -> None:
    (tmp_path / f"{'A' * 40}.asc").write_text("damaged")
    (tmp_path / f"{maker.fingerprint('good')}.asc").write_text(maker.armor("good"))
    (tmp_path / "readme.txt").write_text("no key")
    armors, (defect,) = read_kept(str(tmp_path))
    assert len(armors) == 1
    assert "A" * 40 in defect


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("good", Trust.SIGNED, Trust.SIGNED), ("expired", Trust.SIGNED, Trust.EXPIRED_KEY),
     ("revoked", Trust.SIGNED, Trust.REVOKED_KEY), ("expired", Trust.BAD_SIGNATURE, Trust.EXPIRED_KEY),
     ("good", Trust.BAD_SIGNATURE, Trust.BAD_SIGNATURE), ("revoked", Trust.DAMAGED, Trust.DAMAGED)],
)  # fmt: skip
@pytest.mark.parametrize("digits", [8, 16, 40])
def test_what_rpm_says_of_a_package_and_the_state_of_its_key(
    maker: KeyMaker, name: str, before: Trust, after: Trust, digits: int
) -> None:
    keys = states("\n".join(maker.armor(one) for one in ("good", "expired", "revoked")), Runner())
    identity = maker.fingerprint(name)[-digits:].lower()
    assert with_states(SignatureCheck(before, (identity,)), keys, ()).trust is after


def test_a_package_by_a_key_that_the_policy_does_not_name(maker: KeyMaker) -> None:
    keys = states(maker.armor("good") + maker.armor("other"), Runner())
    check = SignatureCheck(Trust.SIGNED, (maker.fingerprint("other")[-8:].lower(),))
    assert with_states(check, keys, (maker.fingerprint("good"),)).trust is Trust.UNKNOWN_KEY
    assert with_states(check, keys, (maker.fingerprint("other"),)).trust is Trust.SIGNED
    assert owner_of("00000000", keys) == (None, "")
