"""Ssh by asyncssh: the host's key is the pinned one or nobody talks; through jump hosts; sudo without a password."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import asyncssh

from interlock.manager.errors import (
    GarbledAnswer,
    HostDiskFull,
    HostError,
    HostTimedOut,
    KeyNotPinned,
    LoginRefused,
    NoSudo,
    Unreachable,
    WrongHostKey,
)
from interlock.manager.inventory import Entry
from interlock.manager.link import Answer

CONNECT_SECONDS = 15.0
LONGEST_ANSWER = 16 * 1024 * 1024
CHUNK = 65536
NOT_FOUND = 127
MOST_JUMPS = 4
SUDO_ASKS = ("a password is required", "a terminal is required", "no tty present", "is not in the sudoers")
FULL = ("No space left on device", "Disk quota exceeded")


class Others(Protocol):
    """Hosts by name, for those that are gone through; a dictionary is one."""

    def get(self, name: str, /) -> Entry | None:
        """Return the entry of a host, or None."""


class SshLink:
    """A connection that is up; made by ``connect``."""

    def __init__(self, entry: Entry, connection: asyncssh.SSHClientConnection) -> None:
        self.entry, self.connection = entry, connection

    @property
    def name(self) -> str:
        """The host's name in the inventory."""
        return self.entry.name

    async def run(self, words: Sequence[str], timeout: float, stdin: bytes = b"") -> Answer:
        """Run a command as root. Raises HostTimedOut, Unreachable, NoSudo, HostDiskFull."""
        command = shlex.join(["sudo", "-n", "--", *words] if self.entry.sudo else list(words))
        try:
            answer = await asyncio.wait_for(self._ran(command, stdin), timeout)
        except asyncio.TimeoutError:
            raise HostTimedOut(host=self.name, seconds=f"{timeout:g}") from None
        except (OSError, asyncssh.Error) as error:
            raise Unreachable(host=self.name, detail=f"the connection broke: {error}") from None
        self._check(answer)
        return answer

    async def _ran(self, command: str, stdin: bytes) -> Answer:
        async with self.connection.create_process(command, encoding=None) as process:
            process.stdin.write(stdin)
            process.stdin.write_eof()
            stdout, stderr = await asyncio.gather(self._read(process.stdout), self._read(process.stderr))
            done = await process.wait()
        return Answer(done.returncode if done.returncode is not None else -1, stdout, stderr)

    async def _read(self, stream: asyncssh.SSHReader[bytes]) -> str:
        """Read to the end, but not for ever: a host may be one that sends and sends."""
        chunks: list[bytes] = []
        size = 0
        while chunk := await stream.read(CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > LONGEST_ANSWER:
                raise GarbledAnswer(host=self.name, detail=f"it sends more than {LONGEST_ANSWER >> 20} MiB")
        return b"".join(chunks).decode("utf-8", "replace")

    def _check(self, answer: Answer) -> None:
        asks = answer.status == 1 and any(one in answer.stderr for one in SUDO_ASKS)
        if self.entry.sudo and (asks or (answer.status == NOT_FOUND and "sudo" in answer.stderr)):
            raise NoSudo(host=self.name)
        if answer.status != 0 and any(one in answer.stderr for one in FULL):
            raise HostDiskFull(host=self.name, detail=answer.stderr.strip().splitlines()[-1][:200])

    async def put(self, content: bytes, path: str, timeout: float) -> None:
        """Write a file through a temporary one beside it."""
        script = 'umask 077 && mkdir -p "$(dirname "$1")" && cat >"$1.new" && chmod 755 "$1.new" && mv -f "$1.new" "$1"'
        answer = await self.run(
            ["sh", "-c", f'({script}) || {{ rm -f "$1.new"; exit 1; }}', "sh", path], timeout, content
        )
        if answer.status:
            raise HostError(host=self.name, detail=f"{path} cannot be written: {answer.stderr.strip()[:200]}")


@asynccontextmanager
async def connect(entry: Entry, others: Others) -> AsyncIterator[SshLink]:
    """Give a connection to a host, through its jump hosts (entries of ``others``). Raises HostError."""
    async with AsyncExitStack() as stack:
        tunnel: asyncssh.SSHClientConnection | None = None
        for one in reversed(_way(entry, others)):
            tunnel = await stack.enter_async_context(_connected(one, tunnel))
        assert tunnel is not None
        yield SshLink(entry, tunnel)


def _way(entry: Entry, others: Others) -> list[Entry]:
    """Return the host and those that it is reached through, the nearest to it first."""
    way = [entry]
    while way[-1].jump:
        following = others.get(way[-1].jump)
        if following is None:
            raise Unreachable(host=entry.name, detail=f"its jump host {way[-1].jump} is not in the inventory")
        if following in way or len(way) > MOST_JUMPS:
            raise Unreachable(host=entry.name, detail="its jump hosts lead in a circle, or are too many")
        way.append(following)
    return way


@asynccontextmanager
async def _connected(
    entry: Entry, tunnel: asyncssh.SSHClientConnection | None
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    if not entry.host_key:
        raise KeyNotPinned(host=entry.name)
    try:
        key = asyncssh.import_public_key(entry.host_key)
        connection = await asyncio.wait_for(
            asyncssh.connect(
                entry.address or entry.name, entry.port, username=entry.user, known_hosts=([key], [], []),
                client_keys=[entry.identity] if entry.identity else (), config=None, tunnel=tunnel or (),
                agent_path=None if entry.identity else (), keepalive_interval=15, connect_timeout=CONNECT_SECONDS,
            ),
            2 * CONNECT_SECONDS,
        )  # fmt: skip
    except Exception as error:
        # Whatever a hostile server makes of asyncssh is about this host alone.
        raise _explained(entry, error) from None
    async with connection:
        yield connection


def _explained(entry: Entry, error: Exception) -> HostError:
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return WrongHostKey(host=entry.name)
    if isinstance(error, asyncssh.KeyExchangeFailed):
        # It has no key of the pinned kind at all.
        return WrongHostKey(host=entry.name)
    if isinstance(error, asyncssh.PermissionDenied):
        return LoginRefused(host=entry.name, detail=f"{entry.user} with {entry.identity or 'the keys of the agent'}")
    if isinstance(error, (asyncssh.KeyImportError, FileNotFoundError, PermissionError)):
        return LoginRefused(host=entry.name, detail=str(error))
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return Unreachable(host=entry.name, detail=f"no answer within {CONNECT_SECONDS:g} s")
    said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)[:200]
    return Unreachable(host=entry.name, detail=said or type(error).__name__)


async def ask_host_key(entry: Entry, others: Others) -> tuple[str, str]:
    """Return the public key that a host shows, and its fingerprint. Raises HostError."""
    async with AsyncExitStack() as stack:
        tunnel: asyncssh.SSHClientConnection | None = None
        for one in reversed(_way(entry, others)[1:]):
            tunnel = await stack.enter_async_context(_connected(one, tunnel))
        try:
            found = await asyncio.wait_for(
                asyncssh.get_server_host_key(
                    entry.address or entry.name, entry.port, config=None, tunnel=tunnel or (),
                    server_host_key_algs=("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"),
                ),
                CONNECT_SECONDS,
            )  # fmt: skip
        except Exception as error:
            raise _explained(entry, error) from None
    if found is None:
        raise Unreachable(host=entry.name, detail="it shows no key")
    return found.export_public_key().decode().strip(), found.get_fingerprint()
