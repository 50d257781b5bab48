"""A running server for the tests that only ask it."""

from importlib.util import find_spec

import pytest

if all(map(find_spec, ("starlette", "uvicorn", "prometheus_client"))):
    from served import doubling, many_types, serving, session_of
else:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def address():
    """host:port of a server with the models ``double``, ``fixed``, ``types``."""
    models = {"double": doubling(), "fixed": doubling(1), "types": many_types()}
    with serving({name: session_of(model) for name, model in models.items()}) as found:
        yield found
