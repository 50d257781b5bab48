"""``train`` where torch is not installed."""

import subprocess
import sys


def test_without_torch_it_says_what_to_install(tmp_path):
    (tmp_path / "r.yaml").write_text("model: x.onnx")
    line = f"from pycompress.cli import main; sys.exit(main(['train', {str(tmp_path / 'r.yaml')!r}]))"
    code = f"import sys; sys.modules['torch'] = None; {line}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.endswith("pip install 'pycompress-engine[train]'\n")
