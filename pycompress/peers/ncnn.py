"""ncnn, float32, on a network that pnnx converts from ONNX.

Of pnnx only the program in its package runs; the package itself would import torch.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np


def version() -> str:
    import ncnn

    return ncnn.__version__


def _program() -> Path:
    spec = find_spec("pnnx")
    path = Path(spec.origin).with_name("pnnx") if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ModuleNotFoundError("ncnn needs pnnx to read .onnx files: pip install --no-deps pnnx", name="pnnx")
    return path


def convert(model, folder) -> Path:
    """Write what ncnn reads of a .onnx file's bytes or path, whose inputs have fixed shapes, to `folder`.

    Raises
    ------
    ModuleNotFoundError
        If pnnx is not installed.
    NotImplementedError
        If it cannot convert the model, or the model is quantized.
    """
    import onnx

    program, folder = _program(), Path(folder).resolve()
    proto = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    if any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        raise NotImplementedError("pnnx does not convert quantized models")
    constants = {t.name for t in proto.graph.initializer}
    ports = [p for p in proto.graph.input if p.name not in constants]
    shapes = {p.name: [d.dim_value for d in p.type.tensor_type.shape.dim] for p in ports}
    with tempfile.TemporaryDirectory() as work:
        onnx.save(proto, Path(work, "model.onnx"))
        shape = ",".join(str(s).replace(" ", "") for s in shapes.values())
        command = [str(program), "model.onnx", f"inputshape={shape}", "fp16=0"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True)
        made = Path(work, "model.ncnn.param")
        if done.returncode or not made.is_file():
            said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise NotImplementedError(f"pnnx cannot convert the model: {said}")
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("model.ncnn.param", "model.ncnn.bin"):
            (folder / name).write_bytes(Path(work, name).read_bytes())
    (folder / "model.ncnn.json").write_text(json.dumps({"inputs": shapes, "outputs": len(proto.graph.output)}))
    return folder / "model.ncnn.param"


class _Runner:
    """Holds one image: ncnn's arrays have no batch axis."""

    def __init__(self, param: Path, threads: int):
        import ncnn

        about = json.loads(param.with_suffix(".json").read_text())
        if any(shape[:1] != [1] for shape in about["inputs"].values()):
            raise NotImplementedError("runs batches of one only")
        self.inputs = {name: (np.dtype(np.float32), tuple(shape)) for name, shape in about["inputs"].items()}
        self.outputs = [f"out{i}" for i in range(about["outputs"])]
        self.mat, self.net = ncnn.Mat, ncnn.Net()
        options = self.net.opt
        options.num_threads = threads
        options.use_vulkan_compute = False
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        if self.net.load_param(str(param)) or self.net.load_model(str(param.with_suffix(".bin"))):
            raise NotImplementedError(f"cannot load {param.name}")

    def prepare(self, feed):
        return [self.mat(np.ascontiguousarray(feed[name][0])).clone() for name in self.inputs]

    def run_prepared(self, mats):
        with self.net.create_extractor() as extractor:
            for i, mat in enumerate(mats):
                extractor.input(f"in{i}", mat)
            found = []
            for name in self.outputs:
                failed, mat = extractor.extract(name)
                if failed:
                    raise RuntimeError(f"ncnn: running failed at {name}: {failed}")
                found.append(np.array(mat)[None])
        return found

    def run(self, feed):
        return self.run_prepared(self.prepare(feed))


def load(model, threads: int) -> _Runner:
    """`model` is the path of a .ncnn.param file that `convert` wrote, or the path or bytes of an .onnx file."""
    if not isinstance(model, (bytes, bytearray)) and Path(model).name.endswith(".ncnn.param"):
        return _Runner(Path(model), threads)
    with tempfile.TemporaryDirectory() as folder:
        return _Runner(convert(model if isinstance(model, bytes) else Path(model), folder), threads)
