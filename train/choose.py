"""Flags and a JSON file of settings -> a recipe, all of it checked before any work, and back."""

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from musediff.cli_corruption import corruption_settings
from musediff.cli_options import read_json, yes_or_no
from musediff.data.build import CONVERTERS
from musediff.errors import BadRequest
from musediff.tokens.damage import CORRUPTIONS
from musediff.tokens.damage import check as check_damage
from train import launch
from train.recipes import RECIPES, ArRecipe, MuseRecipe, Recipe, SlotsRecipe
from train.settings import BY_NAME, FIXED, LEAST_TOKENS, RUN_NAMES, SETTINGS, WORD_KINDS, Setting, build, kinds, leaves

USUAL_DAMAGE = 0.5


@dataclass(frozen=True, slots=True)
class Chosen:
    """A recipe by name with all that was said, where the run lies, and what the user should know."""

    name: str
    recipe: Recipe
    run: Mapping[str, str]
    notes: tuple[str, ...]

    def complete(self) -> dict[str, Any]:
        """Every setting; reads back as ``--config-json``."""
        values = leaves(self.recipe)
        return {"recipe": self.name, **self.run, **{s.name: values[s.field] for s in SETTINGS if s.field in values}}


def choose(name: str | None, config: Path | None, flags: Mapping[str, str]) -> Chosen:
    """The recipe with what a file and, over it, the flags say.

    Raises:
        BadRequest: a setting is unknown, of another engine, of the wrong type or out of range, or two contradict each other.
    """
    in_file = {} if config is None else read_json(config, "What it looks like: musediff train RECIPE --print-config")
    name = (name or str(in_file.pop("recipe", ""))).replace("_", "-")
    in_file.pop("recipe", None)
    if name not in RECIPES:
        what = f"Recipe {name[:40]!r} is not known{_near(name, tuple(RECIPES))}" if name else "Which recipe?"
        raise BadRequest(f"{what} Choose from {', '.join(RECIPES)}.")
    recipe, notes, run = RECIPES[name](), list[str](), dict[str, str]()
    values = leaves(recipe)
    for layer, source in ((in_file, f"{config.name}: " if config else ""), (flags, "--")):
        said = _Layer(name, recipe, source)
        for key, value in layer.items():
            said.take(key, value)
        values |= said.fields(values)
        run |= said.run
        notes += said.notes
    changed = build(recipe, values)
    check(changed)
    return Chosen(name, changed, run, tuple(notes))


class _Layer:
    """What one source says, read setting by setting. ``source`` stands before a name in messages: ``--``, or the file's name."""

    def __init__(self, recipe_name: str, recipe: Recipe, source: str) -> None:
        self.recipe_name, self.kinds, self.source = recipe_name, kinds(type(recipe)), source
        self.values: dict[str, Any] = {}
        self.run: dict[str, str] = {}
        self.notes: list[str] = []

    def take(self, key: str, value: Any) -> None:
        name = key.replace("-", "_")
        if value is None:
            return
        if name in FIXED:
            self._fixed(name, value)
        elif name in RUN_NAMES:
            if not isinstance(value, str):
                raise BadRequest(f"{self._where(name)} is {value!r}: give text.")
            self.run |= {RUN_NAMES[name]: value} if value else {}
        elif name in launch.NAMES:
            if value is not False:
                raise BadRequest(f"{self._where(name)} is said on the command line, with --distributed, not in a file.")
        elif name not in BY_NAME:
            raise unknown(f"{self.source}{key[:60]}", name)
        else:
            self._setting(BY_NAME[name], value)

    def _setting(self, setting: Setting, value: Any) -> None:
        if setting.field not in self.kinds:
            names = [name for name, make in RECIPES.items() if setting.field in kinds(type(make()))]
            whose, (other, *_) = f"{self._where(setting.name)} is a setting of", [name.split("-")[0] for name in names]
            raise BadRequest(f"{whose} {other} recipes, {self.recipe_name} is none. Leave it out, or take {' or '.join(names)}.")
        if setting.name in self.values:
            raise BadRequest(f"{self._where(setting.name)} is given twice, under two names. Leave one out.")
        kind = WORD_KINDS.get(setting.name, self.kinds[setting.field])
        self.values[setting.name] = read(setting, kind, from_text(kind, value) if self.source == "--" else value, self._where(setting.name))

    def _fixed(self, name: str, value: Any) -> None:
        fixed = FIXED[name]
        if fixed.same is None:
            self.notes.append(f"{self._where(name)} changes nothing: {fixed.why}")
        elif (from_text(bool, value) if isinstance(fixed.same, bool) else str(value)) != fixed.same:
            raise BadRequest(f"{self._where(name)} {value!r} is not there: {fixed.why}")

    def _where(self, name: str) -> str:
        return self.source + (name.replace("_", "-") if self.source == "--" else name)

    def fields(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Fields with their values; words for several fields come apart here."""
        said = dict(self.values)
        for pair in (("batch_size", "tokens"), ("batch_size", "accumulate"), ("microbatch", "tokens"), ("microbatch", "accumulate")):
            if set(pair) <= set(said):
                raise BadRequest(f"{self._where(pair[0])} and {self._where(pair[1])} say the same in two ways. Leave one out.")
        found: dict[str, Any] = {}
        if "batch_size" in said or "microbatch" in said:
            self.notes.append(f"{self._where('batch_size')} and {self._where('microbatch')} count tokens, padding included, not clips.")
            whole = said.pop("batch_size", before["tokens"] * before["accumulate"])
            most = said.pop("microbatch", before["tokens"] if before["accumulate"] > 1 else 0)  # none: one pass
            if 0 < most < LEAST_TOKENS:
                raise BadRequest(f"{self._where('microbatch')} is {most}: it counts tokens, not clips. Give 0 or at least {LEAST_TOKENS}.")
            passes = math.ceil(whole / most) if most > 0 else 1
            found = {"tokens": math.ceil(whole / passes), "accumulate": passes}
        if "use_corruption" in said:
            wanted = said.pop("use_corruption")
            if "damaged" in said and wanted != (said["damaged"] > 0):
                raise BadRequest(f"{self._where('use_corruption')} and {self._where('damaged')} contradict each other. Leave one out.")
            found["damaged"] = said.get("damaged", before["damaged"] or USUAL_DAMAGE) if wanted else 0.0
        return found | {BY_NAME[name].field: value for name, value in said.items()}


def read(setting: Setting, kind: type, value: Any, where: str) -> Any:
    """The value in the type of its field.

    Raises:
        BadRequest: another type, or out of range.
    """
    advice = f"{where} is {str(value)[:60]!r}: give"
    if setting.name == "corr_kwargs":
        text = value if isinstance(value, str) else json.dumps(value)
        return {name: dict(own) for name, own in corruption_settings(text or "{}", tuple(CORRUPTIONS)).items()}
    if kind is dict:
        if not (isinstance(value, dict) and all(_is_number(number) and number >= 0 for number in value.values())):
            raise BadRequest(f"""{advice} numbers from 0 by name, as JSON such as {{"pop909": 2}}.""")
        return {str(name): float(number) for name, number in value.items()}
    if kind is tuple:
        value = from_text(tuple, value)
        numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not (numbers and all(_is_number(number) and setting.low <= number <= setting.high for number in numbers)):
            raise BadRequest(f"{advice} numbers from {setting.low:.10g} to {setting.high:.10g}, such as 0.99,0.999.")
        return tuple(dict.fromkeys(float(number) for number in numbers))
    if kind is bool or kind is str:
        if not isinstance(value, kind):
            raise BadRequest(f"{advice} {'true or false' if kind is bool else 'text'}.")
        if setting.choices and value not in setting.choices:
            raise BadRequest(f"{advice} one of {', '.join(setting.choices)}.")
        return value
    whole = kind is int
    if not (_is_number(value) and setting.low <= value <= setting.high and (not whole or value == int(value))):
        upper = "" if setting.high == math.inf else f" to {setting.high:.10g}"
        raise BadRequest(f"{advice} a {'whole ' if whole else ''}number from {setting.low:.10g}{upper}.")
    return kind(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300  # no NaN either


def from_text(kind: type, text: Any) -> Any:
    """A word of the command line in the type that is meant; as it is if it is none."""
    if kind is str or not isinstance(text, str):
        return text
    try:
        if kind is bool or kind is dict:
            return yes_or_no(text) if kind is bool else json.loads(text)
        if kind is tuple:
            return [float(part) for part in text.split(",")]
        return int(text) if text.strip().lstrip("-").isdecimal() else float(text)
    except (ValueError, RecursionError, ArgumentTypeError):
        return text


def unknown(shown: str, name: str) -> BadRequest:
    """What to say of a setting that is not there; ``name`` is written with ``_``."""
    near = _near(name.lower(), (*BY_NAME, *RUN_NAMES, *launch.NAMES), "--" if shown.startswith("--") else "")
    return BadRequest(f"{shown} is no setting of training{near} All of them: musediff train RECIPE --print-config.")


def _near(text: str, names: Sequence[str], dashes: str = "") -> str:
    inside = [name for name in names if len(text) >= 3 and text in name]
    close = (inside or get_close_matches(text[:80], names, 3, 0.6))[:3]
    shown = [dashes + (name.replace("_", "-") if dashes else name) for name in close]
    return f"; did you mean {' or '.join(shown)}?" if close else "."


def check(recipe: Recipe) -> None:
    """What the settings must fulfil together.

    Raises:
        BadRequest: they do not.
    """
    if others := set(recipe.corpus_weight) - set(CONVERTERS):
        raise BadRequest(f"--corpus-weight: there is no corpus {sorted(others)[0]!r}. Choose from {', '.join(CONVERTERS)}.")
    if isinstance(recipe, MuseRecipe):
        recipe.schedule.build()
        spoiling = recipe.spoiling
        check_damage(spoiling.names, spoiling.most, spoiling.p, spoiling.settings)
    elif isinstance(recipe, SlotsRecipe | ArRecipe):
        width, heads = recipe.network.width, recipe.network.heads
        if width % (2 * heads):
            raise BadRequest(
                f"A width of {width} cannot be shared by {heads} heads in pairs of numbers. Make it a multiple of {2 * heads}."
            )
        if isinstance(recipe, ArRecipe) and not recipe.network.distances:
            raise BadRequest("--distances 0: the ar engine reads in line and in no other way. Give 1 or more.")


def check_resumed(recipe: Recipe, out: Path, state: Mapping[str, Any]) -> None:
    """A run that goes on must fit its state, if it has one.

    Raises:
        BadRequest: a setting that cannot change on the way differs.
    """
    if not state:
        return
    old = state["recipe"]
    if {f"network.{name}" for name in old["network"]} - set(kinds(type(recipe))):
        raise BadRequest(f"{out} holds a run of another kind (engine {state['engine']}). Choose another --out.")
    for field, value in leaves(recipe).items():
        part, _, name = field.rpartition(".")
        there = old.get(part, {}) if part else old
        if not _may_change(field) and name in there and _lasting(field, there[name]) != _lasting(field, value):
            setting = next((setting.name for setting in SETTINGS if setting.field == field), field)
            advice = f"Give {there[name]} to go on with it, or another --out."
            raise BadRequest(f"{out} holds a run with {setting} {there[name]}, and {value} is asked for. {advice}")


def _may_change(field: str) -> bool:
    lasting = field.startswith(("network.", "schedule.")) or field in ("schedule_sampler", "muon_rate")
    return "dropout" in field or not lasting


def _lasting(field: str, value: Any) -> Any:
    """Of Muon's rate only whether there is one: it decides which optimiser has which matrix."""
    return value > 0 if field == "muon_rate" else value
