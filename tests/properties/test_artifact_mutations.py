"""No damaged byte turns one patch into another: a mutated folder is refused, or means what it meant."""

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compose.algebra.expression import parse
from compose.artifact import Patch, pack, unpack
from compose.errors import Rejected
from compose.parse import strict_json
from compose.prefix_bytes import ELSEWHERE, read_prefix
from compose.records import CardMetric, InitInfo
from tests.properties.mutations import EXAMPLES, mutated

Make = Callable[..., Patch]
DIGEST = "sha256:" + "d" * 64


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_mutated_folder_is_refused_or_means_the_same(make_patch: Make, data: st.DataObject) -> None:
    patch = make_patch(
        [[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]],
        init=InitInfo(kind="text", text="Be kind.", digest=DIGEST),
        seed=12,
        training={"rate": 0.003, "steps": 45},
        metrics={"toxicity": CardMetric(value=0.25, direction="lower", n=120)},
        data={"pairs": DIGEST},
    )
    files = pack(patch)
    name = data.draw(st.sampled_from(sorted(files)))
    try:
        again = unpack({**files, name: mutated(data, files[name])})
    except Rejected:
        return
    assert again.card == patch.card
    assert torch.equal(again.prefix.view(torch.int32), patch.prefix.view(torch.int32))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_mutated_folder_without_a_card_is_refused_or_is_a_sound_prefix(make_patch: Make, data: st.DataObject) -> None:
    files = {
        name: content for name, content in pack(make_patch([[1.0, -2.0], [0.5, 0.25]])).items() if name != "patch.json"
    }
    name = data.draw(st.sampled_from(sorted(files)))
    try:
        again = unpack({**files, name: mutated(data, files[name])})
    except Rejected:
        return
    assert again.card.status == "unproven"
    assert bool(torch.isfinite(again.prefix).all())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for header_bytes in (b"", len(data).to_bytes(8, "little")):
        try:
            read_prefix(header_bytes + data, subject="x", dtypes=ELSEWHERE)
        except Rejected as refused:
            assert refused.code in ("artifact-bytes", "prefix-invalid")
    try:
        strict_json(data, subject="x", code="card-invalid", max_bytes=100)
    except Rejected as refused:
        assert refused.code == "card-invalid"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abc@sha256:0f()[]=, .e-+\n\u0660", max_size=80))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        assert str(parse(text)) == text
    except Rejected as refused:
        assert refused.code == "expression-invalid"


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, (2, 3), elements=st.floats(-(2.0**14), 2.0**14, width=32)).filter(lambda m: bool(m.any())))
def test_every_sound_prefix_survives_its_folder(make_patch: Make, rows: np.ndarray) -> None:
    patch = make_patch(rows)
    again = unpack(pack(patch))
    assert again.card == patch.card
    assert again.prefix.numpy().tobytes() == rows.tobytes()
