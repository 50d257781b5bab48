import pytest

from pycompress.peers.interleave import Timing, interleave, times_faster


def test_engines_take_turns_and_none_always_comes_first():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    ticks = []
    timings = interleave(calls, runs=9, rounds=3, warmup=1, rest=0, tick=lambda: ticks.append(1))
    blocks = [order[i] for i in range(0, len(order), 4)]
    assert blocks == list("abcbcacab")
    assert len(ticks) == 9
    assert all(t.n == 9 and len(t.rounds) == 3 for t in timings.values())


def test_at_least_as_many_runs_as_asked_for():
    assert interleave({"a": int}, runs=41, rounds=5, rest=0)["a"].n >= 41
    assert interleave({"a": int}, runs=2, rounds=5, rest=0)["a"].n == 2


def test_ratios_are_taken_within_rounds():
    slow_minute = Timing(((1.0, 1.1), (10.0, 11.0)))
    twice = Timing(((2.0, 2.5), (20.0, 25.0)))
    assert times_faster(slow_minute, twice) == pytest.approx(2)
    assert slow_minute.best == 1 and slow_minute.median == pytest.approx(5.55)
