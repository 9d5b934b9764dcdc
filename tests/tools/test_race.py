"""After how long a swap is better than another tool's."""

import json

import pandas as pd

import deepfakery
from deepfakery import samples
from deepfakery.media import images
from tools import keep, peers, race


def test_without_the_clips_it_says_so_and_leaves(tmp_path, capsys):
    assert race.main(["--peers", str(tmp_path / "nowhere")]) == 0
    assert "Skipped: there is no" in capsys.readouterr().out


def test_better_means_better_in_every_measure():
    columns, tool = [*race.ASKED], race.TOOL
    rows = {
        f"{tool} soon": [0.3, 0.5, 9.0, 16.0],
        f"{tool} late": [0.2, 0.4, 8.0, 5.0],
        "mine": [0.5, 0.45, 4.0, 4.0],
    }
    values = pd.DataFrame(rows, index=columns).T
    assert race.better(values, rows) == {"mine": [f"{tool} soon"]}


def test_every_start_swaps_the_clip_and_the_figures_are_kept(
    tmp_path, monkeypatch, short_clips, lay_footage
):
    monkeypatch.setattr(deepfakery, "SMOKE", True)
    monkeypatch.setattr(keep, "RESULTS", tmp_path)
    theirs = {"target": "collins", "truth": "hopper"}
    for name, who in theirs.items():
        (tmp_path / f"{name}_{who}.mp4").symlink_to(short_clips[who])
    clip = peers.PEERS[f"{race.TOOL} Quick96, 3 min"]
    monkeypatch.setattr(peers, "PEERS", {f"{race.TOOL}, here": clip})
    (tmp_path / clip).symlink_to(short_clips["collins"])
    out = tmp_path / "race"
    lay_footage(out / "clips", out / "faces")
    given = ["--seconds", "5", "--preset", "small", "--out", str(out)]
    assert race.main([*given, "--peers", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "04_evaluation.json").read_text())["race"]
    mine = {"5 s from nothing", "5 s from base"}
    assert set(figures["figures"]["better"]) == mine
    for name in mine:
        assert images.count_frames(out / f"{name}.mp4") == 12
        assert set(figures["figures"]["clips"][name]) == set(race.ASKED)
    assert set(samples.PEOPLE) == {f.name for f in (out / "faces").iterdir()}
