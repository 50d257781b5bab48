"""recurrent: the time steps of an RNN, a GRU or an LSTM, float32, after the product of all inputs with their weights."""

import math

import numpy as np

from ._spec import helper, reference
from ._traits import Traits

RNN, GRU, LSTM = 1, 3, 4  # the number of gates says which cell it is
ACTS = (
    "tanh",
    "sigmoid",
    "relu",
    "leakyrelu",
    "affine",
    "hardsigmoid",
    "scaledtanh",
    "thresholdedrelu",
    "elu",
    "softsign",
    "softplus",
)


@helper
def gate(x, act, p, clip):
    """Activation `act` of x, first clipped to [-clip, clip]; p has its parameters alpha and beta."""
    x = min(max(x, -clip), clip)
    a, b = p[0], p[1]
    if act == 0:
        return math.tanh(x)
    if act == 1:
        return 1 / (1 + math.exp(-x))
    if act == 2:
        return max(x, 0.0)
    if act == 3:
        return x if x >= 0 else a * x
    if act == 4:
        return a * x + b
    if act == 5:
        return min(max(a * x + b, 0.0), 1.0)
    if act == 6:
        return a * math.tanh(b * x)
    if act == 7:
        return x if x > a else 0.0
    if act == 8:
        return x if x >= 0 else a * (math.exp(x) - 1)
    if act == 9:
        return x / (1 + abs(x))
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@helper
def product(state, panels, j):
    """The sum over i of state[i] times the weight of output j, panels f32[ceil(h/16),h,16]."""
    total = 0.0
    for i in range(state.shape[0]):
        total += state[i] * np.float64(panels[j // 16, i, j % 16])
    return total


@helper
def rnn_cell(x, w, h, act, p, clip):
    """One time step of an RNN: the new state of h."""
    new = np.empty_like(h)
    for j in range(len(h)):
        new[j] = gate(x[j] + product(h, w[0], j), act[0], p[0], clip)
    return new


@helper
def gru_cell(x, w, bias, h, act, p, clip, linear):
    """One time step of a GRU, gates in the order update, reset, hidden; bias f64[h] is the one inside the reset product."""
    size = len(h)
    reset, kept, new = np.empty(size), np.empty(size), np.empty(size)
    for j in range(size):
        reset[j] = gate(x[size + j] + product(h, w[1], j), act[0], p[0], clip)
        kept[j] = reset[j] * h[j]
    for j in range(size):
        update = gate(x[j] + product(h, w[0], j), act[0], p[0], clip)
        sum = reset[j] * (product(h, w[2], j) + bias[j]) if linear else product(kept, w[2], j)
        hidden = gate(x[2 * size + j] + sum, act[1], p[1], clip)
        new[j] = (1 - update) * hidden + update * h[j]
    return new


@helper
def lstm_cell(x, sums, peepholes, c, act, p, clip, coupled):
    """One time step of an LSTM, gates in the order input, output, forget, cell; writes c, returns the new h.

    sums f64[4,h] are the products of the state.
    """
    size = sums.shape[1]
    new = np.empty(size)
    for j in range(size):
        i = gate(x[j] + sums[0, j] + peepholes[0, j] * c[j], act[0], p[0], clip)
        f = gate(x[2 * size + j] + sums[2, j] + peepholes[2, j] * c[j], act[0], p[0], clip)
        if coupled:
            f = 1 - i
        c[j] = f * c[j] + i * gate(x[3 * size + j] + sums[3, j], act[1], p[1], clip)
        o = gate(x[size + j] + sums[1, j] + peepholes[1, j] * c[j], act[0], p[0], clip)
        new[j] = o * gate(c[j], act[2], p[2], np.inf)
    return new


@reference(
    where="(g-1)*(g-3)*(g-4)==0,c==h*max(g-3,0),d<3,backward<4,t<2147483648,b<2147483648,h<1048576",
    macs="t*b*d*g*h*h",
    traits=Traits(weights={"w": "recurrent"}),
)
def recurrent(
    g: "size",
    linear: "size",
    coupled: "size",
    backward: "size",
    x: "f32[t:xt,b:xb,d*g*h]",
    w: "f32[d*g,ceil(h/16),h,16]",
    bias: "f32[d,h]?",
    peepholes: "f32[d,3,h]?",
    lengths: "i32[b]?",
    h0: "f32[d,b,h]?",
    c0: "f32[d,b,c]?",
    acts: "i32[d,3]<11",
    act_params: "f32[d,3,2]",
    clip: "f32[1]",
    out: "f32[t:ot,d:od,b:ob,h]",
    out_h: "f32[d,b,h]",
    out_c: "f32[d,b,c]",
):
    """In float64 here.  g gates: 1 is an RNN, 3 a GRU, 4 an LSTM; direction i runs from the end if bit i of `backward` is set.

    x has the products of the inputs with their weights, biases added; w has the weights of the state.  Of row r the first
    lengths[r] time steps are read, in reverse for a backward direction, and `out` is 0 beyond; a length outside [0, t] makes
    all results of the row NaN.
    """
    steps, rows, size = x.shape[0], x.shape[1], out_h.shape[2]
    for k in range(out_h.shape[0]):
        gates, own = w[k * g : (k + 1) * g], acts[k]
        inside = bias[k].astype(np.float64) if bias is not None else np.zeros(size)
        holes = peepholes[k].astype(np.float64) if peepholes is not None else np.zeros((3, size))
        for r in range(rows):
            count = np.int64(lengths[r]) if lengths is not None else steps
            h = h0[k, r].astype(np.float64) if h0 is not None else np.zeros(size)
            c = c0[k, r].astype(np.float64) if c0 is not None else np.zeros(out_c.shape[2])
            if count < 0 or count > steps:
                count = 0
                h[:], c[:] = np.nan, np.nan
            for s in range(count, steps):
                out[s, k, r] = h * 0
            for s in range(count):
                at = count - 1 - s if backward >> k & 1 else s
                now = x[at, r, k * g * size : (k + 1) * g * size].astype(np.float64)
                if g == 1:
                    h = rnn_cell(now, gates, h, own, act_params[k], clip[0])
                elif g == 3:
                    h = gru_cell(now, gates, inside, h, own, act_params[k], clip[0], linear)
                else:
                    sums = np.empty((4, size))
                    for i in range(4):
                        for j in range(size):
                            sums[i, j] = product(h, gates[i], j)
                    h = lstm_cell(now, sums, holes, c, own, act_params[k], clip[0], coupled)
                out[at, k, r] = h
            out_h[k, r] = h
            out_c[k, r] = c


def pack(w):
    """The weights of the state [d * g * h, h], gate by gate, as f32[d*g,ceil(h/16),h,16]: each gate in panels of sgemm."""
    n, h = w.shape
    gates, panels = n // max(h, 1), -(-h // 16)
    full = np.zeros((gates, panels * 16, h), np.float32)
    full[:, :h] = w.reshape(gates, h, h)
    return np.ascontiguousarray(full.reshape(gates, panels, 16, h).transpose(0, 1, 3, 2))


def example(rng, g=LSTM, t=4, b=2, h=16, d=1, backward=0, linear=0):
    """Random arguments with the operator's default activations."""
    c = h if g == LSTM else 0
    x, w = rng.standard_normal((t, b, d * g * h), np.float32), rng.standard_normal((d * g * h, h), np.float32)
    h0, c0 = rng.standard_normal((d, b, h), np.float32), rng.standard_normal((d, b, c), np.float32)
    bias = rng.standard_normal((d, h), np.float32) if linear else None
    acts = {RNN: (0, 0, 0), GRU: (1, 0, 0), LSTM: (1, 0, 0)}[g]
    return [
        g, linear, 0, backward, x, pack(w / np.float32(max(h, 1) ** 0.5)), bias, None, None, h0, c0,
        np.array([acts] * d, np.int32), np.zeros((d, 3, 2), np.float32), np.full(1, np.inf, np.float32),
        np.full((t, d, b, h), np.nan, np.float32), np.full((d, b, h), np.nan, np.float32),
        np.full((d, b, c), np.nan, np.float32),
    ]  # fmt: skip
