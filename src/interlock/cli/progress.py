"""Shows an operation's events: a live line on a terminal, plain lines elsewhere, JSON Lines for programs."""

from __future__ import annotations

import json
import shutil
import sys
from typing import IO, Any, Callable, Optional

Handler = Callable[[dict[str, Any]], None]
STATE_WORDS = {
    "prepared": "prepared: lock held, shadow made, everything loaded",
    "applying": "applying: rpm is at work in the shadow, others keep the database from before",
    "applied": "applied: rpm has finished, now looking at what is really there",
    "verified": "verified: packages, files and programs are as planned",
    "committed": "committed: the new database is everybody's",
    "rolling-back": "rolling back",
    "rolled-back": "rolled back",
    "held": "on hold",
    "done": "done",
}


class Progress:
    """Prints events for people."""

    def __init__(self, stream: Optional[IO[str]] = None, verbose: bool = False) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.verbose = verbose
        self.line_shown = False

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event."""
        handler: Optional[Handler] = getattr(self, "_" + event["type"].replace(".", "_"), None)
        if handler is not None:
            handler(event)

    def _print(self, text: str) -> None:
        self._clear()
        self.stream.write(text + "\n")
        self.stream.flush()

    def _clear(self) -> None:
        if self.line_shown:
            self.stream.write("\r\x1b[K")
            self.line_shown = False

    def _show(self, text: str) -> None:
        """Replace the live line; on something that is no terminal, print it only when asked for all."""
        if self.live:
            width = shutil.get_terminal_size().columns
            self.stream.write("\r\x1b[K" + text[: width - 1])
            self.stream.flush()
            self.line_shown = True
        elif self.verbose:
            self._print(text)

    def _state_changed(self, event: dict[str, Any]) -> None:
        self._print(f"  {STATE_WORDS.get(event['state'], event['state'])}")

    def _element_started(self, event: dict[str, Any]) -> None:
        word = "installing" if event["action"] == "install" else "removing"
        done, total = event["number"], max(event["total"], 1)
        bar = ("█" * (20 * done // total)).ljust(20, "░")
        self._show(f"  {bar} {done}/{total} {word} {event['package']}")

    def _script_finished(self, event: dict[str, Any]) -> None:
        if event["failed"]:
            self._print(f"  {event['script']} of {event['package']} failed: {event['output'] or 'it printed nothing'}")
        elif self.verbose and event["output"]:
            self._print(f"    {event['script']} of {event['package']}: {event['output']}")

    def _script_slow(self, event: dict[str, Any]) -> None:
        self._print(
            f"  {event['script']} of {event['package']} has been running for {event['seconds']:.0f} s: {event['waits']}"
        )

    def _script_deadlock(self, event: dict[str, Any]) -> None:
        self._print(f"  {event['script']} of {event['package']} can never end: {event['cycle']}")

    def _script_ended(self, event: dict[str, Any]) -> None:
        self._print(f"  ended, of {event['script']} of {event['package']}: {event['processes']} ({event['why']})")

    def _process_left(self, event: dict[str, Any]) -> None:
        script = f", left behind by {event['script']}" if event["script"] else ""
        self._print(f"  {event['command']} (pid {event['pid']}) still runs{script}")

    def _nested_missing(self, event: dict[str, Any]) -> None:
        lost = ", ".join(event["missing"]) or "what it was to install"
        self._print(f"  {event['script']} of {event['package']} runs `{event['command']}`; {lost} is not installed")

    def _finding(self, event: dict[str, Any]) -> None:
        self._print(f"  {event['subject']} {event['detail']}")

    def _note(self, event: dict[str, Any]) -> None:
        self._print(f"  {event['text']}")

    def _operation_ended(self, event: dict[str, Any]) -> None:
        self._clear()


class EventCopy:
    """Writes events as JSON Lines to a file that the caller chose."""

    def __init__(self, path: str) -> None:
        self.stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the program runs

    def __call__(self, event: dict[str, Any]) -> None:
        """Write one event."""
        self.stream.write(json.dumps(event) + "\n")
        self.stream.flush()


def all_of(handlers: list[Handler]) -> Handler:
    """Return a handler that gives each event to every one of some."""

    def give(event: dict[str, Any]) -> None:
        for handler in handlers:
            handler(event)

    return give
