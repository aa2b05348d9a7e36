"""Writes a depot in the layout of ESX 4, for tests, as it is documented; nothing of a real one is in it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

AR_MAGIC = b"!<arch>\n"


@dataclass(frozen=True)
class Vib:
    """One VIB: an RPM's content with what surrounds it."""

    name: str
    version: str
    payload: bytes = b"payload"
    reboot: bool = False


@dataclass(frozen=True)
class EsxBulletin:
    """One bulletin and its VIBs."""

    id: str
    summary: str
    vibs: Sequence[Vib]
    severity: str = "Critical"
    category: str = "bugfix"
    released: str = "2009-11-20T00:00:00"


def vib_file(vib: Vib) -> bytes:
    """Return the archive: a descriptor, and the RPM, each padded to an even length as ar(5) has it."""
    content = AR_MAGIC
    for name, part in (("descriptor.xml", _descriptor(vib).encode()), (f"{vib.name}.rpm", vib.payload)):
        head = f"{name + '/':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(part):<10}`\n".encode()
        content += head + part + b"\n" * (len(part) % 2)
    return content


def write_esx_depot(folder: Path, bulletins: Sequence[EsxBulletin], code: str = "vmw") -> None:
    """Write ``index.xml``, the vendor's index, ``metadata.zip`` and the VIBs."""
    vendor = folder / code
    (vendor / "vibs").mkdir(parents=True)
    vibs = {one.name: one for bulletin in bulletins for one in bulletin.vibs}
    files = {f"vibs/{one.name}-{one.version}.vib": vib_file(one) for one in vibs.values()}
    for name, content in files.items():
        (vendor / name).write_bytes(content)
    product = "<productId>esx</productId><version>4.0.0</version>"
    index = f"<metaList><metadata>{product}<url>metadata.zip</url></metadata></metaList>"
    (vendor / "vendor-index.xml").write_text(index)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vendor-index.xml", index)
        archive.writestr("vmware.xml", "<vendor><name>VMware, Inc.</name></vendor>")
        for one in vibs.values():
            archive.writestr(f"vibs/{one.name}.xml", _described(one, files))
        for bulletin in bulletins:
            archive.writestr(f"bulletins/{bulletin.id}.xml", _bulletin(bulletin))
    (vendor / "metadata.zip").write_bytes(buffer.getvalue())
    row = f"<vendor><name>VMware, Inc.</name><code>{code}</code><indexfile>{code}/vendor-index.xml</indexfile></vendor>"
    (folder / "index.xml").write_text(f"<vendorList>{row}</vendorList>")


def _descriptor(vib: Vib) -> str:
    return f"<vib><name>{escape(vib.name)}</name><version>{escape(vib.version)}</version></vib>"


def _described(vib: Vib, files: dict[str, bytes]) -> str:
    path = f"vibs/{vib.name}-{vib.version}.vib"
    return (
        f"<vib><id>{vib.name}-{vib.version}</id><name>{escape(vib.name)}</name><version>{escape(vib.version)}</version>"
        f"<relative-path>{escape(path)}</relative-path><packed-size>{len(files[path])}</packed-size>"
        f"<checksum><checksum-type>sha-256</checksum-type>"
        f"<checksum>{hashlib.sha256(files[path]).hexdigest()}</checksum></checksum>"
        f"<reboot-required>{str(vib.reboot).lower()}</reboot-required></vib>"
    )


def _bulletin(one: EsxBulletin) -> str:
    vibs = "".join(f"<vibID>{vib.name}-{vib.version}</vibID>" for vib in one.vibs)
    reboot = str(any(vib.reboot for vib in one.vibs)).lower()
    return (
        f"<bulletin><id>{escape(one.id)}</id><vendor>VMware, Inc.</vendor><summary>{escape(one.summary)}</summary>"
        f"<severity>{one.severity}</severity><category>{one.category}</category><releaseDate>{one.released}</releaseDate>"
        f"<kbUrl>https://kb.example.org/{escape(one.id)}</kbUrl><rebootRequired>{reboot}</rebootRequired>"
        f"<vibList>{vibs}</vibList></bulletin>"
    )
