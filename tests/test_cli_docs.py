"""docs/cli.md names every option of the original once, and under "here" only options that exist."""

import re
from pathlib import Path

import pytest

from musediff.cli import build_parser
from train.evaluate import build_parser as evaluate_parser
from train.train import main as train

PAGE = (Path(__file__).parents[1] / "docs" / "cli.md").read_text("utf-8")
META = "bpm audio_key time_signature pitch_range num_measures inst genre min_velocity max_velocity track_role rhythm chord_progression"
CORRUPTION = "use_corruption corr_available corr_max corr_p corr_kwargs"
ORIGINAL = {
    "dataprep": "data_dir num_proc",
    "generation": "model_path step out_dir batch_size top_p clamp_step sample_seed clip_denoised model_config_json meta_json "
    f"num_samples {META}",
    "modification": f"split strength {CORRUPTION}",
    "train": "config_json dataset data_dir data_loader_workers use_bucketing seq_len vocab_size hidden_t_dim hidden_dim dropout "
    "pretrained_denoiser pretrained_embedding freeze_embedding diffusion_steps schedule_sampler noise_schedule predict_xstart "
    "rescale_timesteps timestep_respacing batch_size microbatch learning_steps log_interval save_interval eval_interval ema_rate lr "
    f"weight_decay gradient_clipping seed resume_checkpoint checkpoint_path {CORRUPTION}",
    "distributed": "distributed nnodes nproc_per_node rdzv_backend rdzv_endpoint rdzv_id rdzv_conf standalone max_restarts "
    "monitor_interval start_method role log_dir redirects tee node_rank master_addr master_port",
}  # fmt: skip


def rows(section: str) -> list[list[str]]:
    """Cells of the section's table, without its head."""
    (text,) = re.findall(rf"^## {section}\b.*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def options_in(cell: str) -> list[str]:
    return re.findall(r"`--([\w-]+)`", cell)


@pytest.mark.parametrize("section", ORIGINAL)
def test_every_option_of_the_original_has_one_row(section):
    named = [name for row in rows(section) for name in options_in(row[0])]
    assert sorted(named) == sorted(ORIGINAL[section].split())


def known(section: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The options of the command that the section is about."""
    parser = build_parser()
    commands = {"dataprep": "data", "generation": "generate", "modification": "modify"}
    if section in ("train", "distributed"):
        with pytest.raises(SystemExit):
            train(["--help"])
        return set(re.findall(r"--([\w-]+)", capsys.readouterr().out))
    if section == "metrics":
        return set(re.findall(r"--([\w-]+)", evaluate_parser().format_help()))
    (subparsers,) = (action for action in parser._actions if action.dest == "command")
    of_command = dict(subparsers.choices)[commands[section]]
    if section == "dataprep":
        of_command = next(action for action in of_command._actions if action.dest == "action").choices["build"]
    return {name.removeprefix("--") for name in of_command._option_string_actions}


@pytest.mark.parametrize("section", ["dataprep", "generation", "modification", "train", "distributed", "metrics"])
def test_options_named_here_exist(section, capsys):
    there = known(section, capsys)
    column = 1 if section == "metrics" else 2
    named = {name for row in rows(section) for name in re.findall(r"--([a-z][a-z-]*)", row[column])}
    assert named and named <= there, named - there


def test_files_and_commands_named_exist(root):
    for name in set(re.findall(r"`((?:train|docs|musediff)/[\w./]+|Dockerfile)`", PAGE)):
        assert (root / name).exists(), name
    (subparsers,) = (action for action in build_parser()._actions if action.dest == "command")
    named = set(re.findall(r"`musediff ([a-z-]+)", PAGE))
    assert len(named) >= 9 and named <= set(dict(subparsers.choices))
    assert set(re.findall(r"`(page|train)`", PAGE)) == {"page", "train"}
