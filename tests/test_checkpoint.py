"""Weights on disk: what is written comes back, and every kind of damage is refused with the name of what is wrong."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from musediff import checkpoint
from musediff.engines.slots import vocab
from musediff.engines.slots.engine import SlotsEngine
from musediff.engines.slots.network import NetworkConfig
from musediff.errors import BadCheckpoint

SETTINGS = asdict(NetworkConfig.tiny())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    engine = SlotsEngine.tiny()
    checkpoint.save(tmp_path / "w", "slots", SETTINGS, vocab.fingerprint(), engine.network.state_dict(), {"step": 3})
    return tmp_path / "w"


def test_weights_come_back_as_bfloat16(folder: Path) -> None:
    before, after = SlotsEngine.tiny().network.state_dict(), SlotsEngine.load(folder).network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].bfloat16(), after[name]) for name in before)
    assert not list(folder.glob("*.part"))


def test_whoever_may_read_the_settings_may_read_the_weights(folder: Path) -> None:
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_shards_stay_small_and_old_ones_go(tmp_path: Path) -> None:
    big = {f"t{i}": torch.zeros(2_000_000) for i in range(7)}
    checkpoint.save(tmp_path, "slots", {}, "x", big, {})
    shards = list(tmp_path.glob("*.safetensors"))
    assert len(shards) == 4
    assert max(path.stat().st_size for path in shards) < 10_000_000
    checkpoint.save(tmp_path, "slots", {}, "x", {"t0": torch.zeros(3)}, {})
    assert [path.name for path in tmp_path.glob("*.safetensors")] == json.loads((tmp_path / "config.json").read_text())["shards"]


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def damage(folder: Path, what: str) -> None:
    shard = next(folder.glob("*.safetensors"))
    if what == "no config":
        (folder / "config.json").unlink()
    elif what == "config is text":
        (folder / "config.json").write_text("hello")
    elif what == "config of something else":
        (folder / "config.json").write_text("[1]")
    elif what == "other vocabulary":
        edit(folder, vocabulary="0123")
    elif what == "other engine":
        edit(folder, engine="muse")
    elif what == "unknown setting":
        edit(folder, network={"depth": 3})
    elif what == "other size":
        edit(folder, network=SETTINGS | {"width": 64})
    elif what == "more layers":
        edit(folder, network=SETTINGS | {"layers": 3})
    elif what == "shard gone":
        shard.unlink()
    elif what == "shard cut":
        shard.write_bytes(shard.read_bytes()[:-1000])
    else:
        shard.write_bytes(b"not safetensors")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no config", "no config.json"), ("config is text", "cannot be read"), ("config of something else", "not a MuseDiff checkpoint"),
        ("other vocabulary", "vocabulary 0123"), ("other engine", "engine muse"), ("unknown setting", "depth"), ("other size", "shape"),
        ("more layers", "missing"), ("shard gone", "shard is missing"), ("shard cut", "damaged"), ("shard is text", "damaged"),
    ],
)  # fmt: skip
def test_damage_is_refused_by_name(folder: Path, what: str, words: str) -> None:
    damage(folder, what)
    with pytest.raises(BadCheckpoint, match=words):
        SlotsEngine.load(folder)


def test_a_copy_says_more_and_replaces_what_was_there(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    checkpoint.save(target, "slots", {}, "x", {"other": torch.zeros(3)}, {})
    checkpoint.copy(folder, target, {"calibration": [[0, 0], [1, 1]]})
    assert {path.name for path in target.iterdir()} == {path.name for path in folder.iterdir()}
    before, after = (checkpoint.read_config(where)["about"] for where in (folder, target))
    assert after == before | {"calibration": [[0, 0], [1, 1]]}
    assert SlotsEngine.load(target).calibration == ((0.0, 0.0), (1.0, 1.0))
