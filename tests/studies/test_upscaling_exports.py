"""Photos and clips enlarged to files, and the notebook that tells of it."""

import json

import keras
import numpy as np
import pytest

from deepfakery import __main__ as cli
from deepfakery import samples
from deepfakery.convert import export
from deepfakery.media import images, provenance, video
from deepfakery.studies import scores
from deepfakery.studies.upscaler import Upscaler, shipped


@pytest.fixture(scope="module")
def upscaler():
    keras.utils.set_random_seed(0)
    return Upscaler({"pyramid": {"widths": [8], "blocks": [1]}, "discriminator": {}})


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Six frames at uneven times, 96 × 96."""
    path = tmp_path_factory.mktemp("clip") / "small.mp4"
    frames = samples.animate(samples.portrait("collins", 96), samples.motion(6))
    with video.VideoWriter(path, fps=25) as writer:
        for pts, image in zip((0, 1, 2, 4, 7, 8), frames, strict=True):
            writer.write(image, pts)
    return path


def test_a_clip_keeps_frames_and_times_and_ends_at_the_size(clip, upscaler, tmp_path):
    large = tmp_path / "large.mp4"
    assert export.upscale_clip(clip, upscaler, large, (320, 180)) == 6
    before, after = (list(video.read_frames(path)) for path in (clip, large))
    assert [f.time for f in after] == pytest.approx([f.time for f in before])
    assert {f.image.shape for f in after} == {(180, 320, 3)}
    assert after[0].image[:120, :60].max() < 20  # padded at the sides
    assert not list(tmp_path.glob(".*"))


def test_it_says_that_it_was_enlarged_and_from_what(clip, upscaler, tmp_path):
    large = tmp_path / "large.mp4"
    export.upscale_clip(clip, upscaler, large, (192, 192))
    said = provenance.inspect(large)
    assert said["source_type"] == "compositeWithTrainedAlgorithmicMedia"
    assert said["ingredients"] == ["small.mp4"] and not said["tampered"]
    assert said["weights_sha256"] == upscaler.sha256()


def test_the_label_is_written_once(clip, upscaler, tmp_path):
    """What bears our label is not labelled over it; what bears none is."""
    marked, plain, again = (tmp_path / f"{n}.png" for n in ("marked", "plain", "again"))
    images.write_image(plain, samples.portrait("hopper", 96).image)
    export.upscale_photos(plain, upscaler, marked, (192, 192))
    export.upscale_photos(
        plain, upscaler, tmp_path / "bare.png", (192, 192), label=False
    )
    differs = np.abs(
        images.read_image(marked).astype(int) - images.read_image(tmp_path / "bare.png")
    ).max(-1)
    rows, columns = np.nonzero(differs)
    assert rows.min() > 150 and columns.max() < 100  # the lower left corner alone
    export.upscale_photos(marked, upscaler, again, (192, 192))
    same = images.read_image(again).astype(int) - images.read_image(marked)
    assert np.abs(same).max() == 0
    # Credentials alone do not make a label; and edges that are cut off take it along.
    bare = tmp_path / "bare.png"
    export.upscale_photos(bare, upscaler, again, (192, 192))
    assert np.abs(images.read_image(again) - images.read_image(bare).astype(int)).max()
    assert provenance.inspect(again)["label"] == export.ENLARGED
    export.upscale_photos(marked, upscaler, again, (192, 96), fit="crop")
    assert provenance.inspect(again)["label"] == export.ENLARGED


def test_a_folder_of_photos_becomes_a_folder(upscaler, tmp_path):
    image = samples.portrait("hopper", 64).image
    images.write_image(tmp_path / "in" / "a.jpg", image)
    images.write_image(tmp_path / "in" / "deep" / "b.bmp", image)
    made = export.upscale_photos(tmp_path / "in", upscaler, tmp_path / "out", (99, 70))
    assert made == [tmp_path / "out" / "a.jpg", tmp_path / "out" / "deep" / "b.bmp.png"]
    for file in made:
        assert images.read_image(file).shape == (70, 99, 3)
        assert provenance.inspect(file)["signed"]
    with pytest.raises(ValueError, match="among the photos"):
        export.upscale_photos(tmp_path / "in", upscaler, tmp_path / "in" / "x", (9, 9))
    (tmp_path / "in" / "c.mov").write_bytes(b"a clip")
    with pytest.raises(ValueError, match="c.mov is no photo"):
        export.upscale_photos(tmp_path / "in", upscaler, tmp_path / "out", (9, 9))


def test_the_projects_own_beats_bicubic_on_faces_it_never_saw():
    # As large as faces are in the photos that it learned from.
    people = [samples.portrait(name, 288).image for name in samples.PEOPLE]
    faces = np.stack([image[40:200, 64:224] for image in people])
    ways = scores.WAYS | {"ours": scores.by(shipped())}
    for factor in (2, 4):
        table = scores.compare(ways, faces, factor)
        assert table["ours"]["psnr_y"] > table["bicubic"]["psnr_y"] + 1
        assert table["ours"]["sharpness"] > table["bicubic"]["sharpness"]
        assert table["ours"]["distance"] <= table["bicubic"]["distance"]
        assert table["ours"]["faces"] == 2


# --- from the command line --------------------------------------------------------


def run(*arguments):
    return cli.main(["upscale", *map(str, arguments)])


def test_a_photo_is_enlarged_from_the_command_line(tmp_path, capsys):
    images.write_image(tmp_path / "a.png", samples.portrait("hopper", 48).image)
    out = tmp_path / "new" / "b.jpg"
    assert run("--in", tmp_path / "a.png", "--out", out, "--size", "160x90") == 0
    assert images.read_image(out).shape == (90, 160, 3)
    assert "160 × 90" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "out", "size", "words"),
    [
        ("none.png", "b.png", "9x9", ("none.png", "does not exist")),
        ("a.png", "b.png", "large", ("large", "1920x1080")),
        ("a.png", "b.png", "0x9", ("0x9", "1920x1080")),
        ("a.png", "b.txt", "9x9", ("b.txt", ".png")),
        ("words.mp4", "b.mp4", "9x9", ("words.mp4", "not a video")),
    ],
)
def test_bad_input_is_named_in_a_sentence(source, out, size, words, tmp_path, capsys):
    images.write_image(tmp_path / "a.png", np.full((8, 8, 3), 90, np.uint8))
    (tmp_path / "words.mp4").write_text("no video\n" * 100)
    done = run("--in", tmp_path / source, "--out", tmp_path / out, "--size", size)
    said = capsys.readouterr().err.strip()
    assert done == 1 and said.startswith("Error:") and "\n" not in said
    assert all(word in said for word in words)


def test_every_network_that_had_a_hand_in_it_is_named(clip, untrained, tmp_path):
    swap, walk = tmp_path / "swap.mp4", tmp_path / "walk.mp4"
    sharpen = {"sharpen": shipped(), "workers": 0}
    export.swap_clip(clip, untrained, "hopper", swap, **sharpen)
    frames = [frame.image for frame in video.read_frames(clip)]
    export.imagined_clip(frames, (untrained, shipped()), walk)
    for path in (swap, walk):
        said = provenance.inspect(path)
        both = untrained.sha256(), shipped().sha256()
        assert said["weights_sha256"].split() == [*both] and ", " in said["preset"]


# --- the notebook -----------------------------------------------------------------


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, run_notebook):
    folder = tmp_path_factory.mktemp("enlarge")
    given = {"measured": 4, "width": 960, "height": 540}
    return run_notebook("06_upscaling", folder, study=False, **given)


def test_the_notebook_runs_and_says_nothing_of_where(workspace, pictures_of):
    assert pictures_of(workspace / "06_upscaling.ipynb") >= 6


def test_the_notebook_leaves_signed_pictures_and_figures(workspace):
    large = workspace / "portrait_large.png"
    assert images.read_image(large).shape == (540, 960, 3)
    said = provenance.inspect(large)
    assert said["source_type"] == "compositeWithTrainedAlgorithmicMedia"
    said = provenance.inspect(workspace / "imagined.png")
    assert said["source_type"] == "trainedAlgorithmicMedia"
    figures = json.loads((workspace / "upscaling.json").read_text())["figures"]
    for factor in ("x2", "x4", "x8"):
        rows = figures[factor]
        assert {"bicubic", "Lanczos", "L1", "adversarial", "ours, L1", "ours"} == {
            *rows
        }
        assert all(np.isfinite(row["psnr_y"]) for row in rows.values())
    assert figures["x4"]["ours, L1"]["psnr_y"] > figures["x4"]["bicubic"]["psnr_y"]
