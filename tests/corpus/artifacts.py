"""Cases about the bytes of one patch: what `compose add` must take and what it must not."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator

import numpy as np

from compose import digest
from compose.parse import SEAL
from compose.patch_files import CARD_FILE, CONFIG_FILE, TENSOR_FILE
from tests.corpus.folder import ADD, CaseFolder, Files, patch_folder, store_of
from tests.unit.trust.cases import patch

SOUND = patch("tox", "toxicity")
TENSOR, CARD, CONFIG = (f"patch/{name}" for name in (TENSOR_FILE, CARD_FILE, CONFIG_FILE))
FILES = SOUND_PATCH = patch_folder(SOUND)
DATA = FILES[TENSOR]
HEADER_BYTES = struct.unpack("<Q", DATA[:8])[0]
HEADER, STORED = DATA[8 : 8 + HEADER_BYTES], DATA[8 + HEADER_BYTES :]
ENTRY = {"dtype": "F32", "shape": [4, 8], "data_offsets": [0, 128]}
NAME = "prompt_embeddings"


def artifact_cases() -> Iterator[CaseFolder]:
    """Yield the cases."""
    yield from _sound()
    for name, why, fault, data in _tensors():
        yield _fail(f"tensor-{name}", why, "artifact-bytes", fault, {TENSOR: data})
    for name, why, fault, values in _matrices():
        yield _fail(f"matrix-{name}", why, "prefix-invalid", fault, {TENSOR: tensor(stored=values)})
    yield from _folders()
    for name, why, fault, data in _cards():
        yield _fail(f"card-{name}", why, "card-invalid", fault, {CARD: data})


def tensor(header: object = None, *, stored: bytes = STORED) -> bytes:
    """Return a safetensors file with a header, given as bytes or as JSON, and stored bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header or {NAME: ENTRY}).encode()
    return struct.pack("<Q", len(text)) + text + stored


def card(**changes: object) -> bytes:
    """Return the sound card with some keys changed, under its own digest."""
    fields = {**SOUND.card.model_dump(mode="json"), **changes}
    return digest.canonical_json({**fields, SEAL: digest.of_json(fields)}) + b"\n"


def _fail(name: str, why: str, code: str, fault: int, changes: Files) -> CaseFolder:
    return CaseFolder(f"{name}_fail", why, ADD, (code,), (fault,), {**FILES, **changes})


def _sound() -> Iterator[CaseFolder]:
    yield CaseFolder("add_ok", "A whole patch goes into an empty store.", ADD, files=FILES)
    again = {**FILES, **store_of([SOUND])}
    yield CaseFolder("add-again_ok", "A patch that is there already stays as it is.", ADD, files=again)
    newer = {**patch_folder(patch("tox", "toxicity", version="1.1.0", seed=1)), **store_of([SOUND])}
    yield CaseFolder("add-newer_ok", "Another version of a name is another patch.", ADD, files=newer)
    left = {**FILES, **store_of([]), "store/patches/.compose-tmp-elsewhere-1-0/patch.json": b"{"}
    why = "A folder that a writer of another host left half made is no patch, and in nobody's way."
    yield CaseFolder("add-beside-leftovers_ok", why, ADD, faults=(54,), files=left)


def _tensors() -> Iterator[tuple[str, str, int, bytes]]:
    """Yield name, reason, fault and bytes of tensor files that are no one matrix."""
    yield "empty", "No byte at all.", 1, b""
    yield "seven-bytes", "Not even the length of a header.", 1, DATA[:7]
    yield "header-cut", "The file ends within its header.", 2, DATA[: 8 + HEADER_BYTES // 2]
    yield "data-cut", "The file ends within its matrix.", 3, DATA[:-4]
    yield "trailing", "Bytes behind the matrix, which nobody would look at.", 4, DATA + b"\0" * 4
    yield "length-huge", "A header of 2^63 bytes.", 5, struct.pack("<Q", 2**63) + DATA[8:]
    yield "length-zero", "A header of no bytes.", 5, struct.pack("<Q", 0) + DATA[8:]
    padded = HEADER + b" " * 5000
    yield "header-padded", "A header padded beyond its cap.", 6, tensor(padded)
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    yield "header-deep", "A header of objects within objects.", 7, tensor(deep)
    entry = json.dumps(ENTRY).encode()
    twice = b'{"%s":%s,"%s":%s}' % (NAME.encode(), entry, NAME.encode(), entry)
    yield "named-twice", "One tensor's name twice: readers disagree about which one counts.", 8, tensor(twice)
    metadata = b'{"__metadata__":{"format":"pt","format":"np"},"%s":%s}' % (NAME.encode(), entry)
    yield "metadata-twice", "One key of the metadata twice.", 9, tensor(metadata)
    other = {NAME: {**ENTRY, "shape": [2, 8], "data_offsets": [0, 64]}}
    other["more"] = {**ENTRY, "shape": [2, 8], "data_offsets": [64, 128]}
    yield "two", "Two tensors.", 10, tensor(other)
    yield "none", "No tensor.", 10, tensor({"__metadata__": {"format": "pt"}}, stored=b"")
    many = {f"t{place}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for place in range(50)}
    yield "many-empty", "Many tensors without an element.", 10, tensor(many, stored=b"")
    yield "misnamed", "A tensor of another name.", 11, tensor({"weight": ENTRY})
    yield "named-as-path", "A tensor whose name is a path.", 11, tensor({"../prompt_embeddings": ENTRY})
    yield "named-with-nul", "A tensor whose name ends in NUL.", 11, tensor({f"{NAME}\0": ENTRY})
    yield "integers", "Elements of the right size that are no floats.", 12, tensor({NAME: {**ENTRY, "dtype": "I32"}})
    halves = {NAME: {**ENTRY, "dtype": "F16", "shape": [8, 8]}}
    yield "halves", "Half-precision elements behind a card, which is of single precision.", 12, tensor(halves)
    yield "shape-flat", "One dimension.", 13, tensor({NAME: {**ENTRY, "shape": [32]}})
    overflowing = {NAME: {**ENTRY, "shape": [2**32, 2**32]}}
    yield "shape-overflow", "A shape whose product overflows to a small number.", 14, tensor(overflowing)
    yield "shape-bool", "A shape with true for 1.", 14, tensor({NAME: {**ENTRY, "shape": [True, 32]}})
    yield "offsets-gap", "Offsets that leave bytes out.", 15, tensor({NAME: {**ENTRY, "data_offsets": [4, 132]}})
    yield "offsets-reversed", "Offsets that run backwards.", 15, tensor({NAME: {**ENTRY, "data_offsets": [128, 0]}})
    yield "pickle", "A pickle under a tensor file's name.", 18, pickle.dumps({NAME: [[0.0] * 8] * 4}, protocol=2)
    buffer = io.BytesIO()
    np.save(buffer, SOUND.values)
    yield "npy", "An array of numpy under a tensor file's name.", 18, buffer.getvalue()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), b"\0" * 1_000_000)
    yield "zip", "A zip, as torch.save writes it, that unpacks to a thousand times its size.", 19, packed.getvalue()


def _matrices() -> Iterator[tuple[str, str, int, bytes]]:
    """Yield name, reason, fault and elements of matrices that cannot be a prefix."""
    for name, value, fault in (
        ("nan", np.nan, 16),
        ("inf", np.inf, 16),
        ("minus-inf", -np.inf, 16),
        ("huge", 1e30, 17),
    ):
        values = SOUND.values.copy()
        values[1, 2] = value
        yield name, f"One element is {value}.", fault, values.astype("<f4").tobytes()
    yield "zeros", "Nothing but zeros: no patch at all.", 17, b"\0" * 128


def _folders() -> Iterator[CaseFolder]:
    """Yield cases of files that do not belong together, are missing, or are no files."""
    other = patch_folder(patch("bias", "gender_bias"))
    yield _fail("tensor-of-another", "The matrix of another patch.", "artifact-mismatch", 23, {TENSOR: other[TENSOR]})
    turned = tensor({NAME: {**ENTRY, "shape": [8, 4]}})
    yield _fail("tensor-transposed", "The matrix lies on its side.", "artifact-mismatch", 13, {TENSOR: turned})
    lora = FILES[CONFIG].replace(b"PROMPT_TUNING", b"LORA")
    yield _fail("config-lora", "An adapter of another kind.", "artifact-config", 30, {CONFIG: lora})
    without = {name: data for name, data in FILES.items() if name != CARD}
    why = "Without a card nobody knows what it is for."
    yield CaseFolder("card-missing_fail", why, ADD, ("artifact-missing",), (27,), without)
    bare = {name: data for name, data in FILES.items() if name != TENSOR}
    why = "A link stands in the tensor's place."
    link = {TENSOR: "../elsewhere.safetensors"}
    files = {**bare, "elsewhere.safetensors": DATA}
    yield CaseFolder("tensor-link_fail", why, ADD, ("artifact-file",), (20,), files, link)
    why = "A folder stands in the tensor's place."
    files = {**bare, f"{TENSOR}/inside": b""}
    yield CaseFolder("tensor-folder_fail", why, ADD, ("artifact-file",), (20,), files)
    twin = {**patch_folder(patch("tox", "toxicity", seed=1)), **store_of([SOUND])}
    why = "One name and version, and another matrix than the store has."
    yield CaseFolder("add-twin_fail", why, ADD, ("store-conflict",), (24,), twin)
    why = "A store of an older layout."
    older = {**FILES, **store_of([SOUND]), "store/store.json": b'{"layout":0}\n'}
    yield CaseFolder("store-older_fail", why, ADD, ("store-damaged",), (54,), older)


def _cards() -> Iterator[tuple[str, str, int, bytes]]:
    """Yield name, reason, fault and bytes of cards that are refused."""
    yield "version-short", "1.0 is no version, however much it looks like 1.0.0.", 25, card(version="1.0")
    yield "version-rc", "A pre-release, which would lie between two versions.", 25, card(version="1.0.0rc1")
    yield "version-local", "A local version.", 25, card(version="1.0.0+cpu")
    yield "version-newline", "A version with a line break behind it.", 25, card(version="1.0.0\n")
    yield "name-lookalike", "A name with a Cyrillic letter that looks like o.", 25, card(name="t\u043ex")
    yield "name-path", "A name that is a path.", 29, card(name="../tox")
    yield "altered", "A card that was altered after it was written.", 26, FILES[CARD].replace(b"toxicity", b"kindness")
    yield "parentless", "An expression, and none of the parents it must have.", 27, card(expression="concat(a)")
    yield "unproven-base", "A proven patch without the fingerprint of its base.", 22, card(base={"name": "tiny"})
    yield "key-unknown", "A key that no card has.", 30, card(risk="toxicity")
    yield "key-twice", "One key twice.", 31, FILES[CARD].replace(b'"name":', b'"name":"bias","name":', 1)
    yield "nan", "NaN among the measurements.", 32, FILES[CARD].replace(b'"metrics":{}', b'"metrics":NaN')
    yield "self-conflict", "A patch that conflicts with itself.", 38, card(conflicts=[{"name": "tox", "range": "*"}])
    yield "bom", "A byte-order mark in front.", 37, b"\xef\xbb\xbf" + FILES[CARD]
    yield "utf16", "UTF-16.", 37, FILES[CARD].decode().encode("utf-16")
    yield (
        "bidi",
        "A base's name that turns the text around.",
        37,
        card(base={**SOUND.card.base.model_dump(), "name": "\u202ex"}),
    )
