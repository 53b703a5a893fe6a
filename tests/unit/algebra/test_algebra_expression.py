"""Provenance expressions as text, and recomputing what they describe."""

from collections.abc import Callable

import pytest
import torch

from compose import algebra
from compose.algebra.expression import MAX_DEPTH, Call, Leaf, depth, parse
from compose.artifact import Patch, prefix_digest
from compose.errors import Rejected
from compose.parse import revise
from compose.records import InitInfo

Make = Callable[..., Patch]
A = "tox@sha256:" + "a" * 64
B = "bias_2-x@sha256:" + "b" * 64

SPELLED = [
    A,
    f"concat({A})",
    f"concat({A}, {B})",
    f"mean({A}, {B}, weights=[0.5, 0.5])",
    f"mean({A}, weights=[1.0])",
    f"mean({A}, {B}, weights=[1e-09, 0.999999999])",
    f"slice(concat({A}, mean({B}, {A}, weights=[0.25, 0.75])), start=0, stop=50)",
    f"sum({A}, {B}, init=init@sha256:{'c' * 64})",
]


@pytest.mark.parametrize("text", SPELLED)
def test_an_expression_is_read_and_spelled_the_same(text: str) -> None:
    assert str(parse(text)) == text


def test_an_expression_is_read_as_a_tree() -> None:
    parsed = parse(f"mean(concat({A}), {B}, weights=[0.5, 0.5])")
    tox, bias = Leaf("tox", "sha256:" + "a" * 64), Leaf("bias_2-x", "sha256:" + "b" * 64)
    assert parsed == Call("mean", (Call("concat", (tox,)), bias), (("weights", (0.5, 0.5)),))
    assert depth(parsed) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "tox",
        "tox@sha256:abc",
        "concat",
        "concat()",
        "concat(",
        f"concat({A}",
        f"concat({A},{B})",
        f"concat({A},  {B})",
        f"concat ({A})",
        f" concat({A})",
        f"concat({A})\n",
        f"concat({A}) ",
        f"concat({A}))",
        f"concat({A}, )",
        f"concat(, {A})",
        f"Concat({A})",
        f"mean({A}, weights=[0.50, 0.5])",
        f"mean({A}, weights=[1])",
        f"mean({A}, weights=[])",
        f"mean({A}, weights=[1.0)",
        f"mean({A}, weights=[1e+999])",
        f"mean({A}, weights=[nan])",
        f"mean({A}, weights=1.0.0)",
        f"mean({A}, weights=)",
        f"mean(weights=[1.0], {A})",
        "mean(weights=[1.0])",
        f"slice({A}, start=0, start=1)",
        f"slice({A}, start=00)",
        f"slice({A}, start=-0.)",
        f"slice({A}, start=concat({A}))",
        f"slice({A}, start='0')",
        f"__import__({A})",
        f"os.system({A})",
        f"concat({A}, start)",
        f"concat({A.upper()})",
        "concat(" * 40 + A + ")" * 40,
        "concat(" * 8000,
        A * 2000,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse(text)
    assert refused.value.code == "expression-invalid"


def found_in(*patches: Patch) -> Callable[[str], Patch]:
    return {patch.card.prefix: patch for patch in patches}.__getitem__


def test_compositions_of_compositions_are_written_down_to_their_leaves(make_patch: Make) -> None:
    one, two = make_patch([[1.0, 2.0]], name="one"), make_patch([[3.0, 4.0]], name="two")
    inner = algebra.concat(one, two)
    outer = algebra.slice(inner, 1, 2)
    leaves = f"one@{one.card.prefix}, two@{two.card.prefix}"
    assert outer.card.expression == f"slice(concat({leaves}), start=1, stop=2)"
    assert [parent.digest for parent in outer.card.parents] == [inner.card.prefix]


def test_recomputing_needs_the_leaves_only(make_patch: Make) -> None:
    one, two = make_patch([[1.0, 2.0]], name="one"), make_patch([[3.0, 4.0]], name="two")
    outer = algebra.mean([algebra.concat(one, two), algebra.concat(two, one)], weights=[0.25, 0.75])
    assert outer.card.expression is not None
    again = algebra.recompute(outer.card.expression, found_in(one, two))
    assert again.card == outer.card
    assert again.prefix.tolist() == [[2.5, 3.5], [1.5, 2.5]]


def test_recomputing_a_sum_asks_for_its_start(make_patch: Make) -> None:
    start = make_patch([[1.0, 1.0]], name="start")
    init = InitInfo(kind="patch", digest=prefix_digest(start.prefix))
    one, two = (make_patch(rows, name=name, init=init) for name, rows in (("one", [[2.0, 1.0]]), ("two", [[1.0, 3.0]])))
    added = algebra.sum([one, two], init=torch.tensor([[1.0, 1.0]]))
    assert added.card.expression is not None
    assert added.card.expression.endswith(f", init=init@{start.card.prefix})")
    assert algebra.recompute(added.card.expression, found_in(start, one, two)).card.prefix == added.card.prefix


def test_a_leaf_answered_with_another_patch_is_refused(make_patch: Make) -> None:
    one, two = make_patch([[1.0, 2.0]], name="one"), make_patch([[3.0, 4.0]], name="two")
    expression = algebra.concat(one).card.expression
    assert expression is not None
    with pytest.raises(Rejected, match="expression-mismatch"):
        algebra.recompute(expression, lambda digest: two)


def test_an_expression_of_an_unknown_method_is_refused(make_patch: Make) -> None:
    one = make_patch([[1.0, 2.0]])
    with pytest.raises(Rejected, match="composition-invalid"):
        algebra.recompute(f"ties({A.replace('a' * 64, one.card.prefix[7:])})", found_in(one))


def test_a_part_whose_card_holds_a_forged_expression_is_refused(make_patch: Make) -> None:
    whole = algebra.concat(make_patch([[1.0, 2.0]]))
    forged = Patch(whole.prefix, revise(whole.card, expression="concat(whatever)"))
    with pytest.raises(Rejected, match="expression-invalid"):
        algebra.concat(forged)


def test_nesting_without_end_is_refused_while_composing(make_patch: Make) -> None:
    patch = make_patch([[1.0, 2.0]])
    for _ in range(MAX_DEPTH):
        patch = algebra.concat(patch)
    with pytest.raises(Rejected, match="33 nested calls"):
        algebra.concat(patch)
