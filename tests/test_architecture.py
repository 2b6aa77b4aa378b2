"""The arrows between the parts, the doors to third parties and the ceilings, checked on the source itself."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("musediff", "demo", "train")
FILE_LINES, FUNCTION_LINES = 300, 40

# Who may import whom. The most specific name counts: musediff.data.store is a part of its own.
CORE = {"musediff.errors", "musediff.chords", "musediff.clip"}
CHORDS = CORE | {"musediff.chord_symbols"}
REQUEST = CHORDS | {"musediff.progression"}
MAY_IMPORT: dict[str, set[str]] = {
    "musediff": set(),
    "musediff.errors": set(),
    "musediff.chords": {"musediff.errors"},
    "musediff.clip": {"musediff.chords", "musediff.errors"},
    "musediff.chord_symbols": CORE,
    "musediff.progression": CHORDS,
    "musediff.meta_json": REQUEST,
    "musediff.midi": REQUEST,
    "musediff.render": CHORDS | {"musediff.midi"},
    "musediff.metrics": CORE,
    "musediff.whole_file": set(),
    "musediff.data.store": {"musediff.errors", "musediff.whole_file"},
    "musediff.data": REQUEST | {"musediff.midi", "musediff.data.store"},
    "musediff.checkpoint": {"musediff.errors", "musediff.whole_file"},
    "musediff.tokens": CORE,
    "musediff.engines": CORE | {"musediff.data.store", "musediff.checkpoint", "musediff.tokens"},
    "musediff.priors": CORE | {"musediff.midi"},
    "musediff.job": CORE | {"musediff.engines", "musediff.midi"},
    "musediff.pipeline": REQUEST
    | {"musediff.engines", "musediff.checkpoint", "musediff.job", "musediff.priors", "musediff.meta_json"}
    | {"musediff.midi", "musediff.metrics"},
    "musediff.ranks": {"musediff.errors"},
    "musediff.gather": {"musediff.errors", "musediff.ranks"},
    "musediff.cli": {"musediff", "train"},
    "musediff.__main__": {"musediff.cli"},
    "demo": REQUEST | {"musediff.pipeline", "musediff.job", "musediff.render", "musediff.metrics", "musediff.meta_json"},
    "app": {"demo", "musediff.pipeline", "musediff.render", "musediff.errors"},
    "train": {"musediff"},
}  # fmt: skip
ANYWHERE = set(sys.stdlib_module_names) | {"numpy", "tqdm"}
# A third party has one door. Everything that is not listed stays outside.
DOORS: dict[str, tuple[str, ...]] = {
    "mido": ("musediff/midi/write.py",),
    "fluidsynth": ("musediff/render/",),
    "midirenderer": ("musediff/render/",),
    "tinysoundfont": ("musediff/render/",),
    "sklearn": ("train/evaluate",),
    "matplotlib": ("musediff/render/", "train/evaluate", "train/report"),
    "torch": (
        "musediff/engines/",
        "musediff/data/dataset.py",
        "musediff/checkpoint.py",
        "musediff/gather.py",
        "musediff/pipeline.py",
        "musediff/job.py",
        "train/",
    ),
    "safetensors": ("musediff/checkpoint.py", "train/"),
    "gradio": ("demo/", "app.py"),
    "spaces": ("demo/", "app.py"),
}


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(found) > len(folders), f"no sources under {folders}"
    return found


def product() -> list[Path]:
    return sources(*PRODUCT) + [path for path in [ROOT / "app.py"] if path.exists()]


def name_of(path: Path) -> str:
    """musediff/midi/read.py -> musediff.midi.read"""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def owner(name: str) -> str | None:
    """The listed part that a dotted name belongs to. cli_clips belongs to cli, pipeline_job to pipeline."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if length == 1 and parts[0] == "musediff":  # "from musediff import clip" or an unknown module
            part = "musediff." + parts[1].split("_")[0] if len(parts) > 1 else "musediff"
            return part if part in MAY_IMPORT else None
        if prefix in MAY_IMPORT:
            return prefix
    return None


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, wherever in the file, with the line."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # "from musediff import clip" imports musediff.clip
                full = f"{module}.{alias.name}"
                yield (full if is_module(full) else module), node.lineno


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def allowed(importer: str, imported: str) -> bool:
    return any(imported == part or imported.startswith(part + ".") for part in MAY_IMPORT[importer])


def test_imports_follow_the_table() -> None:
    checked = 0
    for path in product():
        mine = owner(name_of(path))
        assert mine is not None, f"{path.relative_to(ROOT)}: add this part to MAY_IMPORT"
        for name, line in imports(path):
            if name.split(".")[0] in (*PRODUCT, "app"):
                theirs = owner(name)
                checked += 1
                assert theirs == mine or allowed(mine, theirs or name), f"{path.relative_to(ROOT)}:{line}: {mine} may not import {name}"
    assert checked > 20


def test_third_parties_have_one_door() -> None:
    for path in product():
        place = path.relative_to(ROOT).as_posix()
        for name, line in imports(path):
            top = name.split(".")[0]
            if top in ANYWHERE or top in (*PRODUCT, "app"):
                continue
            assert place.startswith(DOORS.get(top, ())), f"{place}:{line}: {top} may be imported only in {DOORS.get(top, 'no file')}"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("musediff.midi.read", ("torch", "gradio", "matplotlib")),
        ("musediff.progression", ("torch", "gradio", "symusic")),
        ("musediff.render.audio", ("torch", "gradio")),
        ("musediff.metrics.similarity", ("torch", "gradio", "symusic")),
        ("musediff.data.build", ("torch", "gradio")),
        ("musediff.cli", ("torch", "gradio", "symusic", "matplotlib")),
        ("musediff.pipeline", ("gradio",)),
        ("train.train", ("gradio", "fluidsynth")),
    ],
)
def test_importing_brings_only_what_is_needed(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sorted(set({forbidden!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"{module} pulls in {done.stdout}"


def test_initialisers_are_empty() -> None:
    for path in product():
        if path.name == "__init__.py":
            assert path.read_text("utf-8").strip() == "", f"{path.relative_to(ROOT)}: name things from the file that defines them"


def test_no_broad_except() -> None:
    for path in sources("musediff"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                caught = [] if node.type is None else [n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)]
                broad = node.type is None or {"Exception", "BaseException"} & set(caught)
                assert not broad, f"{path.relative_to(ROOT)}:{node.lineno}: name what can go wrong"


def test_files_and_functions_stay_short() -> None:
    for path in [*product(), *sources("tests")]:
        lines = len(path.read_text("utf-8").splitlines())
        assert lines <= FILE_LINES, f"{path.relative_to(ROOT)}: {lines} lines, the ceiling is {FILE_LINES}"
    for path in product():
        if path.relative_to(ROOT).as_posix() == "train/train.py":  # the loop reads top to bottom
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = code_lines(node)
                assert length <= FUNCTION_LINES, f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {length} lines"


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    return total - ((first.end_lineno or first.lineno) - first.lineno + 1 if docstring else 0)


MUTATORS = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "clear", "remove", "discard"}


def test_no_module_level_state() -> None:
    for path in product():
        tree = ast.parse(path.read_text("utf-8"))
        held = {t.id for node in tree.body for t in targets(node) if isinstance(t, ast.Name)}
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)):
            local = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            local |= {a.arg for a in [*function.args.args, *function.args.kwonlyargs]}
            for node in ast.walk(function):
                where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                assert not isinstance(node, ast.Global), f"{where}: no global state"
                changed = changed_name(node)
                assert changed not in held - local, f"{where}: {changed} belongs to the module and is changed here"


def targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def changed_name(node: ast.AST) -> str | None:
    """x in x.append(...), x[...] = ..., del x[...]"""
    held: ast.expr | None = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        held = node.func.value
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        held = node.value
    return held.id if isinstance(held, ast.Name) else None
