"""recurrent against its reference."""

import numpy as np
import pytest

from cases import check, close, isas, run
from pycompress import native
from pycompress.kernels import module
from pycompress.kernels.recurrent import ACTS, GRU, LSTM, RNN

ref = module("recurrent")
CELLS = pytest.mark.parametrize("g,linear", [(RNN, 0), (GRU, 0), (GRU, 1), (LSTM, 0)])
NAMES = list(native.recurrent.spec.by_name)


def example(g, t=4, b=3, h=5, d=1, backward=0, linear=0, **changed):
    values = ref.example(np.random.default_rng(g + t + b + h), g, t, b, h, d, backward, linear)
    for name, value in changed.items():
        values[NAMES.index(name)] = value
    return values


@isas("recurrent")
@CELLS
@pytest.mark.parametrize("t,b,h", [(1, 1, 1), (3, 1, 16), (4, 2, 17), (2, 7, 40), (3, 49, 33), (2, 100, 20)])
def test_equals_reference_whole_and_in_pieces(isa, g, linear, t, b, h):
    check("recurrent", example(g, t, b, h, linear=linear), isa, close(1e-5, 1e-5))


@isas("recurrent")
@CELLS
@pytest.mark.parametrize("d,backward", [(1, 1), (2, 2), (2, 0), (2, 3)])
def test_directions(isa, g, linear, d, backward):
    check("recurrent", example(g, 6, 3, 9, d, backward, linear), isa, close(1e-5, 1e-5))


@isas("recurrent")
@CELLS
def test_rows_have_lengths_of_their_own_and_those_that_cannot_be_are_nan(isa, g, linear):
    lengths = np.array([5, 0, 2, 6, -1, 3, 1, 2**31 - 1, 5], np.int32)
    out, state, _ = check("recurrent", example(g, 5, 9, 7, 2, 2, linear, lengths=lengths), isa, close(1e-5, 1e-5))
    assert np.isnan(out[:, :, [3, 4, 7]]).all() and np.isnan(state[:, [3, 4, 7]]).all()
    assert (out[2:, :, 2] == 0).all() and (out[:, :, 1] == 0).all() and (out[:2, :, 2] != 0).all()


@isas("recurrent")
@CELLS
@pytest.mark.parametrize("act", range(len(ACTS)), ids=ACTS)
def test_every_activation(isa, g, linear, act):
    params = np.array([[[0.3, 0.2]] * 3], np.float32)
    values = example(g, 3, 2, 18, linear=linear, acts=np.full((1, 3), act, np.int32), act_params=params)
    check("recurrent", values, isa, close(1e-4, 1e-4))


@isas("recurrent")
@CELLS
def test_directions_may_have_other_activations_and_clip_their_inputs(isa, g, linear):
    acts, params = np.array([[1, 0, 2], [5, 9, 0]], np.int32), np.full((2, 3, 2), 0.25, np.float32)
    clip = np.full(1, 0.4, np.float32)
    values = example(g, 3, 4, 6, 2, 2, linear, acts=acts, act_params=params, clip=clip)
    check("recurrent", values, isa, close(1e-5, 1e-5))


@isas("recurrent")
@pytest.mark.parametrize("coupled", [0, 1])
def test_peepholes_and_coupled_gates(isa, coupled):
    peepholes = np.random.default_rng(0).standard_normal((2, 3, 9), np.float32)
    check("recurrent", example(LSTM, 4, 3, 9, 2, 1, peepholes=peepholes, coupled=coupled), isa, close(1e-5, 1e-5))


@isas("recurrent")
@CELLS
def test_states_are_zero_where_none_are_given(isa, g, linear):
    check("recurrent", example(g, linear=linear, h0=None, c0=None, bias=None), isa, close(1e-5, 1e-5))


@isas("recurrent")
@CELLS
def test_strides_and_nothing_beside_the_output_is_written(isa, g, linear):
    t, b, h = 3, 8, 5
    x = np.random.default_rng(1).standard_normal((b, t, g * h + 3), np.float32)[..., : g * h].transpose(1, 0, 2)
    values = example(g, t, b, h, linear=linear, x=x)
    wide = np.full((b, t, 1, h + 2), 7, np.float32)
    values[-3] = wide[..., :h].transpose(1, 2, 0, 3)
    check("recurrent", values, isa, close(1e-5, 1e-5))
    native.recurrent(*values, isa=isa)
    assert (wide[..., h:] == 7).all() and not (wide[..., :h] == 7).any()


@isas("recurrent")
@CELLS
@pytest.mark.parametrize("t,b,h", [(0, 3, 5), (3, 0, 5), (0, 0, 5)])
def test_without_time_steps_the_states_stay(isa, g, linear, t, b, h):
    out, state, cell = check("recurrent", example(g, t, b, h, linear=linear), isa)
    values = example(g, t, b, h, linear=linear)
    assert not out.size and (state == values[9]).all() and (cell == values[10]).all()


@isas("recurrent")
@CELLS
def test_nan_stays_in_its_row(isa, g, linear):
    values = example(g, 3, 9, 5, linear=linear)
    values[4][0, 2, 0] = np.nan
    out, _, _ = run("recurrent", values, isa)
    assert np.isnan(out[-1, 0, 2]).all() and not np.isnan(np.delete(out, 2, 2)).any()


def test_directions_and_rows_are_split_for_two_threads():
    for values in (example(LSTM, d=2, b=1), example(LSTM, b=12)):
        slots, _ = native.recurrent.pack(dict(zip(NAMES, values)))
        assert native.recurrent.impl().units(slots) >= 2


def test_other_numbers_of_gates_are_refused():
    values = example(RNN, h=2, x=np.zeros((4, 3, 4), np.float32), w=np.zeros((2, 1, 2, 16), np.float32))
    with pytest.raises(ValueError, match="recurrent: .* must hold"):
        native.recurrent(2, *values[1:])
