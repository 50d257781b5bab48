"""The command line: ``pycompress demo | info | compress | train | search | sensitivity | tune | advise | run | serve | bench | profile | compare | report | doctor``.

A command is a module of this package with ``add(subparsers, common)`` and ``execute(args, out)``; the latter returns what
``--json`` prints.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..errors import PycompressError
from . import (
    advise,
    bench,
    compare,
    compress,
    demo,
    doctor,
    info,
    profile,
    report,
    run,
    search,
    sensitivity,
    serve,
    train,
    tune,
)
from .output import Output, clean

COMMANDS = (
    demo,
    info,
    compress,
    train,
    search,
    sensitivity,
    tune,
    advise,
    run,
    serve,
    bench,
    profile,
    compare,
    report,
    doctor,
)
FAILED, REFUSED, INTERRUPTED = 1, 2, 130
BUILD_FLAGS = ("--cflags", "--libs")
ENVIRONMENT = (
    "Environment: PYCOMPRESS_CPU is the highest instruction set that kernels may use (scalar, avx2, avxvnni, ...); it "
    "cannot raise what the CPU has.  PYCOMPRESS_NUM_THREADS is the number of threads of a run without --threads."
)
EXTRAS = {
    "onnx": "onnx",
    "PIL": "cli",
    "matplotlib": "plot",
    "torch": "train",
    "yaml": "train",
    "optuna": "search",
    "sqlalchemy": "search",
    "starlette": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "orjson": "serve",
}


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    from .. import __version__

    top = argparse.ArgumentParser(
        prog="pycompress",
        description="Compress neural networks and run them fast on ordinary CPUs.",
        epilog="`pycompress COMMAND --help` explains a command.  A MODEL is an .onnx file, a plan "
        "(*.plan.safetensors), or zoo:NAME for a built-in network, as in zoo:mobilenetv2,width=0.5,resolution=128.  "
        + ENVIRONMENT,
    )
    top.add_argument("--version", action="version", version=f"pycompress {__version__}")
    top.add_argument(
        "--cflags", action="store_true", help="print the C compiler's flags for pycompress.h, and nothing else"
    )
    top.add_argument(
        "--libs", action="store_true", help="print the linker's flags for libpycompress.a, and nothing else"
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    common.add_argument(
        "--operators", metavar="FILE", help="a Python file that registers the model's custom operators; it is run first"
    )
    common.add_argument("--quiet", action="store_true", help="no progress on stderr")
    subparsers = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers, common).set_defaults(execute=command.execute)
    return top


def build_flags(words: Sequence[str]) -> int:
    """Print what a C compiler needs to build a program with the C library, as pkg-config does."""
    import shlex

    import pycompress

    flags: list[str] = []
    try:
        if "--cflags" in words:
            flags += [f"-I{pycompress.get_include()}"]
        if "--libs" in words:
            flags += [f"-L{pycompress.get_library_dir()}", "-lpycompress", "-lm", "-pthread"]
    except FileNotFoundError as error:
        print(f"pycompress: {error}", file=sys.stderr)
        return REFUSED
    print(shlex.join(flags))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, or 1 if a check failed, or 2 if the command could not be carried out."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and set(words) <= set(BUILD_FLAGS):
        return build_flags(words)
    top = parser()
    args = top.parse_args(words)
    if args.cflags or args.libs:
        top.error("--cflags and --libs stand alone, without a command")
    out = Output(json=args.json, quiet=args.quiet)
    try:
        if args.operators:
            _register(args.operators)
        out.finish(args.execute(args, out))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except (PycompressError, ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        print(f"pycompress {args.command}: {_said(error)}", file=sys.stderr)
        return REFUSED
    return FAILED if out.failed else 0


def _register(path: str) -> None:
    """Run the file that registers operators."""
    import runpy

    try:
        runpy.run_path(path)
    except (OSError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise ValueError(f"--operators: {path}: {type(error).__name__}: {error}") from error


def _said(error: Exception) -> str:
    """The error on one line; for a missing package of an extra, what to install."""
    said = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        said = f"{error.filename}: {error.strerror}"  # str() would begin with an error number
    text = clean(" ".join(said.split())) or type(error).__name__
    if isinstance(error, ModuleNotFoundError) and "pip install" not in text:
        package = (error.name or "").split(".")[0]
        if package in EXTRAS:
            text = f"{package} is not installed: pip install 'pycompress-engine[{EXTRAS[package]}]'"
    if "needs the custom operator" in text:
        text += "; --operators names a Python file that registers it"
    return text
