import numpy as np
import pytest

from pycompress.compress.pruning.masks import blocks, choose_masks, found, parse, spread, strongest

SHAPES = [(1, 1, 1), (4, 4, 1), (16, 12, 1), (19, 22, 1), (33, 9 * 5, 9), (16, 9 * 8, 9), (7, 130, 1)]


def weights(n, k, seed=0):
    return np.random.default_rng(seed).standard_normal((n, k))


@pytest.mark.parametrize("pattern", ["unstructured", "1x4", "4x1", "16x1"])
@pytest.mark.parametrize("n, k, segments", SHAPES)
def test_blocks_stay_or_go_as_a_whole_and_never_span_cells(n, k, segments, pattern):
    shape = parse(pattern)
    (mask,) = choose_masks([weights(n, k) ** 2], [segments], shape, 0.5)
    cube = mask.reshape(n, segments, k // segments)
    for i in range(0, n, shape.rows):
        for s in range(segments):
            for j in range(0, k // segments, shape.cols):
                block = cube[i : i + shape.rows, s, j : j + shape.cols]
                assert block.all() or not block.any()
    largest = shape.rows * shape.cols
    assert abs((~mask).sum() - n * k / 2) <= largest / 2 + 0.5 or mask.sum() <= largest


@pytest.mark.parametrize("n, k, segments", SHAPES)
def test_the_removed_blocks_are_those_of_smallest_norm(n, k, segments):
    x = weights(n, k) ** 2
    for name in ("unstructured", "1x4", "16x1"):
        pattern = parse(name)
        (mask,) = choose_masks([x], [segments], pattern, 0.6)
        sums, sizes = blocks(x, pattern, segments)
        kept = blocks(mask, pattern, segments)[0] > 0
        if kept.any() and not kept.all():
            assert (sums / sizes)[~kept].max() <= (sums / sizes)[kept].min()
        np.testing.assert_array_equal(spread(kept, x.shape, pattern, segments), mask)


@pytest.mark.parametrize("pattern, keep, of", [("2:4", 2, 4), ("4:16", 4, 16), ("1:3", 1, 3)])
@pytest.mark.parametrize("n, k, segments", SHAPES)
def test_of_each_m_weights_the_n_largest_stay(n, k, segments, pattern, keep, of):
    x = weights(n, k) ** 2
    mask = strongest(x, parse(pattern), segments).reshape(n, segments, -1)
    x = x.reshape(mask.shape)
    for j in range(0, mask.shape[2], of):
        m, v = mask[..., j : j + of], x[..., j : j + of]
        assert (m.sum(2) == min(keep, m.shape[2])).all()
        min_kept = np.where(m, v, np.inf).min(2)
        assert (np.where(m, -np.inf, v).max(2) <= min_kept).all()


def test_one_threshold_spans_layers_and_a_ratio_each_does_not():
    small, large = weights(8, 8) ** 2, 1e4 * weights(8, 8, 1) ** 2
    both = choose_masks([small, large], [1, 1], parse("unstructured"), 0.5)
    assert 1 - np.mean(both) == 0.5 and (~both[0]).mean() > 0.9 > 0.1 > (~both[1]).mean()
    each = choose_masks([small, large], [1, 1], parse("unstructured"), [0.5, 0.25])
    assert [(~m).mean() for m in each] == [0.5, 0.25]


def test_no_layer_loses_everything_and_zeros_go_in_any_case():
    tiny, large = 1e-9 * weights(4, 4) ** 2, weights(40, 40) ** 2
    masks = choose_masks([tiny, large], [1, 1], parse("1x4"), 0.9)
    assert masks[0].sum() == 4
    with_zeros = weights(4, 8) ** 2
    with_zeros[:, :4] = 0
    (mask,) = choose_masks([with_zeros], [1], parse("1x4"), 0.0)
    np.testing.assert_array_equal(mask, with_zeros > 0)
    (mask,) = choose_masks([np.zeros((4, 8))], [1], parse("1x4"), 0.0)
    assert not mask.any()


@pytest.mark.parametrize("name", ["unstructured", "1x4", "4x1", "16x1", "2:4", "4:16"])
@pytest.mark.parametrize("n, k, segments", [(64, 96, 1), (35, 9 * 18, 9)])
@pytest.mark.parametrize("sparsity", [0.5, 0.75, 0.9])
def test_a_pattern_is_found_again_even_with_a_few_zeros_more(name, n, k, segments, sparsity):
    w = weights(n, k)
    (mask,) = choose_masks([w**2], [segments], parse(name), sparsity)
    assert found(w * mask, segments) == name
    assert found(np.where(np.abs(w) < 0.02, 0, w * mask), segments) == name


def test_no_zeros_have_no_pattern_and_those_of_chance_none_of_blocks():
    w = weights(32, 9)
    assert found(w, 9) is None and found(np.zeros((0, 3)), 1) is None
    w[:2] = 0
    assert found(w, 9) == "unstructured"


@pytest.mark.parametrize("text", ["2x4", "4:4", "0:4", "5:4", "2:", "", "1:4:8", None, 3])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(ValueError, match="pattern"):
        parse(text)
