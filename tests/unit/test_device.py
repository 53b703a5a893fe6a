"""Devices and number types by name."""

from __future__ import annotations

import pytest
import torch

from compose.device import pick_device, pick_dtype
from compose.errors import Rejected


def test_without_a_name_the_gpu_is_taken_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device().type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device().type == "cuda"


def test_a_name_or_a_device_is_taken_as_it_is() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(Rejected, match="settings-invalid"):
        pick_device(name)


def test_a_kind_of_device_that_was_never_tried_is_refused() -> None:
    with pytest.raises(Rejected, match="mps"):
        pick_device("mps")


def test_auto_is_float32_on_a_cpu_and_what_a_gpu_computes_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert pick_dtype("auto", torch.device("cuda")) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert pick_dtype("auto", torch.device("cuda")) == torch.float16


def test_a_named_type_is_itself_on_every_device() -> None:
    assert pick_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16
