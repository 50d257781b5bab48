"""The MODEL argument: an .onnx file, a plan, or a network of the zoo."""

from __future__ import annotations

import argparse
import json
from functools import cached_property
from pathlib import Path

import numpy as np

from ..dtypes import NUMPY, numpy_type
from ..errors import ModelError
from ..plan import Plan
from ..session import InferenceSession, SessionOptions
from ..zoo import tiny

MAX_THREADS = 1024
TINY = "zoo:tiny"  # a plan; the others are built as ONNX models
HELP = f".onnx file, *.plan.safetensors file, {TINY}, or zoo:NAME[,width=W][,resolution=R]"


class Source:
    """The model that a MODEL argument names.

    Attributes
    ----------
    plan : Plan or None
    proto : onnx.ModelProto or None
        One of the two is None.
    """

    def __init__(self, text: str):
        self.text = text
        self.path: Path | None = None
        self.plan = self.proto = None
        if text.startswith("zoo:") and text != TINY:
            self.proto = _zoo(text.removeprefix("zoo:"))
            return
        self.path = tiny() if text == TINY else Path(text)
        if not self.path.is_file():
            raise FileNotFoundError(f"no such model: {text}")
        with open(self.path, "rb") as file:
            start = file.read(9)
        if start[4:9] == b"\0\0\0\0{":  # a safetensors file: a 64-bit length, then a JSON object
            self.plan = Plan.load(self.path)
        else:
            _lower()
            from ..formats.onnx_model import self_contained

            self.proto = self_contained(
                self.path
            )  # passes and other engines do not know the folder of its external data

    @cached_property
    def nbytes(self) -> int:
        return self.path.stat().st_size if self.path else len(self.onnx())

    def onnx(self) -> bytes:
        """The .onnx file's bytes, for engines that read them."""
        if self.proto is None:
            raise ModelError(f"{self.text}: a plan runs here only; other engines need the .onnx it was made from")
        return self.proto.SerializeToString()

    def ports(self, shapes: dict | None = None, partly: bool = False) -> dict[str, tuple[np.dtype, tuple]]:
        """{input: (dtype, shape)} of a run; `shapes` gives the sizes that the model leaves open.

        With `partly`, unknown sizes are None; otherwise they are an error. Arrays have their own sizes.
        """
        if self.plan is not None:
            return self._plan_ports(shapes)
        from ..compiler import input_shapes_of

        lower = _lower()
        model = lower.load(self.proto)
        declared = lower.declared_inputs(model)
        shapes = _fitted(shapes, list(declared))
        for name, shape in shapes.items():
            _check_declared(name, shape, declared[name][1])
        if partly:
            concrete = {name: shapes.get(name) or _declared(dims) for name, (_, dims) in declared.items()}
        else:
            try:
                concrete = input_shapes_of(model, shapes, {})
            except ModelError as error:
                raise ModelError(str(error).replace("give input_shapes", "give --shape")) from None
        return {name: (numpy_type(NUMPY[declared[name][0]]), shape) for name, shape in concrete.items()}

    def _plan_ports(self, shapes):
        programs = json.loads(self.plan.metadata["pycompress"])["programs"]
        held = [{p["name"]: (_dtype(p["dtype"]), tuple(p["shape"])) for p in g["inputs"]} for g in programs]
        wanted = _fitted(shapes, list(held[0]))
        for ports in held:
            if all(ports[name][1] == shape for name, shape in wanted.items() if name in ports):
                return ports
        raise ValueError(f"{self.text} holds no program for {wanted}; it holds {[_shapes(p) for p in held]}")

    def session(self, threads: int = 0) -> InferenceSession:
        return InferenceSession(self.plan or self.proto, SessionOptions(intra_op_num_threads=threads))


def _check_declared(name: str, shape: tuple[int, ...], dims) -> None:
    """Refuse a shape that contradicts the declared one."""
    if dims is None:
        return
    if len(shape) != len(dims) or any(isinstance(d, int) and d != s for d, s in zip(dims, shape)):
        said = "x".join("?" if not isinstance(d, int) else str(d) for d in dims)
        raise ValueError(f"--shape {'x'.join(map(str, shape))}: input {name!r} is declared as {said}")


def _declared(dims) -> tuple[int | None, ...]:
    """The declared sizes: 1 for an open batch, None for other open dimensions."""
    known = [d if isinstance(d, int) else None for d in dims or ()]
    return tuple([1, *known[1:]] if known and known[0] is None else known)


def _shapes(ports) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, (_, shape) in ports.items()}


def _fitted(shapes, names: list[str]) -> dict[str, tuple[int, ...]]:
    """Shapes by input name; the name "" stands for the only input."""
    shapes = dict(shapes or {})
    if "" in shapes:
        if len(names) != 1:
            raise ValueError(f"--shape: the model has inputs {', '.join(names)}; write NAME=SHAPE")
        shapes[names[0]] = shapes.pop("")
    if unknown := set(shapes) - set(names):
        raise ValueError(f"--shape: there is no input {min(unknown)!r}; there are {', '.join(names)}")
    return shapes


def _dtype(word: str) -> np.dtype:
    return numpy_type(NUMPY.get(word, word))


def _lower():
    try:
        from .. import lower
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ModuleNotFoundError("reading .onnx files needs onnx: pip install 'pycompress-engine[onnx]'") from None
    return lower


def _zoo(text: str):
    _lower()
    from ..zoo.text import build

    return build(text)


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """argparse type of ``[NAME=]1x3x224x224``."""
    name, _, dims = text.rpartition("=")
    try:
        return name, tuple(int(d) for d in dims.replace(",", "x").split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not [NAME=]1x3x224x224") from None


def shapes_of(args) -> dict[str, tuple[int, ...]]:
    """{input: shape} as --shape says; "" stands for the only input.

    Raises
    ------
    ValueError
        If an input is named twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, dims in args.shapes:
        if name in found or found and "" in (name, *found):
            raise ValueError(f"--shape {'x'.join(map(str, dims))}: the input has a shape already; write NAME=SHAPE")
        found[name] = dims
    return found


def count(text: str) -> int:
    """argparse type of an integer of at least 1."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def count_or_zero(text: str) -> int:
    """argparse type of an integer of at least 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 0")
    return int(text)


def threads(text: str) -> int:
    """argparse type of a number of threads."""
    if not text.isdigit() or not 1 <= int(text) <= MAX_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 1 to {MAX_THREADS}")
    return int(text)


def add_threads(parser: argparse.ArgumentParser, default: int | None = None) -> None:
    """``--threads N``; without a default: ``pycompress.get_num_threads()``."""
    said = f"default {default}" if default else "default: the cores this process may use"
    parser.add_argument("--threads", type=threads, default=default or 0, metavar="N", help=f"threads of a run; {said}")


def add_shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape", type=shape, dest="shapes", action="append", default=[], metavar="[NAME=]DxD..",
        help="shape of an input that the model leaves open; may be repeated",
    )  # fmt: skip
