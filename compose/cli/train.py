"""`compose train risk=toxicity model=smollm2`: a specialist for one risk, measured, in a folder of its own.

Every other word is a Hydra override of `conf/config.yaml` and passes through.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from compose.cli.verb import Verb
from compose.conf_path import conf_folder
from compose.errors import Rejected

DEFAULTS = ("name=train", "strategy=specialist", "evaluation.curve_prompts=0")
"""One patch and its measurement; `experiments/` is for comparisons and curves."""
RISK = "risk="


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `train`."""
    text = "risk=NAME (a file of conf/risk/), model=NAME, tokens=20, trainer.dpo_steps=40, seed=1, ..."
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the patch is trained and measured; what was trained before is shown again."""
    from compose import settings
    from compose.laboratory.folders import Folders

    config = settings.composed([*DEFAULTS, *_expanded(arguments.overrides)])
    values = settings.plain(config)
    folders = Folders(Path(str(values["runs"])), str(values["name"]), settings.run_key(values))
    if not folders.is_complete():
        checked = settings.load(config)
        from compose.laboratory.job import run_job

        run_job(checked, folders, config=settings.as_yaml(values))
    for risk in values["order"]:
        print(f"patch:  {folders.patches / f'specialist-{risk}'}")
    print(f"report: {folders.page}")
    return 0


def _expanded(words: Sequence[str]) -> Iterator[str]:
    """Yield the overrides, `risk=NAME` as the group and the order that it stands for.

    Raises:
        Rejected: `settings-invalid` when no risk is named, or one that conf/ does not know.
    """
    if not any(word.startswith((RISK, "order=")) for word in words):
        raise Rejected(
            "settings-invalid",
            subject="compose train",
            expected=f"risk=NAME, one of {', '.join(_known_risks())}",
            got=" ".join(words) or "nothing",
            fix="say which risk the patch is for, such as risk=toxicity",
        )
    for word in words:
        if not word.startswith(RISK):
            yield word
            continue
        file = word.removeprefix(RISK)
        risk = _name_of(file)
        yield f"order=[{risk}]"
        if file != risk:
            yield f"risk@risks.{risk}={file}"


def _name_of(file: str) -> str:
    """Return the name of the risk that a file of `conf/risk/` describes.

    Raises:
        Rejected: `settings-invalid`, when there is no such file.
    """
    import yaml

    known = _known_risks()
    if file not in known:
        raise Rejected(
            "settings-invalid",
            subject=f"{RISK}{file}",
            expected=f"one of {', '.join(known)}",
            got="a name without a file in conf/risk/",
            fix="use one of the known names",
        )
    name: str = yaml.safe_load((conf_folder() / "risk" / f"{file}.yaml").read_text(encoding="utf-8"))["name"]
    return name


def _known_risks() -> list[str]:
    """Return the names of the files of `conf/risk/`."""
    return sorted(path.stem for path in (conf_folder() / "risk").glob("*.yaml"))


VERB = Verb("train a patch for one risk, and measure it", add_arguments, run)
