"""Cases about manifests and locks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compose.records import Relation
from compose.trust.claims import Lock, MethodClaim
from compose.trust.lockfile import lock_bytes
from tests.corpus.folder import CHECK, LOCK, CaseFolder, Files, entry_of, keys_of, locked_files, store_of
from tests.unit.trust.cases import BASE, locked, members, patch

MANIFEST = f"""\
schema_version = 1
name = "both"
version = "1.0.0"

[base]
name = "tiny"
fingerprint = "{BASE}"

[method]
name = "concat"

[[patches]]
name = "tox"
range = "^1.0.0"

[[patches]]
name = "bias"

[[gates]]
metric = "toxicity/toxic_rate_per_prompt"
limit = 0.1

[[gates]]
metric = "gender_bias/gas"
regression = "specialist"
margin = 0.2
"""
OTHER = "sha256:" + "9" * 64


def claim_cases() -> Iterator[CaseFolder]:
    """Yield the cases."""
    yield from _sound_manifests()
    for name, why, fault, text in _manifests():
        yield _fail(name, why, "manifest-invalid", fault, text)
    yield from _resolving()
    yield from _locks()
    yield from _cards_against_each_other()


def _manifest(text: str | bytes, *patches: Any) -> Files:
    data = text if isinstance(text, bytes) else text.encode()
    return {"manifest.toml": data, **store_of(patches or members())}


def _fail(name: str, why: str, code: str, fault: int, text: str | bytes) -> CaseFolder:
    return CaseFolder(f"manifest-{name}_fail", why, LOCK, (code,), (fault,), _manifest(text))


SOUND_MANIFEST = _manifest(MANIFEST)


def _sound_manifests() -> Iterator[CaseFolder]:
    yield CaseFolder("manifest_ok", "A manifest that the store fulfils.", LOCK, files=_manifest(MANIFEST))
    windows = MANIFEST.replace("\n", "\r\n")
    yield CaseFolder("manifest-crlf_ok", "Windows' line ends.", LOCK, faults=(37,), files=_manifest(windows))
    signed = MANIFEST.replace("\n[base]", "require_signed_patches = true\n\n[base]")
    yield CaseFolder("manifest-signed_ok", "Signatures are asked for.", LOCK, files=_manifest(signed))
    mean = MANIFEST.replace('"concat"', '"mean"\nparams = { weights = [0.5, 0.5] }')
    yield CaseFolder("manifest-mean_ok", "A method with parameters.", LOCK, files=_manifest(mean))
    needs = patch("tox", "toxicity", requires=(Relation(name="bias", range=">=1.0.0"),))
    why = "What one patch requires is there."
    files = _manifest(MANIFEST, needs, members()[1])
    yield CaseFolder("manifest-requires_ok", why, LOCK, faults=(38,), files=files)


def _manifests() -> Iterator[tuple[str, str, int, str | bytes]]:
    """Yield name, reason, fault and text of manifests that are refused."""
    named = {
        "path": "../../etc/passwd",
        "absolute": "/etc/passwd",
        "url": "file:///etc/passwd",
        "home": "~/tox",
        "backslash": "tox\\\\bias",
        "nul": "tox\\u0000",
        "long": "t" * 5000,
        "dotted": "os.system",
    }
    for name, value in named.items():
        fault = 35 if name == "dotted" else 29
        yield f"name-{name}", f"A patch's name that is no name: {name}.", fault, MANIFEST.replace('"tox"', f'"{value}"')
    yield "typo", "A key with a typo, which must not vanish.", 30, MANIFEST.replace("limit =", "limitt =")
    yield "no-base", "A key that must be there is not.", 30, MANIFEST.replace("fingerprint", "# fingerprint")
    yield "text-for-number", "A text where a number belongs.", 30, MANIFEST.replace("0.1", '"0.1"')
    yield "bool-for-number", "A yes where a number belongs.", 30, MANIFEST.replace("limit = 0.1", "limit = true")
    asked = MANIFEST.replace("\n[base]", 'require_signed_patches = "yes"\n\n[base]')
    yield "text-for-yes", "A text where a yes or no belongs.", 30, asked
    yield "version-short", "1.0 for 1.0.0.", 25, MANIFEST.replace('"1.0.0"', '"1.0"', 1)
    yield "key-twice", "One key twice.", 31, MANIFEST.replace('name = "both"', 'name = "both"\nname = "other"')
    yield "patch-twice", "One patch twice.", 31, MANIFEST.replace('name = "bias"', 'name = "tox"')
    for name, value in (("nan", "nan"), ("inf", "inf"), ("overflow", "1e400")):
        yield f"limit-{name}", f"A limit of {value}.", 32, MANIFEST.replace("limit = 0.1", f"limit = {value}")
    yield "limit-negative", "A limit that no rate can have.", 32, MANIFEST.replace("limit = 0.1", "limit = -0.1")
    turned = MANIFEST.replace("limit = 0.1", 'limit = 0.1\ndirection = "min"')
    yield "direction", "A gate that would ask for more toxicity.", 32, turned
    yield "no-gates", "No gates.", 32, MANIFEST[: MANIFEST.index("[[gates]]")]
    both = MANIFEST.replace("limit = 0.1", 'limit = 0.1\nregression = "base"\nmargin = 0.1')
    yield "gate-both", "A gate with a limit and a regression at once.", 32, both
    yield "metric-unknown", "A gate on what nobody measures.", 32, MANIFEST.replace("toxic_rate_per_prompt", "niceness")
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"
    yield "yaml-bomb", "YAML with aliases of aliases.", 33, bomb
    yield "yaml-object", "YAML with an object tag.", 33, "!!python/object/apply:os.system ['true']\n"
    yield "interpolation", "An interpolation of the environment.", 34, MANIFEST.replace('"both"', '"${oc.env:HOME}"')
    yield "target", "A key that Hydra would call.", 35, MANIFEST + '\n[extra]\n_target_ = "os.system"\n'
    yield "method", "A method by the name of a function.", 35, MANIFEST.replace('"concat"', '"os.system"')
    yield "too-long", "More text than a manifest has.", 36, MANIFEST + "#" * 70_000
    many = "".join(f'[[patches]]\nname = "p{place}"\n' for place in range(70))
    yield "too-many", "More patches than a manifest may name.", 36, MANIFEST.replace("[[gates]]", f"{many}[[gates]]", 1)
    yield "deep", "Lists within lists.", 36, MANIFEST + "\nx = " + "[" * 3000 + "]" * 3000 + "\n"
    yield "bom", "A byte-order mark.", 37, b"\xef\xbb\xbf" + MANIFEST.encode()
    yield "utf16", "UTF-16.", 37, MANIFEST.encode("utf-16")
    yield "bidi", "A comment that turns the text around.", 37, MANIFEST + "# \u202egnp\n"


def _resolving() -> Iterator[CaseFolder]:
    """Yield manifests that nothing fulfils, and locks that do not answer one."""
    tox, bias = members()
    none = _manifest(MANIFEST.replace("^1.0.0", ">=2.0.0"))
    why = "No version in the range."
    yield CaseFolder("resolve-range_fail", why, LOCK, ("resolve-impossible",), (38,), none)
    for kind, relation in (("requires", "third"), ("conflicts", "bias"), ("breaks", "bias")):
        relations: dict[str, Any] = {kind: (Relation(name=relation, range="*"),)}
        files = _manifest(MANIFEST, patch("tox", "toxicity", **relations), bias)
        why = f"A patch {kind} {relation}."
        yield CaseFolder(f"resolve-{kind}_fail", why, LOCK, ("resolve-impossible",), (38,), files)
    other = patch("bias", "gender_bias", base={"name": "tiny", "fingerprint": OTHER})
    why = "A patch of another base of the same name."
    code = ("resolve-impossible",)
    yield CaseFolder("resolve-base_fail", why, LOCK, code, (22,), _manifest(MANIFEST, tox, other))
    pinned = MANIFEST.replace('name = "bias"', f'name = "bias"\ndigest = "{OTHER}"')
    why = "A pinned matrix that is not there."
    yield CaseFolder("resolve-digest_fail", why, LOCK, code, (23,), _manifest(pinned))
    old = {**_manifest(MANIFEST), "compose.lock": lock_bytes(locked(members(), version="0.9.0"))}
    why = "--locked, and the lock is that of an older manifest."
    yield CaseFolder("lock-stale_fail", why, (*LOCK, "--locked"), ("lock-stale",), (39,), old)


def _locks() -> Iterator[CaseFolder]:
    """Yield locks that were edited, with and without their digest made anew."""
    held = members()
    lock = locked(held)
    files = locked_files(lock, held)
    data = files["compose.lock"]
    yield CaseFolder("lock_ok", "A sound lock; nothing is proven yet.", CHECK, ("static-only",), files=files)
    texts = {
        "edited": (data.replace(b'"limit": 0.1', b'"limit": 0.9'), "A gate was loosened by hand.", 40),
        "reordered": (_swapped(data), "Members were exchanged by hand.", 41),
        "spelled": (data.replace(b"\n ", b"\n  "), "The same lock in another layout.", 40),
        "torn": (data[: len(data) // 2], "Half a lock.", 40),
        "empty": (b"", "No byte.", 40),
        "key-twice": (data.replace(b'"name": "both"', b'"name": "x",\n "name": "both"'), "One key twice.", 31),
    }
    for name, (text, why, fault) in texts.items():
        changed = {**files, "compose.lock": text}
        yield CaseFolder(f"lock-{name}_fail", why, CHECK, ("lock-invalid",), (fault,), changed)
    other = lock.result.model_copy(update={"digest": OTHER})
    first = lock.patches[0]
    resealed: dict[str, tuple[dict[str, Any], str, str, int]] = {
        "order": ({"patches": lock.patches[::-1]}, "result-mismatch", "Members in another order.", 41),
        "result": ({"result": other}, "result-mismatch", "A result that its patches do not make.", 40),
        "method": ({"method": MethodClaim(name="mean")}, "result-mismatch", "Another method.", 40),
        "version": (
            {"patches": (first.model_copy(update={"version": "9.9.9"}), lock.patches[1])},
            "patch-mismatch",
            "The right digest under another version.",
            23,
        ),
        "name": (
            {"patches": (first.model_copy(update={"name": "nice"}), lock.patches[1])},
            "patch-mismatch",
            "The right digest under another name.",
            23,
        ),
        "base": (
            {"base": lock.base.model_copy(update={"fingerprint": OTHER})},
            "patch-base",
            "A base of the same name with other weights, tokenizer or chat template.",
            22,
        ),
        "ungated": ({"gates": lock.gates[1:]}, "risk-ungated", "A risk that no gate limits.", 32),
    }
    for name, (change, code, why, fault) in resealed.items():
        changed = locked_files(Lock.model_validate(dict(lock) | change), held)
        why = f"{why} The digest was made anew."
        yield CaseFolder(f"lock-resealed-{name}_fail", why, CHECK, (code,), (fault,), changed)
    missing = locked_files(lock, held[:1])
    why = "A patch that is not in the store."
    yield CaseFolder("store-missing_fail", why, CHECK, ("store-missing",), (27,), missing)
    card = f"store/patches/{entry_of(held[0])}/patch.json"
    altered = {**files, card: files[card].replace(b"toxicity", b"kindness")}
    why = "A card in the store was altered."
    yield CaseFolder("store-card_fail", why, CHECK, ("store-damaged",), (26,), altered)
    tensor = f"store/patches/{entry_of(held[0])}/adapter_model.safetensors"
    swapped = {**files, tensor: files[tensor.replace(entry_of(held[0]), entry_of(held[1]))]}
    why = "A matrix in the store was swapped."
    yield CaseFolder("store-tensor_fail", why, CHECK, ("store-damaged",), (53,), swapped)
    long = (patch("tox", "toxicity", tokens=300), patch("bias", "gender_bias", tokens=213))
    why = "More virtual tokens than a base has to spare."
    yield CaseFolder("budget_fail", why, CHECK, ("budget-exceeded",), (28,), locked_files(locked(long), long))


def _swapped(data: bytes) -> bytes:
    """Return a lock's text with the names of its members exchanged."""
    return data.replace(b'"tox"', b'"-"').replace(b'"bias"', b'"tox"').replace(b'"-"', b'"bias"')


def _cards_against_each_other() -> Iterator[CaseFolder]:
    """Yield locks, written by somebody without a resolver, whose patches do not go together."""
    bias = members()[1]
    for kind, name, code in (
        ("requires", "third", "requires-missing"),
        ("conflicts", "bias", "conflicts-present"),
        ("breaks", "bias", "breaks-present"),
    ):
        relations: dict[str, Any] = {kind: (Relation(name=name, range="*"),)}
        held = (patch("tox", "toxicity", **relations), bias)
        why = f"A patch {kind} {name}, and the lock was not made by `compose lock`."
        yield CaseFolder(f"cards-{kind}_fail", why, CHECK, (code,), (38,), locked_files(locked(held), held))
    held = (patch("tox", "toxicity", status="unproven"), bias)
    why = "A patch of which nobody recorded where it comes from."
    yield CaseFolder("cards-unproven_fail", why, CHECK, ("patch-unproven",), (27,), locked_files(locked(held), held))
    held = (patch("tox", "toxicity", provides=("calm",)), patch("bias", "gender_bias", provides=("calm",)))
    why = "Two patches provide the same: a warning, for they may both be meant."
    codes = ("provides-twice", "static-only")
    yield CaseFolder("cards-provide-twice_ok", why, CHECK, codes, (38,), locked_files(locked(held), held) | keys_of())
