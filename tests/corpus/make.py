"""Makes the folders of the corpus anew: `python -m tests.corpus.make`. Every run makes the same bytes.

A case is a folder named `<case>_ok` or `<case>_fail`. It holds what is different from one of the sound folders,
`case.json` (that folder, which of its files are left out, the words of the command line, the codes that must be found,
the faults it stands for) and a README that says why. The test knows no case by name.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.corpus.artifacts import SOUND_PATCH, artifact_cases
from tests.corpus.authors import author_cases
from tests.corpus.claims import SOUND_MANIFEST, claim_cases
from tests.corpus.folder import CaseFolder
from tests.corpus.proofs import SOUND_PROOF, proof_cases

HERE = Path(__file__).parent
CASES, SOUND = HERE / "cases", HERE / "sound"
SOUND_FOLDERS = {"patch": SOUND_PATCH, "manifest": SOUND_MANIFEST, "proof": SOUND_PROOF}


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder."""
    folder.mkdir(parents=True)
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def write_case(case: CaseFolder) -> None:
    """Write what is different in a case from the sound folder that is most like it."""
    folder = CASES / case.name
    sound = max(SOUND_FOLDERS, key=lambda name: _shared(case.files, SOUND_FOLDERS[name]))
    like = SOUND_FOLDERS[sound]
    write(folder, {path: data for path, data in case.files.items() if like.get(path) != data})
    for path, target in case.links.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(target)
    fields = {
        "like": sound,
        "without": sorted(like.keys() - case.files.keys()),
        "argv": case.argv,
        "codes": case.codes,
        "faults": case.faults,
    }
    (folder / "case.json").write_text(json.dumps(fields) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(f"{case.why}\n", encoding="utf-8")


def _shared(files: Mapping[str, bytes], sound: Mapping[str, bytes]) -> int:
    """Return how many bytes two sets of files share, less one for every file that only the sound one has."""
    return sum(len(data) if files.get(path) == data else -1 for path, data in sound.items())


def main() -> None:
    """Write every case."""
    for folder in (CASES, SOUND):
        shutil.rmtree(folder, ignore_errors=True)
    for name, files in SOUND_FOLDERS.items():
        write(SOUND / name, files)
    names = set()
    for case in (*artifact_cases(), *claim_cases(), *author_cases(), *proof_cases()):
        if case.name in names:
            raise ValueError(f"two cases are called {case.name}")
        names.add(case.name)
        write_case(case)
    print(f"{sum(name.endswith('_fail') for name in names)} fail, {sum(name.endswith('_ok') for name in names)} ok")


if __name__ == "__main__":
    main()
