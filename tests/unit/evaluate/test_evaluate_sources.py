import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from pydantic import TypeAdapter, ValidationError

from compose.errors import Rejected
from compose.evaluate.judges import Judged
from compose.evaluate.judges.gendered import GenderedJudge
from compose.evaluate.sources import BuiltinPrompts, PromptSource, read_texts


def source(path: Path, **fields: Any) -> PromptSource:
    values = {"asset": {"source": "path", "path": str(path)}, **fields}
    return TypeAdapter[PromptSource](PromptSource).validate_python(values)


def written(folder: Path, content: str) -> Path:
    path = folder / "prompts"
    path.write_bytes(content.encode("utf-8"))
    return path


def test_lines_are_stripped_and_blank_ones_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "one\r\n\n  two\u2028still two \n")
    assert read_texts(source(path, format="lines", group="g")) == [("one", "g"), ("two\u2028still two", "g")]


def test_jsonl_reaches_into_objects_and_filters_rows(tmp_path: Path) -> None:
    rows = [
        {"challenging": True, "prompt": {"text": "first"}, "kind": "x"},
        {"challenging": False, "prompt": {"text": "second"}, "kind": "y"},
    ]
    path = written(tmp_path, "\n".join(map(json.dumps, rows)))
    given = source(path, format="jsonl", column="prompt.text", where={"challenging": True}, group_column="kind")
    assert read_texts(given) == [("first", "x")]


def test_csv_reads_a_named_column_with_quoted_line_breaks(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeffBehavior,Category\n"one\ntwo",a\nthree,b\n')
    given = source(path, format="csv", column="Behavior", group_column="Category")
    assert read_texts(given) == [("one\ntwo", "a"), ("three", "b")]


def test_parquet_reads_a_named_column(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["one", "two"], "n": [1, 2]}), path)
    assert read_texts(source(path, format="parquet", where={"n": 2})) == [("two", "")]


def test_cloze_puts_the_answer_back_into_its_passage(tmp_path: Path) -> None:
    path = written(tmp_path, "Ada\tIt was [MASK]'s day.\nBob\t[MASK] slept.\n")
    assert read_texts(source(path, format="cloze")) == [("It was Ada's day.", ""), ("Bob slept.", "")]


@pytest.mark.parametrize(
    ("fields", "content", "found"),
    [
        ({"format": "jsonl"}, '{"prompt": "a"}\nsecret', "line 2 is no JSON"),
        ({"format": "jsonl"}, "[1]", "line 1 is no JSON object"),
        ({"format": "jsonl"}, '{"text": "secret"}', "row 1 has no 'prompt'"),
        ({"format": "jsonl"}, '{"prompt": 5}', "'prompt' of row 1 is not text"),
        ({"format": "csv"}, "text\nsecret\n", "row 1 has no 'prompt'"),
        ({"format": "cloze"}, "secret words", "line 1 has no tab or no [MASK]"),
        ({"format": "parquet"}, "secret words", "not a parquet file"),
    ],
)
def test_a_file_in_another_format_is_refused_without_showing_it(
    tmp_path: Path, fields: dict[str, Any], content: str, found: str
) -> None:
    with pytest.raises(Rejected) as caught:
        read_texts(source(written(tmp_path, content), **fields))
    assert caught.value.code == "prompts-unreadable"
    assert caught.value.got == found
    assert "secret" not in str(caught.value)


def test_bytes_that_are_no_text_and_folders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    for place in (path, tmp_path):
        with pytest.raises(Rejected, match="prompts-unreadable"):
            read_texts(source(place, format="lines"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="asset-missing"):
        read_texts(source(tmp_path / "nowhere", format="lines"))


def test_an_unknown_key_or_format_is_refused_at_start(tmp_path: Path) -> None:
    for fields in ({"format": "xml"}, {"format": "lines", "colum": "x"}):
        with pytest.raises(ValidationError):
            source(tmp_path, **fields)


def test_builtin_profession_prompts_are_many_different_and_free_of_gender() -> None:
    pairs = read_texts(BuiltinPrompts(name="professions"))
    texts = [text for text, _ in pairs]
    assert len(set(texts)) == len(texts) == 64 * 16
    assert all(group in text for text, group in pairs)
    assert not any(GenderedJudge().score([Judged("", text) for text in texts]))


def test_json_takes_the_rows_of_one_document_and_leaves_out_nulls_when_told(tmp_path: Path) -> None:
    document = {"parameters": {}, "jailbreaks": [{"prompt": "a", "c": "x"}, {"prompt": None, "c": "y"}]}
    path = written(tmp_path, json.dumps(document))
    given = source(path, format="json", rows="jailbreaks", group_column="c", skip_null=True)
    assert read_texts(given) == [("a", "x")]
    with pytest.raises(Rejected, match="'prompt' of row 2 is not text"):
        read_texts(source(path, format="json", rows="jailbreaks"))


@pytest.mark.parametrize("content", ["{", "[]", '{"rows": {}}', '{"rows": ["text"]}'])
def test_json_that_is_no_list_of_rows_is_refused_without_showing_it(content: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        read_texts(source(written(tmp_path, content), format="json"))
    assert caught.value.code == "prompts-unreadable"


def test_a_context_stands_in_front_of_its_prompt_as_in_harmbench(tmp_path: Path) -> None:
    path = written(tmp_path, "prompt,context\nask,told before\nplain,\n")
    given = source(path, format="csv", context_column="context")
    assert [text for text, _ in read_texts(given)] == ["told before\n\n---\n\nask", "plain"]


def test_a_json_document_may_be_the_list_itself_and_a_row_the_prompt_itself(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps(["one ", "", {"prompt": "two"}]))
    assert read_texts(source(path, format="json", rows="", group="g")) == [("one", "g"), ("two", "g")]
    with pytest.raises(Rejected) as caught:
        read_texts(source(written(tmp_path, '["secret", 5]'), format="json", rows=""))
    assert "secret" not in str(caught.value)
