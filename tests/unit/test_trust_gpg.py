"""Signatures of metadata, with the real gpg and keys of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from interlock.depot.trust import TrustPolicy
from interlock.depot.trust_errors import (
    BadMetadataSignature,
    ExpiredKey,
    ExpiredSignature,
    RevokedKey,
    UnknownMetadataKey,
    UnsignedMetadata,
    UntrustedMetadata,
    WeakSignature,
)
from interlock.depot.trust_gpg import public_keys, verify_metadata
from interlock.lab.key_maker import KeyMaker, key_maker
from interlock.system.run import Runner

CONTENT = b"<repomd>some metadata</repomd>\n"


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyMaker]:
    with key_maker() as found:
        for name in ("good", "other", "revoked"):
            found.make(name)
        found.make_expired("expired")
        fingerprint = found.make("subkeyed")
        found.gpg("--quick-add-key", fingerprint, "ed25519", "sign", "never")
        yield found


def check(
    keys: KeyMaker, signature: bytes, trusted: str, content: bytes = CONTENT, allowed: tuple[str, ...] = ()
) -> str:
    return verify_metadata("D", content, signature, [keys.armor(trusted)], Runner(), allowed=allowed)


@pytest.mark.parametrize("name", ["good", "subkeyed"])
def test_a_good_signature_names_its_primary_key(keys: KeyMaker, name: str) -> None:
    assert check(keys, keys.sign(name, CONTENT), name) == keys.fingerprint(name)


def refused(error: type[UntrustedMetadata], keys: KeyMaker, signature: bytes, trusted: str, **more: object) -> None:
    with pytest.raises(UntrustedMetadata) as caught:
        check(keys, signature, trusted, **more)  # type: ignore[arg-type]
    assert type(caught.value) is error
    assert caught.value.exit_status == 3


def test_an_unknown_key(keys: KeyMaker) -> None:
    refused(UnknownMetadataKey, keys, keys.sign("other", CONTENT), "good")


def test_a_trusted_key_that_this_depot_may_not_use(keys: KeyMaker) -> None:
    refused(UnknownMetadataKey, keys, keys.sign("good", CONTENT), "good", allowed=(keys.fingerprint("other"),))


def test_an_expired_key_even_for_a_signature_from_before(keys: KeyMaker) -> None:
    refused(ExpiredKey, keys, keys.sign("expired", CONTENT, "--faked-system-time", "20200110T000000"), "expired")


def test_a_revoked_key(keys: KeyMaker) -> None:
    signature = keys.sign("revoked", CONTENT)
    keys.revoke("revoked")
    refused(RevokedKey, keys, signature, "revoked")


def test_an_expired_signature(keys: KeyMaker) -> None:
    keys.gpg("--faked-system-time", "20200101T000000", "--quick-generate-key", "old", "ed25519", "sign", "never")
    signature = keys.sign("old", CONTENT, "--faked-system-time", "20200110T000000", "--default-sig-expire", "1d")
    refused(ExpiredSignature, keys, signature, "old")


def test_a_weak_digest(keys: KeyMaker) -> None:
    refused(WeakSignature, keys, keys.sign("good", CONTENT, "--digest-algo", "SHA1"), "good")


@pytest.mark.parametrize("content", [CONTENT + b" ", b"", CONTENT[:-1]])
def test_other_bytes_than_were_signed(keys: KeyMaker, content: bytes) -> None:
    refused(BadMetadataSignature, keys, keys.sign("good", CONTENT), "good", content=content)


def test_a_signature_that_is_cut_off_empty_or_junk(keys: KeyMaker) -> None:
    whole = keys.sign("good", CONTENT)
    refused(UnsignedMetadata, keys, b"\n", "good")
    for broken in (whole[: len(whole) // 2], b"junk", b"\xc2\x01\x04" * 10000, b"x" * 1_000_000):
        refused(BadMetadataSignature, keys, broken, "good")


def test_secret_keys_are_not_taken(keys: KeyMaker) -> None:
    with pytest.raises(ValueError, match="secret"):
        public_keys(keys.gpg("--armor", "--export-secret-keys", "good"))


@pytest.mark.parametrize(
    "row",
    [[], {"metadata": "no"}, {"packages": True}, {"keys": "ABCD"}, {"keys": ["ABCD"]}, {"max_age": -1}, {"meta": "any"},
     {"max_age": True}],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_an_error(row: object) -> None:
    with pytest.raises(ValueError, match="trust"):
        TrustPolicy.from_json(row)


def test_the_default_policy_wants_signatures() -> None:
    assert TrustPolicy.from_json({}) == TrustPolicy("signed", "signed", (), None)
