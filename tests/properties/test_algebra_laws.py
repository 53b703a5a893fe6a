"""Laws that the algebra keeps for every patch, to the last bit."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compose import algebra
from compose.artifact import Patch, prefix_digest
from compose.errors import Rejected
from compose.records import InitInfo

Make = Callable[..., Patch]
DIM = 3
# Any float32 up to 2^14, subnormals and -0.0 included; a matrix of nothing but zeros is no patch.
values = st.floats(-(2.0**14), 2.0**14, width=32)


def matrices(tokens: int | None = None) -> st.SearchStrategy[np.ndarray]:
    rows = st.integers(1, 4) if tokens is None else st.just(tokens)
    return rows.flatmap(lambda n: arrays(np.float32, (n, DIM), elements=values)).filter(lambda m: bool(m.any()))


def lists_of_equal_shape(least: int = 1) -> st.SearchStrategy[list[np.ndarray]]:
    return st.integers(1, 3).flatmap(lambda n: st.lists(matrices(n), min_size=least, max_size=4))


def weights_of(shares: list[int]) -> list[float]:
    """Return shares as weights that sum to 1."""
    return [share / sum(shares) for share in shares]


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.view(torch.int32), other.view(torch.int32))


@settings(max_examples=100, deadline=None)
@given(matrices(), matrices(), matrices())
def test_concat_is_associative(make_patch: Make, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    x, y, z = make_patch(a), make_patch(b), make_patch(c)
    left = algebra.concat(algebra.concat(x, y), z)
    right = algebra.concat(x, algebra.concat(y, z))
    assert left.card.prefix == right.card.prefix == algebra.concat(x, y, z).card.prefix


@settings(max_examples=100, deadline=None)
@given(matrices(), matrices())
def test_slicing_undoes_concatenating(make_patch: Make, a: np.ndarray, b: np.ndarray) -> None:
    whole = algebra.concat(make_patch(a), make_patch(b))
    assert same_bits(algebra.slice(whole, 0, len(a)).prefix, torch.from_numpy(a))
    assert same_bits(algebra.slice(whole, len(a), len(a) + len(b)).prefix, torch.from_numpy(b))


@settings(max_examples=100, deadline=None)
@given(matrices(2), matrices(2))
def test_concat_commutes_only_where_the_two_orders_are_the_same_matrix(
    make_patch: Make, a: np.ndarray, b: np.ndarray
) -> None:
    x, y = make_patch(a), make_patch(b)
    commutes = algebra.concat(x, y).card.prefix == algebra.concat(y, x).card.prefix
    assert commutes == (a.tobytes() == b.tobytes())


@settings(max_examples=100, deadline=None)
@given(matrices(), st.integers(1, 9))
def test_the_mean_of_equal_patches_is_that_patch(make_patch: Make, a: np.ndarray, copies: int) -> None:
    patch = make_patch(a)
    assert algebra.mean([patch] * copies).card.prefix == patch.card.prefix


@settings(max_examples=100, deadline=None)
@given(matrices(), st.lists(st.integers(0, 100), min_size=1, max_size=6).filter(any))
def test_weights_do_not_matter_between_equal_patches(make_patch: Make, a: np.ndarray, shares: list[int]) -> None:
    patch = make_patch(a)
    assert algebra.mean([patch] * len(shares), weights=weights_of(shares)).card.prefix == patch.card.prefix


@settings(max_examples=100, deadline=None)
@given(lists_of_equal_shape(), st.data())
def test_all_the_weight_on_one_patch_gives_that_patch(
    make_patch: Make, many: list[np.ndarray], data: st.DataObject
) -> None:
    patches = [make_patch(matrix) for matrix in many]
    chosen = data.draw(st.integers(0, len(patches) - 1))
    weights = [float(index == chosen) for index in range(len(patches))]
    assert algebra.mean(patches, weights=weights).card.prefix == patches[chosen].card.prefix


@settings(max_examples=100, deadline=None)
@given(lists_of_equal_shape(least=2), st.data())
def test_a_mean_does_not_depend_on_the_order_of_its_parts(
    make_patch: Make, many: list[np.ndarray], data: st.DataObject
) -> None:
    shares = data.draw(st.lists(st.integers(1, 9), min_size=len(many), max_size=len(many)))
    parts = list(zip([make_patch(matrix) for matrix in many], weights_of(shares), strict=True))
    shuffled = data.draw(st.permutations(parts))

    def outcome(parts: list[tuple[Patch, float]]) -> str:
        try:
            return algebra.mean([patch for patch, _ in parts], weights=[weight for _, weight in parts]).card.prefix
        except Rejected as refused:  # parts that cancel out are refused in every order
            return refused.code

    assert outcome(parts) == outcome(shuffled)


@settings(max_examples=100, deadline=None)
@given(lists_of_equal_shape(), st.lists(st.floats(0, 2), min_size=1, max_size=4))
def test_weights_that_do_not_sum_to_one_are_refused(
    make_patch: Make, many: list[np.ndarray], weights: list[float]
) -> None:
    if len(weights) == len(many) and abs(sum(weights) - 1) < 2e-9:
        return
    with pytest.raises(Rejected) as refused:
        algebra.mean([make_patch(matrix) for matrix in many], weights=weights)
    assert refused.value.code == "composition-invalid"


@settings(max_examples=100, deadline=None)
@given(matrices(2), matrices(2))
def test_the_sum_of_a_single_patch_is_that_patch(make_patch: Make, start: np.ndarray, a: np.ndarray) -> None:
    init = InitInfo(kind="random", digest=prefix_digest(torch.from_numpy(start)))
    patch = make_patch(a, init=init)
    assert algebra.sum([patch], init=torch.from_numpy(start)).card.prefix == patch.card.prefix


small = arrays(np.int16, (2, DIM), elements=st.integers(-1000, 1000)).filter(lambda m: bool(m.any()))


@settings(max_examples=100, deadline=None)
@given(small, st.lists(small, min_size=1, max_size=4))
def test_a_sum_is_the_start_and_all_that_was_learned(
    make_patch: Make, start: np.ndarray, learned: list[np.ndarray]
) -> None:
    # Small whole numbers add without rounding, so the law can be computed in integers.
    expected = start.astype(np.int64) + sum(matrix.astype(np.int64) for matrix in learned)
    trained = [(start.astype(np.int64) + matrix).astype(np.float32) for matrix in learned]
    if not expected.any() or not all(matrix.any() for matrix in trained):
        return
    first = make_patch(start)
    init = InitInfo(kind="patch", digest=first.card.prefix)
    total = algebra.sum([make_patch(matrix, init=init) for matrix in trained], init=first)
    assert total.prefix.tolist() == expected.tolist()


@settings(max_examples=100, deadline=None)
@given(lists_of_equal_shape(), st.data())
def test_recomputing_any_composition_gives_the_same_digest(
    make_patch: Make, many: list[np.ndarray], data: st.DataObject
) -> None:
    start = make_patch(many[0])
    init = InitInfo(kind="patch", digest=start.card.prefix)
    trained = [make_patch(matrix, name=f"p{index}", init=init) for index, matrix in enumerate(many)]
    known = {patch.card.prefix: patch for patch in [start, *trained]}  # equal matrices: one of them stands for all
    leaves = [known[patch.card.prefix] for patch in trained]
    patch = leaves[0]
    try:
        for _ in range(data.draw(st.integers(1, 4))):
            patch = _grown(data, patch, leaves, known[start.card.prefix])
    except Rejected as refused:  # parts may cancel out, or differ in shape by now
        assert refused.code in ("prefix-invalid", "composition-invalid")
    if patch.card.expression is not None:
        again = algebra.recompute(patch.card.expression, known.__getitem__)
        assert again.card.prefix == patch.card.prefix
        assert again.card.expression == patch.card.expression


def _grown(data: st.DataObject, patch: Patch, leaves: list[Patch], start: Patch) -> Patch:
    """Return `patch` composed with some leaf by some method."""
    method = data.draw(st.sampled_from(sorted(algebra.METHODS)))
    leaf = data.draw(st.sampled_from(leaves))
    if method == "slice":
        stop = data.draw(st.integers(1, patch.card.tokens))
        return algebra.slice(patch, data.draw(st.integers(0, stop - 1)), stop)
    if method == "concat":
        return algebra.concat(leaf, patch)
    if method == "sum":
        return algebra.sum([patch, leaf], init=start)
    share = data.draw(st.integers(0, 10))
    return algebra.mean([patch, leaf], weights=weights_of([share, 10 - share]))
