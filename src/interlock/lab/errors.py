"""What can go wrong with the lab. Refusals come before anything is made."""

from __future__ import annotations

from interlock.errors import InterlockError, Refused, UsageError


class UnknownDress(UsageError):
    """A host of the lab cannot be dressed as {name}; known are: {known}."""

    hint = "Choose one of those with --dress."


class UnknownRelease(UsageError):
    """The lab has no release {name}; it has: {known}."""

    hint = "Give --release one of these."


class UnknownHost(UsageError):
    """The lab has no host {name}; it has: {known}."""

    hint = "`interlock lab list` shows the hosts, `interlock lab up NAME --release R` makes one."


class UnknownAgent(UsageError):
    """The lab has no agent {name}; it has: {known}."""

    hint = "Give --agent one of these."


class UnknownFilesystem(UsageError):
    """The lab has no hosts on {name}; it has: {known}."""

    hint = "Give --filesystem one of these."


class UnknownDepot(UsageError):
    """The lab has no depot {name}; it has: {known}."""

    hint = "Updates are made for any version above 1, for example classic-updates-2."


class BadHostName(UsageError):
    """{name} cannot be the name of a host."""

    hint = "Use up to 40 small letters, digits and hyphens, beginning with a letter."


class HostExists(UsageError):
    """The lab has a host {name} already; it is {state}."""

    hint = "`interlock lab down {name}` removes it."


class HostIsOff(UsageError):
    """The host {name} does not run."""

    hint = "`interlock lab boot {name}` starts it again."


class NotRoot(Refused):
    """The lab makes mounts, networks and containers, and this is not root."""

    hint = "Run it as root, for example in a virtual machine of its own."


class ProgramsMissing(Refused):
    """The lab needs programs that are not on this machine: {programs}."""

    hint = "apt-get install {packages}"


class KernelFeaturesMissing(Refused):
    """The lab needs kernel features that are not here: {features}."""

    hint = "Load the modules (modprobe {modules}) or run the lab on a kernel that has them."


class TooLittleSpace(Refused):
    """The lab's image file would need {needed} of disk space at {path}, and {free} are free."""

    hint = "Make room, or let INTERLOCK_CACHE name a directory on a larger disk."


class NoMirror(Refused):
    """The package manager of this machine is not set up for an archive that has the lab's releases: {detail}."""

    hint = "Set up a Debian archive in apt's sources, or name one in INTERLOCK_LAB_MIRROR."


class BuilderBusy(Refused):
    """Another lab command works here since {age}: {owner}."""

    hint = "Wait until it ends."


class ImageBuildFailed(InterlockError):
    """The image {release} could not be built: {detail}."""

    hint = "Its log is {log}; the next `interlock lab build` begins again where it can."


class HostDidNotBoot(InterlockError):
    """The host {name} did not answer ssh within {seconds} s: {detail}."""

    hint = "Its console log is {log}."
