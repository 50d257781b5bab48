"""Engines behind one interface, including ours, to compare them on the same model in the same run.

An engine is a module of this package, named as on the command line, with ``version()``, which raises
ModuleNotFoundError where the engine is not installed, and ``load(model, threads)``, which returns a
runner: ``runner.inputs`` is {name: (dtype, shape)} and ``runner.run({name: array})`` the list of outputs.
A runner whose engine needs its input in another layout or type also has ``prepare(feed)`` and
``run_prepared(prepared)``; `call` uses them, so that the conversion is not part of any engine's time.
An engine that reads no .onnx files has ``convert(model, folder)``, which writes what `load` reads; given an
.onnx file, its `load` converts it.  It raises NotImplementedError for a model that cannot be converted.
The peers' modules import nothing of ours unless they convert, so that their memory can be measured without us.
"""

from __future__ import annotations

from importlib import import_module

ENGINES = ("pycompress", "onnxruntime", "openvino", "litert", "ncnn")
_PACKAGES = {"litert": "ai-edge-litert"}  # named otherwise than the engine


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
        package = _PACKAGES.get(name, name)
        if error.name not in (package, package.replace("-", "_")):
            raise
        raise ModuleNotFoundError(f"{name} is not installed: pip install {package}", name=name) from None
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


def call(runner, feed):
    """A function without arguments that runs `feed`, which is converted for the engine beforehand."""
    if hasattr(runner, "prepare"):
        prepared = runner.prepare(feed)
        return lambda: runner.run_prepared(prepared)
    return lambda: runner.run(feed)
