"""torch modules in place of torch.nn.Linear, with weights in compressed form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from .. import layers
from . import torch_operators as operators


class CompressedLinear(nn.Module):
    """Base of the modules: ``in_features``, ``out_features`` and buffers, which ``state_dict`` holds and ``.to`` must not change.

    For inference on the CPU: there are no gradients.
    """

    def __init__(self, layer, **tensors: np.ndarray | None):
        super().__init__()
        self.out_features, self.in_features = layer.shape
        self._told = repr(layer).partition("(")[2].removesuffix(")")
        for name, x in ({"bias": layer.bias} | tensors).items():
            self.register_buffer(name, None if x is None else _tensor(x))

    def extra_repr(self) -> str:
        return self._told


def _tensor(x: np.ndarray) -> Tensor:
    """A copy of an array as a tensor; bfloat16, which NumPy knows from ml_dtypes, by its bits."""
    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(x.view(np.int16).copy() if x.dtype == np.uint16 else x.copy())


def _linear(linear: nn.Linear) -> tuple[np.ndarray, np.ndarray | None]:
    if not isinstance(linear, nn.Linear):
        raise TypeError(f"a torch.nn.Linear is needed, got {type(linear).__name__}")
    bias = None if linear.bias is None else linear.bias.detach().float().cpu().numpy()
    return linear.weight.detach().float().cpu().numpy(), bias


class QuantizedLinear(CompressedLinear):
    """``pycompress.layers.QuantizedLinear`` as a module: weights of 8 or 4 bits; each row of the input is rounded to 8 bits.

    Parameters
    ----------
    layer : pycompress.layers.QuantizedLinear
        With dynamic activations.

    Raises
    ------
    ValueError
        If the layer has a static input range.

    Examples
    --------
    >>> import torch
    >>> import pycompress.torch
    >>> module = pycompress.torch.QuantizedLinear.from_linear(torch.nn.Linear(64, 10), bits=4)
    >>> module(torch.ones(3, 64)).shape
    torch.Size([3, 10])
    """

    def __init__(self, layer: layers.QuantizedLinear):
        if layer._range is not None:
            raise ValueError("QuantizedLinear: only layers with dynamic activations are modules")
        packed, self.bits = layer._packed, layer.bits
        if self.bits == 4:
            self.group = packed.group
            tensors = dict(w=packed.w, scale=packed.scale, zero=packed.zero, colsum=packed.colsum)
        else:
            tensors = dict(w=packed.w, scale=layer._scale, zero=layer._zero, colsum=packed.colsum)
        bits, group = self.bits, getattr(self, "group", 0)
        super().__init__(layer, **tensors)
        self.bits, self.group = bits, group

    @classmethod
    def from_linear(cls, linear: nn.Linear, **options) -> QuantizedLinear:
        """Of a torch.nn.Linear; options as ``pycompress.layers.QuantizedLinear.from_dense``."""
        return cls(layers.QuantizedLinear.from_dense(*_linear(linear), **options))

    def forward(self, x: Tensor) -> Tensor:
        """x W' + bias for float32[..., in_features]."""
        if self.bits == 4:
            return operators.int4_linear(
                x, self.w, self.scale, self.zero, self.colsum, self.bias, self.group, self.in_features
            )
        return operators.quantized_linear(x, self.w, self.colsum, self.zero, self.scale, self.bias, self.in_features)


class LowRankLinear(CompressedLinear):
    """``pycompress.layers.LowRankLinear`` as a module.

    Parameters
    ----------
    layer : pycompress.layers.LowRankLinear

    Examples
    --------
    >>> import torch
    >>> import pycompress.torch
    >>> module = pycompress.torch.LowRankLinear.from_linear(torch.nn.Linear(64, 10), rank=4)
    >>> module(torch.ones(3, 64)).shape
    torch.Size([3, 10])
    """

    def __init__(self, layer: layers.LowRankLinear):
        super().__init__(layer, u=layer._u, v=layer._v)

    @classmethod
    def from_linear(cls, linear: nn.Linear, **options) -> LowRankLinear:
        """Of a torch.nn.Linear; options as ``pycompress.layers.LowRankLinear.from_dense``."""
        return cls(layers.LowRankLinear.from_dense(*_linear(linear), **options))

    def forward(self, x: Tensor) -> Tensor:
        """x U' V' + bias for float32[..., in_features]."""
        return operators.lowrank_linear(x, self.u, self.v, self.bias, self.out_features)


class HalfLinear(CompressedLinear):
    """``pycompress.layers.HalfLinear`` as a module: float16 or bfloat16 weights, float32 sums.

    Parameters
    ----------
    layer : pycompress.layers.HalfLinear

    Examples
    --------
    >>> import torch
    >>> import pycompress.torch
    >>> module = pycompress.torch.HalfLinear.from_linear(torch.nn.Linear(64, 10), dtype="bfloat16")
    >>> module(torch.ones(3, 64)).shape
    torch.Size([3, 10])
    """

    def __init__(self, layer: layers.HalfLinear):
        super().__init__(layer, w=layer._packed)

    @classmethod
    def from_linear(cls, linear: nn.Linear, **options) -> HalfLinear:
        """Of a torch.nn.Linear; options as ``pycompress.layers.HalfLinear.from_dense``."""
        return cls(layers.HalfLinear.from_dense(*_linear(linear), **options))

    def forward(self, x: Tensor) -> Tensor:
        """x W' + bias for float32[..., in_features]."""
        return operators.half_linear(x, self.w, self.bias, self.out_features)


class SparseLinear(CompressedLinear):
    """``pycompress.layers.SparseLinear`` as a module; zeros of the weights are not stored.

    Parameters
    ----------
    layer : pycompress.layers.SparseLinear

    Examples
    --------
    >>> import torch
    >>> import pycompress.torch
    >>> module = pycompress.torch.SparseLinear.from_linear(torch.nn.Linear(64, 10))
    >>> module(torch.ones(3, 64)).shape
    torch.Size([3, 10])
    """

    def __init__(self, layer: layers.SparseLinear):
        super().__init__(layer, rows=layer._rows, index=layer._index, w=layer._w)

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> SparseLinear:
        """Of a torch.nn.Linear whose weights have zeros."""
        return cls(layers.SparseLinear.from_dense(*_linear(linear)))

    def forward(self, x: Tensor) -> Tensor:
        """x W' + bias for float32[..., in_features]."""
        return operators.sparse_linear(x, self.rows, self.index, self.w, self.bias, self.in_features)


def replace_linear(module: nn.Module, make: Callable[[nn.Linear], nn.Module | None]) -> nn.Module:
    """Replace every torch.nn.Linear in a module by what `make` gives for it, in place.

    Parameters
    ----------
    module : torch.nn.Module
    make : function
        ``QuantizedLinear.from_linear``, say; None keeps the layer.

    Returns
    -------
    torch.nn.Module
        `module`, or its replacement where it is a Linear itself.

    Raises
    ------
    ValueError
        As `make`.

    Examples
    --------
    >>> import torch
    >>> import pycompress.torch
    >>> network = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    >>> network = pycompress.torch.replace_linear(network, pycompress.torch.QuantizedLinear.from_linear)
    >>> type(network[0]).__name__, network(torch.ones(3, 64)).shape
    ('QuantizedLinear', torch.Size([3, 10]))
    """
    if isinstance(module, nn.Linear):
        made = make(module)
        return module if made is None else made
    for name, child in list(module.named_children()):
        setattr(module, name, replace_linear(child, make))
    return module
