"""LSTM, GRU and RNN by torch's own functions, whose gates stand in another order."""

from __future__ import annotations

import torch
from torch import Tensor

from .registry import operator

GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # torch's, by their places in ONNX
ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}


@operator("LSTM")
def lstm(
    x, w, r, b=None, lens=None, h0=None, c0=None, peepholes=None, *, hidden_size=None, direction="forward",
    activations=None, layout=0, input_forget=0,
) -> tuple[Tensor, ...]:  # fmt: skip
    if peepholes is not None or input_forget:
        raise NotImplementedError("LSTM: training does not support peepholes and input_forget")
    return _run("LSTM", torch.lstm, x, (w, r, b), lens, (h0, c0), direction, activations, layout)


@operator("GRU")
def gru(
    x, w, r, b=None, lens=None, h0=None, *, hidden_size=None, direction="forward", activations=None, layout=0,
    linear_before_reset=0,
) -> tuple[Tensor, ...]:  # fmt: skip
    if not linear_before_reset:
        raise NotImplementedError("GRU: training needs linear_before_reset = 1")
    return _run("GRU", torch.gru, x, (w, r, b), lens, (h0,), direction, activations, layout)


@operator("RNN")
def rnn(
    x, w, r, b=None, lens=None, h0=None, *, hidden_size=None, direction="forward", activations=None, layout=0
) -> tuple[Tensor, ...]:
    kinds = set(activations or ["Tanh"])
    if kinds not in ({"Tanh"}, {"Relu"}):
        raise NotImplementedError(f"RNN: training supports Tanh and Relu, not {activations}")
    function = torch.rnn_relu if kinds == {"Relu"} else torch.rnn_tanh
    return _run("RNN", function, x, (w, r, b), lens, (h0,), direction, None, layout)


def _run(op: str, function, x: Tensor, weights, lens, states, direction: str, activations, layout: int):
    """The outputs Y, Y_h and, of an LSTM, Y_c."""
    if lens is not None:
        raise NotImplementedError(f"{op}: training does not support sequence_lens")
    if activations and list(activations) != ACTIVATIONS[op] * (len(activations) // len(ACTIVATIONS[op])):
        raise NotImplementedError(f"{op}: training supports the usual activations, not {activations}")
    w, r, b = weights
    ways, units, gates = w.shape[0], r.shape[2], GATES[op]
    ordered = [p.reshape(-1, len(gates), units, *p.shape[2:])[:, list(gates)].flatten(1, 2) for p in (w, r)]
    if b is not None:  # those of W, then those of R
        ordered += [p.reshape(-1, len(gates), units)[:, list(gates)].flatten(1) for p in b.chunk(2, 1)]
    flat = [p[way] for way in range(ways) for p in ordered]
    x = x.transpose(0, 1) if layout else x
    x = x.flip(0) if direction == "reverse" else x
    given = [x.new_zeros(ways, x.shape[1], units) if s is None else s.transpose(0, 1) if layout else s for s in states]
    y, *last = function(
        x, tuple(given) if op == "LSTM" else given[0], flat, b is not None, 1, 0.0, False, ways == 2, False
    )
    y = y.reshape(*y.shape[:2], ways, units).transpose(1, 2)
    y = y.flip(0) if direction == "reverse" else y
    return (y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in last)) if layout else (y, *last)
