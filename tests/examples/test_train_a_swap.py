"""README's example and the script in examples/, from end to end."""

import os
import re
import subprocess
import sys
from pathlib import Path

import deepfakery
from deepfakery.media import images, provenance, video

ROOT = Path(__file__).parents[2]


def run(arguments, folder):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "DEEPFAKERY_SMOKE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def check(clip, target):
    said = provenance.inspect(clip)
    assert said["state"] == "Valid" and said["preset"] == "light"
    before = next(video.read_frames(target)).image
    after = next(video.read_frames(clip)).image
    assert before.shape == after.shape
    height, width = before.shape[:2]
    middle = slice(height // 3, 2 * height // 3), slice(width // 3, 2 * width // 3)
    assert abs(before[middle].astype(int) - after[middle]).mean() > 5


def test_the_example_of_the_readme(tmp_path, lay_footage):
    readme = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?import deepfakery as df.*?)```", readme, re.S)
    folder = tmp_path / "data/output/pair"
    lay_footage(folder, folder)
    run(["-c", code], tmp_path)
    check(folder / "swap.mp4", folder / "collins_train.mp4")


def test_the_method_in_one_script(tmp_path, lay_footage):
    out = tmp_path / "data/output/example"
    lay_footage(out / "clips", out / "faces")
    said = run([str(ROOT / "examples/train_a_swap.py"), "0.1"], tmp_path)
    assert "data/output/example/swap.mp4" in said
    for stage in ("autoencoder", "discriminator", "both"):
        assert images.read_image(out / f"{stage}.png").shape[2] == 3
    frames = sorted((out / "frames").glob("*.png"))
    assert len(frames) == video.probe(out / "swap.mp4").frames > 0
    (target,) = (out / "clips").glob("collins_unseen.mp4")
    check(out / "swap.mp4", target)


def test_every_name_of_the_package_can_be_imported():
    assert all(getattr(deepfakery, name) is not None for name in deepfakery.__all__)
