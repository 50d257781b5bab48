"""pycompress.torch: operators that pass torch's own checks, modules, and the backend of torch.compile."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.library import opcheck  # noqa: E402

import pycompress as pc  # noqa: E402
from pycompress import layers  # noqa: E402
from pycompress import torch as pt  # noqa: E402
from pycompress.integrations import torch_operators as operators  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
N, K = 37, 70
KINDS = {
    "8 bits": lambda linear: pt.QuantizedLinear.from_linear(linear),
    "4 bits": lambda linear: pt.QuantizedLinear.from_linear(linear, bits=4, symmetric=False),
    "low rank": lambda linear: pt.LowRankLinear.from_linear(linear, rank=9),
    "float16": lambda linear: pt.HalfLinear.from_linear(linear),
    "bfloat16": lambda linear: pt.HalfLinear.from_linear(linear, dtype="bfloat16"),
    "sparse": lambda linear: pt.SparseLinear.from_linear(linear),
}
LAYERS = {
    "8 bits": lambda W, b: layers.QuantizedLinear.from_dense(W, b),
    "4 bits": lambda W, b: layers.QuantizedLinear.from_dense(W, b, bits=4, symmetric=False),
    "low rank": lambda W, b: layers.LowRankLinear.from_dense(W, b, rank=9),
    "float16": lambda W, b: layers.HalfLinear.from_dense(W, b),
    "bfloat16": lambda W, b: layers.HalfLinear.from_dense(W, b, dtype="bfloat16"),
    "sparse": lambda W, b: layers.SparseLinear.from_dense(W, b),
}


def linear(bias=True):
    torch.manual_seed(0)
    made = torch.nn.Linear(K, N, bias=bias)
    with torch.no_grad():
        made.weight[made.weight.abs() < 0.06] = 0
    return made


def operands(kind, x, bias=True):
    """(the operator of a module, its arguments)"""
    m = KINDS[kind](linear(bias))
    return {
        "8 bits": lambda: (operators.quantized_linear, (x, m.w, m.colsum, m.zero, m.scale, m.bias, K)),
        "4 bits": lambda: (operators.int4_linear, (x, m.w, m.scale, m.zero, m.colsum, m.bias, m.group, K)),
        "low rank": lambda: (operators.lowrank_linear, (x, m.u, m.v, m.bias, N)),
        "float16": lambda: (operators.half_linear, (x, m.w, m.bias, N)),
        "bfloat16": lambda: (operators.half_linear, (x, m.w, m.bias, N)),
        "sparse": lambda: (operators.sparse_linear, (x, m.rows, m.index, m.w, m.bias, K)),
    }[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_the_operators_pass_opcheck(kind):
    for x, bias in ((torch.randn(3, 5, K), True), (torch.randn(K), False), (torch.randn(K, 4).T, True)):
        op, arguments = operands(kind, x, bias)
        assert set(opcheck(op, arguments).values()) == {"SUCCESS"}


def test_the_sparse_product_passes_opcheck_and_equals_torch_s():
    A = (torch.rand(9, 12) < 0.3) * torch.randn(9, 12)
    for kind, index in ((torch.float32, torch.int64), (torch.float64, torch.int32)):
        csr = A.to(kind).to_sparse_csr()
        parts = csr.crow_indices().to(index).clone(), csr.col_indices().to(index).clone(), csr.values().clone()
        for x in (torch.randn(12, 5, dtype=kind), torch.randn(12, dtype=kind), torch.randn(5, 12, dtype=kind).T):
            opcheck(operators.spmm, (*parts, 9, 12, x))
            torch.testing.assert_close(torch.ops.pycompress.spmm(*parts, 9, 12, x), A.to(kind) @ x)


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_gives_the_results_of_its_layer_and_survives_its_state(kind, tmp_path):
    source = linear()
    module, layer = KINDS[kind](source), LAYERS[kind](source.weight.detach().numpy(), source.bias.detach().numpy())
    x = torch.randn(2, 3, K)
    with torch.no_grad():
        y = module(x)
    np.testing.assert_allclose(y.numpy(), layer(x.numpy()), rtol=1e-5, atol=1e-5)
    assert module.in_features == K and module.out_features == N and str(N) in repr(module)
    torch.save(module.state_dict(), tmp_path / "state.pt")
    other = KINDS[kind](torch.nn.Linear(K, N)) if kind != "sparse" else KINDS[kind](source)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(other(x), y)


@pytest.mark.parametrize("kind", KINDS)
def test_operators_refuse_what_breaks_their_contract(kind):
    op, (x, *rest) = operands(kind, torch.randn(3, K))
    for bad in (torch.randn(3, K - 1), torch.randn(3, K, dtype=torch.float64), torch.tensor(1.0)):
        with pytest.raises(ValueError, match="x must be float32"):
            op(bad, *rest)
    for i, part in enumerate(rest):
        if isinstance(part, torch.Tensor) and part.numel() > 1:
            with pytest.raises((ValueError, IndexError)):
                op(x, *rest[:i], part[:-1], *rest[i + 1 :])


def test_indices_beyond_the_matrix_are_refused():
    op, (x, rows, index, w, bias, k) = operands("sparse", torch.randn(3, K))
    for wrong in (index + K, rows * 2):
        with pytest.raises(ValueError, match="must be in"):
            op(x, *((rows, wrong) if len(wrong) == len(index) else (wrong, index)), w, bias, k)


def test_linear_modules_of_a_network_are_replaced_where_wanted():
    network = torch.nn.Sequential(linear(), torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(N, 4)))
    chosen = pt.replace_linear(network, lambda m: pt.HalfLinear.from_linear(m) if m.in_features == K else None)
    assert chosen is network and isinstance(network[0], pt.HalfLinear) and type(network[1][1]) is torch.nn.Linear
    assert isinstance(pt.replace_linear(linear(), pt.LowRankLinear.from_linear) if 0 else network, torch.nn.Module)
    with pytest.raises(TypeError, match="torch.nn.Linear is needed, got ReLU"):
        pt.HalfLinear.from_linear(torch.nn.ReLU())
    static = layers.QuantizedLinear.from_dense(np.ones((2, 3)), activations="static", input_range=(0, 1))
    with pytest.raises(ValueError, match="dynamic"):
        pt.QuantizedLinear(static)


# ---- torch.compile ----


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def test_a_compiled_network_runs_on_the_engine_and_follows_its_parameters():
    pytest.importorskip("onnxscript")
    network, x = Network().eval(), torch.randn(2, 3, 9, 9)
    compiled = torch.compile(network, backend=pt.compile_backend, options={"strict": True, "num_threads": 1})
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), network(x), rtol=1e-4, atol=1e-5)
        network.fc.weight.mul_(3)
        torch.testing.assert_close(compiled(x), network(x), rtol=1e-4, atol=1e-5)


def fallen_back(function, *inputs):
    """What the warnings say when a compiled function is called; its results must be those of PyTorch."""
    torch._dynamo.reset()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        got = torch.compile(function, backend=pt.compile_backend)(*inputs)
    told = [str(w.message) for w in told if issubclass(w.category, pt.FallbackWarning)]
    return got, " ".join(told)


def test_graphs_that_the_engine_cannot_run_are_left_to_pytorch_with_the_reason():
    x = torch.randn(4, 5)
    y, told = fallen_back(Network().eval(), torch.randn(1, 3, 9, 9))
    assert y.requires_grad and "gradients are needed" in told
    with torch.no_grad():
        y, told = fallen_back(lambda x: x.t(), x)
        assert torch.equal(y, x.t()) and "shares memory" in told
        y, told = fallen_back(lambda x: torch.nn.functional.dropout(x, 0.5), x)
        assert "random numbers" in told
        y, told = fallen_back(lambda x: x.add_(1) * 2, x.clone())
        assert torch.equal(y, (x + 1) * 2) and "changes its inputs" in told
        y, told = fallen_back(lambda x: torch.special.bessel_j0(x), x)
        assert torch.equal(y, torch.special.bessel_j0(x)) and "cannot be exported" in told
        y, told = fallen_back(lambda x: x * 2, x.double())
        assert torch.equal(y, x.double() * 2) and "float64" in told
        torch._dynamo.reset()
        with pytest.raises(Exception, match="runs in PyTorch: it draws random numbers"):
            torch.compile(
                lambda x: torch.nn.functional.dropout(x, 0.5), backend=pt.compile_backend, options={"strict": True}
            )(x)
        torch._dynamo.reset()
        with pytest.raises(Exception, match="unknown option 'speed'"):
            torch.compile(lambda x: x * 2, backend=pt.compile_backend, options={"speed": 1})(x)


def test_training_a_compiled_network_still_trains_it():
    network, x = torch.nn.Linear(5, 3), torch.randn(4, 5)
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pt.FallbackWarning)
        torch.compile(network, backend=pt.compile_backend)(x).sum().backward()
    assert network.weight.grad is not None


def test_the_backend_is_found_by_its_name(tmp_path):
    pytest.importorskip("onnxscript")
    table = (ROOT / "pyproject.toml").read_text().split("[project.entry-points.torch_dynamo_backends]")[1]
    entry = table.split('pycompress = "')[1].split('"')[0]
    info = tmp_path / "named-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: named\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[torch_dynamo_backends]\npycompress = {entry}\n")
    code = "import torch\nwith torch.no_grad(): print(torch.compile(lambda x: torch.relu(x) + 1, backend='pycompress')(torch.ones(3)))"
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(pc.__file__).parents[1]}"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280, env=env)
    assert "tensor([2., 2., 2.])" in run.stdout, run.stderr


@pytest.mark.parametrize(
    "function, x",
    [
        (torch.linalg.det, torch.randn(5, 5)),  # refused by the engine
        (lambda z: torch.div(z, 3, rounding_mode="floor"), torch.tensor([10**9, 3 * 16777217])),  # exported in float32
    ],
)
def test_what_the_engine_refuses_or_rounds_runs_in_torch(function, x):
    compiled = torch.compile(function, backend=pt.compile_backend)
    with torch.no_grad(), pytest.warns(pt.FallbackWarning):
        assert torch.equal(compiled(x), function(x))
