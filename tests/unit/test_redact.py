"""Secrets in every place that they stand in are removed, and what is none stays readable."""

from __future__ import annotations

import json
import random
import string
import urllib.parse

import pytest

from interlock.support.redact import REMOVED, Redactor

SEED = 20261123
# Where secrets stand: settings, logs, arguments, documents. {} is the secret.
PLACES = (
    "password={}", "  password = {}", "proxy_password={}", "export API_TOKEN={}", "client-secret: {}", "dbPass={}",
    "SECRET_KEY='{}'", 'api_key="{}"', "X-Auth-Token: {}", "Authorization: Bearer {}", "authorization=Basic {}",
    "https://bob:{}@mirror.example.org/repo/", "baseurl=http://{}@mirror.example.org/x", "ftp://u:{}@h",
    "?token={}&x=1", "GET /repo?sig={} HTTP/1.1", "machine h login bob password {}", "curl -u bob:{} https://h",
    "sshpass -p {} ssh h",
    "mysql -u root -p{} db", "tool --password {} run", "tool --password={} run", "tool --api-key {}", "rocommunity {}",
    "<password>{}</password>", '<Secret kind="a">{}</Secret>', '{{"password": "{}"}}', '{{"tokens": ["{}", "b"]}}',
    "Cookie: id={}; x=1", "//nas/share /mnt cifs user=u,password={},uid=0 0 0", "redis-cli -a {} ping",
    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", "snmpget -v2c -c {} host",
    "smbclient -U bob%{} //h/s",
    "Nov 23 06:00:00 host tool[12]: login failed, passwd={}", "psk={}", "wifi.psk: {}", "PGPASSWORD={} psql",
)  # fmt: skip
PLAIN = (
    "Nov 23 06:00:00 host systemd[1]: Started OpenSSH server.",
    "glibc-2.36-9+deb12u13.lab2.x86_64",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "passwd-1:4.13+dfsg1-lab2.x86_64       Sun Nov 22 18:56:17 2026",
    "signal=9 mapping=x compass=north bypass: no monkey: banana keepalive: 1 author: Bob",
    "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-43-x86_64",
    "Accepted publickey for root from 198.18.0.1 ssh2: ED25519 SHA256:Jq8sKd72Hs9dKsl2Jd83hQ0aBcDeFgHiJkLmNoP",
    "/usr/lib/python3/dist-packages/NetworkManager/Settings2.py",
    "https://mirror.example.org/fedora/43/Everything/x86_64/os/repodata/repomd.xml",
    "GnuPG cryptographic agent and passphrase cache",
    "20261123-060030-4580 committed",
)


def secrets(chance: random.Random) -> list[str]:
    """Return secrets of several kinds: words with figures, long random ones, with signs in them."""
    letters = string.ascii_letters + string.digits
    short = "".join(chance.choices(string.ascii_lowercase, k=6)) + str(chance.randrange(10, 9999))
    signs = "".join(chance.choices(letters + "!#%*+-_.~", k=14)) + "9aZ"
    return [short, "".join(chance.choices(letters, k=40)), signs, "ghp_" + "".join(chance.choices(letters, k=36))]


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_removed_where_it_stands_and_wherever_else(place: str) -> None:
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    for secret in [one for _ in range(8) for one in secrets(chance)]:
        text = place.format(secret)
        elsewhere = f"a log that has it bare: {secret} and in a link: {urllib.parse.quote(secret, safe='')}."
        redactor = Redactor()
        redactor.learn(text)
        assert secret not in redactor.clean(f"before\n{text}\nafter"), text
        if "PRIVATE KEY" not in place:
            assert secret not in redactor.clean(elsewhere), text
            assert secret not in json.dumps(redactor.clean_json({"a": [elsewhere, {"b": text}]}))
        assert redactor.count


@pytest.mark.parametrize("line", PLAIN)
def test_what_is_no_secret_stays(line: str) -> None:
    redactor = Redactor()
    redactor.learn("\n".join(PLAIN))
    assert redactor.clean(line) == line
    assert redactor.clean_json({"checksum": line, "names": [line]}) == {"checksum": line, "names": [line]}


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE", "root:$6$salt$Hx9.kQw8AbCdEf:19000:0:99999:7:::", "glpat-x9X9x9X9x9X9x9X9x9X9",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "qN8sKd72Hs9dKsl2Jd83hQ", "hvs.CAESIJ1x9X9x9X9x9X9x9X9x9X9", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
    ],
)  # fmt: skip
def test_a_secret_is_known_by_its_own_form(text: str) -> None:
    assert text not in Redactor().clean(f"x {text} y")


def test_a_key_whose_begin_or_end_is_cut_off_goes_whole() -> None:
    body = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ"] * 3)
    for text in (f"-----BEGIN RSA PRIVATE KEY-----\n{body}", f"{body}\n-----END RSA PRIVATE KEY-----\nafter"):
        assert "MIIE" not in Redactor().clean(text)


def test_what_stands_under_a_secret_name_in_json_goes_whatever_it_is() -> None:
    found = Redactor().clean_json({"password": {"deep": ["x"]}, "token": 12345678, "pass": None, "name": "glibc"})
    assert found == {"password": REMOVED, "token": REMOVED, "pass": None, "name": "glibc"}


def test_a_line_that_never_ends_takes_no_longer_than_its_length() -> None:
    # Patterns with nested repetition would never come back from this.
    text = "password" * 4000 + "=" + "a:" * 4000 + "://" + "@" * 2000 + "-----BEGIN PRIVATE KEY-----" + "A" * 20000
    assert "AAAA" not in Redactor().clean(text)
