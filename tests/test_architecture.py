"""The tree's order: imports point down, and one stem names a kernel everywhere."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pycompress import kernels

ROOT = Path(__file__).resolve().parent.parent
LAYERS = [  # a module may import those of its own line and of the lines above it
    {"_pcx", "errors", "dtypes"},
    {"kernels"},
    {"cpu", "slots", "arrays"},
    {"native"},
    {"operators"},
    {"weights"},
    {"rounding"},
    {"formats"},
    {"sparse"},
    {"layers"},
    {"lower"},
    {"optimize"},
    {"pack"},
    {"plan", "slim"},
    {"encode"},
    {"compiler"},
    {"interface"},
    {"runner"},
    {"sources"},
    {"session"},
    {"ort"},
    {"integrations", "numba", "onnx_backend", "torch"},
    {"images"},
    {"batches"},
    {"predictor"},
    {"advice"},
    {"compress"},
    {"zoo"},
    {"peers"},
    {"report"},
    {"train", "search"},
    {"serve"},
    {"cli"},
    {"__main__"},
]
RANK = {name: i for i, names in enumerate(LAYERS) for name in names}
COMPRESS = [
    "progress",
    "model",
    "choice",
    "calibration",
    "verdict",
    "quantization",
    "pruning",
    "lowrank",
]  # under them the passes
APART = {"_build", "__init__"}  # the build script; the package itself, which hands out names of all layers


def modules():
    for path in sorted((ROOT / "pycompress").rglob("*.py")):
        yield path.relative_to(ROOT / "pycompress").with_suffix("").parts, path
    for path in sorted((ROOT / "kernels").rglob("*.py")):
        yield ("kernels", *path.relative_to(ROOT / "kernels").with_suffix("").parts), path


def imported(parts: tuple[str, ...], path: Path):
    """The top-level modules of the package that the file imports, wherever in it; "" is the package itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*parts[: len(parts) - node.level], *(node.module or "").split(".")]
            names = [base[0]] if base and base[0] else [a.name for a in node.names]
            yield from (name if name in RANK else "" for name in names if name != "__version__")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pycompress":
            tail = node.module.split(".")[1:]
            yield from (name if name in RANK else "" for name in tail[:1] or [a.name for a in node.names])


def test_imports_point_down():
    wrong = []
    for parts, path in modules():
        if parts[0] in APART:
            continue
        assert parts[0] in RANK, f"{path}: give {parts[0]} a place in LAYERS"
        for name in imported(parts, path):
            if RANK.get(name, len(LAYERS)) > RANK[parts[0]]:
                wrong.append(f"{'.'.join(parts)} imports {name or 'the package'}")
    assert not wrong


def test_passes_import_their_folders_and_no_folder_a_later_one():
    rank, wrong = {name: i for i, name in enumerate(COMPRESS)}, []
    for path in sorted((ROOT / "pycompress" / "compress").rglob("*.py")):
        parts = path.relative_to(ROOT / "pycompress" / "compress").with_suffix("").parts
        for node in ast.parse(path.read_text()).body:  # at the top: imports for type checkers only do not count
            if not (isinstance(node, ast.ImportFrom) and 1 <= node.level <= len(parts)):
                continue
            module = [*parts[: len(parts) - node.level], *(node.module or node.names[0].name).split(".")][0]
            if rank.get(module, len(rank)) > rank.get(parts[0], len(rank)):
                wrong.append(f"{'.'.join(parts)} imports {module}")
    assert not wrong


def test_only_training_search_and_integrations_import_torch_and_optuna():
    wrong = []
    for parts, path in modules():
        if parts[0] in ("train", "search", "integrations"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            wrong += [f"{path}: {n}" for n in names if n.split(".")[0] in ("torch", "optuna")]
    assert not wrong


def test_no_pass_keeps_a_list_of_kernel_names():
    names = set(kernels.NAMES)
    for path in sorted((ROOT / "pycompress" / "optimize").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
                said = [e.value for e in node.elts if isinstance(e, ast.Constant) and e.value in names]
                assert len(said) < 3, f"{path.name}:{node.lineno}: {said}: ask the kernels' traits"


def test_importing_pycompress_imports_neither_onnx_nor_numba_nor_the_kernels_pages():
    code = "import sys, pycompress; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pycompress.session" in loaded
    assert not {m for m in loaded if m.split(".")[0] in ("onnx", "numba", "rich", "scipy", "PIL", "torch", "optuna")}
    assert not {m for m in loaded if m.startswith("pycompress.kernels.") and not m.endswith("._spec")}


@pytest.mark.parametrize("name", kernels.NAMES)
def test_one_stem_names_a_kernel_everywhere(name):
    assert (ROOT / "kernels" / f"{name}.py").is_file()
    assert (ROOT / "csrc" / name / f"{name}.c").is_file()
    assert (ROOT / "tests" / "kernels" / f"test_{name}.py").is_file()
    header = (ROOT / "csrc" / "pycompress_kernels.h").read_text()
    assert f"X({name})" in header and f"}} pcx_{name}_args;" in header


def test_every_other_folder_of_c_is_a_kernel_s():
    folders = {p.name for p in (ROOT / "csrc").iterdir() if p.is_dir()}
    assert folders - {"common", "runtime"} == set(kernels.NAMES)


def test_file_names_are_unique_in_the_c_tree():
    names = Counter(p.name for p in (ROOT / "csrc").rglob("*") if p.is_file())
    assert [n for n, count in names.items() if count > 1 and n != "README.md"] == []


def test_what_has_code_of_its_own_for_avx2_has_it_for_neon():
    families = {isa: {p.parent.name for p in (ROOT / "csrc").glob(f"*/*_{isa}.c")} for isa in ("avx2", "neon")}
    assert families["avx2"] - families["neon"] == {"softmax"}  # whose loops compilers vectorise


def test_packages_are_listed_for_installation():
    text = (ROOT / "pyproject.toml").read_text()
    folders = {p.parent for p in (ROOT / "pycompress").rglob("__init__.py")}
    for folder in folders:
        assert f'"{".".join(folder.relative_to(ROOT).parts)}"' in text
