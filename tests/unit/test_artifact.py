"""A patch and its folder."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as save_tensors

from compose.artifact import Patch, adopt, check_base, load, new_patch, pack, prefix_digest, save, unpack
from compose.errors import Rejected
from compose.records import BaseRef, CardDraft

ROWS = [[1.0, -2.0, 3.0], [0.5, 0.0, -0.25]]
FINGERPRINT = "sha256:" + "b" * 64
OTHER = "sha256:" + "c" * 64


@pytest.fixture
def patch(make_patch: Callable[..., Patch]) -> Patch:
    return make_patch(ROWS)


@pytest.fixture
def foreign(patch: Patch) -> dict[str, bytes]:
    """The files of a patch that came without a card."""
    return {name: data for name, data in pack(patch).items() if name != "patch.json"}


def with_config(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    return {
        **files,
        "adapter_config.json": json.dumps({**json.loads(files["adapter_config.json"]), **changes}).encode(),
    }


def test_a_saved_patch_is_loaded_to_the_last_bit(patch: Patch, tmp_path: Path) -> None:
    loaded = load(save(patch, tmp_path / "tox"))
    assert torch.equal(loaded.prefix, patch.prefix)
    assert loaded.card == patch.card
    assert sorted(path.name for path in (tmp_path / "tox").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "patch.json",
    ]


def test_the_same_patch_makes_the_same_files(make_patch: Callable[..., Patch]) -> None:
    assert pack(make_patch(ROWS)) == pack(make_patch(ROWS))


def test_fifty_tokens_of_llama_width_take_less_than_900_kb(make_patch: Callable[..., Patch], tmp_path: Path) -> None:
    rows = torch.randn(50, 4096, generator=torch.Generator().manual_seed(0))
    folder = save(make_patch(rows), tmp_path / "wide")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 900_000


def test_a_patch_does_not_replace_another_unless_told_to(patch: Patch, tmp_path: Path) -> None:
    save(patch, tmp_path / "tox")
    with pytest.raises(Rejected, match="already-exists"):
        save(patch, tmp_path / "tox")
    save(patch, tmp_path / "tox", replace=True)


def test_a_prefix_digest_depends_on_values_and_shape_only() -> None:
    values = torch.arange(6, dtype=torch.float32)
    strided = torch.stack([values.view(2, 3), values.view(2, 3)], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert prefix_digest(strided) == prefix_digest(values.view(2, 3))
    assert prefix_digest(values.view(2, 3)) != prefix_digest(values.view(3, 2))
    assert prefix_digest(values.view(2, 3)) == prefix_digest(values.view(2, 3).double())


def test_a_patch_keeps_its_own_copy(patch: Patch) -> None:
    mine = torch.tensor(ROWS)
    made = Patch(mine, patch.card)
    mine.zero_()
    assert made.prefix.tolist() == ROWS


def test_a_patch_written_to_behind_its_back_is_not_shipped(patch: Patch) -> None:
    patch.prefix.add_(1.0)
    with pytest.raises(Rejected, match="artifact-mismatch"):
        pack(patch)


def test_a_new_patch_may_come_from_a_parameter_in_another_precision(patch: Patch) -> None:
    parameter = torch.nn.Parameter(torch.tensor(ROWS, dtype=torch.bfloat16))
    made = new_patch(parameter, CardDraft(name="x", risks=(), base=BaseRef(fingerprint=OTHER), strategy="joint"))
    assert (made.prefix.dtype, made.prefix.requires_grad, made.card.tokens, made.card.dim) == (
        torch.float32,
        False,
        2,
        3,
    )
    assert made.prefix.tolist() == ROWS


def test_a_diverged_matrix_is_no_patch(make_patch: Callable[..., Patch]) -> None:
    with pytest.raises(Rejected, match="1 values that are NaN or infinite"):
        make_patch([[1.0, float("nan")]])


def test_a_file_that_grows_while_it_is_read_is_refused(
    patch: Patch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, fstat = save(patch, tmp_path / "tox"), os.fstat

    def fstat_then_grow(handle: int) -> os.stat_result:
        status = fstat(handle)
        with (folder / "patch.json").open("ab") as file:
            file.write(b" ")
        return status

    with monkeypatch.context() as growing, pytest.raises(Rejected, match=r"artifact-file: .*patch\.json"):
        growing.setattr(os, "fstat", fstat_then_grow)
        load(folder)


def test_a_tensor_of_another_patch_is_refused(patch: Patch, make_patch: Callable[..., Patch]) -> None:
    other = pack(make_patch([[9.0, 9.0, 9.0], [9.0, 9.0, 9.0]]))
    with pytest.raises(Rejected, match="artifact-mismatch"):
        unpack({**pack(patch), "adapter_model.safetensors": other["adapter_model.safetensors"]})
    with pytest.raises(Rejected, match="artifact-mismatch"):
        unpack({**pack(patch), "patch.json": other["patch.json"]})


def test_a_card_with_a_tensor_and_a_config_of_another_shape_is_refused(
    patch: Patch, make_patch: Callable[..., Patch]
) -> None:
    longer = pack(make_patch([*ROWS, ROWS[0]]))
    with pytest.raises(Rejected, match="artifact-mismatch"):
        unpack({**longer, "patch.json": pack(patch)["patch.json"]})


def test_a_folder_without_a_card_is_marked_unproven(foreign: dict[str, bytes]) -> None:
    card = unpack(foreign).card
    assert (card.status, card.version, card.risks, card.base.fingerprint) == ("unproven", "0.0.0", (), None)
    assert card.name == f"peft-{card.prefix[7:19]}"
    assert card.base.name == "tiny"


def test_half_precision_is_taken_without_a_card_and_refused_behind_one(patch: Patch, foreign: dict[str, bytes]) -> None:
    tensor = save_tensors({"prompt_embeddings": torch.tensor(ROWS, dtype=torch.bfloat16)})
    assert unpack({**foreign, "adapter_model.safetensors": tensor}).prefix.tolist() == ROWS
    with pytest.raises(Rejected, match="artifact-bytes"):
        unpack({**pack(patch), "adapter_model.safetensors": tensor})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"peft_type": "LORA"}, "peft_type 'LORA'"),
        ({"peft_type": None}, "peft_type None"),
        ({"task_type": "SEQ_2_SEQ_LM"}, "task_type"),
        ({"num_transformer_submodules": 2}, "num_transformer_submodules 2"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"num_virtual_tokens": True}, "num_virtual_tokens True"),
        ({"num_virtual_tokens": None}, "num_virtual_tokens None"),
        ({"token_dim": 10**9}, "token_dim"),
    ],
)
def test_another_kind_of_adapter_is_refused_with_the_reason(
    foreign: dict[str, bytes], change: dict[str, Any], found: str
) -> None:
    with pytest.raises(Rejected) as refused:
        unpack(with_config(foreign, **change))
    assert refused.value.code == "artifact-config"
    assert found in refused.value.got


def test_keys_of_other_peft_releases_are_let_be(foreign: dict[str, bytes]) -> None:
    assert unpack(with_config(foreign, key_of_the_future=1)).card.tokens == 2


@pytest.mark.parametrize("name", [7, "a\x1b[2J", "x" * 5000])
def test_a_base_name_that_cannot_be_shown_is_refused(foreign: dict[str, bytes], name: object) -> None:
    with pytest.raises(Rejected, match="artifact-config"):
        unpack(with_config(foreign, base_model_name_or_path=name))


def test_a_config_of_another_shape_is_refused(patch: Patch) -> None:
    with pytest.raises(Rejected, match="artifact-mismatch"):
        unpack(with_config(pack(patch), num_virtual_tokens=3))


def test_a_patch_fits_its_own_base_only(patch: Patch) -> None:
    assert check_base(patch.card, FINGERPRINT, dim=3) == "proven"
    with pytest.raises(Rejected, match="base-mismatch"):
        check_base(patch.card, OTHER, dim=3)
    with pytest.raises(Rejected, match="width 4"):
        check_base(patch.card, FINGERPRINT, dim=4)


def test_an_unproven_patch_fits_any_base_of_its_width_and_says_so(foreign: dict[str, bytes]) -> None:
    card = unpack(foreign).card
    assert check_base(card, OTHER, dim=3) == "unproven"
    with pytest.raises(Rejected, match="base-mismatch"):
        check_base(card, OTHER, dim=4)


def test_an_adopted_patch_has_a_base_and_stays_unproven(patch: Patch, foreign: dict[str, bytes]) -> None:
    adopted = adopt(unpack(foreign), BaseRef(name="tiny", fingerprint=FINGERPRINT))
    assert check_base(adopted.card, FINGERPRINT, dim=3) == "unproven"
    with pytest.raises(Rejected, match="base-mismatch"):
        check_base(adopted.card, OTHER, dim=3)
    with pytest.raises(Rejected, match="base-mismatch"):
        adopt(patch, BaseRef(fingerprint=OTHER))


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(patch: Patch, tmp_path: Path, missing: str) -> None:
    folder = save(patch, tmp_path / "tox")
    (folder / missing).unlink()
    with pytest.raises(Rejected, match=rf"artifact-missing: .*{missing}"):
        load(folder)


def test_a_folder_that_is_not_there_or_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("nothing", "file"):
        with pytest.raises(Rejected, match="artifact-missing"):
            load(tmp_path / name)


def _link(place: Path) -> None:
    place.rename(place.with_suffix(".real"))
    place.symlink_to(place.with_suffix(".real"))


def _pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


def _folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def _giant(place: Path) -> None:
    with place.open("r+b") as file:
        file.truncate(100 * 1024 * 1024)  # sparse: takes no room


@pytest.mark.parametrize("spoil", [_link, _pipe, _folder, _giant])
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "patch.json"])
def test_only_a_plain_file_of_sane_size_is_read(
    patch: Patch, tmp_path: Path, spoil: Callable[[Path], None], name: str
) -> None:
    folder = save(patch, tmp_path / "tox")
    spoil(folder / name)
    with pytest.raises(Rejected) as refused:
        load(folder)
    assert refused.value.code == "artifact-file"
    assert name in refused.value.subject


def test_a_failed_save_leaves_nothing_behind(patch: Patch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("compose.artifact.write_bytes", fail)
    with pytest.raises(KeyboardInterrupt):
        save(patch, tmp_path / "tox")
    assert list(tmp_path.iterdir()) == []


def test_a_patch_is_float32(patch: Patch) -> None:
    with pytest.raises(Rejected, match=r"torch\.float64"):
        Patch(patch.prefix.double(), patch.card)


def test_a_path_that_no_folder_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="artifact-file"):
        load(tmp_path / ("x" * 5000))


def test_a_disk_that_fails_while_a_file_is_read_is_named(
    patch: Patch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(patch, tmp_path / "tox")

    def fail(handle: int) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken, pytest.raises(Rejected, match="Input/output error"):
        broken.setattr(os, "fstat", fail)
        load(folder)
