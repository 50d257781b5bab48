"""What pyproject.toml cannot say: the extension, and the C library and headers for other programs in the wheel."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
HEADERS = ("pycompress.h", "pycompress_kernels.h")


class BuildWithoutForeignTables(build_py):
    """Leaves x86's tables of costs out of other wheels: a twentieth of their size, and nothing there reads them."""

    def find_data_files(self, package, src_dir):
        found = super().find_data_files(package, src_dir)
        if not sysconfig.get_platform().endswith(("aarch64", "arm64")):
            return found
        return [path for path in found if not Path(path).name.startswith(("costs_avx", "costs_amx"))]


class BuildWithLibrary(build_ext):
    """The extension, and from the same objects ``pycompress/lib/libpycompress.a`` beside ``pycompress/include``."""

    def build_extension(self, ext):
        if self.compiler.compiler_type == "msvc":
            raise CompileError("MSVC does not compile csrc/, which needs GNU C: use clang or gcc (docs/platforms.md)")
        objects = [self._object(source) for source in ext.sources if source.startswith("csrc/")]
        self.force = self.force or not all(
            map(os.path.exists, objects)
        )  # an extension that is up to date leaves none behind
        super().build_extension(ext)
        package = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        library = package / "lib" / "libpycompress.a"
        library.parent.mkdir(parents=True, exist_ok=True)
        library.unlink(missing_ok=True)  # ar would keep the members of files that are gone
        self.compiler.create_static_lib([self._merged(objects)], "pycompress", output_dir=str(library.parent))
        (package / "include").mkdir(exist_ok=True)
        for header in HEADERS:
            shutil.copyfile(ROOT / "csrc" / header, package / "include" / header)

    def _merged(self, objects: list[str]) -> str:
        """One object of all, whose only global names begin with pcx_: an application may have its own ``json_free``."""
        merged = os.path.join(self.build_temp, "libpycompress.o")
        visible = ["-Wl,-exported_symbol,_pcx_*"] if sys.platform == "darwin" else []
        self.spawn([*self.compiler.compiler_so[:1], "-r", "-nostdlib", *visible, "-o", merged, *objects])
        if not visible:  # OBJCOPY: a cross-compiler's; names that nothing needs are a fortieth of the size
            tool = [os.environ.get("OBJCOPY", "objcopy"), "--wildcard"]
            self.spawn([*tool, "--keep-global-symbol=pcx_*", merged])
            self.spawn([*tool, "--strip-unneeded", "--remove-section=.comment", merged])
        return merged

    def copy_extensions_to_source(self):
        """In-place builds: setuptools knows of the extension only."""
        super().copy_extensions_to_source()
        package = Path(self.build_lib) / "pycompress"
        for folder in ("lib", "include"):
            shutil.copytree(package / folder, ROOT / "pycompress" / folder, dirs_exist_ok=True)

    def _object(self, source: str) -> str:
        return self.compiler.object_filenames([source], output_dir=self.build_temp)[0]


setup(
    package_dir={"pycompress.kernels": "kernels"},
    cffi_modules=["pycompress/_build.py:ffi"],
    cmdclass={"build_ext": BuildWithLibrary, "build_py": BuildWithoutForeignTables},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
