"""The C library on its own: built by CMake, installed, found, and running plans without Python."""

import os
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest

import pycompress as pc
from pycompress import zoo
from pycompress._pcx import ffi, lib
from wrapped import WRAP

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")

CONSUMER = """cmake_minimum_required(VERSION 3.16)
project(consumer C)
find_package(pycompress 0.1 REQUIRED)
add_executable(shared main.c)
target_link_libraries(shared pycompress::pycompress)
add_executable(static main.c)
target_link_libraries(static pycompress::pycompress_static)
"""
MAIN = """#include <pycompress.h>
int main(void) { return !(pcx_kernel_named("sgemm") && pcx_cores() > 0); }
"""
NAMESAKES = """#include <pycompress.h>
#define OWN(name) int name(void); int name(void) { return 1; }
OWN(json_free) OWN(json_read) OWN(refuse) OWN(plan_keep) OWN(threads_run) OWN(contract_read) OWN(sgemm_finish)
int main(void)
{
    char why[99];
    pcx_plan *plan;
    const int own = json_free() && json_read() && refuse() && plan_keep() && threads_run() && contract_read();
    return !(own && sgemm_finish() && pcx_plan_open("{}", 2, pcx_cpu(), &plan, why, sizeof why) == PCX_BAD_PLAN && *why);
}
"""


def command(*args, good=True):
    run = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=600)
    assert (run.returncode == 0) == good, run.stdout + run.stderr
    return run.stdout + run.stderr


def test_the_includes_of_c_point_down_and_in_no_circle():
    csrc = ROOT / "csrc"
    includes = {
        path.resolve(): [
            (path.parent / name).resolve() for name in re.findall(r'^#include "(.*)"', path.read_text(), re.M)
        ]
        for path in csrc.rglob("*.[ch]")
    }
    allowed = {"common": {"csrc", "common"}, "runtime": {"csrc", "common", "runtime"}, "csrc": {"csrc"}}
    for path, names in includes.items():
        assert "runtime" not in {n.parent.name for n in names} or path.parent.name == "runtime", path
        folders = {n.parent.name for n in names}
        assert folders <= allowed.get(path.parent.name, folders), path
    TopologicalSorter(includes).prepare()


def test_static_functions_of_c_begin_with_the_stem_of_their_file_or_their_family():
    begins = re.compile(r"^(?:static|PCX_INLINE|PCX_NOINLINE static)\b[^;={}#]*?\b([a-z]\w*)\(", re.M)
    for path in (ROOT / "csrc").rglob("*.[ch]"):
        stems = [path.stem] if path.suffix == ".c" or path.parent.name in ("common", "runtime") else [path.parent.name]
        names = [n for n in begins.findall(path.read_text()) if n != "__attribute__"]
        if path.name != "pcx.h":  # the arithmetic that everything uses
            assert [n for n in names if not n.startswith((*stems, "pcx_"))] == [], path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(build folder, install prefix)"""
    folder = tmp_path_factory.mktemp("cmake")
    flags = ["-DCMAKE_BUILD_TYPE=Quick", "-DCMAKE_C_FLAGS=-O1"]  # the bytes do not depend on it
    command("cmake", "-S", ROOT, "-B", folder / "build", f"-DCMAKE_INSTALL_PREFIX={folder / 'prefix'}", *flags)
    command("cmake", "--build", folder / "build", "-j", len(os.sched_getaffinity(0)))
    command("cmake", "--install", folder / "build")
    return folder / "build", folder / "prefix"


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """(path of a plan for two batch sizes, session on it)"""
    path = tmp_path_factory.mktemp("plan") / "net.plan.safetensors"
    model = zoo.build("mobilenetv2", width=0.35, resolution=64, batch=None)
    pc.compile(model, input_shapes=[(1, 3, 64, 64), (3, 3, 64, 64)]).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYCOMPRESS_CPU", raising=False)  # which the C program, like all C here, does not read
        return path, pc.InferenceSession(path)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_example_computes_the_same_bytes_as_python(built, plan, tmp_path, batch, threads):
    path, session = plan
    x = np.random.default_rng(batch).standard_normal((batch, 3, 64, 64), np.float32)
    np.save(tmp_path / "x.npy", x)
    command(built[1] / "bin" / "run_plan", path, threads, tmp_path / "x.npy", "--", tmp_path / "y.npy")
    want = session.run(None, {session.get_inputs()[0].name: x})[0]
    got = np.load(tmp_path / "y.npy")
    assert got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()


def test_the_embedded_network_names_an_image_without_python(built, tmp_path):
    images, labels = zoo.tiny_images()
    np.save(tmp_path / "x.npy", images[1:2])
    command(built[1] / "bin" / "run_plan", zoo.tiny(), 1, tmp_path / "x.npy", "--", tmp_path / "y.npy")
    got = np.load(tmp_path / "y.npy")
    assert got.tobytes() == pc.InferenceSession(zoo.tiny()).run(None, {"input": images[1:2]})[0].tobytes()
    assert got.argmax() == labels[1]
    command(built[1] / "bin" / "run_plan", zoo.tiny(), "1:scalar", tmp_path / "x.npy", "--", tmp_path / "y.npy")
    portable = pc.InferenceSession(pc.Plan.load(zoo.tiny(), cpu="scalar")).run(None, {"input": images[1:2]})[0]
    assert np.load(tmp_path / "y.npy").tobytes() == portable.tobytes()


@pytest.fixture(scope="module")
def checks(built, tmp_path_factory):
    """The program checks.c, linked with the installed library."""
    program = tmp_path_factory.mktemp("checks") / "checks"
    linked(built, program, [ROOT / "tests" / "runtime" / "checks.c"], WRAP)
    return program


def linked(built, program, sources, *flags):
    library = next(built[1].glob("lib*/libpycompress.a"))
    warnings = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    command("cc", *warnings, *sources, library, "-o", program, *flags, "-pthread", "-lm")


@pytest.mark.skipif(sys.platform != "linux", reason="needs GNU ld and /proc")
@pytest.mark.parametrize(
    "words",
    [["failures"], ["cycles", "10000"], ["threads", "50"], ["fork", "20"], ["namespaces"], ["stop"]],
    ids=lambda words: words[0],
)
def test_failures_of_memory_many_cycles_threads_and_forks(checks, words):
    command(checks, ROOT / "pycompress" / "zoo" / "tiny.plan.safetensors", *words)


@pytest.mark.parametrize("fuzzer", ["plan", "csr"])
def test_the_corpus_of_a_fuzzer_replays(built, tmp_path, fuzzer):
    folder = ROOT / "tests" / "fuzz"
    linked(built, tmp_path / "replay", [folder / f"{fuzzer}.c", folder / "replay.c"])
    files = sorted((folder / "corpus" / fuzzer).iterdir())
    assert command(tmp_path / "replay", *files) == f"{len(files)} files\n" and len(files) >= 10


@pytest.mark.skipif(not shutil.which("c++"), reason="there is no C++ compiler")
def test_the_examples_build_on_the_installed_library_and_run_one_plan_on_several_threads(built, plan, tmp_path):
    flags = [f"-DCMAKE_PREFIX_PATH={built[1]}", "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON"]
    command("cmake", "-S", ROOT / "examples", "-B", tmp_path, *flags)
    command("cmake", "--build", tmp_path)
    told = command(tmp_path / "threads", plan[0], 3, 5).splitlines()
    steps = lib.pcx_plan_steps(pc.Plan.load(plan[0]).handle, 0)
    assert told[0] == "3 threads, 5 runs each: the same bytes" and told[-1].startswith(f"{steps} steps, ")
    assert [int(line.split()[0]) for line in told[1:-1]] == list(range(steps))  # the profile, step by step
    assert "usage" in command(tmp_path / "threads", good=False)
    assert "cannot open" in command(tmp_path / "threads", tmp_path / "absent", 1, 1, good=False)
    assert "usage" in command(tmp_path / "run_plan", good=False)


def test_the_example_says_what_is_wrong(built, plan, tmp_path):
    path, run = plan[0], built[0] / "run_plan"
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    assert "usage" in command(run, good=False)
    assert ":avx3: CPU is none of" in command(run, path, "1:avx3", x, "--", y, good=False)
    assert "cannot open" in command(run, tmp_path / "absent", 1, x, "--", y, good=False)
    assert f"{x}: cannot open" in command(run, path, 1, x, "--", y, good=False)
    np.save(x, np.zeros((2, 3, 64, 64), np.float32))
    assert "no program" in command(run, path, 1, x, "--", y, good=False)
    np.save(x, np.zeros((1, 3, 64, 64), np.float32))
    assert "number of outputs" in command(run, path, 1, x, "--", good=False)
    good = x.read_bytes()
    np.save(x, np.zeros((1, 3, 64, 64), np.float32, order="F"))
    assert "Fortran" in command(run, path, 1, x, "--", y, good=False)
    np.save(x, np.zeros((1, 3), complex))
    assert "type" in command(run, path, 1, x, "--", y, good=False)
    for end in (0, 5, 9, 60, 200):
        x.write_bytes(good[:end])
        assert str(x) in command(run, path, 1, x, "--", y, good=False)


def test_the_installed_library_is_found_and_exports_only_its_header(built, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER)
    (tmp_path / "main.c").write_text(MAIN)
    command("cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={built[1]}")
    command("cmake", "--build", tmp_path / "b")
    command(tmp_path / "b" / "shared")
    command(tmp_path / "b" / "static")
    if shutil.which("nm"):
        for name, flag in (("libpycompress.so", "-D"), ("libpycompress.a", "-g")):
            library = next(built[1].glob(f"lib*/{name}"))
            lines = command("nm", flag, "--defined-only", library).splitlines()
            names = [line.split()[-1] for line in lines if len(line.split()) == 3]
            assert "pcx_plan_load" in names and all(n.startswith("pcx_") for n in names)


def test_a_program_with_functions_of_the_same_names_links_with_the_static_library(built, tmp_path):
    (tmp_path / "main.c").write_text(NAMESAKES)
    library = next(built[1].glob("lib*/libpycompress.a"))
    include = f"-I{built[1] / 'include'}"
    command("cc", "-Wall", include, tmp_path / "main.c", library, "-o", tmp_path / "main", "-pthread", "-lm")
    command(tmp_path / "main")


def test_the_program_at_the_top_of_the_header_runs(built, plan, tmp_path):
    comment = (ROOT / "csrc" / "pycompress.h").read_text().split("*/")[0]
    code = [line.removeprefix(" *").removeprefix("     ") for line in comment.splitlines()]
    start, end = code.index("#include <pycompress.h>"), code.index("}")
    (tmp_path / "main.c").write_text("\n".join(code[start : end + 1]))
    library = next(built[1].glob("lib*/libpycompress.a"))
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{built[1] / 'include'}"]
    command("cc", *flags, tmp_path / "main.c", library, "-o", tmp_path / "main", "-pthread", "-lm")
    shutil.copy(plan[0], tmp_path / "net.plan.safetensors")
    run = subprocess.run([tmp_path / "main"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    name, value = run.stdout.split("[0] = ")
    session = plan[1]
    want = session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, 64, 64), np.float32)})[0]
    assert run.returncode == 0 and name == session.get_outputs()[0].name
    assert float(value) == pytest.approx(float(want.flat[0]), abs=1e-6)


def test_the_header_has_the_version_of_the_package_and_is_c_plus_plus_too(built, tmp_path):
    header = (ROOT / "csrc" / "pycompress.h").read_text()
    numbers = re.findall(r"#define PCX_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header)
    assert f'#define PCX_VERSION "{pc.__version__}"' in header and ".".join(numbers) == pc.__version__
    assert ffi.string(lib.pcx_version()).decode() == pc.__version__
    if shutil.which("c++"):
        (tmp_path / "main.cpp").write_text(MAIN)
        command(
            "c++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{built[1] / 'include'}", tmp_path / "main.cpp"
        )


@pytest.mark.skipif(not shutil.which("pkg-config"), reason="pkg-config is not installed")
def test_pkg_config_knows_the_library_wherever_the_installed_tree_is_moved(built, tmp_path, monkeypatch):
    moved = shutil.copytree(built[1], tmp_path / "moved", symlinks=True)
    found = next(moved.glob("lib*/pkgconfig"))
    assert str(built[1]) not in (found / "pycompress.pc").read_text()
    monkeypatch.setenv("PKG_CONFIG_PATH", str(found))
    flags = command("pkg-config", "--cflags", "--libs", "pycompress").split()
    (tmp_path / "main.c").write_text(MAIN)
    command("cc", tmp_path / "main.c", "-o", tmp_path / "main", *flags, f"-Wl,-rpath,{found.parent}")
    command(tmp_path / "main")
    if shutil.which("c++"):
        example = ROOT / "examples" / "threads.cpp"
        command("c++", "-pthread", example, "-o", tmp_path / "threads", *flags, f"-Wl,-rpath,{found.parent}")
        assert "usage" in command(tmp_path / "threads", good=False)
