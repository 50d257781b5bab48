"""Peak memory of an engine that loads and runs one model, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

# -c, because a script's own folder, and with it our modules named as the engines, would stand in sys.path
_START = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"


def peak_memory(engine: str | None, model="", threads: int = 1, runs: int = 3) -> int:
    """The peak memory, in bytes, of a new process that loads the file `model` and runs it `runs` times.

    With `engine` None, of a process that imports numpy and does nothing: what to subtract.
    """
    command = [sys.executable, "-c", _START, __file__, engine or "", str(model), str(threads), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise RuntimeError(f"measuring the memory of {engine or 'numpy'} failed: {last}")
    return int(json.loads(done.stdout.splitlines()[-1]))


def _peak() -> int:
    """This process's high-water mark: VmHWM where there is one, since ru_maxrss survives exec."""
    try:
        text = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _adapter(name: str):
    """The engine's module: ours from its package, a peer's as a file, so that nothing of ours is loaded."""
    if name == "pycompress":
        from pycompress.peers import pycompress as ours

        return ours
    spec = spec_from_file_location(f"_{name}_adapter", Path(__file__).with_name(f"{name}.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _main(name: str, model: str, threads: str, runs: str) -> None:
    import numpy as np

    if name:
        runner = _adapter(name).load(model, int(threads))
        feed = {
            n: np.ones([d if isinstance(d, int) else 1 for d in shape], t) for n, (t, shape) in runner.inputs.items()
        }
        for _ in range(int(runs)):
            runner.run(feed)
    print(json.dumps(_peak()))


if __name__ == "__main__":
    _main(*sys.argv[1:])
