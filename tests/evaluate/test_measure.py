"""Each figure moves the way it should under a damage that is known."""

import ast
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from deepfakery import __main__ as cli
from deepfakery import batches, samples
from deepfakery.convert import merge
from deepfakery.evaluate import measure, metrics, tables
from deepfakery.evaluate.metrics import MEASURES, PERSON, TARGET, TRUTH
from deepfakery.faces import detect, geometry
from deepfakery.media import images, video

ROOT = Path(measure.__file__).parents[2]
FRAMES = 14


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A clip of Collins to paint into, and the ground truth: Hopper doing the same."""
    folder = tmp_path_factory.mktemp("pair")
    moves = samples.motion(300, seed=1)[60 : 60 + 3 * FRAMES : 3]
    return [
        samples.write_clip(folder / f"{name}.mp4", name, moves)
        for name in ("collins", "hopper")
    ]


@pytest.fixture(scope="module")
def made(pair, tmp_path_factory):
    """A swap that could hardly be better, and the same swap damaged in known ways."""
    folder = tmp_path_factory.mktemp("swaps")
    target, truth = pair
    swaps = {"good": folder / "good.mp4"}
    seen = measure._look(pair, 1, 0)  # aligned as it is measured
    points = zip(*(seen[clip].landmarks for clip in pair), strict=True)
    both = zip(*map(video.read_frames, pair), strict=True)
    mask, options = np.ones((256, 256, 1), np.float32), {"colour": "none", "sharpen": 0}
    with video.VideoWriter(swaps["good"], fps=30, crf=8) as writer:
        for (frame, true), (here, there) in zip(both, points, strict=True):
            face = geometry.crop(true.image, geometry.alignment(there))
            image = merge.merge(
                frame.image, here, np.float32(face) / 255, mask, erode=-0.05, **options
            )
            writer.write(image)
    good = [frame.image for frame in video.read_frames(swaps["good"])]
    before = [frame.image for frame in video.read_frames(target)]
    outlines = [
        geometry.hull(detect.detect(image)[0].landmarks, 0.1) for image in before
    ]
    noise = np.random.default_rng(0).integers(-40, 40, good[0].shape)

    def inside(damage):
        """Damage the face and leave the rest."""
        out = []
        for number, (image, outline) in enumerate(zip(good, outlines, strict=True)):
            mask = np.zeros(image.shape[:2], np.uint8)
            cv2.fillConvexPoly(mask, outline.round().astype(np.int32), 1)
            damaged = np.clip(damage(number, image), 0, 255).astype(np.uint8)
            out.append(np.where(mask[..., None] > 0, damaged, image))
        return out

    def outside(damage):
        """Damage the rest and leave the face."""
        changed = inside(lambda i, image: np.full_like(image, 0))
        return [
            np.where(black == 0, image, np.clip(damage(image), 0, 255)).astype(np.uint8)
            for black, image in zip(changed, good, strict=True)
        ]

    damaged = {
        "blurred": inside(lambda i, image: cv2.GaussianBlur(image, (0, 0), 3)),
        "shifted": inside(lambda i, image: np.roll(image, (4, 4), (0, 1))),
        "cast": inside(lambda i, image: image + [40.0, 0, -20]),
        "hard edge": inside(lambda i, image: image - 40.0),
        "flickering": inside(lambda i, image: image + 10.0 * (-1) ** i),
        "noise around": outside(lambda image: image + noise),
        "backwards": good[::-1],
        "frozen": good[:1] * FRAMES,
        "half gone": good[: FRAMES // 2] + [np.full_like(good[0], 90)] * (FRAMES // 2),
    }
    for name, pictures in damaged.items():
        swaps[name] = folder / f"{name}.mp4"
        with video.VideoWriter(swaps[name], fps=30, crf=8) as writer:
            for picture in pictures:
                writer.write(picture)
    return swaps


@pytest.fixture(scope="module")
def frames(made, pair, facesets):
    target, truth = pair
    painted = facesets["hopper"].descriptors()
    return measure.measure(made, target, painted, truth, described=2, workers=0)


@pytest.fixture(scope="module")
def table(frames):
    return tables.summarise(frames)


@pytest.fixture(scope="module")
def figure(table):
    """A function: the mean of a measure over a clip."""
    return table.set_index(["clip", "measure"])["value"].get


# --- baselines and bounds ------------------------------------------------------------


def test_the_true_swap_is_perfect(figure):
    perfect = {"found": 1, "verified": 1, "ssim": 1, "sharpness_ratio": 1}
    perfect |= dict.fromkeys(["colour_error", "landmark_error", "pose_error"], 0)
    perfect |= dict.fromkeys(["eye_error", "mouth_error", "expression_error"], 0)
    for name, best in perfect.items():
        assert figure((TRUTH, name)) == pytest.approx(best, abs=1e-6), name
    assert figure((TRUTH, "psnr")) > 100
    assert figure((TRUTH, "identity_distance")) < 0.4 < figure((TRUTH, "margin")) + 0.2


def test_the_true_swap_has_surroundings_of_its_own(figure):
    assert figure((TRUTH, "background_ssim")) is None
    assert figure((TRUTH, "seam")) is None


def test_the_target_as_it_was_is_the_baseline(figure):
    assert figure((TARGET, "verified")) == 0 > figure((TARGET, "margin"))
    assert figure((TARGET, "background_ssim")) == pytest.approx(1)
    assert figure((TARGET, "seam")) == 0
    for name in ("ssim", "psnr", "margin"):
        assert figure((TARGET, name)) < figure(("good", name)) < figure((TRUTH, name))
    for name in ("colour_error", "landmark_error", "mouth_error", "identity_distance"):
        assert figure((TARGET, name)) > figure(("good", name)), name


def test_a_perfect_network_comes_near_the_true_swap(figure):
    assert figure(("good", "verified")) == figure(("good", "found")) == 1
    assert figure(("good", "ssim")) > 0.8 and figure(("good", "psnr")) > 20
    assert figure(("good", "background_ssim")) > 0.95
    assert figure(("good", "landmark_error")) < 4 and figure(("good", "pose_error")) < 3


def test_the_painted_person_is_not_compared_with_the_same_frames(figure, frames):
    rows = frames[frames["clip"] == PERSON]
    assert len(rows) == 72 and rows["verified"].eq(1).all()
    assert 0.1 < figure((PERSON, "identity_distance")) < 0.4
    assert rows["ssim"].isna().all()


# --- known damage --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "measure", "least"),
    [
        ("blurred", "ssim", -0.1),
        ("blurred", "psnr", -0.5),
        ("blurred", "sharpness_ratio", -0.3),
        ("shifted", "landmark_error", 2),
        ("shifted", "ssim", -0.1),
        ("cast", "colour_error", 4),
        ("cast", "psnr", -4),
        ("hard edge", "seam", 3),
        ("flickering", "flicker", 8),
        ("noise around", "background_ssim", -0.2),
        ("backwards", "pose_error", 1),
        ("backwards", "expression_error", 0.5),
        ("backwards", "mouth_error", 1),
        ("frozen", "pose_error", 1),
        ("frozen", "expression_error", 0.5),
        ("half gone", "found", -0.5),
        ("half gone", "verified", -0.5),
    ],
)
def test_a_known_damage_moves_its_figure(damage, measure, least, figure):
    change = figure((damage, measure)) - figure(("good", measure))
    assert change / least >= 1, f"{measure} changed by {change:.2f}"


@pytest.mark.parametrize(
    ("damage", "measure", "most"),
    [
        ("blurred", "landmark_error", 1),
        ("blurred", "background_ssim", 0.03),
        ("shifted", "identity_distance", 0.1),
        ("cast", "landmark_error", 1),
        ("cast", "background_ssim", 0.03),
        ("cast", "sharpness_ratio", 0.15),
        ("noise around", "ssim", 0.05),
        ("noise around", "colour_error", 1),
        ("noise around", "seam", 3),
        ("flickering", "landmark_error", 1),
        ("backwards", "identity_distance", 0.05),
    ],
)
def test_a_known_damage_leaves_other_figures_alone(damage, measure, most, figure):
    change = figure((damage, measure)) - figure(("good", measure))
    assert abs(change) <= most, f"{measure} changed by {change:.2f}"


def test_a_soft_edge_shows_less_than_a_hard_one(pair, landmarks):
    own, true = (next(iter(video.read_frames(clip))).image for clip in pair)
    points = landmarks(own)
    painted = geometry.crop(true, geometry.alignment(landmarks(true)))
    painted, mask = np.float32(painted) / 255, np.ones((256, 256, 1), np.float32)
    hard, soft, softer = (
        metrics.seam(own, merge.merge(own, points, painted, mask, feather=f), points)
        for f in (0.005, 0.05, 0.3)
    )
    assert hard > 1.5 * soft > 2 * softer > 0
    assert metrics.seam(own, own, points) == 0


def test_opened_eyes_and_mouth_are_told(posed, landmarks):
    rest, wide, shut = (
        metrics.expression(landmarks(posed("collins", **column)))
        for column in ({}, {"mouth_open": 1}, {"blink": 1})
    )
    assert wide[1] > rest[1] + 15 and abs(wide[0] - rest[0]) < 3
    assert shut[0] < rest[0] - 2 and abs(shut[1] - rest[1]) < 3


# --- other people --------------------------------------------------------------------


def test_of_a_gallery_the_painted_person_is_found_first(made, pair, facesets):
    target, _ = pair
    painted = facesets["hopper"].descriptors()
    # Somebody between the two is nearer to neither's own footage.
    between = (painted[:1] + facesets["collins"].descriptors()[:1]) / 2
    options = {"described": 3, "workers": 0}
    good = made["good"]
    frames = measure.measure(good, target, painted, gallery=between, **options)
    means = frames.groupby("clip")["retrieved"].mean()
    assert means["swap"] == means[PERSON] == 1 and means[TARGET] == 0
    same = measure.measure(good, target, painted, gallery=painted, **options)
    assert same[same["clip"] == "swap"]["retrieved"].mean() < 1


def test_a_gallery_reads_one_photo_of_each_person(posed, tmp_path):
    for i, name in enumerate(samples.PEOPLE):
        for photo, shown in (("a", name), ("b", samples.PEOPLE[0])):
            images.write_image(tmp_path / f"p{i}" / f"{photo}.jpg", posed(shown))
    (tmp_path / "p9").mkdir()
    (tmp_path / "p9" / "a.jpg").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="p9"):
        both = measure.gallery(tmp_path, workers=0)
    assert both.shape == (2, 128) and both.dtype == np.float32
    assert np.linalg.norm(both[0] - both[1]) > detect.SAME_PERSON
    np.testing.assert_array_equal(measure.gallery(tmp_path, 1, workers=0), both[:1])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        measure.gallery(tmp_path / "nowhere", workers=0)


# --- frames and their partners -------------------------------------------------------


def test_a_folder_of_frames_scores_as_its_clip_does(made, pair, facesets, tmp_path):
    for frame in video.read_frames(made["good"]):
        images.write_image(tmp_path / f"frame_{frame.index + 1}.png", frame.image)
    target, truth = pair
    painted = facesets["hopper"].descriptors()
    swaps = {"clip": made["good"], "folder": tmp_path}
    frames = measure.measure(swaps, target, painted, truth, described=1, workers=0)
    clip, folder = (frames[frames["clip"] == n][list(MEASURES)] for n in swaps)
    np.testing.assert_allclose(clip.to_numpy(), folder.to_numpy())


def score(swap, pair, facesets, **more):
    options = {"described": 2, "workers": 0} | more
    return measure.measure(swap, pair[0], facesets["hopper"].descriptors(), **options)


def test_nobody_is_no_swap(pair, facesets, tmp_path):
    with video.VideoWriter(tmp_path / "fog.mp4", fps=30) as writer:
        for _ in range(4):
            writer.write(np.full((96, 96, 3), 90, np.uint8))
    painted = facesets["hopper"].descriptors()
    with pytest.raises(ValueError, match=r"fog.mp4 shows no face"):
        measure.measure(tmp_path / "fog.mp4", tmp_path / "fog.mp4", painted, workers=0)


def test_a_swap_may_not_be_called_what_it_is_compared_with(pair, facesets):
    with pytest.raises(ValueError, match="ground truth"):
        score({TRUTH: pair[1]}, pair, facesets)


# --- tables --------------------------------------------------------------------------


def test_an_interval_holds_the_mean_and_widens_with_the_block():
    smooth = samples.motion(300, seed=3)[:, 0].astype(float)
    widths = []
    for block in (1, 30):
        low, high = tables.interval(smooth, block)
        assert low < smooth.mean() < high
        widths.append(high - low)
    # Neighbours repeat each other: drawn one by one they pretend to be many.
    assert widths[1] > 2 * widths[0]


def test_an_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        low, high = tables.interval(random.normal(size=120), 10, draws=200)
        held += low < 0 < high
    assert 0.85 < held / 200 <= 1


def test_what_was_not_measured_does_not_count():
    values = np.array([1.0, np.nan, 1.0, np.nan] * 10)
    assert tables.interval(values, 5) == (1, 1)


def test_every_figure_has_an_interval_and_a_block(table, frames):
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert set(table["measure"]) == MEASURES.keys() - {"retrieved"}
    assert (table[table["clip"] == "good"]["block"] == FRAMES // 4).all()
    again = tables.summarise(frames)
    pd.testing.assert_frame_equal(table, again)


def test_the_table_for_reading_says_unit_and_direction(table):
    shown = tables.side_by_side(table)
    assert list(shown.columns) == list(dict.fromkeys(table["clip"]))
    assert "SSIM ↑" in shown.index and "pose error, ° ↓" in shown.index
    assert shown.loc["SSIM ↑", TRUTH] == "1.00 (1.00 to 1.00)"
    assert shown.loc["SSIM ↑", PERSON] == ""


def test_every_measure_is_defined():
    for name, m in MEASURES.items():
        assert m.name == name and m.heading.startswith(m.label)
        assert len(m.definition) > 40 and m.definition.endswith(".") and m.range


# --- dlib ----------------------------------------------------------------------------


def test_what_trains_never_asks_dlib(facesets, make_swapper, monkeypatch):
    """Training works with dlib locked away: no loss can depend on it."""

    def locked(*arguments, **more):
        raise AssertionError("training asked dlib")

    monkeypatch.setattr(detect, "_dlib", locked)
    swapper = make_swapper()
    stream = batches.batches(facesets, swapper.size, batch=2)
    assert np.isfinite(swapper.train_on_batch(*next(stream))).all()
    with pytest.raises(AssertionError):
        detect.detect(np.zeros((64, 64, 3), np.uint8))


def test_no_module_that_trains_names_dlib():
    measures = {"dlib", "measure", "metrics"}
    looks = {"descriptor", "descriptors", "describe_chips", "detect", "detect_each"}
    trains = {"batches"}
    # These train with what is there, then measure.
    after = {"__main__", "compare", "detection"}
    for file in (ROOT / "deepfakery").rglob("*.py"):
        tree = ast.parse(file.read_text())
        nodes = list(ast.walk(tree))
        imported = {n.name for n in nodes if isinstance(n, ast.alias)}
        imported |= {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
        if file.stem in after:
            classes = [n for n in nodes if isinstance(n, ast.ClassDef)]
            assert not any(n.bases for n in classes), file.name
        elif "keras" in imported or file.stem in trains:
            trains.add(file.stem)
            used = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
            assert not imported & measures, file.name
            assert not used & looks, file.name
    assert {"swapper", "losses", "networks", "training"} <= trains


# --- the command ----------------------------------------------------------------------


def test_the_command_leaves_a_table_and_a_figure(
    made, pair, facesets, tmp_path, capsys
):
    command = ["evaluate", "--out", tmp_path, "--swap", made["good"]]
    command += ["--target", pair[0], "--truth", pair[1]]
    command += ["--face", facesets["hopper"].folder]
    assert cli.main([*map(str, command)]) == 0
    table = pd.read_csv(tmp_path / "evaluation.csv")
    assert list(dict.fromkeys(table["clip"])) == ["swap", TARGET, TRUTH, PERSON]
    said = capsys.readouterr().out
    assert "SSIM ↑" in said
    plain = f"{FRAMES} of {FRAMES} frames of collins.mp4 matched in order"
    assert said.count("matched") == 1 and f"good.mp4, ground truth: {plain}\n" in said
    assert images.read_image(tmp_path / "evaluation.png").std() > 5


def test_the_command_says_what_does_not_fit(made, short_clips, facesets, capsys):
    given = ["--swap", made["good"], "--target", short_clips["hopper"]]
    given += ["--face", facesets["hopper"].folder]
    assert cli.main(["evaluate", *map(str, given)]) == 1
    said = [x for x in capsys.readouterr().err.splitlines() if x.startswith("Error:")]
    assert len(said) == 1 and "good.mp4 was not made from" in said[0]
    assert "hopper_short.mp4" in said[0] and "Give the clip" in said[0]
