"""Whether the images of a batch are independent, so that a run may process them one after another."""

from __future__ import annotations

from ..formats.onnx_model import Model
from .values import Program

# Operators whose result at an index of the first dimension depends only on their input at that index, provided the
# shapes of input and output agree; all inputs but the first are constants.
ALONE = frozenset(
    "Abs ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Conv ConvTranspose DequantizeLinear Dropout Elu Erf Exp Flatten"
    " Floor Gelu GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LRN LeakyRelu Log"
    " MaxPool Mish Neg Not QLinearConv QuantizeLinear Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Round"
    " Selu Sigmoid Sign Softplus Softsign Sqrt Squeeze Tanh Transpose Unsqueeze".split()
)
# The same with several inputs, which are broadcast or concatenated.
BESIDE = frozenset(
    "Add And Concat Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or PRelu Pow Sub Where Xor".split()
)


class _Shapes:
    """The shapes of one model's tensors, lowered for batches of `n` and of `g` images."""

    def __init__(self, whole: Program, part: Program, n: int, g: int):
        self.whole, self.part, self.batch = whole.shapes, part.shapes, (n, g)

    def runtime(self, name: str) -> bool:
        return self.whole[name][1] or self.part[name][1]

    def carried(self, name: str) -> bool:
        """Whether the first dimension is the batch and all others agree; since n != g, this cannot be a coincidence."""
        pair = self.whole[name][0], self.part[name][0]
        return all(s and s[0] == b for s, b in zip(pair, self.batch)) and pair[0][1:] == pair[1][1:]

    def rank(self, name: str) -> int:
        return len(self.whole[name][0])

    def one_for_all(self, name: str, rank: int) -> bool:
        """Whether a constant is the same for all images once it is broadcast to `rank` dimensions."""
        shape = self.whole[name][0]
        return len(shape) < rank or (len(shape) == rank and shape[0] == 1)


def obstacle(model: Model, whole: Program, part: Program, n: int, g: int) -> str | None:
    """The first node that may mix the images of a batch; None if all keep them independent.

    `whole` and `part` are `model` lowered for `n` and for `g` images, n != g.
    """
    shapes = _Shapes(whole, part, n, g)
    sizes: set[str] = set()  # constants computed from shapes that contain the batch
    for proto in model.graph.node:
        given, made = [x for x in proto.input if x], [x for x in proto.output if x and x in whole.shapes]
        if not any(shapes.runtime(x) for x in made):
            if any(shapes.runtime(x) or x in sizes for x in given):
                sizes.update(made)
        elif not _independent(proto, given, made, shapes, sizes):
            return f"node {proto.name!r} ({proto.op_type})"
    ports = [port.name for side in (model.graph.input, model.graph.output) for port in side]
    return next((f"{x!r}" for x in ports if x not in model.constants and (x in sizes or not shapes.carried(x))), None)


def _independent(proto, given: list[str], made: list[str], shapes: _Shapes, sizes: set[str]) -> bool:
    runtime = [x for x in given if shapes.runtime(x)]
    constant = [x for x in given if not shapes.runtime(x)]
    if proto.domain not in ("", "ai.onnx") or not all(shapes.carried(x) for x in (*runtime, *made)):
        return False
    attributes = {a.name: a.i for a in proto.attribute}
    rank, op = shapes.rank(made[0]), proto.op_type
    if op != "Reshape" and sizes.intersection(given):
        return False
    if op in BESIDE:
        alike = all(shapes.rank(x) == rank for x in runtime)
        return alike and (op == "Concat" or all(shapes.one_for_all(x, rank) for x in constant))
    if runtime != [proto.input[0]]:
        return False
    if op == "Gemm":
        return not attributes.get("transA", 0) and all(shapes.one_for_all(x, 2) for x in given[2:])
    if op == "MatMul":
        return shapes.rank(given[0]) >= 2 and shapes.rank(given[1]) <= 2
    if op in ("Softmax", "LogSoftmax"):
        return attributes.get("axis", 1) % rank != 0
    return op in ALONE
