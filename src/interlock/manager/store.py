"""The manager's database: SQLite by default, PostgreSQL by one setting (``INTERLOCK_DATABASE``, a SQLAlchemy URL)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, insert, select
from sqlalchemy.exc import SQLAlchemyError

from interlock.errors import InterlockError
from interlock.manager.errors import DatabaseFromTheFuture
from interlock.manager.tables import FORMAT, METADATA, SETTINGS


class DatabaseUnusable(InterlockError):
    """The manager's database {database} cannot be used: {detail}."""

    hint = "Check the path or URL in INTERLOCK_DATABASE, and who may write there."


def default_url(environment: Mapping[str, str], root: bool) -> str:
    """Return where the database is: what the environment says, or the place for root or for the user."""
    named = environment.get("INTERLOCK_DATABASE")
    if named:
        return named if "://" in named else f"sqlite:///{Path(named).absolute()}"
    home = environment.get("XDG_DATA_HOME") or f"{environment.get('HOME', '/root')}/.local/share"
    folder = Path("/var/lib/interlock/manager") if root else Path(home) / "interlock"
    return f"sqlite:///{folder / 'manager.db'}"


def open_store(url: str) -> Engine:
    """Open the database, making it where it is not there. Raises DatabaseUnusable, DatabaseFromTheFuture."""
    try:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_up_sqlite)
        METADATA.create_all(engine)
        _check_format(engine)
    except (SQLAlchemyError, OSError) as error:
        # The URL may have a password.
        detail = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise DatabaseUnusable(database=url.rpartition("@")[2], detail=detail) from None
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # WAL: who reads is not kept waiting by who writes.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def _check_format(engine: Engine) -> None:
    with engine.begin() as connection:
        found = connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.name == "format")).scalar()
        if found is None:
            connection.execute(insert(SETTINGS).values(name="format", value=str(FORMAT)))
        elif int(found) > FORMAT:
            raise DatabaseFromTheFuture(database=engine.url.database or "", found=found, known=FORMAT)


def is_root() -> bool:
    """Say whether this is root, whose database is the machine's."""
    return os.geteuid() == 0
