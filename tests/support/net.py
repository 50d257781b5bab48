"""A small model in the making, for tests of fusion."""

import numpy as np
from onnx import helper

from oracle import as_model, floats, ort_outputs, ours, same


class Net:
    """A small model in the making: nodes on x, constants by value."""

    def __init__(self, *shape, seed=0):
        self.rng = np.random.default_rng(seed)
        self.inputs = {"x": floats(self.rng, *shape)}
        self.nodes, self.constants = [], []
        self.last = "x"

    def const(self, value) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(name)
        self.inputs[name] = np.asarray(value, np.float32) if not hasattr(value, "dtype") else value
        return name

    def add(self, op, *inputs, **attributes) -> str:
        """Append a node on the last result, or on `inputs`: names, or arrays as constants."""
        names = [i if isinstance(i, str) else self.const(i) for i in inputs]
        self.last = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [self.last], **attributes))
        return self.last

    def conv(self, x, outputs, inputs, kernel=1, bias=True, **attributes) -> str:
        w = floats(self.rng, outputs, inputs, kernel, kernel)
        return self.add("Conv", x, w, *([floats(self.rng, outputs)] if bias else []), **attributes)

    def run(self, opset=13) -> list[str]:
        """Check against onnxruntime and against the steps unfused; returns the kernels."""
        model = as_model(self.nodes, self.inputs, [self.last], tuple(self.constants), opset)
        feed = {"x": self.inputs["x"]}
        plain, _ = ours(model, feed, optimized=False)
        fused, program = ours(model, feed)
        same(fused, plain, 1e-4, 1e-4)
        same(fused, ort_outputs(model, feed), 1e-4, 1e-4)
        return [s.kernel for s in program.steps if s.kernel != "permute"]
