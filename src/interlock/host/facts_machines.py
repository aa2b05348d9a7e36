"""The virtual machines of a host, and whether their disks lie on it: from the files of libvirt, Xen and ESX."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from interlock.host.context import Host
from interlock.system.proc import read_text

# A disk on one of these is another machine's: it is there when this host is not.
REMOTE = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "gfs2",
    "ocfs2",
    "9p",
    "lustre",
    "vmfs-san",
)
MOST = 2000
_VMDK = re.compile(r'^\s*(?:scsi|ide|sata|nvme)\d+:\d+\.fileName\s*=\s*"([^"]+)"', re.MULTILINE | re.IGNORECASE)
_XEN_DISK = re.compile(r"['\"](?:file|phy|tap2?(?::aio)?|qcow2?):([^,'\"]+)")


def machines(host: Host) -> list[dict[str, Any]]:
    """Return each virtual machine that is defined here."""
    remote = list(_remote_mounts(host))
    found = [*_libvirt(host), *_esx(host), *_xen(host)][:MOST]
    for one in found:
        one["local"] = any(_is_local(host, disk, remote) for disk in one["disks"])
    return sorted(found, key=lambda one: str(one["name"]))


def _at(host: Host, path: str) -> str:
    return os.path.join(host.paths.root, path.lstrip("/"))


def _remote_mounts(host: Host) -> Iterator[str]:
    for line in read_text(os.path.join(str(host.proc.root), "mounts")).splitlines():
        words = line.split()
        if len(words) > 2 and words[2] in REMOTE:
            yield words[1].replace("\\040", " ").rstrip("/") + "/"


def _is_local(host: Host, disk: str, remote: list[str]) -> bool:
    if not disk.startswith("/"):
        return False
    real = os.path.realpath(_at(host, disk)) if host.paths.root == "/" else disk
    return not any(real.startswith(mount) or disk.startswith(mount) for mount in remote)


def _running(host: Host) -> set[str]:
    """Return the names that programs of virtual machines run with now."""
    found = set()
    for pid in host.proc.pids():
        command = host.proc.command(pid)
        if "qemu" in command or "vmware-vmx" in command:
            found.update(re.findall(r"guest=([^,\s]+)", command))
            found.update(re.findall(r"([^/\s]+)\.vmx\b", command))
    return found


def _libvirt(host: Host) -> Iterator[dict[str, Any]]:
    running = _running(host)
    for folder in ("qemu", "libxl", "lxc"):
        for path in sorted(glob.glob(_at(host, f"/etc/libvirt/{folder}/*.xml"))):
            try:
                root = ElementTree.fromstring(read_text(path))
            except ElementTree.ParseError:
                continue
            name = root.findtext("name") or os.path.basename(path)
            sources = [one.find("source") for one in root.iter("disk")]
            kept = (one for one in sources if one is not None)
            disks = [one.get("file") or one.get("dev") or one.get("dir") or one.get("name") or "" for one in kept]
            yield {"name": name, "kind": "libvirt", "disks": list(filter(None, disks)), "runs": name in running}


def _esx(host: Host) -> Iterator[dict[str, Any]]:
    running = _running(host)
    for path in sorted(glob.glob(_at(host, "/vmfs/volumes/*/*/*.vmx"))):
        text, folder = read_text(path), os.path.dirname(path)
        name = re.search(r'^\s*displayName\s*=\s*"([^"]*)"', text, re.MULTILINE | re.IGNORECASE)
        inside = "/" + os.path.relpath(folder, host.paths.root)
        disks = [one if one.startswith("/") else os.path.join(inside, one) for one in _VMDK.findall(text)]
        known = name.group(1) if name else os.path.basename(path)
        stem = os.path.basename(path)[:-4]
        yield {"name": known, "kind": "esx", "disks": disks or [inside], "runs": stem in running or known in running}


def _xen(host: Host) -> Iterator[dict[str, Any]]:
    for path in sorted(glob.glob(_at(host, "/etc/xen/*.cfg")) + glob.glob(_at(host, "/etc/xen/auto/*"))):
        text = read_text(path)
        name = re.search(r"^\s*name\s*=\s*['\"]([^'\"]+)", text, re.MULTILINE)
        if name:
            yield {"name": name.group(1), "kind": "xen", "disks": _XEN_DISK.findall(text), "runs": False}
