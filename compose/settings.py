"""From what Hydra composed to one frozen record, or one error that names every mistake. OmegaConf ends here.

This file is light on purpose: whether a run is complete is known from its settings' digest alone, before
anything that loads a model is imported.
"""

from __future__ import annotations

import difflib
import json
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from compose.conf_path import conf_folder
from compose.digest import of_file, of_json
from compose.errors import Rejected

if TYPE_CHECKING:  # its import takes torch with it
    from compose.evaluate.attacks.spec import AttackSpec
    from compose.evaluate.suites import SuiteSpec
    from compose.laboratory.spec import ExperimentSettings

Record = TypeVar("Record")

PLACES = ("runs", "tracking")
"""Top-level settings that say where and how a run is kept or shown, and nothing about its result."""
INSTALL_LAUNCHER = (
    "install it: `make launchers`, or .venv/bin/pip install -c .constraints.txt -e '.[launchers,submitit]'"
)
UNKNOWN_OPTION = r"Could not find '(.+)/([^'/]+)' Available options in '[^']+': (.*?)(?: Config search path|$)"
"""What Hydra says of a file that a group of `conf/` does not have: the group, the name, those that it has."""
MISSING = "???"
SHOWN_CHARACTERS = 60
RESULTS_MADE_BY = 2
"""Raised when a change of the code makes the same settings give other results: no old run is then shown as theirs."""
RUN_KEY_DIGITS = 16
NAMED_FILES = ("path", "patch", "model", "template")
"""Keys whose texts may name a file or folder of this machine."""
STAMPED_BYTES = 64 * 1024 * 1024
"""A named file up to this size is known by its digest, a larger one by its size and time."""


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as plain values, interpolations resolved.

    Raises:
        Rejected: `settings-invalid` when an interpolation leads nowhere.
    """
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise _invalid(
            "the settings", "values and interpolations that resolve", _one_line(error), "correct that key"
        ) from error
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def as_yaml(values: Mapping[str, Any]) -> str:
    """Return plain values as YAML, for people."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))


def run_key(values: Mapping[str, Any]) -> str:
    """Return the name of a run's folder: a digest of every setting that can change the result, seed too.

    Of files that the settings name, the contents count: an edited prompt file is another question.
    """
    deciding = {key: value for key, value in values.items() if key not in PLACES}
    # Through JSON with NaN allowed: the settings are not validated yet, and a wrong value must not end here.
    text = json.dumps([RESULTS_MADE_BY, deciding, sorted(_named_files(deciding))], sort_keys=True, default=str)
    return of_json(text).removeprefix("sha256:")[:RUN_KEY_DIGITS]


def _named_files(values: object) -> Iterator[tuple[str, str]]:
    """Yield each local file that settings name, or that lies in a folder they name, and what tells its contents."""
    if isinstance(values, Mapping):
        for key in NAMED_FILES:
            name = values.get(key)
            place = Path(name if isinstance(name, str) else "").expanduser()
            if name and isinstance(name, str) and place.exists():
                files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
                yield from ((str(path), _stamp(path)) for path in files)
    inside = values.values() if isinstance(values, Mapping) else values if isinstance(values, list) else ()
    for one in inside:
        yield from _named_files(one)


def _stamp(path: Path) -> str:
    """Return a file's digest; of one that takes seconds to read, such as a model's weights, its size and its time."""
    status = path.stat()
    return of_file(path) if status.st_size <= STAMPED_BYTES else f"{status.st_size} bytes of {status.st_mtime_ns}"


def load(config: DictConfig) -> ExperimentSettings:
    """Return the settings of an experiment from what Hydra composed.

    Raises:
        Rejected: `settings-invalid`, with every unknown key, wrong type and wrong value in one message.
    """
    from compose.laboratory.spec import ExperimentSettings

    return checked(ExperimentSettings, plain(config))


def checked(record: type[Record], values: Mapping[str, Any], *, subject: str = "the settings") -> Record:
    """Return the record that plain values describe, nothing coerced: a text is no number and a yes is no one.

    Raises:
        Rejected: `settings-invalid`, with every mistake in one message.
    """
    # JSON is pydantic's strict mode with lists for tuples, which is just what YAML can say.
    text = json.dumps(dict(values), default=str)
    try:
        return TypeAdapter(record).validate_json(text, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    described = [_describe(record, fault) for fault in faults]
    unique = list(dict.fromkeys(described))
    raise _invalid(
        subject,
        "known keys with values of the right type and range",
        "; ".join(f"{place}: {problem}" for place, problem, _ in unique),
        "; ".join(dict.fromkeys(advice for _, _, advice in unique)),
    )


def composed(overrides: Sequence[str]) -> DictConfig:
    """Return what Hydra composes of `conf/` with these overrides, as the experiments' command line would.

    Raises:
        Rejected: `settings-invalid` for an override or option that `conf/` does not know.
    """
    return _composed("config", overrides, None)


def suite(name: str, overrides: Sequence[str]) -> SuiteSpec:
    """Return the suite that `conf/suite/<name>.yaml` describes, with these overrides.

    Raises:
        Rejected: `settings-invalid` for an unknown name, key or value.
    """
    from compose.evaluate.suites import SuiteSpec

    return _of_group("suite", name, overrides, SuiteSpec)


def attack(name: str, overrides: Sequence[str]) -> AttackSpec:
    """Return the attack that `conf/attack/<name>.yaml` describes, with these overrides.

    Raises:
        Rejected: `settings-invalid` for an unknown name, key or value.
    """
    from compose.evaluate.attacks.spec import AttackSpec

    return _of_group("attack", name, overrides, AttackSpec)


def _of_group(group: str, name: str, overrides: Sequence[str], record: type[Record]) -> Record:
    """Return the record that a file of a group describes, with these overrides."""
    known = _known(group)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]}?" if near else f"use one of these, or add a file to conf/{group}/"
        raise _invalid(f"--{group}", f"one of {', '.join(known)}", f"{name!r}, without a file in conf/{group}/", advice)
    return checked(record, plain(_composed(f"{group}/{name}", overrides, record)), subject=f"{group} {name}")


def known_suites() -> tuple[str, ...]:
    """Return the names of the suites that `conf/suite/` describes."""
    return _known("suite")


def known_attacks() -> tuple[str, ...]:
    """Return the names of the attacks that `conf/attack/` describes."""
    return _known("attack")


def _known(group: str) -> tuple[str, ...]:
    """Return the names of the files of a group."""
    return tuple(sorted(path.stem for path in (conf_folder() / group).glob("*.yaml")))


def _composed(file: str, overrides: Sequence[str], record: type[Any] | None) -> DictConfig:
    """Return what Hydra composes of one file of `conf/`, whose keys are those of `record` (an experiment's if None)."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        try:
            return compose(file, overrides=list(overrides))
        except HydraException as error:
            raise from_composition(error, record) from error


def from_composition(error: Exception, record: type[Any] | None = None) -> Rejected:
    """Return what Hydra said when it could not compose a configuration, with the nearest valid key.

    Args:
        error: What it raised.
        record: Whose keys may be meant; those of an experiment's settings when None.
    """
    message = _one_line(error)
    unknown = re.match(r"Could not override '([^']+)'", message)
    option = re.search(UNKNOWN_OPTION, message)
    if option is not None and "hydra/launcher" not in message:
        group, name, options = option[1], option[2], option[3].split()
        near = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
        advice = f"did you mean {group}={near[0]}?" if near else f"choose one of these, or add conf/{group}/{name}.yaml"
        return _invalid(f"{group}={name}", f"one of {', '.join(options)}", f"no file conf/{group}/{name}.yaml", advice)
    if unknown is None:
        advice = INSTALL_LAUNCHER if "hydra/launcher" in message else "correct it"
        return _invalid("the command line", "overrides and group options that conf/ knows", message, advice)
    if record is None:  # only this error needs to know the keys, and knowing them takes torch
        from compose.laboratory.spec import ExperimentSettings

        record = ExperimentSettings
    return unknown_override(record, unknown.group(1))


def unknown_override(record: type[Any], path: str) -> Rejected:
    """Return the error about a key of the command line that the composed configuration does not have."""
    *parents, key = path.split(".")
    known = _known_keys(_at(record, parents)[0])
    # A key that only a default gives a value is none that Hydra would let be overridden.
    advice = f"write +{path}=..., for conf/ leaves it at its default" if key in known else _nearest(key, known)
    return _invalid("the command line", "keys that the settings have", f"unknown key {path}", advice)


def _describe(record: type[Any], fault: Any) -> tuple[str, str, str]:
    """Return one fault as its key path, what is wrong, and what to do."""
    location = list(fault["loc"])
    if fault["type"] == "unexpected_keyword_argument":
        holders, place = _at(record, location[:-1])
        path = ".".join((*place, str(location[-1])))
        return path, "unknown key", f"{path}: {_nearest(str(location[-1]), _known_keys(holders))}"
    _, place = _at(record, location)
    path = ".".join(place) or "the settings"
    if fault["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return path, "missing", f"{path}: give it a value"
    if fault["input"] == MISSING:
        return path, "not set", f"{path}: give it a value"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "value_error" and isinstance(fault["input"], dict):
        return path, message, f"{path}: correct one of them"  # a rule over several keys: the whole record drowns it
    return path, f"{message}, found {_shown(fault['input'])}", f"{path}: {_value_advice(fault)}"


def _value_advice(fault: Any) -> str:
    """Return what to do about a wrong value, with the nearest allowed one where there is a list of them."""
    context = fault.get("ctx", {})
    allowed = re.findall(r"'([^']*)'", str(context.get("expected_tags", context.get("expected", ""))))
    given = fault["input"]
    if isinstance(given, dict):
        given = given.get(str(context.get("discriminator", "")).strip("'"))
    near = difflib.get_close_matches(str(given), allowed, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else "correct the value"


def _nearest(key: str, known: set[str]) -> str:
    """Return the advice for an unknown key."""
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"the keys here are {', '.join(sorted(known))}" if known else "remove it"


def _at(record: type[Any], location: list[Any]) -> tuple[set[type[Any]], list[str]]:
    """Return the records that may stand at a place, and the place as a user would write it.

    A validation error's place also names the variant of a union that was tried; a user never writes that.
    """
    here, place = {record}, list[str]()
    for part in location:
        inside = [hint for one in here for name, hint in _hints(one) if name == part]
        variant = {one for one in here if part in _tags(one)}
        if inside:
            here = {found for hint in inside for found in _records(hint)}
        elif variant:
            here = variant
            continue
        elif isinstance(part, str) and (part.startswith("function-") or part == "dataclass"):
            continue
        place.append(str(part))
    return here, place


def _hints(record: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a record with their resolved types."""
    hints = typing.get_type_hints(record, include_extras=True)
    for field in fields(record):
        yield field.name, hints[field.name]


def _known_keys(records: set[type[Any]]) -> set[str]:
    """Return the keys that any of the records has."""
    return {name for record in records for name, _ in _hints(record)}


def _tags(record: type[Any]) -> set[Any]:
    """Return the values that tell a record from others of a union: those of its fields of a literal type."""
    return {value for _, hint in _hints(record) if get_origin(hint) is Literal for value in get_args(hint)}


def _records(hint: Any) -> Iterator[type[Any]]:
    """Yield every record that a type mentions."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for part in get_args(hint):
        yield from _records(part)


def _shown(value: object) -> str:
    """Return a value for an error message, cut short: it may be a whole mapping."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _one_line(error: Exception) -> str:
    """Return an exception's words without their layout."""
    return " ".join(str(error).split())


def _invalid(subject: str, expected: str, got: str, fix: str) -> Rejected:
    """Return the error with its code."""
    return Rejected("settings-invalid", subject=subject, expected=expected, got=got, fix=fix)
