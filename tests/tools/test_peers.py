"""The comparison with other tools' clips: what it needs, shows and keeps."""

import numpy as np
import pytest
from PIL import Image

from deepfakery import samples
from deepfakery.media import provenance
from tools import peers


def test_without_the_clips_it_says_so_and_leaves(tmp_path, capsys):
    assert peers.main(["--peers", str(tmp_path / "nowhere")]) == 0
    assert "Skipped: there is no" in capsys.readouterr().out


def test_another_motion_is_refused(short_clips, clips):
    peers.refuse_others(clips["collins"], clips["collins"])
    with pytest.raises(ValueError, match=r"collins.mp4 is not .*; run `make compare`"):
        peers.refuse_others(clips["collins"], short_clips["collins"])


def test_a_picture_shows_a_clip_a_row_and_is_small(short_clips, tmp_path):
    rows = {"target": short_clips["collins"], "ground truth": short_clips["hopper"]}
    made = tmp_path / "peers.jpg"
    peers.draw(rows, made, [short_clips["hopper"]], short_clips["collins"])
    sheet = np.asarray(Image.open(made))
    high, wide, _ = sheet.shape
    assert wide >= peers.MOMENTS * peers.SIDE and high > len(samples.PEOPLE) * 192
    assert made.stat().st_size < peers.BYTES and sheet.std() > 20
    assert provenance.inspect(made)["state"] == "Valid"
