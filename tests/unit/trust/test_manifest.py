"""manifest.toml: what is read, and that every error says where it is and what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.errors import Rejected
from compose.trust.manifest import MAX_MANIFEST_BYTES, read_manifest, read_manifest_file

GOOD = f"""\
# A comment.
schema_version = 1
name = "both"
version = "1.0.0"

[base]
name = "SmolLM2"
fingerprint = "sha256:{"0" * 64}"

[method]
name = "mean"
params = {{ weights = [
  0.25,
  0.75,
] }}

[[patches]]
name = "toxicity"
range = "^1.0.0"

[[patches]]
name = "bias"

[[gates]]
metric = "toxicity/toxic_rate_per_prompt"
limit = 0.1
"""


def refused(text: str | bytes) -> str:
    with pytest.raises(Rejected) as error:
        read_manifest(text.encode() if isinstance(text, str) else text)
    assert error.value.code == "manifest-invalid"
    return error.value.got


def test_a_manifest_is_read() -> None:
    manifest = read_manifest(GOOD.encode())

    assert [(patch.name, patch.range) for patch in manifest.patches] == [("toxicity", "^1.0.0"), ("bias", "*")]
    assert manifest.method.params == {"weights": (0.25, 0.75)}
    assert manifest.gates[0].limit == 0.1


def test_comments_layout_and_line_ends_mean_nothing() -> None:
    spaced = GOOD.replace("# A comment.\n", "\n\n").replace(" = ", "=").replace("\n", "\r\n")

    assert read_manifest(spaced.encode()) == read_manifest(GOOD.encode())


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ('range = "^1.0.0"', 'rnage = "^1.0.0"', "line 19, column 1: ", "did you mean 'range'?"),
        ('range = "^1.0.0"', 'range = "1.0.0"', "line 19, column 1: ", "such as >=1.2.0,<2.0.0"),
        ('name = "bias"', 'range = "*"', "line 21, column 3: ", "'patches.1.name' is missing"),
        ("limit = 0.1", "limit = true", "line 26, column 1: ", "valid number (got True)"),
        ("limit = 0.1", "limit = inf", "line 26, column 1: ", "no finite number"),
        ("limit = 0.1", "limit = nan", "line 26, column 1: ", "no finite number"),
        ("limit = 0.1", "limit = 1e400", "line 26, column 1: ", "no finite number"),
        ("limit = 0.1", "limit = 2026-01-01", "line 26, column 1: ", "a date, where"),
        ("limit = 0.1", "limit = 0.1\nlimit = 0.2", "", "(at line 27"),
        ("limit = 0.1", "", "line 24, column 3: ", "either a limit or a regression"),
        ("  0.75,", "  '0.75',", "line 12, column 12: ", "valid number (got '0.75')"),
        ("\nversion = ", "\nverzion = ", "line 4, column 1: ", "did you mean 'version'?"),
        ("[method]", "[methods]", "line 10, column 2: ", "did you mean 'method'?"),
        ('name = "mean"', 'name = "os.system"', "line 11, column 1: ", "'concat', 'mean', 'sum' or 'slice'"),
        ("# A comment.", "# right \u202e left", "line 1, column 9: ", "control character '\\u202e'"),
        ("# A comment.", "# bell \x07", "line 1, column 8: ", "control character"),
    ],
    ids=lambda text: text[:30],
)
def test_an_error_says_where_it_is(old: str, new: str, place: str, said: str) -> None:
    assert GOOD.count(old) == 1
    got = refused(GOOD.replace(old, new))

    assert place in got
    assert said in got


def test_all_errors_are_said_at_once() -> None:
    got = refused(GOOD.replace("limit", "limmit").replace("range", "rnage").replace("SmolLM2", ""))

    assert "line 26, column 1: unknown key 'gates.0.limmit', did you mean 'limit'?" in got
    assert "line 19, column 1: unknown key 'patches.0.rnage'" in got
    assert "line 7, column 1: 'base.name'" in got
    assert "after validation" not in got


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode("utf-16"),
        GOOD.encode() + b"# \xff",
        b"a = " + b"[" * 30_000,
        b"a = " + b"9" * 5_000,
        GOOD.encode() + b"#" * MAX_MANIFEST_BYTES,
        b"x.y = 1\n" * 2,
        b"- yaml: &a [*a]\n",
    ],
    ids=["empty", "bom", "utf-16", "no utf-8", "nesting", "digits", "long", "twice", "yaml"],
)
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    refused(text)


def test_nothing_in_a_manifest_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "expanded")
    refused(GOOD.replace('"both"', '"${oc.env:NAME}"'))
    got = refused(GOOD + '_target_ = "os.system"\n')

    assert "unknown key 'gates.0._target_'" in got


def test_a_manifest_of_many_keys_is_refused_soon() -> None:
    text = GOOD + "".join(f"limit{number} = 1\n" for number in range(4000))

    assert "line 27, column 1" in refused(text)
    assert "and 3992 more" in refused(text)


def test_a_separator_that_python_takes_for_a_line_end_moves_no_line() -> None:
    assert "line 26, column 1: unknown key 'gates.0.limmit'" in refused(
        GOOD.replace("limit", "limmit").replace("A comment", "A \u2028 comment")
    )


def test_the_place_of_a_key_is_not_sought_for_ever() -> None:
    decoys = "".join(f"# name {number}\n" for number in range(100))

    assert "line " not in refused(decoys + GOOD.replace('name = "bias"', 'name = "Bias"'))


def test_a_missing_head_key_has_no_line() -> None:
    assert refused(GOOD.replace('name = "both"\n', "")) == "'name' is missing"


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="no such file"):
        read_manifest_file(tmp_path / "manifest.toml")
    (tmp_path / "manifest.toml").write_text(GOOD)
    assert read_manifest_file(tmp_path / "manifest.toml").name == "both"
