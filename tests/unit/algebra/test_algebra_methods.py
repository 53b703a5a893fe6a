"""What the algebraic methods compute and what they refuse, by numbers that can be checked by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from compose import algebra
from compose.artifact import Patch, prefix_digest
from compose.errors import Rejected
from compose.patch_files import PlainPatch
from compose.records import BaseRef, InitInfo, ParentRef, Relation

Make = Callable[..., Patch]
START = [[1.0, 1.0]]


def from_start(make_patch: Make, rows: Any, name: str, start: Any = START) -> Patch:
    """Return a patch whose card says that it was trained from `start`."""
    digest = prefix_digest(torch.tensor(start))
    return make_patch(rows, name=name, init=InitInfo(kind="random", digest=digest))


@pytest.fixture
def tox(make_patch: Make) -> Patch:
    return make_patch([[1.0, 2.0], [3.0, 4.0]], name="tox")


@pytest.fixture
def bias(make_patch: Make) -> Patch:
    return make_patch([[5.0, 6.0], [7.0, 8.0]], name="bias", risks=("bias", "toxicity"))


def test_concat_puts_the_first_patch_in_front(tox: Patch, bias: Patch) -> None:
    assert algebra.concat(tox, bias).prefix.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]


def test_mean_weighs_patches_equally_unless_told(tox: Patch, bias: Patch) -> None:
    assert algebra.mean([tox, bias]).prefix.tolist() == [[3.0, 4.0], [5.0, 6.0]]
    assert algebra.mean([tox, bias], weights=[0.75, 0.25]).prefix.tolist() == [[2.0, 3.0], [4.0, 5.0]]


def test_mean_is_taken_in_double_precision(make_patch: Make) -> None:
    # In float32, 1 + 2^-24 is 1: a mean taken there would lose the small part before it is rounded.
    rows = [[[1.0]], [[2.0**-23]], [[-1.0]], [[1.0]]]
    mean = algebra.mean([make_patch(row, name=f"p{index}") for index, row in enumerate(rows)])
    assert mean.prefix.item() == (1 + 2.0**-23) / 4


def test_sum_adds_what_each_patch_learned_to_the_shared_start(make_patch: Make) -> None:
    # start (1, 1), learned (2, 0) and (0, 4): together (3, 5)
    one, two = from_start(make_patch, [[3.0, 1.0]], "one"), from_start(make_patch, [[1.0, 5.0]], "two")
    assert algebra.sum([one, two], init=torch.tensor(START)).prefix.tolist() == [[3.0, 5.0]]


def test_sum_of_three_counts_the_start_once(make_patch: Make) -> None:
    # start (1, 1), learned (1, 0), (2, 0) and (3, 1): together (7, 2)
    rows = {"one": [[2.0, 1.0]], "two": [[3.0, 1.0]], "three": [[4.0, 2.0]]}
    patches = [from_start(make_patch, row, name) for name, row in rows.items()]
    assert algebra.sum(patches, init=make_patch(START, name="start")).prefix.tolist() == [[7.0, 2.0]]


def test_sums_and_means_keep_the_shared_start_so_that_they_can_be_added_on(make_patch: Make) -> None:
    one, two = from_start(make_patch, [[3.0, 1.0]], "one"), from_start(make_patch, [[1.0, 5.0]], "two")
    start = torch.tensor(START)
    half = algebra.mean([one, two])  # (2, 3): learned (1, 2)
    assert algebra.sum([half, one], init=start).prefix.tolist() == [[4.0, 3.0]]
    assert algebra.concat(one, two).card.init is None


def test_slice_counts_rows_from_zero_and_leaves_out_the_last(tox: Patch, bias: Patch) -> None:
    assert algebra.slice(algebra.concat(tox, bias), 1, 3).prefix.tolist() == [[3.0, 4.0], [5.0, 6.0]]


def test_a_result_says_where_it_comes_from(tox: Patch, bias: Patch) -> None:
    card = algebra.mean([tox, bias]).card
    assert (card.name, card.strategy, card.version, card.status) == (
        "mean-tox-bias",
        "mean",
        "0.1.0",
        "proven",
    )
    assert card.risks == ("toxicity", "bias")
    assert card.parents == tuple(
        ParentRef(name=patch.card.name, version="0.1.0", digest=patch.card.prefix) for patch in (tox, bias)
    )
    assert card.expression == f"mean(tox@{tox.card.prefix}, bias@{bias.card.prefix}, weights=[0.5, 0.5])"


def test_a_result_of_long_names_gets_a_short_one(make_patch: Make) -> None:
    long = [make_patch([[float(index)]], name="x" * 40 + str(index)) for index in (1, 2)]
    card = algebra.concat(*long).card
    assert card.name == f"concat-{card.prefix[7:19]}"


def test_a_part_that_nobody_vouches_for_makes_the_whole_unproven(tox: Patch, make_patch: Make) -> None:
    stranger = make_patch([[1.0, 1.0]], name="stranger", status="unproven")
    assert algebra.concat(tox, stranger).card.status == "unproven"


def test_patches_of_different_or_unknown_bases_do_not_meet(tox: Patch, make_patch: Make) -> None:
    other = make_patch([[1.0, 2.0]], base=BaseRef(name="tiny", fingerprint="sha256:" + "e" * 64))
    unknown = make_patch([[1.0, 2.0]], base=BaseRef(), status="unproven")
    for patches in ([tox, other], [tox, unknown], [unknown, unknown]):
        with pytest.raises(Rejected, match="base-mismatch"):
            algebra.concat(*patches)


def test_patches_of_different_width_do_not_meet(tox: Patch, make_patch: Make) -> None:
    with pytest.raises(Rejected, match="composition-invalid"):
        algebra.concat(tox, make_patch([[1.0, 2.0, 3.0]]))


def test_patches_of_different_length_have_no_mean(tox: Patch, make_patch: Make) -> None:
    with pytest.raises(Rejected, match="tox's shape, 2 x 2"):
        algebra.mean([tox, make_patch([[1.0, 2.0]])])


def test_nothing_cannot_be_composed() -> None:
    with pytest.raises(Rejected, match="at least one patch"):
        algebra.concat()
    with pytest.raises(Rejected, match="at least one patch"):
        algebra.mean([])


def test_a_concatenation_longer_than_any_patch_is_refused(make_patch: Make) -> None:
    with pytest.raises(Rejected, match="at most 4096 tokens"):
        algebra.concat(*[make_patch(torch.ones(3000, 1), name=name) for name in ("a", "b")])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5], "2 weights"),
        ([0.5, 0.5, 0.0], "2 weights"),
        ([0.5, 0.6], "sum to 1"),
        ([0.5, 0.5 + 2e-9], "sum to 1"),
        ([1.0, 1.0], "divided by the sum"),
        ([1.5, -0.5], "not negative"),
        ([float("nan"), 0.5], "finite"),
        ([float("inf"), 0.5], "finite"),
        ([True, False], "finite"),
        (["0.5", 0.5], "finite"),
        ("ab", "2 weights"),
    ],
)
def test_weights_that_make_no_mean_are_refused(tox: Patch, bias: Patch, weights: Any, message: str) -> None:
    with pytest.raises(Rejected, match=message):
        algebra.mean([tox, bias], weights=weights)


def test_a_mean_of_opposites_is_no_patch(make_patch: Make) -> None:
    with pytest.raises(Rejected, match="nothing but zeros"):
        algebra.mean([make_patch([[1.0, -2.0]], name="a"), make_patch([[-1.0, 2.0]], name="b")])


def test_patches_without_one_shared_start_are_not_summed(make_patch: Make, tox: Patch) -> None:
    start = torch.tensor(START)
    one = from_start(make_patch, [[3.0, 1.0]], "one")
    elsewhere = from_start(make_patch, [[3.0, 1.0]], "elsewhere", start=[[9.0, 9.0]])
    with pytest.raises(Rejected, match="an unrecorded init"):
        algebra.sum([tox], init=start)
    with pytest.raises(Rejected, match="elsewhere started from"):
        algebra.sum([one, elsewhere], init=start)
    with pytest.raises(Rejected, match="one started from"):
        algebra.sum([one], init=torch.tensor([[1.0, 1.5]]))


def test_a_start_of_another_shape_is_not_spread_over_the_rows(make_patch: Make) -> None:
    longer = from_start(make_patch, [[3.0, 1.0], [1.0, 5.0]], "longer")
    with pytest.raises(Rejected, match=r"the patches' shape, \(2, 2\)"):
        algebra.sum([longer], init=torch.tensor(START))


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (1, 1), (2, 1), (-1, 1), (0, 3), (0, True), (0.0, 1)])
def test_only_rows_that_are_there_can_be_sliced(tox: Patch, start: Any, stop: Any) -> None:
    with pytest.raises(Rejected, match="0 <= start < stop <= 2"):
        algebra.slice(tox, start, stop)


def test_methods_are_applied_by_name(tox: Patch, bias: Patch) -> None:
    assert algebra.apply("concat", [tox, bias]).card == algebra.concat(tox, bias).card
    assert algebra.apply("mean", [tox, bias], weights=[1.0, 0.0]).prefix.tolist() == tox.prefix.tolist()
    assert algebra.apply("slice", [tox], start=0, stop=1).prefix.tolist() == [[1.0, 2.0]]
    assert set(algebra.METHODS) == {"concat", "mean", "sum", "slice"}


def test_unknown_methods_and_parameters_are_refused_with_the_known_ones(tox: Patch, bias: Patch) -> None:
    with pytest.raises(Rejected, match="did you mean concat"):
        algebra.apply("conct", [tox])
    with pytest.raises(Rejected, match="the parameters weights"):
        algebra.apply("mean", [tox], weight=[1.0])
    with pytest.raises(Rejected, match="missing a required argument: 'stop'"):
        algebra.apply("slice", [tox], start=0)
    with pytest.raises(Rejected, match="one patch"):
        algebra.apply("slice", [tox, bias], start=0, stop=1)


def test_patches_without_torch_are_composed_to_the_same_digests(tox: Patch, bias: Patch) -> None:
    plain = [PlainPatch(patch.values, patch.card) for patch in (tox, bias)]
    cases: list[tuple[str, dict[str, Any]]] = [("concat", {}), ("mean", {"weights": (0.3, 0.7)}), ("mean", {})]
    for method, params in cases:
        composed = algebra.apply(method, plain, **params)
        assert isinstance(composed, PlainPatch)
        assert composed.card == algebra.apply(method, [tox, bias], **params).card
    assert algebra.slice(plain[0], 1, 2).card == algebra.slice(tox, 1, 2).card


def test_an_array_is_an_init_like_a_tensor(make_patch: Callable[..., Patch]) -> None:
    one = from_start(make_patch, [[2.0, 3.0]], "one")
    assert algebra.sum([one], init=np.array(START)).card == algebra.sum([one], init=torch.tensor(START)).card


def test_a_plain_patch_cannot_be_written_to(tox: Patch) -> None:
    with pytest.raises(ValueError, match="read-only"):
        PlainPatch(tox.values, tox.card).values[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        tox.values[0, 0] = 1.0


def test_what_parts_must_not_stand_beside_their_composition_must_not_either(make_patch: Make) -> None:
    harm, guard, same = Relation(name="harm"), Relation(name="guard", range="^1.0.0"), Relation(name="mean-a-b")
    a = make_patch([[1.0, 2.0]], name="a", conflicts=(harm, same), breaks=(guard,), requires=(guard,), provides=("x",))
    b = make_patch([[3.0, 4.0]], name="b", conflicts=(guard, harm))
    card = algebra.mean([a, b]).card

    assert card.conflicts == (harm, guard)  # and nothing about itself
    assert card.breaks == (guard,)
    assert (card.requires, card.provides) == ((), ())
