"""Engines behind one interface, ours among them: what the others do in the same run, on the same model.

An engine is a module of this package, named as on the command line, with ``version()``, which raises
ModuleNotFoundError where the engine is not installed, and ``load(model, threads)``, which returns a
runner: ``runner.inputs`` is {name: (dtype, shape)} and ``runner.run({name: array})`` the list of outputs.
The peers' modules import nothing of ours, so that their memory can be measured without us.
"""

from __future__ import annotations

from importlib import import_module

ENGINES = ("pycompress", "onnxruntime", "openvino")


def engine(name: str):
    """The engine called `name`.

    Raises
    ------
    ValueError
        If no such engine is known here.
    ModuleNotFoundError
        If it is known, but not installed.
    """
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
    module = import_module(f".{name}", __name__)
    try:
        module.version()
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ModuleNotFoundError(f"{name} is not installed: pip install {name}", name=name) from None
    return module


def installed() -> dict[str, str | None]:
    """The version of each engine; None for those that are not installed."""
    found: dict[str, str | None] = {}
    for name in ENGINES:
        try:
            found[name] = engine(name).version()
        except ModuleNotFoundError:
            found[name] = None
    return found
