from __future__ import annotations

import pytest

from interlock.depot.signatures import Trust, parse_checksig

UNSIGNED = """/d/a.rpm:
    Header RSA signature: NOTFOUND
    Header DSA signature: NOTFOUND
    Header SHA256 digest: OK
    Header SHA1 digest: OK
    Payload SHA256 digest: OK
    RSA signature: NOTFOUND
    DSA signature: NOTFOUND
    MD5 digest: OK
"""
SIGNED_RPM_4 = """/d/a.rpm:
    Header V4 RSA/SHA256 Signature, key ID 1964C5FC: OK
    Header SHA256 digest: OK
    Payload SHA256 digest: OK
    V4 RSA/SHA256 Signature, key ID 1964C5FC: OK
"""
SIGNED_RPM_6 = """/d/a.rpm:
    Header OpenPGP V4 RSA/SHA256 signature, key fingerprint: 771b18d3d7baa28734333c424344591e1964c5fc: OK
    Header SHA256 digest: OK
"""
SIGNED_TWICE = """/d/a.rpm:
    Header OpenPGP V4 RSA/SHA256 signature, key fingerprint: aa: OK
    Header OpenPGP V6 ML-DSA/SHA512 signature, key ID bb: NOKEY
"""
UNKNOWN = """/d/a.rpm:
    Header V4 RSA/SHA256 Signature, key ID 1964c5fc: NOKEY
    Header DSA signature: NOTFOUND
    Header SHA256 digest: OK
"""
BAD = """/d/a.rpm:
    Header V4 RSA/SHA256 Signature, key ID 1964c5fc: BAD
    Header SHA256 digest: BAD (Expected aa != bb)
"""
NOT_TRUSTED = """/d/a.rpm:
    Header V4 RSA/SHA256 Signature, key ID 1964c5fc: NOTTRUSTED
"""
DAMAGED = """/d/a.rpm:
    Header V4 RSA/SHA256 Signature, key ID 1964c5fc: OK
    Payload SHA256 digest: BAD (Expected aa: OK != bb)
"""
PARTLY = """/d/a.rpm:
    Header V4 RSA/SHA256 Signature, key ID 1964c5fc: OK
    RSA signature: NOTFOUND
    MD5 digest: OK
"""


@pytest.mark.parametrize(
    ("output", "trust", "keys"),
    [
        (UNSIGNED, Trust.UNSIGNED, ()),
        (SIGNED_RPM_4, Trust.SIGNED, ("1964c5fc",)),
        (SIGNED_RPM_6, Trust.SIGNED, ("771b18d3d7baa28734333c424344591e1964c5fc",)),
        (SIGNED_TWICE, Trust.SIGNED, ("aa",)),
        (UNKNOWN, Trust.UNKNOWN_KEY, ("1964c5fc",)),
        (BAD, Trust.BAD_SIGNATURE, ("1964c5fc",)),
        (NOT_TRUSTED, Trust.BAD_SIGNATURE, ("1964c5fc",)),
        (DAMAGED, Trust.DAMAGED, ()),
        (PARTLY, Trust.BAD_SIGNATURE, ("1964c5fc",)),
        ("/d/a.rpm:\n", Trust.DAMAGED, ()),
        ("", Trust.DAMAGED, ()),
    ],
)
def test_what_rpmkeys_prints_is_understood(output: str, trust: Trust, keys: tuple[str, ...]) -> None:
    found = parse_checksig(output, "", ["/d/a.rpm"])["/d/a.rpm"]
    assert (found.trust, found.keys) == (trust, keys)


def test_each_file_gets_its_own_answer() -> None:
    output = SIGNED_RPM_4 + UNKNOWN.replace("a.rpm", "b.rpm") + "/d/c.rpm:\n"
    found = parse_checksig(
        output, "error: /d/c.rpm: signature hdr blob(4388): BAD\n", ["/d/a.rpm", "/d/b.rpm", "/d/c.rpm"]
    )
    assert [one.trust for one in found.values()] == [Trust.SIGNED, Trust.UNKNOWN_KEY, Trust.DAMAGED]
    assert found["/d/c.rpm"].detail == "signature hdr blob(4388): BAD"
