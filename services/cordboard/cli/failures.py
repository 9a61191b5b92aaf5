"""How a command ends when it fails: one line that says what and what to do, and an exit code a script can use."""

from __future__ import annotations

from typing import Final

from cordboard import client

USAGE: Final = 2
EXIT_CODES: Final[dict[type[client.CordboardError], int]] = {
    client.InvalidRequest: 2,
    client.NotFound: 3,
    client.Unauthenticated: 4,
    client.AccessDenied: 4,
    client.SwitchedOff: 4,
    client.AlreadyExists: 5,
    client.Conflict: 5,
    client.ReconnectRequired: 5,
    client.Indeterminate: 5,
    client.LimitExceeded: 6,
    client.Unavailable: 6,
    client.DeadlineExceeded: 6,
    client.VendorError: 7,
}
EXIT_CODE_HELP: Final = (
    "Exit codes: 0 well; 1 it failed; 2 wrong usage or input; 3 not found; 4 not allowed or switched off; "
    "5 conflict, or connect again; 6 not now, try again later; 7 the vendor said no."
)


class CommandFailed(Exception):
    """A command cannot go on; the text says what is wrong and what to do."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        """Takes the line to print and the exit code."""
        super().__init__(text)
        self.exit_code = exit_code


def exit_code(error: client.CordboardError) -> int:
    """Returns the exit code of a failed call."""
    return EXIT_CODES.get(type(error), 1)


def lines(error: client.CordboardError) -> list[str]:
    """Returns what to print of a failed call."""
    found = [error.message]
    if len(error.violations) > 1 or (error.violations and error.violations[0].field not in error.message):
        found = ["the request is not valid:", *(f"  {each.field}: {each.description}" for each in error.violations)]
    if error.retry_after is not None:
        found.append(f"try again in {error.retry_after:.1f} s")
    return found
