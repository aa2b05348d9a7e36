"""Bytes of a depot, from a directory, ``file://`` or http(s), bounded in size and time.

A path inside a depot comes from its metadata and so from strangers: ``safe_path`` refuses what would lead out
of it. Only regular files are read (a named pipe would block for ever). A server must go on sending: it is given
up after ``STALL_SECONDS`` of silence, and when it sends less than ``SLOWEST`` bytes a second after a minute.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import stat
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Union

from interlock.depot.config import DIRECTORY, NO_PROXY, read_config
from interlock.depot.errors import DepotMissing, DepotUnreadable, FileMissing
from interlock.system import linux

CHUNK = 256 * 1024
STALL_SECONDS = 30.0
FIRST_MINUTE = 60.0
SLOWEST = 4096
Stream = Union[IO[bytes], http.client.HTTPResponse]


def safe_path(path: str) -> str:
    """Return ``path`` if it stays inside a depot; ValueError where it does not."""
    parts = path.split("/")
    bad = any(part in ("", "..", ".") for part in parts) or "\\" in path
    if bad or not path.isprintable() or len(path) > 4096:
        raise ValueError(f"a path that leads out of the depot or is none: {path[:200]!r}")
    return path


def without_password(location: str) -> str:
    """Return ``location`` as it may be shown and kept: a user and password in a URL are left out."""
    parts = urllib.parse.urlsplit(location)
    if not parts.scheme or "@" not in parts.netloc:
        return location
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@dataclass(frozen=True)
class Source:
    """A place that has files. ``location`` is what the user gave, for messages."""

    location: str

    def open(self, path: str) -> contextlib.AbstractContextManager[Stream]:
        """Open the file at ``path``, relative to the depot. Raises FileMissing, DepotUnreadable."""
        raise NotImplementedError

    def share(self, path: str, target: int, limit: int) -> bool:
        """Have the empty file ``target`` (a descriptor) share the blocks of a file of at most ``limit`` bytes.

        False where that cannot be; ``chunks`` then gives the content, or says what is wrong with it.
        """
        return False

    def chunks(self, path: str, limit: int) -> Iterator[bytes]:
        """Yield the file's bytes; DepotUnreadable where there are more than ``limit`` or they come too slowly."""
        begun, received = time.monotonic(), 0
        with self.open(path) as stream:
            while True:
                chunk = self._read(stream, path)
                if not chunk:
                    self._check_end(stream, path)
                    return
                received += len(chunk)
                self._check_progress(path, received, limit, time.monotonic() - begun)
                yield chunk

    def _read(self, stream: Stream, path: str) -> bytes:
        # read1: one system call, so that a server that drips bytes is seen between them
        try:
            return stream.read1(CHUNK) if isinstance(stream, http.client.HTTPResponse) else stream.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise DepotUnreadable(depot=self.location, detail=f"{path}: {_reason(error)}") from None

    def _check_end(self, stream: Stream, path: str) -> None:
        # read1 does not say that the server hung up before it had sent all that it announced
        missing = stream.length if isinstance(stream, http.client.HTTPResponse) else None
        if missing:
            raise DepotUnreadable(depot=self.location, detail=f"{path} was cut off, {missing} bytes are missing")

    def _check_progress(self, path: str, received: int, limit: int, seconds: float) -> None:
        if received > limit:
            raise DepotUnreadable(depot=self.location, detail=f"{path} is larger than {limit} bytes")
        if seconds > FIRST_MINUTE + received / SLOWEST:
            detail = f"{path} comes too slowly: {received} bytes in {seconds:.0f} s"
            raise DepotUnreadable(depot=self.location, detail=detail)


@dataclass(frozen=True)
class DirectorySource(Source):
    """Files below ``directory``."""

    directory: str

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[Stream]:
        """Open one file."""
        try:
            descriptor = os.open(
                os.path.join(self.directory, safe_path(path)), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except FileNotFoundError:
            raise FileMissing(depot=self.location, file=path) from None
        except OSError as error:
            raise DepotUnreadable(depot=self.location, detail=f"{path}: {_reason(error)}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DepotUnreadable(depot=self.location, detail=f"{path} is not a regular file")
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            yield stream

    def share(self, path: str, target: int, limit: int) -> bool:
        """Share by the file system, where depot and target are on one that can."""
        with self.open(path) as stream:
            return os.fstat(stream.fileno()).st_size <= limit and linux.clone_file(stream.fileno(), target)


@dataclass(frozen=True)
class UrlSource(Source):
    """Files below a http or https URL; ``proxy`` is a URL, ``none``, or empty for what the environment says."""

    url: str
    proxy: str = ""

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[Stream]:
        """Ask for one file."""
        address = f"{self.url.rstrip('/')}/{urllib.parse.quote(safe_path(path))}"
        try:
            answer = _opener(self.proxy).open(address, timeout=STALL_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._answered(path, error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DepotUnreadable(depot=self.location, detail=f"{path}: {_reason(error)}") from None
        with answer:
            yield answer

    def _answered(self, path: str, error: urllib.error.HTTPError) -> Exception:
        if error.code in (404, 410):
            return FileMissing(depot=self.location, file=path)
        return DepotUnreadable(depot=self.location, detail=f"{path}: the server answered {error.code} {error.reason}")


def _opener(proxy: str) -> urllib.request.OpenerDirector:
    given = {} if proxy == NO_PROXY else {"http": proxy, "https": proxy} if proxy else None
    # Not build_opener(): a redirection must not lead to file:// or ftp://.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(given),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(inner, OSError):
        return inner.strerror or str(inner)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(inner or error) or type(error).__name__


def open_source(location: str, config: str = DIRECTORY) -> Source:
    """Return the source for a directory, bundle (zip), ``file://`` or http(s) URL, or a depot's name.

    ``config`` is where depots with a name are. Raises DepotMissing, DepotUnreadable, BadDepotConfig.
    """
    named = read_config(config, location)
    if named is None:
        return _source_at(location, "")
    from interlock.depot.mirrors import MirrorSource  # noqa: PLC0415 - only where a depot has a name

    return MirrorSource(named.name, tuple(partial(_source_at, one, named.proxy) for one in named.locations))


def _source_at(location: str, proxy: str) -> Source:
    try:
        parts = urllib.parse.urlsplit(location)
    except ValueError as error:
        raise DepotUnreadable(depot=location, detail=f"it is no URL: {error}") from None
    shown = without_password(location)
    if shown != location:
        raise DepotUnreadable(depot=shown, detail="a user and password in the URL are not supported")
    if parts.scheme in ("http", "https"):
        return UrlSource(shown, location, proxy)
    if parts.scheme == "file":
        return _local_source(shown, urllib.parse.unquote(parts.path))
    if "://" in location:
        raise DepotUnreadable(depot=shown, detail=f"{parts.scheme}:// is not supported")
    return _local_source(shown, location)


def _local_source(shown: str, path: str) -> Source:
    if path.endswith(".zip") and os.path.isfile(path):
        from interlock.depot.bundle import BundleSource  # noqa: PLC0415 - only where one is read

        return BundleSource.of(shown, os.path.abspath(path))
    return _directory_source(shown, path)


def _directory_source(shown: str, directory: str) -> Source:
    try:
        os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise DepotMissing(depot=shown) from None
        raise DepotUnreadable(depot=shown, detail=_reason(error)) from None
    return DirectorySource(shown, os.path.abspath(directory))
