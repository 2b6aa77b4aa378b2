"""Train a model: python -m train RECIPE --data clips.npz --out runs/x

One flat loop for every engine, read top to bottom: draw clips -> losses -> step -> EMA -> now and then evaluate and save.
What differs between the engines is a ``Task``. Needs torch, numpy, safetensors and tqdm only. The last state is resumed
when --out already holds one. Every setting has the name that the original gives it, if it has one there; a JSON file of
settings and flags combine, and flags win. Several processes train as one: add --distributed, or start with torchrun.
"""

import argparse
import json
import os
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # must precede torch: 5x faster beside other processes

import numpy as np
import torch

from musediff import checkpoint
from musediff.cli import main as command
from musediff.cli import with_dashes
from musediff.data import store as packed
from musediff.errors import BadCheckpoint, BadRequest
from train import launch, states
from train.choose import Chosen, check_resumed, choose, unknown
from train.log import Log, Silence, Window, collect, means
from train.notice import STOPPED, Notice, noticing
from train.pace import Pace
from train.ranks import ALONE, Ranks, from_environment, joined
from train.recipes import RECIPES, Recipe
from train.registry import make_task
from train.run import LAST, Run
from train.samples import Samples
from train.settings import FIXED, SETTINGS, WORD_KINDS, WORDS, Setting, kinds
from train.tasks import Found, Task

MAY_DIFFER = ("dropout", "layer_dropout", "critic")  # of the network whose weights a run begins with


def train(
    recipe: Recipe, data: Path, out: Path, device: str, ranks: Ranks = ALONE, resume: str = "auto", init: Path | None = None
) -> dict[str, float]:
    """Run a recipe to its end, going on from a state as ``states.find`` says; returns the last held-out losses.

    Args:
        init: folder of weights that a run without a state begins with; random ones otherwise.

    Raises:
        BadRequest: the state is of other settings, or the folder cannot be written.
        BadCheckpoint: no state can be read, or ``init`` are no weights of such a network.
        BadData: the data cannot be read, or have no clip to train on or to hold out.
        SystemExit: the run was told to end (SIGTERM on any rank) and is saved.
    """
    state = ranks.from_first(lambda: prepare(recipe, out, resume))  # one reads for all: they go on from one state, wherever it lies
    task = ranks.together(lambda: make_task(recipe, packed.load(data), device))
    weights = None if state or init is None else ranks.together(lambda: weights_for(recipe, task, init))
    run = Run(recipe, task, out, device, ranks, state, weights)
    del state  # as large as the run itself
    pace, window = Pace(run.network, device, ranks), Window()
    samples = Samples(out, recipe.samples)
    with noticing() as notice, closing(run.feed), closing(ranks.together(lambda: Log(out, run.step) if ranks.first else Silence())) as log:
        log.say(f"{sum(p.numel() for p in run.network.parameters()) / 1e6:.2f} M parameters, {task.describe()}")
        while True:
            done = run.done()
            finished = done >= 1
            evaluating = run.step > run.evaluated and (finished or due(run.step, recipe.evaluate_every))
            better = evaluating and run.evaluate()
            if evaluating:
                ranks.from_first(lambda: log.add(run.told()))
                log.note(ranks.from_first(lambda: samples.make(out / LAST, run.step)))
            saving = run.step > run.saved and due(run.step, recipe.save_every or recipe.evaluate_every)
            if saving or (evaluating and (better or finished)):
                run.save()
            if finished:
                return run.valid
            over = learn(run, pace, window, done, notice)
            if due(run.step, recipe.log_every):
                line = run.line() | means(ranks.gather(window)) | pace.line(run.feed.waited) | run.schedule(done)
                ranks.from_first(lambda line=line: log.add(line))  # a disk may be full: then all end
                window = {}
            if over:
                run.save()
                log.note(f"told to end (SIGTERM). Saved after step {run.step}; the same command goes on.")
                raise SystemExit(STOPPED)


def learn(run: Run, pace: Pace, window: Window, done: float, notice: Notice) -> bool:
    """One step of all ranks: losses and gradients of what is due, and the step. Says whether any rank was given notice to end."""
    task, ranks, device, choices, generator = run.task, run.ranks, run.device, run.chance.choices, run.chance.generator
    pace.begin()
    found: list[Found] = []
    objectives = task.objectives(run.step)
    for objective in objectives:
        batches = [objective.draw(run.feed.next(), choices, generator) for _ in range(run.recipe.accumulate)]
        tokens = ranks.sum(torch.stack([drawn.tokens for drawn in batches]).sum(0))  # of all passes on all ranks
        each = (tokens.clamp(min=1) / ranks.size).to(device, torch.float32)  # the gradients of the ranks are averaged
        for drawn in batches:
            pace.count(drawn.lengths_B)
            last = objective is objectives[-1] and drawn is batches[-1]
            with ranks.averaging(run.training, now=last):
                with torch.autocast(torch.device(device).type, torch.bfloat16):
                    losses = run.training(objective, drawn.batch, generator)
                (losses.sums / each).sum().backward()
            found.append(losses._replace(sums=losses.sums.detach()))
    finite = bool(torch.cat([losses.sums for losses in found]).isfinite().all())
    told = ranks.gather((finite, np.concatenate([losses.told for losses in found]), notice.given))
    norm = run.update(done, all(fine for fine, _, _ in told))
    if norm is not None:
        task.learn(np.concatenate([rows for _, rows, _ in told]))
        for losses in found:
            collect(window, losses.named)
        collect(window, {"norm": norm})
    pace.end()
    return any(given for _, _, given in told)


def prepare(recipe: Recipe, out: Path, resume: str) -> states.State:
    """Refuse what cannot go on, and make the folder of the run. Returns what to go on with.

    Raises:
        BadRequest, BadCheckpoint: see ``train``.
    """
    with states.writing(out):
        out.mkdir(parents=True, exist_ok=True)
    state = states.find(out, resume, again=os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0")
    check_resumed(recipe, out, state)
    return state


def weights_for(recipe: Recipe, task: Task, folder: Path) -> dict[str, torch.Tensor]:
    """The weights in a folder, for the network of a task.

    Raises:
        BadCheckpoint: there are none, or they are of another engine, vocabulary or size.
    """
    config = checkpoint.read_config_of(folder, task.engine)
    for name, value in asdict(recipe)["network"].items():  # the number of heads is in no shape
        if name not in MAY_DIFFER and config["network"].get(name, value) != value:
            raise BadCheckpoint(f"--init {folder}: weights of a network with {name} {config['network'][name]}, this one has {value}.")
    return checkpoint.load_weights(folder, config, task.fingerprint, task.network().state_dict())


def due(step: int, every: int) -> bool:
    return step > 0 and step % every == 0


@dataclass(frozen=True, slots=True)
class Wish:
    """All that the arguments ask for."""

    chosen: Chosen
    data: Path
    out: Path
    kind: str  # of device
    resume: str  # see ``states.find``
    init: Path | None  # see ``train``


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say, or print the settings that they amount to. Returns the exit code.

    Raises:
        MuseError: what the user can mend.
    """
    if arguments is None:
        sys.exit(command(["train", *sys.argv[1:]]))  # with its exit codes
    options, words = launch.split(with_dashes(arguments))
    if options is None or from_environment().several:  # started by a launcher already
        with joined() as ranks:
            follow(words, ranks)
        return 0
    wish = read(words)  # what is wrong is said once, before any process is started
    if wish is None:
        return 0
    return launch.start(options, words, torch.cuda.device_count() if wish.kind == "cuda" else 1)


def follow(words: list[str], ranks: Ranks) -> None:
    """What one process does."""
    wish = ranks.together(lambda: read(words, ranks))
    if wish is not None:
        device = ranks.together(lambda: ranks.device(wish.kind))
        train(wish.chosen.recipe, wish.data, wish.out, device, ranks, wish.resume, wish.init)


def read(words: list[str], ranks: Ranks = ALONE) -> Wish | None:
    """What is asked for; nothing where --print-config only prints it.

    Raises:
        BadRequest: something is unknown, wrong or missing.
    """
    args, left = build_parser().parse_known_args(words)
    if left:
        raise unknown(left[0], left[0].split("=")[0].strip("-").replace("-", "_"))
    other = ("recipe", "config_json", "print_config", *launch.NAMES)
    flags = {name: value for name, value in vars(args).items() if name not in other}
    chosen = choose(args.recipe, args.config_json, flags)
    if ranks.first:
        for note in chosen.notes:
            print(f"note: {note}", file=sys.stderr)
    if args.print_config:
        if ranks.first:
            print(json.dumps(chosen.complete(), indent=1, ensure_ascii=False))
        return None
    missing = [name for name in ("data", "out") if name not in chosen.run]
    if missing:
        raise BadRequest(f"--{missing[0]} is missing: training needs --data FILE.npz (musediff data build) and --out FOLDER.")
    kind = usable(chosen.run.get("device"))
    init = Path(chosen.run["init"]) if "init" in chosen.run else None
    return Wish(chosen, Path(chosen.run["data"]), Path(chosen.run["out"]), kind, chosen.run.get("resume", "auto"), init)


def usable(device: str | None) -> str:
    """The device that is asked for, else the best one.

    Raises:
        BadRequest: torch cannot use it here.
    """
    there = [*(["cuda"] if torch.cuda.is_available() else []), "cpu", *(["mps"] if torch.backends.mps.is_available() else [])]
    if device is not None and device not in there:
        raise BadRequest(f"--device {device[:40]!r} cannot be used here. Choose from {', '.join(there)}.")
    return device or there[0]


def build_parser() -> argparse.ArgumentParser:
    """Values stay text: flags and the JSON file are read by the same code."""
    parser = argparse.ArgumentParser(
        prog="musediff train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[launch.parser()],
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--data", "--data-dir", metavar="FILE.npz", help="packed clips, made by: musediff data build")
    parser.add_argument("--out", "--checkpoint-path", metavar="DIR", help="folder of the run; an earlier state there is resumed")
    resume = "auto (the default): from the newest state in --out, if there is one; no: begin; or a state or run to go on from"
    parser.add_argument("--resume", "--resume-checkpoint", metavar="auto|no|PATH", help=resume)
    parser.add_argument("--init", metavar="DIR", help="weights to begin with, of the same engine and size (--resume also takes the rest)")
    parser.add_argument("--device", metavar="NAME", help="cuda or cpu (default: cuda if there is one)")
    parser.add_argument("--config-json", type=Path, metavar="FILE", help="settings by name; flags win over it")
    parser.add_argument("--print-config", action="store_true", help="print all settings as JSON for --config-json, and stop")
    known = {name: kinds(type(make())) for name, make in RECIPES.items()}
    groups = {frozenset(known): parser.add_argument_group("settings of every recipe", "left out: as in the recipe (--print-config)")}
    for setting in (*SETTINGS, *WORDS):
        having = frozenset(name for name, fields in known.items() if setting.field in fields)
        if having not in groups:
            groups[having] = parser.add_argument_group(f"settings of {', '.join(sorted(having))}")
        (kind, *_) = (known[name][setting.field] for name in sorted(having))
        add_setting(groups[having], setting, WORD_KINDS.get(setting.name, kind))
    for name in FIXED:
        parser.add_argument("--" + name.replace("_", "-"), nargs="?", const="yes", help=argparse.SUPPRESS)
    return parser


def add_setting(group: "argparse._ArgumentGroup", setting: Setting, kind: type) -> None:
    names: dict[type, str] = {bool: "yes|no", int: "N", float: "X", tuple: "X,…", dict: "JSON", str: "|".join(setting.choices) or "TEXT"}
    shown = names[kind]
    if kind is bool:
        group.add_argument(*setting.flags, dest=setting.name, nargs="?", const="yes", metavar=shown, help=setting.about)
    else:
        group.add_argument(*setting.flags, dest=setting.name, metavar=shown, help=setting.about)
