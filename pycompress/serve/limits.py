"""What a server takes from its clients, and the exception for what it does not take."""

from __future__ import annotations

from dataclasses import dataclass

MAX_RANK = 8
MAX_DIMENSION = 2**31 - 1


@dataclass(frozen=True)
class Limits:
    """Limits on what clients may ask for.

    Attributes
    ----------
    body : int
        Bytes of a request, also after it was decompressed; more is refused with 413.
    json : int
        Bytes of JSON in a request: numbers take more memory and time as text than as bytes. More is refused with 413.
    memory : int
        Bytes of all requests that are in work together (429), and of the activations of one run (413).
    requests : int
        Requests that are in work or wait, together; one more is refused with 429.
    timeout : float
        Seconds for a request to arrive (408), for its result (503), and for the client to take the response.
    """

    body: int = 64 << 20
    json: int = 16 << 20
    memory: int = 1 << 30
    requests: int = 256
    timeout: float = 30.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**63:
                raise ValueError(f"{name} must be a positive number, got {value!r}")


class Refused(Exception):
    """A request is not carried out: the HTTP status and a message for the client."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def quoted(x: object) -> str:
    """What a client sent, for messages and logs: escaped and cut."""
    text = ascii(x)
    return text if len(text) <= 100 else f"{text[:97]}..."
