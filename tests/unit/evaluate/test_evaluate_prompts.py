import pytest

from compose.base import Base
from compose.errors import Rejected
from compose.evaluate.prompts import digest_of, make_prompt, normal_form, render, unique


def test_a_prompts_id_follows_from_text_and_form_alone() -> None:
    plain = make_prompt("Hello", group="a")
    assert plain.id == make_prompt("Hello", group="b").id
    assert plain.id != make_prompt("Hello", chat=True).id
    assert plain.id != make_prompt("hello").id


def test_prompts_that_differ_in_case_and_spacing_only_are_one() -> None:
    kept = unique([make_prompt("The  Nurse said"), make_prompt("the nurse said "), make_prompt("The cook said")])
    assert [p.text for p in kept] == ["The  Nurse said", "The cook said"]
    assert normal_form("ﬁne\tday") == "fine day"


def test_digest_depends_on_order_and_form() -> None:
    a, b = make_prompt("a"), make_prompt("b")
    assert digest_of([a, b]) != digest_of([b, a])
    assert digest_of([a]) != digest_of([make_prompt("a", chat=True)])


def test_a_text_is_rendered_as_the_tokenizer_reads_it(tiny: Base) -> None:
    assert list(render(tiny.tokenizer, make_prompt("The cook"))) == tiny.tokenizer("The cook")["input_ids"]


def test_a_request_goes_through_the_chat_template_up_to_the_reply(tiny: Base) -> None:
    ids = render(tiny.tokenizer, make_prompt("Say hi", chat=True))
    text = tiny.tokenizer.decode(ids)
    assert "<|im_start|>user\nSay hi<|im_end|>" in text
    assert text.endswith("<|im_start|>assistant\n")
    assert text.count("<|im_start|>assistant") == 1


def test_a_base_without_a_template_gets_the_plain_form(tiny: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.tokenizer, "chat_template", None)
    ids = render(tiny.tokenizer, make_prompt("Say hi", chat=True))
    assert tiny.tokenizer.decode(ids) == "User: Say hi\nAssistant:"


def test_a_prompt_without_a_token_is_refused(tiny: Base) -> None:
    with pytest.raises(Rejected, match="prompts-empty"):
        render(tiny.tokenizer, make_prompt(""))
