"""How often int8 networks give float's answer: ours against ONNX Runtime's static quantizer.

    python bench/agreement.py [--crops 1024] [--calibration 64] [--json]

EfficientNet-Lite0 with its ImageNet weights. Calibration and evaluation crops come from different
photos. Every file is judged by the same runtime, ONNX Runtime, unless --engine says otherwise.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime import quantization as ort_quant

from pycompress import zoo
from pycompress.compress.quantize import quantize
from pycompress.compress.recertify import recertify
from pycompress.zoo import photos

BATCH = 32


class Reader(ort_quant.CalibrationDataReader):
    """ONNX Runtime's form of a generator of samples."""

    def __init__(self, samples):
        self.samples = iter(samples)

    def get_next(self):
        sample = next(self.samples, None)
        return None if sample is None else {"input": sample}


def ort_quantized(model: onnx.ModelProto, samples, method: str, **options) -> onnx.ModelProto:
    """`model` quantized by ONNX Runtime: QDQ, u8s8, a scale per output channel."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        ort_quant.quantize_static(
            source,
            target,
            Reader(samples),
            quant_format=ort_quant.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort_quant.QuantType.QUInt8,
            weight_type=ort_quant.QuantType.QInt8,
            calibrate_method=ort_quant.CalibrationMethod[method],
            **options,
        )
        return onnx.load(target)


def session(model: onnx.ModelProto, engine: str):
    if engine == "pycompress":
        from pycompress import InferenceSession

        return InferenceSession(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def answers(model: onnx.ModelProto, images: np.ndarray, engine: str) -> np.ndarray:
    run = session(model, engine).run
    parts = [photos.preprocess(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    return np.concatenate([run(None, {"input": part})[0] for part in parts])


def depths(model: onnx.ModelProto) -> dict[int, int]:
    """How many layers have which accumulation depth."""
    told = {p.key: p.value for p in model.metadata_props}.get("pycompress.accumulate", "{}")
    return dict(sorted(Counter(json.loads(told).values()).items()))


def compare(wanted: np.ndarray, got: np.ndarray) -> dict[str, float]:
    """Share of equal top-1, of float's top-1 among the five best, and the error relative to float's spread."""
    top = wanted.argmax(1)
    five = np.argpartition(-got, 5, axis=1)[:, :5]
    error = np.sqrt(np.square(got - wanted).mean() / wanted.var())
    agree = float((got.argmax(1) == top).mean())
    return {"top1": agree, "top5": float((five == top[:, None]).any(1).mean()), "error": float(error)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=1024)
    parser.add_argument("--calibration", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["onnxruntime", "pycompress"], default="onnxruntime")
    parser.add_argument("--only", help="run the variants whose name contains this")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    model = zoo.efficientnet_lite0(pretrained=True, batch=None, batchnorm=False)
    images = np.stack(list(photos.crops(photos.EVALUATION, args.crops, args.seed)))
    wanted = answers(model, images, args.engine)

    def samples():
        return (photos.preprocess(c) for c in photos.crops(photos.CALIBRATION, args.calibration, args.seed + 1))

    variants = {
        "ours": lambda: quantize(model, samples()),
        **{f"ours, T={T}": lambda T=T: quantize(model, samples(), accumulate=T) for T in (0, 1, 2, 4, 8)},
        "ours, minmax": lambda: quantize(model, samples(), method="minmax"),
        "ours, percentile": lambda: quantize(model, samples(), method="percentile"),
        "ours, no bias correction": lambda: quantize(model, samples(), bias_correction=False),
        "onnxruntime, MinMax, reduce_range": lambda: ort_quantized(model, samples(), "MinMax", reduce_range=True),
        "onnxruntime, MinMax, full range": lambda: ort_quantized(model, samples(), "MinMax", reduce_range=False),
        "onnxruntime, MinMax, full range, recertified": lambda: recertify(
            ort_quantized(model, samples(), "MinMax", reduce_range=False), samples()
        ),
        "onnxruntime, Percentile, reduce_range": lambda: ort_quantized(
            model, samples(), "Percentile", reduce_range=True
        ),
        "onnxruntime, Entropy, reduce_range": lambda: ort_quantized(model, samples(), "Entropy", reduce_range=True),
    }
    rows = {}
    for name, make in variants.items():
        if args.only and args.only not in name:
            continue
        start = time.perf_counter()
        quantized = make()
        seconds = time.perf_counter() - start
        rows[name] = compare(wanted, answers(quantized, images, args.engine)) | {"seconds": seconds}
        rows[name] |= {"accumulate": depths(quantized)}
        r = rows[name]
        if not args.json:
            figures = f"top-1 {r['top1']:.4f}  top-5 {r['top5']:.4f}  error {r['error']:.4f}  {seconds:5.1f} s"
            print(f"{name:44} {figures}  layers by accumulation depth {r['accumulate']}", flush=True)
    if args.json:
        print(json.dumps({"crops": args.crops, "calibration": args.calibration, "variants": rows}, indent=1))


if __name__ == "__main__":
    main()
