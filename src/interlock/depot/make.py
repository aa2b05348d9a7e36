"""Makes a directory of packages into a depot, and recalls a bulletin of one: with createrepo_c, and our own bulletins.

What is there is changed by createrepo_c's own exchange of ``repodata``; a recall keeps everything else of the document.
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any
from xml.etree import ElementTree

from interlock.depot.bulletin import Bulletin, Reference
from interlock.depot.errors import BadMetadata
from interlock.depot.metadata import read_repomd
from interlock.depot.reading import REPOMD, REPOMD_LIMIT
from interlock.depot.repository import Depot, open_depot
from interlock.depot.source import open_source
from interlock.depot.trust_check import SIGNATURE
from interlock.depot.unpack import unpacked
from interlock.depot.updateinfo import RECALLED
from interlock.depot.updateinfo_write import write_updateinfo
from interlock.errors import UnknownBulletin, UsageError
from interlock.package import Nevra
from interlock.system.durable import remove_file
from interlock.system.run import Runner

CREATE_LIMIT = 3600.0
MODIFY_LIMIT = 120.0
TEXTS = ("title", "severity", "category", "issued", "updated", "description", "vendor", "rights")
FLAGS = ("reboot", "restart", "maintenance")
FIELDS = frozenset((*TEXTS, *FLAGS, "id", "packages", "references", "replacement"))


def create_depot(directory: str, bulletins: str, runner: Runner, key: str = "") -> Depot:
    """Write the metadata of the packages in ``directory``, with the bulletins of a JSON file where one is named.

    ``key`` names the secret key of the user's own GnuPG that signs it; without one it is unsigned.

    Raises UsageError for a bad file, CommandMissing without createrepo_c, CommandFailed.
    """
    if not os.path.isdir(directory):
        raise UsageError(detail=f"{directory} is not a directory")
    rows = _rows(bulletins) if bulletins else []
    remove_file(os.path.join(directory, SIGNATURE))
    runner.run(["createrepo_c", "--quiet", "--no-database", directory], timeout=CREATE_LIMIT)
    depot = open_depot(directory)
    if rows:
        made = [_bulletin(row, depot) for row in rows]
        files = {one.nevra: os.path.basename(one.location) for one in depot.packages}
        _put(directory, write_updateinfo(made, files), runner)
    if key:
        sign_depot(directory, key, runner)
    return open_depot(directory)


def sign_depot(directory: str, key: str, runner: Runner) -> None:
    """Sign the metadata with a secret key of the user's own GnuPG. Raises CommandMissing, CommandFailed."""
    content, signature = (os.path.join(directory, name) for name in (REPOMD, SIGNATURE))
    argv = ["gpg", "--yes", "--local-user", key, "--digest-algo", "SHA256", "--armor"]
    runner.run([*argv, "--output", f"{signature}.new", "--detach-sign", content], timeout=MODIFY_LIMIT)
    os.rename(f"{signature}.new", signature)


def _rows(path: str) -> list[Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            value = json.load(stream)
    except (OSError, ValueError) as error:
        raise UsageError(detail=f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, list):
        raise UsageError(detail=f"{path} is no list of bulletins")
    return value


def _bulletin(row: Any, depot: Depot) -> Bulletin:
    """Return one bulletin; its packages are names, or NEVRAs, of what the depot has."""
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not row["id"].strip():
        raise UsageError(detail="a bulletin has no `id`")
    unknown = sorted(set(row) - FIELDS)
    if unknown:
        raise UsageError(detail=f"the bulletin {row['id']} has the unknown field {unknown[0]!r}")
    packages = tuple(nevra for name in row.get("packages", []) for nevra in _packages(str(name), row["id"], depot))
    references = tuple(
        Reference(str(one.get("href", "")), str(one.get("id", "")), str(one.get("title", "")), str(one.get("type", "")))
        for one in row.get("references", [])
    )
    texts: dict[str, Any] = {name: str(row.get(name, "")) for name in TEXTS}
    flags: dict[str, Any] = {name: row.get(name) is True for name in FLAGS}
    return Bulletin(row["id"], packages=packages, references=references, **texts, **flags)


def _packages(name: str, bulletin: str, depot: Depot) -> list[Nevra]:
    found = [one.nevra for one in depot.packages if name in (one.name, str(one.nevra))]
    if not found:
        raise UsageError(detail=f"the bulletin {bulletin} names {name}, which is not in the depot")
    return found


def recall(directory: str, identity: str, reason: str, replacement: str, runner: Runner, *, key: str = "") -> None:
    """Mark a bulletin as recalled, and sign the metadata again. Raises UnknownBulletin, BadDepot, UsageError."""
    depot = open_depot(directory)
    if os.path.exists(os.path.join(directory, SIGNATURE)) and not key:
        raise UsageError(detail=f"{directory} is signed; name the key that signs it again: --sign KEY")
    for name in filter(None, (identity, replacement)):
        if depot.bulletin(name) is None:
            known = ", ".join(one.id for one in depot.bulletins[:10]) or "none"
            raise UnknownBulletin(depot=directory, bulletin=name, known=known)
    root = ElementTree.fromstring(_document(directory, runner))
    for update in root.iter("update"):
        if (update.findtext("id") or "").strip() == identity:
            _mark(update, reason, replacement)
    _put(directory, ElementTree.tostring(root, encoding="unicode", xml_declaration=True), runner)
    if key:
        sign_depot(directory, key, runner)


def _document(directory: str, runner: Runner) -> bytes:
    """Return the depot's updateinfo as it is; its digest was checked when the depot was opened."""
    files = read_repomd(open_source(directory).chunks(REPOMD, REPOMD_LIMIT))[1]
    if "updateinfo" not in files:
        raise BadMetadata(depot=directory, file=REPOMD, detail="it names no updateinfo")
    return b"".join(unpacked(os.path.join(directory, files["updateinfo"].location), runner))


def _mark(update: ElementTree.Element, reason: str, replacement: str) -> None:
    update.set("status", RECALLED[0])
    message = update.find("message")
    if message is None:
        message = ElementTree.SubElement(update, "message")
    message.text = reason
    references = update.find("references")
    if references is None:
        references = ElementTree.SubElement(update, "references")
    for old in [one for one in references if one.get("type") == "replacement"]:
        references.remove(old)
    if replacement:
        ElementTree.SubElement(
            references, "reference", {"href": "", "id": replacement, "title": "", "type": "replacement"}
        )


def _put(directory: str, document: str, runner: Runner) -> None:
    with tempfile.TemporaryDirectory(prefix="interlock-depot-") as folder:
        path = os.path.join(folder, "updateinfo.xml")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(document)
        repodata = os.path.join(directory, "repodata")
        runner.run(["modifyrepo_c", "--mdtype=updateinfo", path, repodata], timeout=MODIFY_LIMIT)
