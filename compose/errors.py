"""The one exception a user sees, the table of its codes, and the exit status a program ends with.

Every error that a user can cause says what was found, what was expected and how to cure it. Codes are stable:
scripts may match on them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

REJECTED_EXIT = 2
INTERRUPTED_EXIT = 130

CODES: dict[str, str] = {
    "asset-digest": "bytes were fetched or found whose sha256 is not the pinned one",
    "asset-missing": "a model or prompt file is not at hand and could not be fetched",
    "base-mismatch": "a patch was made for another base model",
    "disk-full": "there is no room left where results or caches are written",
    "interrupted": "the user stopped the program; what was finished is kept",
    "prompt-too-long": "a patch, a prompt and what is to follow are more tokens than the base has positions for",
    "prompt-empty": "a prompt has no token, so nothing can be predicted from it",
    "settings-invalid": "a configuration key or value is unknown, missing or out of range",
    "unsupported-generation": "a way of generating that would lose the patch or compute it wrongly",
    "self-test-failed": "the patch is not active, or its outputs are not the ones recorded with it",
    "results-missing": "there is no results.json where a finished run was expected",
    "results-invalid": "a run's results or records are malformed or contradict themselves",
    "results-differ": "runs of different experiments, bases or risks cannot be merged into one report",
    "already-exists": "something is already there under the name of what should be written",
    "locked": "another process holds the lock of a file or folder for too long",
    "read-only": "results or caches would be written where this user may not write",
    "unsafe-weights": "a base folder whose weights are pickled or incomplete, so that nothing can vouch for them",
    "pairs-empty": "too few preference pairs are left to train on",
    "anchors-empty": "there is no text on which a patch could be kept near its base",
    "pairs-corrupt": "a file of preference pairs is malformed or is not the one that was written",
    "replay-empty": "earlier risks are to be replayed and the buffer holds none of their pairs",
    "init-invalid": "a prefix cannot be started from what was given",
    "reference-invalid": "a reference model cannot answer as it is configured",
    "responses-invalid": "a file of recorded responses is missing or malformed",
    "endpoint-refused": "a model server refuses the request, and would refuse it again",
    "endpoint-failed": "a model server failed for more prompts than may be left out",
    "training-unsafe": "a trainer option that is silently wrong with a soft prefix",
    "training-diverged": "a trained prefix holds NaN or infinity",
    "judge-invalid": "a judge's head or card is missing, damaged or of another version",
    "labels-invalid": "a file of labelled texts that no judge can be fitted on or measured with",
    "judge-silent": "a judge gave no usable score, so nothing can be said about a model's safety",
    "prompts-empty": "a source gives no prompt, or a prompt has no words",
    "prompts-overlap": "the same prompts would be trained on and tested with",
    "prompts-too-few": "a source has fewer usable prompts than the settings ask for",
    "prompts-unreadable": "a file of prompts is not in the format that the settings say",
    "artifact-missing": "a patch folder, or a file that it must have, is not there",
    "artifact-file": "something other than a readable plain file stands where a patch's file should be",
    "artifact-config": "an adapter configuration that is malformed or does not describe a soft prefix",
    "artifact-bytes": "a tensor file that is anything but one prefix matrix",
    "artifact-mismatch": "the files of a patch contradict each other",
    "card-invalid": "a patch card that is malformed, damaged or breaks its own rules",
    "prefix-invalid": "a matrix that cannot be a prefix: wrong kind or size, all zeros, NaN, or diverged",
    "composition-invalid": "patches that cannot be composed in the way that was asked for",
    "expression-invalid": "a provenance expression that is malformed or too large",
    "expression-mismatch": "a leaf of a provenance expression was answered with another patch",
    "version-invalid": "a version that is not MAJOR.MINOR.PATCH, or a range of versions spelled otherwise",
    "manifest-invalid": "a manifest that is missing, malformed or breaks its own rules",
    "lock-invalid": "a lock that is missing, malformed, edited or contradicts itself",
    "evidence-invalid": "evidence that is malformed, or contradicts its own description",
    "lock-stale": "a lock that its manifest does not admit, where changing it was forbidden",
    "resolve-impossible": "no versions in the store fulfil a manifest together",
    "resolve-too-hard": "whether versions fulfil a manifest together took too long to find out",
    "store-missing": "a patch that is not in the store",
    "store-damaged": "something in the store is not what its name says, or is of another layout",
    "store-conflict": "another patch is in the store under this name and version",
    "key-missing": "there is no key of that name, or its private half is not at hand",
    "key-permissions": "a private key that others than its owner may read",
    "key-passphrase": "a private key that does not open with the passphrase given, or with none",
    "key-unknown": "a signature by a key that is not in the keyring",
    "key-role": "a signature by a key of another role",
    "key-expired": "a key outside of the time that it is valid for",
    "key-revoked": "a key that was revoked: nothing that it signed counts",
    "keyring-invalid": "a keyring that is missing, malformed or contradicts itself",
    "seal-invalid": "a signed file that is malformed, or not the one spelling of what it says",
    "seal-type": "a signed file of another kind than the one asked for",
    "seal-forged": "a signature that does not belong to these bytes",
    "seal-threshold": "fewer different keys have signed than are asked for",
    "signature-other": "an author's signature that is about another patch, or about the patch before it was changed",
    "channel-keys": "a release channel that no key of the keyring vouches for, or that a key may not write to",
    "channel-expired": "a release channel that its maintainers have not signed for too long, or that is held back",
    "channel-rollback": "a release channel that is older than it was when it was last read",
    "channel-forged": "a release channel whose signatures are not those of its releasers",
    "channel-mixed": "files of a release channel that do not belong together",
    "channel-invalid": "a release channel that is malformed",
    "proposal-refused": "a change of a release channel that waits for signatures, and that nobody should sign",
    "channel-unreachable": "a release channel, or a file of it, that could not be fetched",
    "release-invalid": "a release or a history of releases that is malformed or cannot have happened",
    "release-order": "a release, rollback or yank that cannot follow what a channel has had",
    "release-missing": "a release that a channel does not hold",
    "release-denied": "a release whose own evidence does not prove it any more",
    "release-withdrawn": "a release that was yanked and must not be used",
    "benchmark-invalid": "a task of lm-eval that is unknown, cannot be loaded, or asks two models differently",
    "extra-missing": "an optional package that a verb needs is not installed",
    "machine-refused": "a file, folder or connection that the operating system would not open",
}


class Rejected(Exception):
    """A request that cannot be honoured, with what was expected, what was found, and the cure.

    Args:
        code: A key of `CODES`.
        subject: The file, setting or patch that the error is about.
        expected: What would have been accepted.
        got: What was found instead.
        fix: What the user can do about it.
    """

    def __init__(self, code: str, *, subject: str, expected: str, got: str, fix: str) -> None:
        if code not in CODES:
            raise KeyError(f"error code {code!r} is not in compose.errors.CODES")
        super().__init__(code, subject, expected, got, fix)
        self.code = code
        self.subject = subject
        self.expected = expected
        self.got = got
        self.fix = fix

    def __reduce__(self) -> tuple[Callable[..., Rejected], tuple[dict[str, str]]]:
        """Return how the error is made again in another process: jobs of a sweep send theirs back."""
        fields = {"code": self.code, "subject": self.subject, "expected": self.expected, "got": self.got}
        return _rejected, (fields | {"fix": self.fix},)

    def __str__(self) -> str:
        """Return the error as four lines: code and subject, expected, found, fix."""
        return (
            f"{self.code}: {self.subject}\n  expected: {self.expected}\n  found:    {self.got}\n  fix:      {self.fix}"
        )


def exit_status(work: Callable[[], int | None]) -> int:
    """Return a program's exit status after doing its work: what the work returns, with None for 0.

    An error of input is said on stderr and gives 2, Ctrl-C gives 130. Anything else is a fault of ours and is raised.
    """
    try:
        return work() or 0
    except Rejected as error:
        print(error, file=sys.stderr)
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        sys.stderr.close()  # Python would complain once more while it shuts down
        return 0
    except OSError as error:
        print(machine_refused(error), file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept; the same command goes on from there", file=sys.stderr)
        return INTERRUPTED_EXIT
    return REJECTED_EXIT


def machine_refused(error: OSError) -> Rejected:
    """Return what the operating system refused, said like every other error."""
    return Rejected(
        "machine-refused",
        subject=str(error.filename or "a file, folder or connection"),
        expected="that it can be read and written",
        got=f"{type(error).__name__}: {error.strerror or error}",
        fix="look at the name, the rights and the connection, and run the same command again",
    )


def _rejected(fields: dict[str, str]) -> Rejected:
    """Return the error of these fields."""
    return Rejected(fields["code"], **{name: text for name, text in fields.items() if name != "code"})
