"""What secrets look like: by the word before them, by the place they stand in, by their own form. Data only."""

from __future__ import annotations

import re

# Names whose values are secret, as parts of longer names: ``http_proxy_password``, ``ClientSecret``, ``x-api-key``.
NAMES = (
    "password", "passwd", "passphrase", "passcode", "pass", "pwd", "bindpw", "rootpw", "secret", "token", "credential",
    "credentials", "api[ _.-]?key", "access[ _.-]?key", "private[ _.-]?key", "encryption[ _.-]?key", "shared[ _.-]?key",
    "activation[ _.-]?key", "license[ _.-]?key", "account[ _.-]?key", "signing[ _.-]?key", "key[ _.-]?data", "psk",
    "authorization", "auth[ _.-]?key", "cookie", "session[ _.-]?id", "community", "pin", "otp", "salt", "signature",
    "sig", "jwt", "bearer",
)  # fmt: skip
# These are names only by themselves or as one word of a longer name: "signal" is no "sig", "mapping" no "pin".
WHOLE = frozenset(("pass", "pwd", "pin", "otp", "sig", "psk", "salt", "jwt", "signature", "community", "bearer"))


def _named() -> str:
    words = []
    for name in NAMES:
        if name in WHOLE:
            # A part of a longer name is set off by a sign, or by case: DB_PASS, dbPass.
            words.append(rf"(?:(?<![A-Za-z0-9]){name}|(?-i:(?<=[a-z0-9]){name[0].upper()}{name[1:]}))(?![A-Za-z])")
        else:
            words.append(name)
    return rf"[\w.-]*?(?:{'|'.join(words)})(?:[_.-][A-Za-z]\w*|s|\d+)?"


NAME = _named()
QUOTED = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
NAME_ONLY = re.compile(rf"\A{NAME}\Z", re.IGNORECASE)
# A setting on a line of its own has all the rest of the line: it may have blanks in it.
SETTING = re.compile(
    rf"^(?P<head>[ \t]*(?:export[ \t]+|set[ \t]+)?[\"']?{NAME}[\"']?[ \t]*(?:=>|:=|[=:])[ \t]*)(?P<value>[^\n]+)$",
    re.IGNORECASE | re.MULTILINE,
)
INLINE = re.compile(
    rf"(?P<head>(?<![A-Za-z0-9]){NAME}\\?[\"']?\s{{0,3}}(?:=>|:=|=|:)\s{{0,3}})"
    rf"(?P<value>\\\".*?\\\"|{QUOTED}|\[[^\]\n]*\]|[^\s,;&\"'<>\\}}\]]+)",
    re.IGNORECASE,
)
# netrc's and a shell's way: the value is the next word.
SPOKEN = re.compile(
    rf"(?P<head>(?<![A-Za-z0-9])(?:(?:--?{NAME}|password|passwd|rocommunity6?|rwcommunity6?|identified by)[ \t]+"
    rf"|(?:passphrase|secret|token)[ \t]+(?!(?-i:[a-z]+)\b)))(?P<value>{QUOTED}|[^\s\"'<>]+)",
    re.IGNORECASE,
)
ELEMENT = re.compile(rf"(?P<head><(?:\w+:)?(?P<tag>{NAME})(?:\s[^<>]*)?>)(?P<value>[^<]+)(?=</)", re.IGNORECASE)
HEADER = re.compile(
    r"(?P<head>(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?|(?:set-)?cookie2?[\"']?\s*[:=]\s*[\"']?"
    r"|\bx-[\w-]*(?:token|key|auth|secret)[\"']?\s*[:=]\s*[\"']?)(?P<value>[^\n\"']+)",
    re.IGNORECASE,
)
SCHEME = re.compile(
    r"(?P<head>\b(?:bearer|basic|negotiate|digest|apikey|token)\s+)(?P<value>[\w.+/=~-]{8,})", re.IGNORECASE
)
# A user's name before @ is nobody's business either, and a token may stand in its place.
IN_URL = re.compile(r"(?P<head>://)(?P<value>[^\s/\"'<>@]*(?:@[^\s/\"'<>@]*)*?|[^\s/\"'<>:]*:[^\s\"'<>]*?)(?=@[\w\[])")
# Programs that take a secret behind a letter.
ARGUMENT = re.compile(
    r"(?P<head>(?:^|\s)(?:-u|--user|--proxy-user|-U|--userpwd)[ =]?[\"']?[^\s:%\"']+[:%])(?P<value>[^\s\"']+)"
    r"|(?P<head2>\bsshpass\s+-p\s*|\b(?:mysql|mariadb)[\w-]*\b[^\n]*?\s-p|\bredis-cli\b[^\n]*?\s-a\s+"
    r"|\bldap\w+\b[^\n]*?\s-w\s+|\bipmitool\b[^\n]*?\s-P\s*|\bsnmp\w+\b[^\n]*?\s-[cAX]\s*)(?P<value2>[^\s\"']+)"
)
BLOCK = re.compile(
    r"-----BEGIN (?P<what>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----.*?(?:-----END (?P=what)-----|\Z)", re.DOTALL
)
CUT_BLOCK = re.compile(r"\A.*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----", re.DOTALL)
FORMS = re.compile(
    r"\b(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{12,}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bxox[a-z]-[\w-]{10,}"
    r"|\b[sr]k[-_](?:live|test|proj|ant)?[-_]?[A-Za-z0-9_-]{20,}|\bAIza[\w-]{30,}|\bnpm_[A-Za-z0-9]{20,}|\bhvs\.[\w-]{20,}"
    r"|\bSG\.[\w-]{16,}\.[\w-]{16,}|\bdop_v1_\w{20,}|\bpypi-[\w-]{20,}|\bAGE-SECRET-KEY-1[0-9A-Z]+"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|\$(?:1|2[abxy]?|5|6|7|y|gy|md5|sha1|argon2id?|pbkdf2[\w-]*)\$[^\s:\"'\\,]{8,}"
    r"|hooks\.slack\.com/services/[\w/]+"
)
# A line without any of these has no name, place or scheme of a secret in it. Most lines of most logs are so.
ROOTS = re.compile(
    r"pass|pwd|secret|token|credential|key|psk|auth|cookie|session|community|pin|otp|salt|sig|jwt|bearer|bindpw|rootpw"
    r"|basic|negotiate|digest |identified|://|-u|--?user|mysql|mariadb|redis|ldap|ipmi|snmp",
    re.IGNORECASE,
)
# What only chance writes: one long word with small and capital letters and digits in it.
CHANCE = re.compile(r"(?<![A-Za-z0-9])(?<!SHA256:)[A-Za-z0-9+/_=-]*[A-Za-z0-9]{20,}[A-Za-z0-9+_=-]*")
BODY = re.compile(r"^[ \t]*(?![0-9a-f]+[ \t]*$)[A-Za-z0-9+/]{60,76}={0,2}[ \t]*$", re.MULTILINE)
PLAIN = frozenset(
    ("true", "false", "none", "null", "yes", "no", "on", "off", "file", "files", "prompt", "required", "optional",
     "sufficient", "enabled", "disabled", "default", "unset", "empty", "root", "user", "system", "removed", "unknown")
)  # fmt: skip
