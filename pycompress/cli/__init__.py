"""The command line: ``pycompress demo | info | compress | advise | run | bench | profile | compare | doctor``.

A command is a module of this package with ``add(subparsers)`` and ``execute(args, out)``, which returns
what ``--json`` prints.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..errors import PycompressError
from . import advise, bench, compare, compress, demo, doctor, info, profile, run
from .output import Output

COMMANDS = (demo, info, compress, advise, run, bench, profile, compare, doctor)
FAILED, REFUSED, INTERRUPTED = 1, 2, 130
EXTRAS = {"onnx": "onnx", "PIL": "cli"}


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    from .. import __version__

    top = argparse.ArgumentParser(
        prog="pycompress",
        description="Compress neural networks and run them fast on ordinary CPUs.",
        epilog="`pycompress COMMAND --help` explains a command.  A MODEL is an .onnx file, a plan "
        "(*.plan.safetensors), or zoo:NAME for a built-in network, as in zoo:mobilenetv2,width=0.5,resolution=128.",
    )
    top.add_argument("--version", action="version", version=f"pycompress {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    common.add_argument("--quiet", action="store_true", help="no progress on stderr")
    subparsers = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers, common).set_defaults(execute=command.execute)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 1 where a check failed, 2 where the command could not be carried out."""
    args = parser().parse_args(argv)
    out = Output(json=args.json, quiet=args.quiet)
    try:
        out.finish(args.execute(args, out))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except (PycompressError, ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        print(f"pycompress {args.command}: {_said(error)}", file=sys.stderr)
        return REFUSED
    return FAILED if out.failed else 0


def _said(error: Exception) -> str:
    """The error on one line; a package of an extra that is missing, with what to install."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ModuleNotFoundError) and "pip install" not in text:
        package = (error.name or "").split(".")[0]
        if package in EXTRAS:
            text = f"{package} is not installed: pip install 'pycompress-engine[{EXTRAS[package]}]'"
    return text
