"""W4A8: a network with pointwise convolutions and classifier at 4 bits, beside our int8 with windows of 4 and of 2 steps.

    python bench/bench_w4a8.py FLOAT.onnx [--group 32] [--threads 1,2] [--models FOLDER] [--json FILE]

int8 is ``pycompress.quantize`` with ``accumulate=4`` and ``accumulate=2``; the former with its weights rounded once more, to 4 bits
in groups with float16 scales, is the W4A8 network: enough to measure time and size. All take turns in one run.
`sqnr` (dB) compares the answer with that of the float network; with --models the networks are kept from run to run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import pycompress
from pycompress.peers.interleave import interleave, times_faster
from pycompress.zoo import photos


def to_four_bits(model: onnx.ModelProto, group: int) -> onnx.ModelProto:
    """`model` with the int8 weights of 1x1 convolutions and matrix products as INT4 in groups, their scales float16."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    readers = {n.input[1]: n for n in graph.node if n.op_type in ("Conv", "Gemm", "MatMul")}
    nodes, tensors = [], {t.name: t for t in graph.initializer}
    for node in graph.node:
        reader = readers.get(node.output[0])
        w = arrays.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if reader is None or w is None or not _is_product(reader, w):
            nodes.append(node)
            continue
        axis = 0 if reader.op_type == "MatMul" or reader.op_type == "Gemm" and not _transposed(reader) else 1
        rows = w if axis == 1 else w.T
        scale = arrays[node.input[1]].reshape(-1)
        real = rows.reshape(len(rows), -1).astype(np.float32) * np.broadcast_to(scale, len(rows))[:, None]
        codes, scales = rounded(real, group)
        shape = [len(rows), -1, *[1] * (w.ndim - 2)]
        codes, scales = (v.reshape(shape) if axis == 1 else v.T for v in (codes, scales))
        name = node.output[0]
        low, high = np.resize(codes.reshape(-1).view(np.uint8) & 15, (codes.size + 1) // 2 * 2).reshape(-1, 2).T
        packed = (low | high << 4).tobytes()
        tensors[f"{name}.int4"] = helper.make_tensor(f"{name}.int4", TensorProto.INT4, codes.shape, packed, raw=True)
        tensors[f"{name}.scale"] = numpy_helper.from_array(np.ascontiguousarray(scales), f"{name}.scale")
        given = [f"{name}.int4", f"{name}.scale"]
        nodes.append(helper.make_node("DequantizeLinear", given, [f"{name}.half"], axis=axis, block_size=group))
        nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    used = {x for n in nodes for x in n.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(t for name, t in tensors.items() if name in used)
    for opset in made.opset_import:
        opset.version = max(opset.version, 21) if opset.domain == "" else opset.version
    made.ir_version = max(made.ir_version, 10)
    return made


def _is_product(node: onnx.NodeProto, w: np.ndarray) -> bool:
    return w.ndim == 2 or (w.ndim == 4 and w.shape[2:] == (1, 1) and w.shape[1] > 1)


def _transposed(node: onnx.NodeProto) -> bool:
    return any(a.name == "transB" and a.i for a in node.attribute)


def rounded(w: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes int8[n,k] from -8 to 7, scales float16[n,groups]) of weights float32[n,k]: the largest of a group is -8."""
    n, k = w.shape
    groups = -(-k // group)
    full = np.zeros((n, groups * group), np.float32)
    full[:, :k] = w
    full = full.reshape(n, groups, group)
    largest = np.take_along_axis(full, np.abs(full).argmax(2)[..., None], 2)[..., 0]
    scale = np.maximum(np.abs(largest) / 7.5, 1e-6).astype(np.float16)
    codes = np.clip(np.rint(full / scale.astype(np.float32)[..., None]), -8, 7).astype(np.int8)
    return codes.reshape(n, -1)[:, :k], scale


def networks(source: Path, group: int, folder: Path) -> dict[str, Path]:
    """The files of the int8 and W4A8 networks, made where they are not there."""
    files = {f"int8 T={T}": folder / f"{source.stem}.T{T}.onnx" for T in (4, 2)}
    for T, path in zip((4, 2), files.values()):
        if not path.exists():
            samples = ({"input": photos.preprocess(x)} for x in photos.crops(photos.CALIBRATION, 16))
            onnx.save(pycompress.quantize(source, samples, accumulate=T), path)
    files["W4A8"] = folder / f"{source.stem}.w4g{group}.onnx"
    onnx.save(to_four_bits(onnx.load(files["int8 T=4"]), group), files["W4A8"])
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("float", type=Path)
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    feed = {"input": photos.preprocess(next(photos.crops(photos.EVALUATION, 1)))}
    exact = pycompress.InferenceSession(args.float).run(None, feed)[0]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        plans = {}
        for name, path in networks(args.float, args.group, args.models or Path(temporary)).items():
            plans[name] = Path(temporary) / f"{path.stem}.plan.safetensors"
            pycompress.compile(path, strict=True).save(plans[name])
        for threads in map(int, args.threads.split(",")):
            sessions = {
                name: pycompress.InferenceSession(path, pycompress.SessionOptions(threads))
                for name, path in plans.items()
            }
            timings = interleave(
                {name: lambda s=s: s.run(None, feed) for name, s in sessions.items()},
                runs=args.runs,
                rounds=args.rounds,
            )
            for name, t in timings.items():
                noise = sessions[name].run(None, feed)[0] - exact
                rows.append({
                    "threads": threads, "network": name, "best_ms": t.best * 1e3, "median_ms": t.median * 1e3,
                    "times_faster": times_faster(timings["W4A8"], t), "plan_bytes": plans[name].stat().st_size,
                    "sqnr": 10 * np.log10(np.square(exact).sum() / np.square(noise).sum()),
                })  # fmt: skip
    for r in rows:
        print(
            f"{r['threads']} threads  {r['network']:10s} best {r['best_ms']:6.3f} ms  median {r['median_ms']:6.3f} ms  "
            f"W4A8 is {r['times_faster']:.2f}x  plan {r['plan_bytes'] / 1e6:.2f} MB  {r['sqnr']:.1f} dB"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1, default=float))


if __name__ == "__main__":
    main()
