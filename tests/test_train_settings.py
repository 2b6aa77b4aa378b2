"""Settings of training: every field has a name and a range, flags and JSON combine, what is wrong is said before any work."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musediff.cli import main as musediff
from musediff.errors import BadRequest
from musediff.tokens import vocab
from train import launch
from train.choose import check_resumed, choose
from train.recipes import RECIPES, ArRecipe, MuseRecipe
from train.settings import BY_NAME, FIXED, NOT_SET, RUN_NAMES, SETTINGS, WORDS, kinds, leaves
from train.train import build_parser, main

# What the original's training_args.json would hold, where it differs from what can be said here: see the rows of docs/cli.md.
ORIGINAL: dict[str, Any] = {
    "use_corruption": True, "corr_available": "mt,mn,rn,rr", "corr_max": 4, "corr_p": 0.5, "corr_kwargs": "", "dataset": "ComMU",
    "data_dir": "datasets/ComMU-processed", "data_loader_workers": 2, "use_bucketing": True, "seq_len": 2096, "vocab_size": vocab.SIZE,
    "hidden_t_dim": 128, "hidden_dim": 128, "dropout": 0.1, "pretrained_denoiser": "", "pretrained_embedding": "",
    "freeze_embedding": False, "diffusion_steps": 2000, "schedule_sampler": "lossaware", "noise_schedule": "sqrt",
    "predict_xstart": True, "rescale_timesteps": True, "timestep_respacing": "", "batch_size": 2048, "microbatch": 0,
    "learning_steps": 320000, "log_interval": 20, "save_interval": 2000, "eval_interval": 1000, "ema_rate": "0.5,0.9,0.99", "lr": 1e-4,
    "weight_decay": 0, "gradient_clipping": -1, "seed": 102, "resume_checkpoint": "", "checkpoint_path": "",
}  # fmt: skip


def written(folder: Path, settings: object) -> Path:
    path = folder / "settings.json"
    path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return path


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    main([*words, "--print-config"])
    return json.loads(capsys.readouterr().out)


def test_every_field_has_one_setting_and_every_name_one_meaning():
    reached = {field for make in RECIPES.values() for field in kinds(type(make()))}
    named = [setting.field for setting in SETTINGS]
    assert sorted(named) == sorted(reached - set(NOT_SET)) and len(named) > 35
    names = [name for setting in (*SETTINGS, *WORDS) for name in (setting.name, *setting.other)]
    assert len(names) == len(set(names)) == len(set(names) - set(FIXED) - set(RUN_NAMES) - set(launch.NAMES))


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_said_is_the_recipe_and_what_is_printed_reads_back(name: str, tmp_path: Path, capsys):
    assert choose(name, None, {}).recipe == RECIPES[name]()
    settings = printed([name], capsys)
    assert settings["recipe"] == name and settings.keys() - {"recipe"} <= BY_NAME.keys()
    assert len(settings) - 1 == len([field for field in leaves(RECIPES[name]()) if field not in NOT_SET])
    path = written(tmp_path, settings)
    assert choose(None, path, {}).recipe == RECIPES[name]()
    assert printed(["--config-json", str(path)], capsys) == settings


@given(st.data())
def test_any_number_in_its_range_arrives_in_its_field_and_others_are_refused(data: st.DataObject):
    recipe = RECIPES[data.draw(st.sampled_from(sorted(RECIPES)))]
    fields = kinds(type(recipe()))
    alone = [s for s in SETTINGS if fields.get(s.field) in (int, float) and s.name not in ("width", "heads")]
    setting = data.draw(st.sampled_from(alone))
    low, high = setting.low, min(setting.high, 1e12)
    least = 1 if setting.name == "distances" and isinstance(recipe(), ArRecipe) else low  # see choose.check
    whole = fields[setting.field] is int
    value = data.draw(st.integers(int(least), int(min(high, 5000))) if whole else st.floats(low, high, allow_subnormal=False))
    name = recipe.__name__.replace("_", "-")
    chosen = choose(name, None, {setting.name: repr(value)})
    assert leaves(chosen.recipe) == leaves(recipe()) | {setting.field: value}
    outside = [low - 1] + ([setting.high + 1] if setting.high < 1e12 else [])
    for wrong in (*outside, "much", "nan", "inf", "", *(["1.5"] if whole else [])):
        with pytest.raises(BadRequest, match=r"^--[a-z-]+ is '.*': give a (whole )?number from "):
            choose(name, None, {setting.name: str(wrong)})


def test_the_original_s_settings_are_taken_by_their_names(tmp_path: Path):
    chosen = choose("muse-small", written(tmp_path, ORIGINAL), {})
    recipe = chosen.recipe
    assert isinstance(recipe, MuseRecipe) and chosen.run == {"data": "datasets/ComMU-processed"}
    assert (recipe.tokens, recipe.accumulate, recipe.steps, recipe.learning_rate, recipe.clip) == (2048, 1, 320_000, 1e-4, -1)
    assert (recipe.network.seq_len, recipe.network.embedding, recipe.network.time_embedding, recipe.network.dropout) == (
        2096,
        128,
        128,
        0.1,
    )
    assert (recipe.evaluate_every, recipe.save_every, recipe.log_every, recipe.damaged) == (1000, 2000, 20, 0.5)
    assert recipe.ema == (0.5, 0.9, 0.99)
    assert [note.split(": ")[1].split()[0] for note in chosen.notes] == ["dataset", "data_loader_workers", "batch_size"]


@pytest.mark.parametrize("spelling", ["--noise-schedule", "--noise_schedule"])
def test_both_spellings_and_flags_over_the_file(spelling: str, tmp_path: Path, capsys):
    path = written(tmp_path, {"recipe": "muse-tiny", "noise-schedule": "linear", "learning_rate": 0.5, "seed": 7, "minutes": None})
    settings = printed(["--config_json", str(path), spelling, "cosine", "--lr=0.25", "--normalise", "no", "--tied"], capsys)
    assert (settings["recipe"], settings["noise_schedule"], settings["lr"], settings["seed"]) == ("muse-tiny", "cosine", 0.25, 7)
    assert settings["normalise"] is False and settings["tied"] is True and settings["minutes"] == RECIPES["muse-tiny"]().minutes
    assert printed(["muse_small", "--config-json", str(path)], capsys)["recipe"] == "muse-small"


@pytest.mark.parametrize(
    ("words", "tokens", "passes"),
    [
        ("--batch-size 9000", 9000, 1),
        ("--batch-size 9000 --microbatch 2000", 1800, 5),
        ("--microbatch 2500", 2500, 2),
        ("--microbatch 0", 5000, 1),
        ("--microbatch -1 --batch-size 300", 300, 1),
        ("--tokens 700 --accumulate 3", 700, 3),
    ],
)
def test_a_batch_is_cut_into_passes(words: str, tokens: int, passes: int, tmp_path: Path, capsys):
    settings = printed(["slots-small", *words.split()], capsys)
    assert (settings["tokens"], settings["accumulate"]) == (tokens, passes)
    again = written(tmp_path, settings)
    assert printed(["--config-json", str(again), "--microbatch", "100"], capsys)["accumulate"] == -(-tokens * passes // 100)


@pytest.mark.parametrize(("said", "share"), [("yes", 0.5), ("no", 0.0), ("true --damaged 0.3", 0.3), ("0", 0.0)])
def test_corruption_on_and_off(said: str, share: float, capsys):
    assert printed(["muse-tiny", "--use-corruption", *said.split()], capsys)["damaged"] == share


WRONG = {
    "": "Which recipe? Choose from slots-tiny, ",
    "muse-smal": "Recipe 'muse-smal' is not known; did you mean muse-small?",
    "muse-tiny --hidden-din 8": "--hidden-din is no setting of training; did you mean --hidden-dim",
    "muse-tiny extra": "extra is no setting of training",
    "slots-tiny --seq-len 300": "--seq-len is a setting of muse recipes, slots-tiny is none. Leave it out, or take muse-tiny or ",
    "slots-tiny --use-corruption": "--use-corruption is a setting of muse recipes",
    "muse-tiny --count-every 2": "--count-every is a setting of slots recipes",
    "muse-tiny --lr fast": "--lr is 'fast': give a number from 1e-09 to 1.",
    "muse-tiny --ema-rate 0.5,1": "--ema-rate is '[0.5, 1.0]': give numbers from 0 to 0.999999, such as 0.99,0.999.",
    "muse-tiny --ema-rate 0.5,": "--ema-rate is '0.5,': give numbers from 0",
    "muse-tiny --tied perhaps": "--tied is 'perhaps': give true or false.",
    "muse-tiny --noise-schedule square": "--noise-schedule is 'square': give one of sqrt, linear, ",
    "muse-tiny --timestep-respacing ddim1999": "timestep respacing 'ddim1999'",
    "muse-tiny --noise-schedule pw_lin --diffusion-steps 5": "needs at least 12 steps",
    "muse-tiny --heads 5": "cannot be shared by 5 heads",
    "slots-tiny --heads 5": "cannot be shared by 5 heads",
    "ar-tiny --distances 0": "reads in line and in no other way",
    "slots-tiny --corpus-weight {": "--corpus-weight is '{': give numbers",
    "slots-tiny --corpus-weight {\"a\":-1}": "give numbers from 0 by name",
    "slots-tiny --corpus-weight {\"pop\":1}": "there is no corpus 'pop'. Choose from pop909",
    "slots-tiny --microbatch 64": "--microbatch is 64: it counts tokens, not clips.",
    "slots-tiny --batch-size 400 --tokens 300": "--batch-size and --tokens say the same in two ways",
    "muse-tiny --use-corruption no --damaged 0.4": "contradict each other",
    "muse-tiny --predict-xstart no": "--predict-xstart 'no' is not there: the network always predicts",
    "muse-tiny --pretrained-embedding e.pt": "--pretrained-embedding 'e.pt' is not there",
    "muse-tiny --vocab-size 729": "convert-checkpoint",
    "muse-tiny --nproc_per_node 2": "--nproc-per-node goes with --distributed.",
    "muse-tiny --distributed --nproc-per-node many": "--nproc-per-node is 'many': give N.",
    "muse-tiny --distributed --nnodes 3:2 --rdzv-endpoint a:1": "--nnodes is '3:2': the smaller number comes first.",
    "muse-tiny --distributed --nnodes 2": "have to be told where they meet: --rdzv-endpoint HOST:PORT, or --master-addr",
    "muse-tiny --distributed --max-restarts -1 --data d --out o": "--max-restarts is '-1': give N.",
    "muse-tiny --distributed --lr fast": "--lr is 'fast': give a number",
    "muse-tiny --distributed --out o": "--data is missing",
    "muse-tiny --nproc 2": "--nproc is no setting of training; did you mean --nproc-per-node?",
    "muse-tiny --device tpu --data d --out o": "--device 'tpu' cannot be used here. Choose from ",
    "muse-tiny --out o": "--data is missing",
    "muse-tiny --config-json nowhere.json": "cannot be read",
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_said_in_one_line_before_any_work(words: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert musediff(["train", *words.split()]) == 2
    out, error = capsys.readouterr()
    message = error.splitlines()[-1]
    assert out == "" and message.startswith("musediff: ") and WRONG[words] in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hiden_dim": 8}, "settings.json: hiden_dim is no setting of training; did you mean hidden_dim"),
        ({"lr": "0.1"}, "settings.json: lr is '0.1': give a number"),
        ({"lr": True}, "settings.json: lr is 'True': give a number"),
        ({"seed": 10**400}, "give a whole number from 0 to 4294967295."),
        ({"tied": 1}, "settings.json: tied is '1': give true or false."),
        ({"lr": 0.1, "learning_rate": 0.1}, "lr is given twice"),
        ({"data": 3}, "settings.json: data is 3: give text."),
        ({"noise_schedule": 2}, "noise_schedule is '2': give text."),
        ({"count_every": 2}, "count_every is a setting of slots recipes, muse-tiny is none."),
        ({"distributed": True}, "settings.json: distributed is said on the command line, with --distributed, not in a file."),
        ({"nnodes": 1}, "settings.json: nnodes is said on the command line"),
        ({"freeze_embedding": True}, "settings.json: freeze_embedding True is not there"),
        ('{"lr": NaN}', "lr is 'nan': give a number"),
        ("[1]", "no JSON object"),
        ("{", "no JSON"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(settings: object, message: str, tmp_path: Path):
    with pytest.raises(BadRequest) as caught:
        choose("muse-tiny", written(tmp_path, settings), {})
    assert message in str(caught.value)


def test_a_run_goes_on_only_with_what_its_state_fits(tmp_path: Path):
    network = {"width": 64, "dropout": 0.3, "seq_len": 640}
    recipe = {"muon_rate": 0.02, "schedule_sampler": "lossaware", "schedule": {"steps": 2000}, "learning_rate": 1.0, "network": network}
    state = {"engine": "muse", "recipe": recipe}
    check_resumed(choose("slots-tiny", None, {}).recipe, tmp_path, {})  # no state there
    check_resumed(choose("muse-tiny", None, {"lr": "0.1", "dropout": "0.1", "muon_rate": "0.1"}).recipe, tmp_path, state)
    for name, value in {"seq_len": "700", "width": "128", "muon_rate": "0", "schedule_sampler": "uniform", "diffusion_steps": "99"}.items():
        with pytest.raises(BadRequest, match=rf"holds a run with {name} .*, and {value}(\.0)? is asked for"):
            check_resumed(choose("muse-tiny", None, {name: value}).recipe, tmp_path, state)
    with pytest.raises(BadRequest, match="another kind \\(engine muse\\)"):
        check_resumed(choose("slots-tiny", None, {}).recipe, tmp_path, state)


def test_the_parser_has_every_name_and_says_what_it_is_for():
    there = {action.dest: action for action in build_parser()._actions}
    assert {setting.name for setting in (*SETTINGS, *WORDS)} | set(FIXED) | set(launch.NAMES) <= set(there)
    assert all(there[setting.name].help and set(setting.flags) == set(there[setting.name].option_strings) for setting in SETTINGS)
