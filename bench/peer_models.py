"""The files that bench_models.py times: ours, and those that the peers' own tools make of the same network and crops.

    python bench/peer_models.py FOLDER [--networks mobilenetv2] [--against litert,ncnn]

A file that is there is not made again: delete it after a change of what makes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx

from pycompress import peers, quantize, zoo
from pycompress.zoo import photos

NETWORKS = ("mobilenetv1", "mobilenetv2", "mobilenetv3_large", "efficientnet_lite0")
CALIBRATION, SEED = 64, 1  # those of agreement.py, so that what is timed is what is judged there


@dataclass(frozen=True)
class Case:
    """One engine on one file; `by` is who quantized it."""

    engine: str
    precision: str
    by: str
    file: str

    @property
    def name(self) -> str:
        return f"{self.engine} {self.precision}" + (f", {self.by}" if self.by not in ("", "ours") else "")


CASES = (
    Case("pycompress", "float", "", "float.onnx"),
    Case("pycompress", "int8", "ours", "int8.onnx"),
    Case("onnxruntime", "float", "", "float.onnx"),
    Case("onnxruntime", "int8", "ours", "int8.onnx"),
    Case("onnxruntime", "int8", "own", "onnxruntime.onnx"),
    Case("onnxruntime", "int8", "own, reduce_range", "onnxruntime_reduced.onnx"),
    Case("openvino", "float", "", "float.onnx"),
    Case("openvino", "int8", "ours", "int8.onnx"),
    Case("openvino", "int8", "nncf", "openvino.xml"),
    Case("litert", "float", "", "litert_float/model.tflite"),
    Case("litert", "int8", "ours", "litert_int8/model.tflite"),
    Case("ncnn", "float", "", "ncnn/model.ncnn.param"),
)


def samples():
    return (photos.preprocess(x) for x in photos.crops(photos.CALIBRATION, CALIBRATION, SEED))


def prepare(network: str, engines: Iterable[str], folder: Path) -> tuple[dict[Case, Path], dict[str, str]]:
    """({case: its file}, {case's name: why there is none}), for us and the `engines`; makes what is not there."""
    folder = folder / network
    folder.mkdir(parents=True, exist_ok=True)
    found, missing = {}, {}
    for case in CASES:
        if case.engine not in ("pycompress", *engines):
            continue
        path = folder / case.file
        try:
            peers.engine(case.engine)
            if not path.exists():
                _make(case, network, folder, path)
            found[case] = path
        except (ModuleNotFoundError, NotImplementedError) as error:
            missing[case.name] = str(error)
    return found, missing


def _make(case: Case, network: str, folder: Path, path: Path) -> None:
    if path.name == "float.onnx":  # EfficientNet-Lite0 with its trained weights
        options = {"pretrained": True} if network == "efficientnet_lite0" else {}
        onnx.save(zoo.build(network, **options), path)
    elif path.name == "int8.onnx":
        onnx.save(quantize(onnx.load(folder / "float.onnx"), samples()), path)
    elif case.engine == "onnxruntime":
        _onnxruntime(folder / "float.onnx", path, reduce_range="reduce_range" in case.by)
    elif case.engine == "openvino":
        _nncf(folder / "float.onnx", path)
    else:
        source = (folder / f"{case.precision}.onnx").read_bytes()
        path.parent.mkdir(exist_ok=True)
        peers.engine(case.engine).convert(source, path.parent)


def _onnxruntime(source: Path, target: Path, reduce_range: bool) -> None:
    """ONNX Runtime's static quantizer, as its documentation advises: preprocessed, QDQ, u8s8, a scale per channel."""
    from onnxruntime import quantization as ort
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(ort.CalibrationDataReader):
        def __init__(self):
            self.samples = samples()

        def get_next(self):
            x = next(self.samples, None)
            return None if x is None else {"input": x}

    ready = target.with_suffix(".pre.onnx")
    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    ort.quantize_static(
        str(ready), str(target), Reader(), quant_format=ort.QuantFormat.QDQ, per_channel=True, reduce_range=reduce_range,
        activation_type=ort.QuantType.QUInt8, weight_type=ort.QuantType.QInt8,
    )  # fmt: skip
    ready.unlink()


def _nncf(source: Path, target: Path) -> None:
    """OpenVINO's quantizer, with its defaults."""
    try:
        import nncf
    except ModuleNotFoundError as error:
        if error.name != "nncf":
            raise
        raise ModuleNotFoundError("nncf is not installed: pip install nncf", name="nncf") from None
    import openvino

    model = openvino.Core().read_model(source)
    quantized = nncf.quantize(model, nncf.Dataset(list(samples())), subset_size=CALIBRATION)
    openvino.save_model(quantized, target, compress_to_fp16=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--against", default=",".join(peers.ENGINES[1:]))
    args = parser.parse_args()
    for network in args.networks.split(","):
        found, missing = prepare(network, args.against.split(","), args.folder)
        print(f"{network}: {len(found)} models")
        for name, why in missing.items():
            print(f"  {name}: left out: {why}")


if __name__ == "__main__":
    main()
