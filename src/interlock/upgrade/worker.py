"""The worker: one rpm transaction, through the bindings, in a process and a mount namespace of its own.

It is forked from the engine, so it needs no file of the interpreter once it runs. Protocol, one JSON object a line:
the worker says ``loaded`` (what each package will put on the disk), ``checked`` (problems of dependencies, file
conflicts and space, found by a test transaction), then waits for one byte; ``go`` and it runs the transaction and
says each element and scriptlet, then ``result`` (problems, the NEVRAs now in the database, files that rpm did not
install). A scriptlet that makes rpm give its package up ends the transaction at once: the shadow is thrown away in
any case, so every further element would only be more to undo.

Rules: nothing is imported after ``checked``; the descriptors of the protocol are closed on exec, so that no child
of a scriptlet can keep the engine waiting; scriptlets write to a file, never to a pipe.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import IO, Any, NoReturn, Optional

from interlock.package import Nevra
from interlock.rpmdb.memory import MemoryShadow
from interlock.rpmdb.reader import load_bindings, nevra_of
from interlock.system import linux
from interlock.system.priority import set_niceness
from interlock.system.proc import ProcReader
from interlock.system.trace import Trace
from interlock.upgrade.nested import SECTIONS, nested_commands
from interlock.upgrade.undo_walk import WATCHED_TREES
from interlock.upgrade.verify import GHOST

OUTPUT_KEPT = 2000
# Niceness, added while nobody's scriptlet runs.
UNPACKING = 5
# With the names that these trees have on a merged /usr.
WATCHED = tuple(f"{tree}/" for tree in (*WATCHED_TREES, "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"))
SCRIPTS = {
    "PREIN": "%pre", "POSTIN": "%post", "PREUN": "%preun", "POSTUN": "%postun", "PRETRANS": "%pretrans",
    "POSTTRANS": "%posttrans", "PREUNTRANS": "%preuntrans", "POSTUNTRANS": "%postuntrans",
    "VERIFYSCRIPT": "%verify", "TRIGGERIN": "%triggerin", "TRIGGERUN": "%triggerun",
    "TRIGGERPOSTUN": "%triggerpostun", "TRIGGERPREIN": "%triggerprein", "TRIGGERSCRIPTS": "%trigger",
    "FILETRIGGERIN": "%filetriggerin", "FILETRIGGERUN": "%filetriggerun",
    "FILETRIGGERPOSTUN": "%filetriggerpostun", "TRANSFILETRIGGERIN": "%transfiletriggerin",
    "TRANSFILETRIGGERUN": "%transfiletriggerun", "TRANSFILETRIGGERPOSTUN": "%transfiletriggerpostun",
    "FILETRIGGERSCRIPTS": "%filetrigger", "TRANSFILETRIGGERSCRIPTS": "%transfiletrigger",
}  # fmt: skip


@dataclass(frozen=True)
class Element:
    """One package file to install; ``beside`` keeps older versions (kernels), ``again`` is for one that is there."""

    nevra: str
    path: str
    beside: bool = False
    again: bool = False


@dataclass(frozen=True)
class Job:
    """What the worker is to do. ``shadow`` is shown at ``database`` in its namespace, unless it is empty.

    ``lock`` is a file for this transaction's own rpm lock, where the usual one is the engine's; or empty. ``erased``
    are packages that nothing takes the place of; ``back`` allows earlier versions.
    """

    elements: tuple[Element, ...]
    removed: Mapping[str, str]
    database: str
    shadow: str
    lock: str
    output: str
    nice: int
    erased: tuple[str, ...] = ()
    back: bool = False


class Worker:
    """Runs in the child; ``serve`` never returns."""

    def __init__(self, job: Job, trace: Trace, say: IO[str], hear: int) -> None:
        self.job, self.trace, self.say, self.hear = job, trace, say, hear
        self.rpm: ModuleType
        self.transaction: Any = None
        self.memory: Optional[MemoryShadow] = None
        self.output = -1
        self.own_place = 0
        self.script_began = 0.0
        self.output_seen = 0
        self.open_packages: dict[str, int] = {}

    def serve(self) -> NoReturn:
        """Do the job, tell the engine, and end the process."""
        status = 1
        try:
            self._isolate()
            self._load()
            if self._wait_for_go():
                self._run()
            status = 0
        except BaseException as error:
            traceback.print_exc()
            self._tell("failed", detail=f"{type(error).__name__}: {error}")
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _tell(self, kind: str, **fields: Any) -> None:
        self.say.write(json.dumps({"kind": kind, **fields}) + "\n")
        self.say.flush()

    def _isolate(self) -> None:
        linux.die_with_parent()
        linux.unshare_mounts()
        linux.make_mounts_slave()
        if self.job.shadow:
            self.memory = MemoryShadow.over(self.job.shadow, ProcReader())
            linux.bind_mount(self.job.shadow, self.job.database)
        self.output = os.open(self.job.output, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(self.output, 1)
        os.dup2(self.output, 2)
        self.own_place = os.nice(self.job.nice)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65536)), hard))
        self.trace.point("worker.started")

    def _load(self) -> None:
        self._stand_behind(True)
        self.rpm = load_bindings()
        # Digest and signature of each whole file were checked when it was staged, in a directory that only root can
        # write; rpm checks the header's signature here again, and what comes onto the disk is compared with the
        # digests in that header. Reading the payloads a third time would only cost time.
        self.rpm.addMacro("_pkgverify_level", "none")
        if self.job.lock:
            self.rpm.addMacro("_rpmlock_path", self.job.lock)
        self.transaction = self.rpm.TransactionSet()
        if self.job.back:
            self.transaction.setProbFilter(self.rpm.RPMPROB_FILTER_OLDPACKAGE)
        for element in self.job.elements:
            self._add(element)
        for nevra in self.job.erased:
            self.transaction.addErase(without_epoch(nevra))
        self._tell_installed()
        self._tell("loaded", elements=len(self.job.elements))
        self._tell("checked", problems=self._problems())

    def _add(self, element: Element) -> None:
        descriptor = os.open(element.path, os.O_RDONLY | os.O_CLOEXEC)
        self.open_packages[element.nevra] = descriptor
        header = self._header(descriptor)
        if str(nevra_of(header)) != element.nevra:
            raise ValueError(f"{element.path} is {nevra_of(header)}, not {element.nevra}")
        self._tell("package", nevra=element.nevra, nested=_nested(header, element.nevra), **_payload(self.rpm, header))
        if element.again:
            self.transaction.addReinstall(header, element.nevra)
        else:
            self.transaction.addInstall(header, element.nevra, "i" if element.beside else "u")

    def _header(self, descriptor: int) -> Any:
        """Read a package that was checked when it was staged, by keys that need not be in rpm's own keyring."""
        mask = getattr(self.rpm, "RPMVSF_MASK_NOSIGNATURES", getattr(self.rpm, "_RPMVSF_NOSIGNATURES", 0))
        before = self.transaction.setVSFlags(mask)
        try:
            return self.transaction.hdrFromFdno(descriptor)
        finally:
            self.transaction.setVSFlags(before)

    def _tell_installed(self) -> None:
        """Say what the packages have that will go, for the undo store, and of those that stay what they own."""
        leaving = {element.NEVRA() for element in self.transaction if element.Type() == self.rpm.TR_REMOVED}
        reading = self.rpm.TransactionSet()
        reading.setVSFlags(-1)
        for header in reading.dbMatch():
            if header["nevra"] in leaving:
                algorithm = int(header["filedigestalgo"] or 1)
                self._tell("old", nevra=str(nevra_of(header)), algorithm=algorithm, files=_installed(header))
            else:
                # A ghost has no content of its package's: whatever a scriptlet writes there is to be kept from before.
                rows = zip(map(_plain, header["filenames"]), header["fileflags"])
                paths = [path for path, flags in rows if path.startswith(WATCHED) and not flags & GHOST]
                self._tell("other", paths=paths)
        reading.closeDB()

    def _problems(self) -> list[str]:
        self.transaction.check()
        found = [str(problem) for problem in self.transaction.problems()]
        if found:
            return found
        self.transaction.order()
        flags = self.transaction.setFlags(self.rpm.RPMTRANS_FLAG_TEST)
        answer = self.transaction.run(self._test_callback, None)
        self.transaction.setFlags(flags)
        return [] if answer is None else [text for text, _ in answer] or ["rpm's test transaction failed"]

    def _test_callback(self, what: int, _amount: int, _total: int, key: Any, _data: Any) -> Optional[int]:
        if what == self.rpm.RPMCALLBACK_INST_OPEN_FILE:
            return self._rewound(key)
        return None

    def _rewound(self, nevra: str) -> int:
        descriptor = self.open_packages[nevra]
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def _wait_for_go(self) -> bool:
        return os.read(self.hear, 1) == b"g"

    def _run(self) -> None:
        # scriptFd stays unset: scriptlets then write to our stdout, which is the log (with it, rpm drops what they
        # print unless it is verbose).
        self.trace.point("apply.begin")
        self._tell("transaction", elements=sum(1 for _ in self.transaction))
        answer = self.transaction.run(self._callback, None)
        problems = [] if answer is None else [text for text, _ in answer]
        if answer is not None and not problems:
            problems = [self._new_output() or "rpm ended with errors"]
        self.transaction.closeDB()
        found = self._database()
        self._bring_back()
        self._tell("result", problems=problems, **found)

    def _bring_back(self) -> None:
        if self.memory is not None:
            self.memory.bring_back()

    def _database(self) -> dict[str, Any]:
        """Read back what the database says now, with the library that wrote it."""
        wanted = {element.nevra for element in self.job.elements}
        reading = self.rpm.TransactionSet()
        reading.setVSFlags(-1)
        nevras, skipped = [], []
        for header in reading.dbMatch():
            nevra = str(nevra_of(header))
            nevras.append(nevra)
            if nevra in wanted:
                skipped += [path for path, state in zip(header["filenames"], header["filestates"]) if state]
        reading.closeDB()
        return {"nevras": nevras, "skipped": skipped}

    def _callback(self, what: int, amount: int, total: int, key: Any, _data: Any) -> Optional[int]:
        rpm = self.rpm
        if what == rpm.RPMCALLBACK_INST_OPEN_FILE:
            return self._rewound(key)
        if what in (rpm.RPMCALLBACK_INST_START, rpm.RPMCALLBACK_UNINST_START):
            action = "install" if what == rpm.RPMCALLBACK_INST_START else "erase"
            self._tell("element", package=self._name(key), action=action)
        elif what in (rpm.RPMCALLBACK_INST_STOP, rpm.RPMCALLBACK_UNINST_STOP):
            action = "install" if what == rpm.RPMCALLBACK_INST_STOP else "erase"
            self._tell("element_done", package=self._name(key), action=action)
            self.trace.point("apply.element")
        elif what == rpm.RPMCALLBACK_SCRIPT_START:
            self._stand_behind(False)
            self.script_began = time.monotonic()
            self._tell("script", package=self._name(key), script=_script_name(rpm, amount), at=_since_boot())
        elif what == rpm.RPMCALLBACK_SCRIPT_STOP:
            self._script_done(key, amount, total)
        elif what == rpm.RPMCALLBACK_SCRIPT_ERROR and total != 0:
            self._give_up(key, amount)
        elif what in (rpm.RPMCALLBACK_UNPACK_ERROR, rpm.RPMCALLBACK_CPIO_ERROR):
            self._stop(f"unpacking {self._name(key)} failed")
        return None

    def _stand_behind(self, others_first: bool) -> None:
        """Let others go first while rpm unpacks; scriptlets, and daemons that they start, have their usual place."""
        place = self.own_place + UNPACKING if others_first else self.own_place
        set_niceness(min(place, 19))

    def _script_done(self, key: Any, tag: int, code: int) -> None:
        self._stand_behind(True)
        fatal = code not in (0, 1)
        self._tell(
            "script_done", package=self._name(key), script=_script_name(self.rpm, tag), failed=code != 0,
            fatal=fatal, seconds=round(time.monotonic() - self.script_began, 3), output=self._new_output(),
            at=_since_boot(),
        )  # fmt: skip
        self.trace.point("apply.script")

    def _give_up(self, key: Any, tag: int) -> None:
        name = _script_name(self.rpm, tag)
        self._stop(f"{name} of {self._name(key)} failed, and rpm gives the package up for it")

    def _stop(self, detail: str) -> NoReturn:
        """End in the middle; what has been written is brought back for a look."""
        self._bring_back()
        self._tell("failed", detail=detail)
        sys.stderr.flush()
        os._exit(2)

    def _new_output(self) -> str:
        end = os.fstat(self.output).st_size
        begin, self.output_seen = max(self.output_seen, end - OUTPUT_KEPT), end
        return os.pread(self.output, end - begin, begin).decode("utf-8", "replace").strip()

    def _name(self, key: Any) -> str:
        """Return the NEVRA of an element: rpm hands our own key back for one that is installed, else its name."""
        text = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
        return self.job.removed.get(text, text) if text not in self.open_packages else text


def without_epoch(nevra: str) -> str:
    """Return the label of a package that every rpm finds it by."""
    one = Nevra.parse(nevra)
    return f"{one.name}-{one.evr.version}-{one.evr.release}.{one.arch}"


def _script_name(rpm: ModuleType, tag: int) -> str:
    for name, shown in SCRIPTS.items():
        if getattr(rpm, f"RPMTAG_{name}", None) == tag:
            return shown
    return f"scriptlet {tag}"


def _since_boot() -> float:
    """Return the time that the start times of processes are given in."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _nested(header: Any, nevra: str) -> list[Any]:
    """Return the commands by which the scriptlets of a package install others, as far as their text shows it."""
    texts = ((shown, header[name.lower()]) for name, shown in SECTIONS)
    return [one for shown, text in texts if text for one in nested_commands(nevra, shown, str(_plain(text)))]


def _payload(rpm: ModuleType, header: Any) -> dict[str, Any]:
    """Return what a package puts on the disk: ``files`` rows are path, mode, digest, link, flags, verify flags."""
    columns = ("filenames", "filemodes", "filedigests", "filelinktos", "fileflags", "fileverifyflags")
    rows = [[_plain(value) for value in row] for row in zip(*(header[column] for column in columns))]
    return {"algorithm": int(header["filedigestalgo"] or 1), "files": rows}


def _installed(header: Any) -> list[list[Any]]:
    """Return the files of a package that goes: path, digest, size, time of change, flags."""
    # Packages with a file of more than 4 GiB have their sizes under another tag.
    sizes = header["filesizes"] or header["longfilesizes"]
    columns = (header["filenames"], header["filedigests"], sizes, header["filemtimes"], header["fileflags"])
    return [[_plain(value) for value in row] for row in zip(*columns)]


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
