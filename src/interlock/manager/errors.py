"""What the manager refuses, and what can be wrong with one host; each has its own name."""

from __future__ import annotations

from interlock.errors import InterlockError, Refused, UsageError


class HostNotListed(UsageError):
    """No host has the name {host}."""

    hint = "`interlock hosts list` has the names."


class HostThere(UsageError):
    """A host has the name {host} already."""

    hint = "Remove it first, or import a file, which brings what is known up to date."


class BadImport(UsageError):
    """The file {file} cannot be imported: {detail}."""

    hint = "Nothing was imported. See docs/manager.md for what such a file has."


class UnknownBaseline(UsageError):
    """No baseline has the name {baseline}."""

    hint = "`interlock baselines list` has the names."


class BadBaseline(UsageError):
    """The baseline {baseline} cannot be used: {detail}."""

    hint = "Nothing was changed. See docs/manager.md for what a baseline can say."


class DatabaseFromTheFuture(Refused):
    """Refused: the manager's database {database} was made by a later Interlock (format {found}, known is {known})."""

    hint = "Nothing was changed. Use that version, or another database."


class HostError(InterlockError):
    """The host {host} cannot be asked: {detail}."""

    hint = "Look at it with `ssh`."


class Unreachable(HostError):
    """The host {host} cannot be reached: {detail}."""

    hint = "Check its address and port, the network, and whether sshd runs."


class KeyNotPinned(HostError):
    """The ssh key of the host {host} is not known, so nobody can say that it is this host."""

    hint = "interlock hosts trust {host}, after a look at its fingerprint on the host itself."


class WrongHostKey(HostError):
    """The host {host} shows another ssh key than the one that is pinned."""

    hint = "It was installed anew, or somebody answers in its place. Find out; then: interlock hosts trust {host}"


class LoginRefused(HostError):
    """The host {host} does not let us in: {detail}."""

    hint = "Check the user and the identity: interlock hosts show {host}"


class NoSudo(HostError):
    """The host {host} wants a password for sudo, or has no sudo."""

    hint = "Allow the user sudo without a password, or log in as root."


class OldPython(HostError):
    """The host {host} has no Python that Interlock can run with: {detail}."""

    hint = "Python 3.9 or later with rpm's bindings is needed (RHEL 8: python39, python3.11)."


class HostDiskFull(HostError):
    """The host {host} has no space: {detail}."""

    hint = "Free space in /var there."


class HostTimedOut(HostError):
    """The host {host} has not answered within {seconds} s."""

    hint = "It may be overloaded or wedged: interlock doctor on it says what waits for what."


class GarbledAnswer(HostError):
    """The host {host} has answered what makes no sense: {detail}."""

    hint = "Its shell may print something at login, or another program is called interlock."


class WrongClock(HostError):
    """The clock of the host {host} is off by {seconds} s."""

    hint = "Set it (chronyc makestep): certificates, logs and schedules depend on it."
