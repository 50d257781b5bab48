"""ONNX's own backend tests, as data: the cases that must pass here stand in nodes.txt and models.txt.

``python tests/onnx_backend/suite.py`` writes both lists anew from what passes, and scope.txt: the node tests in scope,
which are those that ONNX Runtime passes and whose tensors have types of ours. It prints the counts, and what differs.
"""

from __future__ import annotations

import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

import pycompress as pc
from pycompress.errors import ModelError
from pycompress.lower import declared_inputs, load, lower, value_inputs
from pycompress.lower.values import root
from pycompress.optimize import optimize
from pycompress.optimize.dataflow import reads

HERE = Path(__file__).parent
DATA = Path(onnx.__file__).parent / "backend/test/data"


def listed(kind: str) -> list[str]:
    """The cases that must pass: "nodes" or "models"."""
    return (HERE / f"{kind}.txt").read_text().split()


@cache
def node_cases() -> dict[str, object]:
    """All node tests by name; importing them takes seconds."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in load_model_tests(kind="node")}


def run_node(name: str, run=None) -> None:
    """Run one node test, by ``run(model, feed)`` or here; AssertionError where a result differs."""
    case = node_cases()[name]
    for feed, outputs in feeds(case):
        got = pc.InferenceSession(case.model).run(None, feed) if run is None else run(case.model, feed)
        compare(got, outputs, case.rtol, case.atol)


def feeds(case):
    """(inputs by name, outputs) of each data set of a case."""
    names = [port.name for port in case.model.graph.input]
    for inputs, outputs in case.data_sets:
        yield {n: _array(x) for n, x in zip(names, inputs)}, outputs


def is_folded(name: str) -> bool:
    """Whether no kernel reads an input of a node test: its result follows from shapes and from values that plans depend on."""
    case = node_cases()[name]
    return not any(kernels_on_inputs(case.model, feed) for feed, _ in feeds(case))


def _array(x) -> np.ndarray:
    return numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else np.asarray(x)


def compare(got, want, rtol: float, atol: float) -> None:
    """Assert that outputs agree, type and shape exactly."""
    assert len(got) == len(want)
    for a, b in zip(got, want):
        b = _array(b)
        assert a.dtype == b.dtype and a.shape == b.shape, (a.dtype, a.shape, b.dtype, b.shape)
        if b.dtype.name == "bfloat16":  # as onnx's own runner: two steps of bfloat16
            a, b, rtol = a.astype(np.float32), b.astype(np.float32), max(rtol, 2**-6)
        if b.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(a, b)


def kernels_on_inputs(model, feed) -> list[str]:
    """The kernels that read an input; what they make is part of an output, since dead steps are dropped."""
    model = load(model)
    values = {n: x for n, x in feed.items() if n in value_inputs(model)}
    program = lower(model, {n: feed[n].shape for n in declared_inputs(model) if n not in values}, values)
    optimize(program)
    inputs = {id(b.array) for b in program.buffers.values() if b.place[0] == "input"}
    return [step.kernel for step in program.steps if any(id(root(x)) in inputs for x in reads(step))]


def model_cases() -> list[str]:
    """All tests with a model of their own that the package of onnx brings, by kind and name."""
    kinds = ("simple", "pytorch-converted", "pytorch-operator")
    return sorted(f"{kind}/{path.name}" for kind in kinds for path in (DATA / kind).iterdir())


def run_model(name: str) -> None:
    """Run one of ``model_cases``."""
    folder = DATA / name
    model = onnx.load(folder / "model.onnx")
    constants = {t.name for t in model.graph.initializer}
    names = [port.name for port in model.graph.input if port.name not in constants]
    for data in folder.glob("test_data_set*"):
        feed = dict(zip(names, _tensors(data, "input")))
        compare(pc.InferenceSession(model).run(None, feed), _tensors(data, "output"), 1e-3, 1e-7)


def _tensors(folder: Path, what: str) -> list[np.ndarray]:
    count = len(list(folder.glob(f"{what}_*.pb")))
    return [tensor(folder / f"{what}_{i}.pb") for i in range(count)]


def tensor(path: Path) -> np.ndarray:
    """The array in a .pb file."""
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def light_models() -> list[str]:
    """The names of the networks whose weights are all one constant."""
    return sorted(path.stem for path in (DATA / "light").glob("*.onnx"))


def run_light(name: str) -> pc.InferenceSession:
    """Run one of ``light_models`` on the input that onnx's runner makes; returns its session."""
    session = pc.InferenceSession(DATA / f"light/{name}.onnx")
    (port,) = session.get_inputs()
    count = np.prod(port.shape)
    x = (np.arange(count).reshape(port.shape) / count).astype(np.float32)
    compare(session.run(None, {port.name: x}), [tensor(DATA / f"light/{name}_output_0.pb")], 1e-3, 1e-7)
    return session


TYPES = {getattr(TensorProto, name) for name in (
    "FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT32", "INT64", "BOOL", "INT4", "UINT4")}  # fmt: skip


def is_counted(name: str) -> bool:
    """Whether a node test stands for an operator; those named "expanded" test its definition by other operators."""
    return "_expanded" not in name


def in_scope(name: str) -> bool:
    """Whether ONNX Runtime passes a node test of ONNX's own domain whose tensors have types of ours."""
    import onnxruntime

    model = node_cases()[name].model
    ports = [port.type for port in (*model.graph.input, *model.graph.output)]
    if any(node.domain for node in model.graph.node) or not is_counted(name):
        return False
    if any(t.tensor_type.elem_type not in TYPES for t in ports):
        return False
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        run_node(name, lambda _, feed: session.run(None, feed))
    except Exception:  # of kinds of its own
        return False
    return True


def counts() -> tuple[int, int, int]:
    """(node tests in scope that pass, in scope, all but the expanded ones), as README prints them."""
    scope = listed("scope")
    return len(set(scope) & set(listed("nodes"))), len(scope), sum(map(is_counted, node_cases()))


def _why(run, name: str) -> str:
    """Why a case does not pass; "" if it does."""
    try:
        run(name)
    except (ModelError, ValueError) as error:
        return f"refused: {error}"
    except AssertionError as error:
        return f"WRONG: {error}"
    return ""


def _write(kind: str, names) -> None:
    (HERE / f"{kind}.txt").write_text("\n".join(sorted(names)) + "\n")


def main() -> None:
    """Write the lists anew."""
    for kind, names, run in (("nodes", node_cases(), run_node), ("models", model_cases(), run_model)):
        before, found = set(listed(kind)), {name: _why(run, name) for name in names}
        passed = {name for name in found if not found[name]}
        _write(kind, passed)
        lost = ", ".join(sorted(before - passed)) or "none"
        sys.stdout.write(f"{kind}: {len(passed)} of {len(names)} pass; no longer: {lost}\n")
        if kind == "nodes":
            _write("scope", filter(in_scope, names))
            sys.stdout.write("passed / in scope / total: {} / {} / {}\n".format(*counts()))
        for name in sorted(set(names) - passed):
            if found[name].startswith("WRONG") or name in listed("scope") or kind == "models":
                sys.stdout.write(f"  {name}: {' '.join(found[name].split())[:200]}\n")


if __name__ == "__main__":
    main()
