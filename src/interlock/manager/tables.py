"""The tables of the manager's database, the same in SQLite and in PostgreSQL. Times are seconds since 1970, in UTC.

The database is a cache of what hosts say, and what the administrator wants of them; a host's own journal is the truth.
"""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

METADATA = MetaData()
FORMAT = 1

SETTINGS = Table(
    "settings",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
HOSTS = Table(
    "hosts",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), unique=True, nullable=False),
    Column("address", String(255), nullable=False),
    Column("port", Integer, nullable=False),
    Column("user", String(64), nullable=False),
    Column("identity", Text, nullable=False, default=""),
    # The name of the host that is gone through; an entry of this table.
    Column("jump", String(255), nullable=False, default=""),
    Column("sudo", Boolean, nullable=False, default=False),
    # The pinned public key, as in a .pub file; empty where none is.
    Column("host_key", Text, nullable=False, default=""),
    # What it is where that is no RPM system of ours: then it is never asked.
    Column("product", String(255), nullable=False, default=""),
    Column("labels", JSON, nullable=False),
    Column("state", String(32), nullable=False, default="new"),
    Column("reason", Text, nullable=False, default=""),
    Column("seen_at", Float),
    Column("facts", JSON),
    Column("status", JSON),
    Column("package_set", Integer, ForeignKey("package_sets.id")),
)
GROUPS = Table(
    "host_groups",
    METADATA,
    Column("host", Integer, ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(255), primary_key=True, index=True),
)
# Each NEVRA once, and each set of them once: a thousand like hosts are one set.
NEVRAS = Table(
    "nevras",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("text", String(512), unique=True, nullable=False),
)
PACKAGE_SETS = Table(
    "package_sets",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("fingerprint", String(64), unique=True, nullable=False),
    Column("nevras", JSON, nullable=False),
)
BASELINES = Table(
    "baselines",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("definition", JSON, nullable=False),
)
ROLLOUTS = Table(
    "rollouts",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("state", String(32), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
)
ROLLOUT_HOSTS = Table(
    "rollout_hosts",
    METADATA,
    Column("rollout", String(64), ForeignKey("rollouts.name", ondelete="CASCADE"), primary_key=True),
    Column("host", String(255), primary_key=True),
    Column("wave", Integer, nullable=False),
    # waiting, running, skipped, or what came of it
    Column("outcome", String(32), nullable=False, index=True),
    Column("detail", Text, nullable=False, default=""),
    Column("operation", String(64), nullable=False, default=""),
    Column("changed_at", Float),
)
