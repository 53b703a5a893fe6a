import json
import math

import pytest
from pydantic import ValidationError

from compose.errors import Rejected
from compose.trust.claims import GateClaim
from compose.trust.evidence import (
    Measured,
    Nearness,
    Outcome,
    Statement,
    gate_name,
    read_statement,
    seed_of,
    statement_bytes,
    statement_of,
)
from tests.unit.trust.measurements import DATA, LOCK, measured, passages, pin, series


def statement() -> Statement:
    found = measured(series([0.0, 1.0, None]), passages=passages([0.1, 0.2]))
    return statement_of(LOCK, "both 1.0.0", {"a": True, "b": False}, found)


def changed(key: str, value: object, *, place: tuple[str, ...] = ()) -> bytes:
    """Return the statement's bytes with one key set."""
    fields = json.loads(statement_bytes(statement()))
    inner = fields
    for step in place:
        inner = inner[step]
    inner[key] = value
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def test_a_statement_is_read_as_it_was_written_and_names_the_lock() -> None:
    written = statement()

    assert read_statement(statement_bytes(written), subject="e.json") == written
    assert written.lock == LOCK
    assert written.predicate.result == "FAILED"


def test_a_statement_has_in_totos_keys() -> None:
    fields = json.loads(statement_bytes(statement()))

    assert fields["_type"] == "https://in-toto.io/Statement/v1"
    assert fields["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert fields["subject"] == [{"name": "both 1.0.0", "digest": {"sha256": LOCK.removeprefix("sha256:")}}]
    assert (fields["predicate"]["passedTests"], fields["predicate"]["failedTests"]) == (["a"], ["b"])
    assert fields["predicate"]["configuration"] == [{"name": "toxicity", "digest": {"sha256": DATA[7:]}}]


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("verdict", "allow", ()),
        ("_type", "https://in-toto.io/Statement/v0.1", ()),
        ("predicateType", "https://slsa.dev/provenance/v1", ()),
        ("subject", [], ()),
        ("result", "WARNED", ("predicate",)),
        ("made", "yesterday", ("predicate", "measured")),
        ("seed", 1.0, ("predicate", "measured")),
        ("members", {"tox": DATA}, ("predicate", "measured")),
        ("outcomes", [], ("predicate", "measured")),
        ("suites", {}, ("predicate", "measured")),
    ],
)
def test_a_statement_with_anything_else_in_it_is_refused(key: str, value: object, place: tuple[str, ...]) -> None:
    with pytest.raises(Rejected) as refused:
        read_statement(changed(key, value, place=place), subject="e.json")

    assert refused.value.code == "evidence-invalid"


def test_another_spelling_of_a_statement_is_refused() -> None:
    for data in (b" " + statement_bytes(statement()), statement_bytes(statement()).replace(b"0.1", b"0.10")):
        with pytest.raises(Rejected) as refused:
            read_statement(data, subject="e.json")

        assert refused.value.code == "evidence-invalid"


def test_a_value_outside_zero_and_one_or_nan_is_no_number_of_a_prompt() -> None:
    for wrong in (b"1.5", b"-0.1", b"NaN", b"1e400"):
        data = statement_bytes(statement()).replace(b'"composition":[0,1,null]', b'"composition":[0,%s,null]' % wrong)
        assert data != statement_bytes(statement())
        with pytest.raises(Rejected) as refused:
            read_statement(data, subject="e.json")

        assert refused.value.code == "evidence-invalid"


def test_a_series_without_a_number_for_every_prompt_or_with_a_prompt_twice_is_refused() -> None:
    one = series([0.0, 1.0])

    for change in ({"base": (0.0,)}, {"prompts": ("p1", "p1")}, {"groups": ("g",)}, {"members": {"tox": (0.0,)}}):
        with pytest.raises(ValidationError):
            type(one).model_validate(dict(one) | change)


def test_passages_without_a_number_of_everyone_for_each_are_refused() -> None:
    whole = passages([0.1, 0.2])

    for change in ({"tokens": (20,)}, {"base": (60.0,)}, {"passages": ("t1", "t1")}, {"members": {"tox": (60.0,)}}):
        with pytest.raises(ValidationError):
            type(whole).model_validate(dict(whole) | change)


def test_more_completions_cannot_drop_out_than_there_are() -> None:
    with pytest.raises(ValidationError, match="more empty and unjudged"):
        Outcome(suite="toxicity", part="rtp", completions=3, empty=2, unjudged=2)


def test_numbers_of_a_part_that_no_suite_has_and_of_a_metric_twice_are_refused() -> None:
    one = series([0.0, 1.0])

    with pytest.raises(ValidationError, match="parts that no suite has"):
        measured(one, suites={"toxicity": pin(2, part="other")})
    with pytest.raises(ValidationError, match="two series"):
        measured(one, one)


def test_a_share_where_only_yes_and_no_can_be_is_refused() -> None:
    with pytest.raises(ValidationError, match="a yes or a no"):
        measured(series([0.5, 1.0]))
    shares = series([0.5, 1.0], metric="toxicity/degenerate")
    with pytest.raises(ValidationError, match="a yes or a no"):
        measured(shares, suites={"toxicity": pin(2, samples=1)})
    assert measured(shares).series == (shares,)


def test_groups_are_named_exactly_where_prompts_depend_on_each_other() -> None:
    alone, together = series([0.0, 1.0]), series([0.0, 1.0], groups=("job", "job"))

    with pytest.raises(ValidationError, match="must name its groups"):
        measured(alone, suites={"toxicity": pin(2, grouped=True)})
    with pytest.raises(ValidationError, match="must not name its groups"):
        measured(together, suites={"toxicity": pin(2)})


def test_a_metric_is_measured_on_prompts_of_its_own_kind() -> None:
    with pytest.raises(ValidationError, match="which is of the kind gender_bias"):
        measured(series([0.0, 1.0]), suites={"toxicity": pin(2, kind="gender_bias")})


def test_evidence_in_which_nobody_looked_how_near_tokens_are_keeps_its_bytes() -> None:
    without, near = measured(series([0.0])), Nearness(composition=1.5, members={"tox": 1.0, "bias": 2.0})

    assert b"nearness" not in statement_bytes(statement_of(LOCK, "both 1.0.0", {}, without))
    data = statement_bytes(statement_of(LOCK, "both 1.0.0", {}, measured(series([0.0]), nearness=near)))
    assert read_statement(data, subject="e.json").predicate.measured.nearness == near


@pytest.mark.parametrize("change", [{"composition": -0.1}, {"composition": math.nan}, {"members": {"tox": 1.0}}])
def test_a_distance_of_something_else_or_that_is_none_is_refused(change: dict[str, object]) -> None:
    near: dict[str, object] = {"composition": 1.5, "members": {"tox": 1.0, "bias": 2.0}}

    with pytest.raises(ValidationError):
        measured(series([0.0]), nearness=near | change)


def test_the_seed_follows_from_the_lock_alone() -> None:
    assert seed_of(LOCK) == 7
    assert seed_of("sha256:" + "f" * 64) == 0xFFFFFFFF


def test_gates_are_named_by_what_they_ask() -> None:
    limit = GateClaim(metric="gender_bias/gas", limit=0.25)
    regression = GateClaim(metric="gender_bias/gas", regression="base", margin=0.02)

    sure = GateClaim(metric="gender_bias/gas", limit=0.25, confidence=0.99, min_samples=100)

    assert gate_name(limit) == "gender_bias/gas <= 0.25"
    assert gate_name(regression) == "gender_bias/gas within base + 0.02"
    assert gate_name(sure) == "gender_bias/gas <= 0.25 at 0.99 on 100"


def test_a_measurement_says_when_it_was_made_and_of_what() -> None:
    assert isinstance(measured(series([0.0])), Measured)
    with pytest.raises(ValidationError):
        measured(series([0.0]), members={"tox": DATA})
