"""Builds the AArch64 wheel with a cross-compiler, and runs a plan with the library in it under qemu-user.

``python .ci/arm_wheel.py [FOLDER]`` leaves the wheel in FOLDER (default: build/arm-wheel). Needs aarch64-linux-gnu-gcc and
qemu-aarch64-static. The wheel's tag names the newest glibc symbol version that its extension asks for; wheels for older
systems come from cibuildwheel (docs/platforms.md).
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

import pycompress as pc

ROOT = Path(__file__).resolve().parents[1]
PREFIX = "aarch64-linux-gnu-"
LARGEST = 2_000_000
TOOLS = {"CC": PREFIX + "gcc", "LDSHARED": PREFIX + "gcc -shared", "AR": PREFIX + "ar", "OBJCOPY": PREFIX + "objcopy"}


def build(folder: Path) -> Path:
    """The wheel, built from a copy of the sources so that nothing of this machine's build is in it."""
    sources = folder / "sources"
    shutil.rmtree(folder, ignore_errors=True)
    left_out = shutil.ignore_patterns("build", ".git", "*.so", "__pycache__", "tests", "bench", "lib", "include")
    shutil.copytree(ROOT, sources, ignore=left_out)
    environment = {**os.environ, **TOOLS, "_PYTHON_HOST_PLATFORM": "linux-aarch64"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "-j2", "bdist_wheel", "-d", str(folder)]
    subprocess.run(command, cwd=sources, env=environment, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def tagged(wheel: Path, extension: Path) -> Path:
    """The wheel by the name, and with the tag, of the glibc that its extension needs."""
    symbols = subprocess.run([PREFIX + "objdump", "-T", extension], capture_output=True, text=True, check=True).stdout
    version = max(tuple(map(int, x)) for x in re.findall(r"GLIBC_(\d+)\.(\d+)", symbols))
    platform = "manylinux_{}_{}_aarch64".format(*version)
    command = [sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", platform, wheel]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = wheel.parent.glob("*.whl")
    return wheel


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "arm-wheel").resolve()
    wheel = build(folder)
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "unpacked")
    package = folder / "unpacked" / "pycompress"
    wheel = tagged(wheel, package / "_pcx.abi3.so")
    print(wheel.name, wheel.stat().st_size, "bytes")
    assert wheel.stat().st_size < LARGEST
    header = subprocess.run(
        [PREFIX + "readelf", "-h", package / "_pcx.abi3.so"], capture_output=True, text=True, check=True
    ).stdout
    assert "AArch64" in header
    print("extension:", (package / "_pcx.abi3.so").stat().st_size, "bytes")

    program, library = folder / "run_plan", package / "lib" / "libpycompress.a"
    command = [TOOLS["CC"], "-std=c11", "-O2", "-static", f"-I{package / 'include'}", ROOT / "examples" / "run_plan.c"]
    subprocess.run([*command, library, "-lm", "-pthread", "-o", program], check=True)
    plan = package / "zoo" / "tiny.plan.safetensors"
    session = pc.InferenceSession(str(plan))
    (port,) = session.get_inputs()
    x = np.random.default_rng(0).integers(0, 256, port.shape).astype(np.uint8)
    np.save(folder / "x.npy", x)
    (want,) = session.run(None, {port.name: x})
    for cpu in ("max", "cortex-a76", "cortex-a72"):
        run = ["qemu-aarch64-static", "-cpu", cpu, program, plan, "1", "x.npy", "--", "y.npy"]
        subprocess.run(run, cwd=folder, check=True)
        np.testing.assert_allclose(np.load(folder / "y.npy"), want, rtol=1e-5, atol=1e-5)
        print("run_plan of the wheel's library under qemu,", cpu + ": as here")


if __name__ == "__main__":
    main()
