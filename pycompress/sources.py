"""Where a session's programs come from: a plan, or a model that is planned for each new set of input shapes."""

from __future__ import annotations

import copy
import os
from collections import OrderedDict

import numpy as np

from .dtypes import NUMPY, numpy_type
from .errors import InvalidArgument
from .interface.feed import check_names, check_shape, matched
from .interface.metadata import NodeArg, fix_dimensions, of_model, of_plan, type_word
from .interface.options import PLAN_CACHE_BYTES
from .plan import Plan
from .runner import Program, Runner


class FixedSource:
    """The programs of one plan."""

    def __init__(self, plan: Plan, threads: int):
        self.plan = plan
        self.runner = Runner(plan, threads)
        self.last = self.runner.programs[0]

    def inputs(self):
        return self._merged("inputs")

    def outputs(self):
        return self._merged("outputs")

    def _merged(self, side: str) -> list[NodeArg]:
        """The ports of all programs; a dimension in which they differ is None."""
        merged = []
        used = self.runner.programs[0].used if side == "outputs" else {}
        for i, ports in enumerate(zip(*(getattr(p, side) for p in self.runner.programs))):
            same_rank = len({len(p.shape) for p in ports}) == 1
            shape = [d[0] if len(set(d)) == 1 else None for d in zip(*(p.shape for p in ports))] if same_rank else []
            if i in used:
                shape[used[i][0]] = None
            merged.append(NodeArg(ports[0].name, shape, type_word(ports[0].dtype)))
        return merged

    def labels(self):
        return self.plan.labels

    def modelmeta(self):
        return of_plan(self.plan)

    def batch_sizes(self) -> tuple[int, ...] | None:
        """The sizes of an open first dimension that can be run, ascending; None for any."""
        return tuple(sorted({p.inputs[0].shape[0] for p in self.runner.programs}))

    def match(self, feed):
        first = self.runner.programs[0]
        check_names(feed, [p.name for p in first.inputs])
        arrays = [matched(p.name, feed[p.name], p.dtype, p.shape) for p in first.inputs]
        for program in self.runner.programs:
            if all(x.shape == p.shape for x, p in zip(arrays, program.inputs)):
                self.last = program
                return program, arrays
        for i, port in enumerate(first.inputs):
            held = sorted({p.inputs[i].shape for p in self.runner.programs})
            if arrays[i].shape not in held:
                raise InvalidArgument(f"input {port.name!r}: this plan holds shapes {held}, got {arrays[i].shape}")
        raise InvalidArgument("no program of this plan has these input shapes together")

    def current(self):
        return self.last


class PlanningSource:
    """A model that is planned for each new set of input shapes; the most recent plans are kept, up to `budget` bytes."""

    def __init__(
        self, model, threads: int, base_dir=None, budget: int = PLAN_CACHE_BYTES, sizes=None, float_products="float32"
    ):
        try:
            from . import lower
        except ModuleNotFoundError as error:
            if error.name and error.name.split(".")[0] == "onnx":
                raise ModuleNotFoundError("models need onnx: pip install 'pycompress-engine[onnx]'") from None
            raise
        import threading

        self.threads = threads
        self.float_products = float_products
        if sizes and not isinstance(model, (str, bytes, bytearray, memoryview, os.PathLike)):
            model = copy.deepcopy(model)  # the caller's model is not changed
        self.model = lower.load(model, base_dir=base_dir)
        fix_dimensions(self.model.proto, sizes)
        self.declared = lower.declared_inputs(self.model)
        self.types = {n: numpy_type(NUMPY[dtype]) for n, (dtype, _) in self.declared.items()}
        self.values = lower.value_inputs(self.model)
        self.runners: OrderedDict[tuple, Runner] = OrderedDict()
        self.budget = budget
        self.lock = threading.Lock()  # of `runners`; never held while planning, so that known shapes run meanwhile
        self.planning = threading.Lock()  # one plan is made at a time, since plans share packed weights
        self.last: Program | None = None

    def inputs(self):
        return [NodeArg(n, list(shape or ()), type_word(self.types[n])) for n, (_, shape) in self.declared.items()]

    def outputs(self):
        from . import lower

        return [
            NodeArg(name, list(shape or ()), type_word(numpy_type(NUMPY[dtype])))
            for name, (dtype, shape) in lower.declared_outputs(self.model).items()
        ]

    def modelmeta(self):
        return of_model(self.model.proto)

    def labels(self):
        from .compiler import _labels

        return _labels(self.model)

    def batch_sizes(self) -> tuple[int, ...] | None:
        """The sizes of an open first dimension that can be run; None for any."""
        return None

    def match(self, feed):
        check_names(feed, self.declared)
        arrays = {}
        for n, (_, shape) in self.declared.items():
            arrays[n] = x = matched(n, feed[n], self.types[n], shape)
            check_shape(n, x.shape, shape)
        values = {n: arrays.pop(n) for n in self.declared if n in self.values} if self.values else {}
        key = (tuple([x.shape for x in arrays.values()]), tuple([(x.shape, x.tobytes()) for x in values.values()]))
        runner = self._known(key)
        if runner is None:
            from .compiler import forget_unused

            with self.planning:
                runner = self._known(key)  # another thread may have planned it meanwhile
                if runner is None:
                    runner = self._plan({n: x.shape for n, x in arrays.items()}, values)
                    if self._keep(key, runner):
                        forget_unused(self.model, [r.plan for r in list(self.runners.values())])
        program = self.last = runner.programs[0]
        return program, list(arrays.values())

    def _known(self, key) -> Runner | None:
        with self.lock:
            runner = self.runners.get(key)
            if runner is not None:
                self.runners.move_to_end(key)
            return runner

    def _keep(self, key, runner: Runner) -> bool:
        """Add a plan; True if others were dropped for it."""
        with self.lock:
            self.runners[key] = runner
            before, total = len(self.runners), sum(r.nbytes for r in self.runners.values())
            while total > self.budget and len(self.runners) > 1:
                total -= self.runners.popitem(last=False)[1].nbytes
            return len(self.runners) < before

    def _plan(self, shapes, values) -> Runner:
        from .compiler import lowered, program_plan

        program = lowered(self.model, shapes, values)
        return Runner(program_plan(self.model, [program], float_products=self.float_products), self.threads)

    def current(self):
        if self.last is None:
            from .compiler import input_shapes_of

            shapes = input_shapes_of(self.model, None, {})
            self.match({n: np.zeros(s, self.types[n]) for n, s in shapes.items()})
        return self.last
