"""The original's --use-corruption and --corr-… -> a way to damage clips. Settings are JSON and nothing is evaluated."""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from musediff.errors import BadRequest
from musediff.tokens import damage

Damage = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
MOST, PROBABILITY = 4, 0.5
ADVICE = """Write it as JSON with double quotes: '{"rn": {"p": 0.4}}'."""


def damage_of(args: argparse.Namespace) -> Damage | None:
    """The way to damage clips, or None. Any --corr option switches it on, --use-corruption no switches it off.

    Raises:
        BadRequest: an unknown name or setting, or a number out of range.
    """
    said = any(getattr(args, name) is not None for name in ("corr_available", "corr_max", "corr_p", "corr_kwargs"))
    if not (said if args.use_corruption is None else args.use_corruption):
        return None
    names = tuple(damage.CORRUPTIONS)
    if args.corr_available is not None:
        names = tuple(name.strip() for name in args.corr_available.split(",") if name.strip())
    most, p = MOST if args.corr_max is None else args.corr_max, PROBABILITY if args.corr_p is None else args.corr_p
    settings = corruption_settings(args.corr_kwargs or "{}", names)
    damage.check(names, most, p, settings)
    return partial(damage.damage, available=names, most=most, p=p, settings=settings)


def corruption_settings(text: str, names: tuple[str, ...]) -> Mapping[str, Mapping[str, float]]:
    """``{"rn": {"p": 0.4}}`` as it is; ``{"p": 0.4}``, the original's form, for each of ``names`` that has a ``p``.

    Raises:
        BadRequest: no JSON object of numbers, or a setting that none has.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"--corr-kwargs {text[:80]}: no JSON ({error}). {ADVICE}") from error
    if not isinstance(said, dict):
        raise BadRequest(f"--corr-kwargs {text[:80]}: no settings by name. {ADVICE}")
    settings: dict[str, dict[str, float]] = {name: dict(part) for name, part in said.items() if isinstance(part, dict)}
    shared = {name: value for name, value in said.items() if name not in settings}
    for value in [*shared.values(), *(value for part in settings.values() for value in part.values())]:
        if not _is_number(value):
            raise BadRequest(f"--corr-kwargs {text[:80]}: {value!r} is no number. {ADVICE}")
    for key, value in shared.items():
        having = [name for name in names if name in damage.CORRUPTIONS and key in damage.CORRUPTIONS[name].defaults]
        if not having:
            raise BadRequest(f"--corr-kwargs: {key!r} is no corruption, and none of {', '.join(names)} has a setting of that name.")
        for name in having:
            settings[name] = {key: value} | settings.get(name, {})
    return settings


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
