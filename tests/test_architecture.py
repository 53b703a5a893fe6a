"""The rules about the whole tree: who may import whom, what stays light, what a settings file may hold."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "compose"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"records", "digest", "durable", "progress", "conf_path", "device", "validated"}),
    frozenset({"parse", "plain_file", "prefix_bytes", "assets", "base_spec", "model_server"}),
    frozenset({"patch_files"}),
    frozenset({"artifact", "algebra", "fingerprint"}),
    frozenset({"base", "strategies"}),
    frozenset({"engine"}),
    frozenset({"evaluate"}),
    frozenset({"training", "report", "track", "trust"}),
    frozenset({"laboratory"}),
    frozenset({"settings"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""What lies directly below compose/, from the ground up: everything imports from its own layer or below."""

LIGHT = (
    "compose",
    "compose.errors",
    "compose.records",
    "compose.parse",
    "compose.plain_file",
    "compose.prefix_bytes",
    "compose.patch_files",
    "compose.algebra",
    "compose.digest",
    "compose.durable",
    "compose.progress",
    "compose.validated",
    "compose.conf_path",
    "compose.assets",
    "compose.base_spec",
    "compose.strategies",
    "compose.report",
    "compose.settings",
    "compose.cli",
)
"""What answers before torch could be imported: help, errors, completeness of a run; and the whole of compose.trust."""


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, *, at_start_only: bool = False) -> Iterator[str]:
    """Yield the dotted names that a file imports; with `at_start_only`, those that importing it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _at_start(tree) if at_start_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_start(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _at_start(child)


def resolve(name: str, known: dict[str, Path]) -> str | None:
    """Return the module that an imported name is, or is taken from; None for other people's."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def part(module: str) -> str:
    """Return what lies directly below compose/ and holds the module."""
    return module.split(".")[1]


def test_every_module_has_a_layer() -> None:
    placed = frozenset().union(*LAYERS)
    found = {part(name) for name in modules() if name != "compose"}

    assert found - placed == set(), "give it a place in LAYERS"
    assert placed - found == set(), "LAYERS names what is not there"


def test_imports_point_downwards() -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    known = modules()
    upwards = []
    for module, path in known.items():
        targets = {resolve(name, known) for name in imports(path, at_start_only=True)} - {None, "compose"}
        if module != "compose":
            upwards += [f"{module} -> {t}" for t in targets if t and level[part(t)] > level[part(module)]]

    assert upwards == []


def test_no_two_modules_need_each_other_to_be_imported() -> None:
    known = modules()
    graph = {
        module: {resolve(name, known) for name in imports(path, at_start_only=True)} - {None, module, "compose"}
        for module, path in known.items()
    }

    assert len(list(TopologicalSorter(graph).static_order())) >= len(known)  # raises CycleError on a cycle


def test_only_the_command_line_imports_the_command_line_and_the_settings() -> None:
    known = modules()
    guilty = [
        f"{module} -> {target}"
        for module, path in known.items()
        for target in {resolve(name, known) for name in imports(path)} - {None, "compose"}
        if target and part(target) in ("cli", "settings") and part(f"{module}.") not in ("cli", "settings", "__main__")
    ]

    assert guilty == []


def test_omegaconf_ends_in_settings() -> None:
    importers = {
        name
        for name, path in modules().items()
        if any(imported.split(".")[0] == "omegaconf" for imported in imports(path))
    }
    namers = {name for name, path in modules().items() if "DictConfig" in path.read_text(encoding="utf-8")}

    assert importers == {"compose.settings"}
    assert namers == {"compose.settings"}


def test_hydra_is_asked_by_the_command_line_alone() -> None:
    importers = {
        name for name, path in modules().items() if any(imported.split(".")[0] == "hydra" for imported in imports(path))
    }

    assert {part(name) for name in importers} <= {"cli", "settings"}


def test_light_modules_import_without_torch() -> None:
    light = (*LIGHT, *(name for name in modules() if name.startswith("compose.trust")))
    program = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'transformers', 'trl', 'peft', 'hydra', 'sklearn', 'wandb'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} imports {sorted(heavy)}'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_settings_files_name_no_code() -> None:
    guilty = [str(path) for path in ROOT.glob("conf/**/*.yaml") if "_target_" in path.read_text(encoding="utf-8")]

    assert guilty == []


def test_every_settings_file_is_yaml_and_says_first_what_it_is() -> None:
    files = sorted(ROOT.glob("conf/**/*.yaml"))
    uncaptioned = [str(path) for path in files if not path.read_text(encoding="utf-8").startswith("#")]
    for path in files:
        yaml.safe_load(path.read_text(encoding="utf-8"))

    assert files
    assert uncaptioned == []


def test_every_file_says_what_belongs_in_it() -> None:
    silent = [name for name, path in modules().items() if ast.get_docstring(ast.parse(path.read_text())) is None]

    assert silent == []


def test_the_readme_captions_every_file_of_the_package_and_no_other() -> None:
    listed = dict(captioned_tree((ROOT / "README.md").read_text(encoding="utf-8")))
    present = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    # A folder's caption is its __init__.py's.
    expected = {
        path.removesuffix("/__init__.py") + "/" if path.count("/") > 1 and path.endswith("/__init__.py") else path
        for path in present
    }
    folders = {f"{parent.as_posix()}/" for path in expected for parent in Path(path).parents if len(parent.parts) > 1}

    assert {path for path in listed if path.startswith("compose/") and path != "compose/"} == expected | folders
    assert [path for path, caption in listed.items() if not caption] == []


def captioned_tree(readme: str) -> Iterator[tuple[str, str]]:
    """Yield (path, caption) of every line of the fenced block that starts with `compose/`."""
    block = next(text for text in readme.split("```") if text.strip().startswith("compose/"))
    folders: list[str] = []
    for line in block.strip().splitlines():
        name, _, caption = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        del folders[depth:]
        yield "".join(folders) + name, caption.strip()
        if name.endswith("/"):
            folders.append(name)
