"""TfIdfVectorizer and Det against onnxruntime."""

import numpy as np
import pytest

from oracle import check, floats, one_node, ours
from pycompress.errors import ModelError

POOL = dict(ngram_counts=[0, 3, 7], ngram_indexes=[0, 1, 2, 3, 4, 5], pool_int64s=[2, 3, 5, 2, 3, 5, 2, 3, 5, 2])


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("shape", [(9,), (3, 9), (2, 1)])
@pytest.mark.parametrize("lengths", [(1, 3), (2, 2), (1, 1)])
def test_n_grams_are_counted_with_and_without_others_between(dtype, mode, shape, lengths):
    x = np.random.default_rng(0).integers(1, 6, shape).astype(dtype)
    for skips in (0, 2):
        how = dict(mode=mode, min_gram_length=lengths[0], max_gram_length=lengths[1], max_skip_count=skips)
        check("TfIdfVectorizer", {"x": x}, **how, **POOL)
        check("TfIdfVectorizer", {"x": x}, **how, **POOL, weights=[1.0, 2.0, 0.5, 3.0, 4.0, 0.25])


def test_places_may_have_any_order_and_gaps():
    x = np.array([[2, 3, 5, 2], [5, 5, 2, 3]])
    how = dict(mode="TF", min_gram_length=1, max_gram_length=3, max_skip_count=1)
    check("TfIdfVectorizer", {"x": x}, **how, **(POOL | {"ngram_indexes": [7, 0, 3, 4, 9, 2]}))


@pytest.mark.parametrize("change,message", [
    ({"ngram_indexes": [0, 1, 2, 3, 4, 4]}, "ngram_indexes"), ({"ngram_counts": [0, 3, 8]}, "ngram_counts"),
    ({"weights": [1.0]}, "weights"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_its_attribute(change, message):
    x = np.array([2, 3, 5, 2])
    how = dict(mode="TFIDF", min_gram_length=1, max_gram_length=3, max_skip_count=1)
    with pytest.raises(ModelError, match=message):
        ours(one_node("TfIdfVectorizer", {"x": x}, **how, **(POOL | change)), {"x": x})


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (4, 4), (2, 3, 3, 3)])
def test_determinants_of_small_matrices(shape):
    check("Det", {"x": floats(np.random.default_rng(0), *shape)}, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 5), (2, 3), (4,)])
def test_other_determinants_are_refused(shape):
    x = np.ones(shape, np.float32)
    with pytest.raises(ModelError, match="square matrices of at most 4 rows"):
        ours(one_node("Det", {"x": x}), {"x": x})
