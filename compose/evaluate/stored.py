"""Records of finished measurements on the disk: one strict reader for every kind, and the words of its refusals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from compose.digest import of_file
from compose.errors import Rejected

MAX_RECORD_BYTES = 64 * 2**20
Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class Stored(Generic[Record]):
    """One kind of record.

    Attributes:
        file: Name of its file.
        schema: Version of its layout.
        adapter: What reads and writes it.
        what: What it is the record of, for errors.
        missing: What to do when it is not there.
        again: How to make it again.
    """

    file: str
    schema: int
    adapter: TypeAdapter[Record]
    what: str
    missing: str
    again: str

    def read(self, place: Path) -> Record:
        """Return the record in `place`, its file or the folder that holds it.

        Raises:
            Rejected: `results-missing`; `results-invalid` for a file that is no record, such as one with NaN in it.
        """
        path = place / self.file if place.is_dir() else place
        if not path.is_file():
            raise Rejected(
                "results-missing",
                subject=str(path),
                expected=f"the {self.file} of a finished {self.what}",
                got="no such file",
                fix=self.missing,
            )
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise self.invalid(path, f"at most {MAX_RECORD_BYTES} bytes", f"{path.stat().st_size} bytes")
        try:
            return self.adapter.validate_json(path.read_bytes(), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise self.invalid(path, f"a record of schema {self.schema}", f"{where}: {first['msg']}") from error

    def refuse_other(self, path: Path, digest: str) -> None:
        """Refuse a file that is not the one that a record names by digest.

        Raises:
            Rejected: `results-invalid`.
        """
        if (found := of_file(path)) != digest:
            raise self.invalid(path, f"{digest}, as the record says", found)

    def invalid(self, path: Path, expected: str, got: str) -> Rejected:
        """Return the error about a file that is not the record's, or not what the record says."""
        return Rejected(
            "results-invalid",
            subject=str(path),
            expected=expected,
            got=got,
            fix=f"get the folder again from whoever made it, or {self.again}",
        )
