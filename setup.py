from setuptools import setup

setup(
    package_dir={"pycompress.kernels": "kernels"},
    cffi_modules=["pycompress/_build.py:ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
