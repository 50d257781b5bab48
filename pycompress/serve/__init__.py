"""Models over HTTP: the Open Inference Protocol, version 2, as an ASGI application.

``pycompress serve MODEL...`` runs it; ``create_app`` makes it for any other ASGI server.
"""

from .app import create_app
from .limits import Limits, Refused

__all__ = ["Limits", "Refused", "create_app"]
