"""The users and groups of a tree, and the scriptlets that make them on a host. Pure but for ``Accounts.read``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Below it, numbers are fixed and the same everywhere; from here to 999 they are given as packages come.
FIRST_DYNAMIC = 100
FIRST_PERSON = 1000


@dataclass(frozen=True)
class Group:
    """One line of ``/etc/group``."""

    name: str
    number: int


@dataclass(frozen=True)
class User:
    """One line of ``/etc/passwd``."""

    name: str
    number: int
    group: int
    comment: str
    home: str
    shell: str


@dataclass(frozen=True)
class Accounts:
    """All accounts of one tree."""

    users: tuple[User, ...]
    groups: tuple[Group, ...]

    @classmethod
    def read(cls, tree: Path) -> Accounts:
        """Read ``/etc/passwd`` and ``/etc/group`` of ``tree``."""
        return cls.parse((tree / "etc/passwd").read_text(), (tree / "etc/group").read_text())

    @classmethod
    def parse(cls, passwd: str, group: str) -> Accounts:
        """Read the text of both files."""
        users = [line.split(":") for line in passwd.splitlines() if line.count(":") == 6]
        groups = [line.split(":") for line in group.splitlines() if line.count(":") == 3]
        return cls(
            tuple(User(row[0], int(row[2]), int(row[3]), row[4], row[5], row[6]) for row in users),
            tuple(Group(row[0], int(row[2])) for row in groups),
        )

    def user_name(self, number: int) -> str:
        """Return the name of a user's number."""
        return next((user.name for user in self.users if user.number == number), "root")

    def group_name(self, number: int) -> str:
        """Return the name of a group's number."""
        return next((group.name for group in self.groups if group.number == number), "root")

    def scriptlet(self, users: Iterable[str], groups: Iterable[str]) -> str:
        """Return a shell text that makes these accounts where they are missing, and their groups first."""
        wanted = set(users)
        members = [user for user in self.users if user.name in wanted]
        names = {*groups, *(self.group_name(user.group) for user in members)}
        lines = [_add_group(group) for group in self.groups if group.name in names and _ours(group.number)]
        lines += [_add_user(user, self.group_name(user.group)) for user in members if _ours(user.number)]
        return "\n".join(lines)

    def dynamic(self, numbers: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
        """Return which of these (user, group) owners of files have numbers that are not fixed."""
        owners = list(numbers)
        users = {user.name for user in self.users if FIRST_DYNAMIC <= user.number < FIRST_PERSON}
        groups = {group.name for group in self.groups if FIRST_DYNAMIC <= group.number < FIRST_PERSON}
        return (
            sorted({user for user, _ in owners} & users),
            sorted({group for _, group in owners} & groups),
        )


def _ours(number: int) -> bool:
    return 0 < number < FIRST_PERSON


def _add_group(group: Group) -> str:
    fixed = f" -g {group.number}" if group.number < FIRST_DYNAMIC else ""
    return f"getent group {group.name} >/dev/null || groupadd -r{fixed} {group.name}"


def _add_user(user: User, group: str) -> str:
    fixed = f" -u {user.number}" if user.number < FIRST_DYNAMIC else ""
    words = ["-M", "-g", group, "-d", user.home or "/", "-s", user.shell or "/usr/sbin/nologin"]
    words += ["-c", user.comment] if user.comment else []
    return f"getent passwd {user.name} >/dev/null || useradd -r{fixed} {shlex.join(words)} {user.name}"
