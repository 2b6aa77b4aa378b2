"""Which task trains which kind of recipe. The only place here that knows all engines."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from musediff.data.store import Store
from train.ar_task import ArTask
from train.muse_task import MuseTask
from train.recipes import ArRecipe, MuseRecipe, Recipe, SlotsRecipe
from train.slots_task import SlotsTask
from train.tasks import Task

TASKS: Mapping[type[Recipe], Callable[[Any, Store, str], Task]] = MappingProxyType(
    {SlotsRecipe: SlotsTask, MuseRecipe: MuseTask, ArRecipe: ArTask}
)


def make_task(recipe: Recipe, store: Store, device: str) -> Task:
    """The task of a recipe."""
    return TASKS[type(recipe)](recipe, store, device)
