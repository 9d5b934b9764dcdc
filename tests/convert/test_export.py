import itertools
import json
import os
import resource
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
from PIL import Image

from deepfakery import samples, training
from deepfakery.convert import export, merge
from deepfakery.convert.export import swap_clip, swap_photos
from deepfakery.convert.resume import unfinished
from deepfakery.faces import detect
from deepfakery.media import images, provenance, records, video

# --- a whole clip -----------------------------------------------------------------


SIDE = 256


@pytest.fixture(scope="module")
def pictures():
    """36 frames of a person."""
    moves = samples.motion(300, seed=1)[::5][:36]
    return list(samples.animate(samples.portrait("collins", SIDE), moves))


@pytest.fixture(scope="module")
def footage(pictures, tmp_path_factory):
    """Six frames with a face, then three without, at uneven times; and those times."""
    path = tmp_path_factory.mktemp("footage") / "footage.mp4"
    ramp = np.linspace(60, 180, SIDE).astype(np.uint8)
    empty = np.repeat(np.tile(ramp, (SIDE, 1))[..., None], 3, axis=2)
    times = [0, 1, 2, 5, 8, 9, 10, 13, 14]
    with video.VideoWriter(path, fps=25) as writer:
        for pts, picture in zip(times, pictures[:6] + [empty] * 3, strict=True):
            writer.write(picture, pts)
    return path, [t / 25 for t in times]


@pytest.fixture(scope="module")
def swapped(footage, untrained, tmp_path_factory):
    """The clip swapped with and without its label: {label: (folder, painted)}."""
    made = {}
    for label in (True, False):
        folder = tmp_path_factory.mktemp("swapped")
        painted = swap_clip(
            footage[0],
            untrained,
            "hopper",
            folder / "swap.mp4",
            frames_folder=folder / "frames",
            label=label,
            workers=0,
        )
        made[label] = folder, painted
    return made


def test_a_swapped_clip_keeps_frames_times_and_size(footage, swapped):
    source, times = footage
    folder, painted = swapped[True]
    assert painted == swapped[False][1] == list(range(6))
    frames = list(video.read_frames(folder / "swap.mp4"))
    assert [f.time for f in frames] == pytest.approx(times, abs=1e-6)
    before, after = video.probe(source), video.probe(folder / "swap.mp4")
    assert (after.width, after.height) == (before.width, before.height) == (SIDE, SIDE)
    assert after.frames == before.frames == 9
    assert after.duration == pytest.approx(before.duration, abs=0.02)


def test_every_frame_is_also_a_picture(swapped):
    folder, _ = swapped[True]
    names = sorted(f.name for f in (folder / "frames").iterdir())
    assert names == [f"{i:06d}.png" for i in range(9)]
    frames = video.read_frames(folder / "swap.mp4")
    for frame, name in zip(frames, names, strict=True):
        picture = images.read_image(folder / "frames" / name)
        assert np.abs(frame.image.astype(int) - picture).mean() < 4


def test_nothing_half_made_is_left(swapped):
    for folder, _ in swapped.values():
        assert {f.name for f in folder.iterdir()} == {"swap.mp4", "frames"}


def test_frames_without_a_face_pass_unchanged(footage, swapped):
    originals = list(video.read_frames(footage[0]))
    folder, _ = swapped[True]
    for frame, again in zip(
        originals[6:], list(video.read_frames(folder / "swap.mp4"))[6:], strict=True
    ):
        picture = images.read_image(folder / "frames" / f"{frame.index:06d}.png")
        np.testing.assert_array_equal(picture, frame.image)
        assert np.abs(again.image.astype(int) - frame.image).mean() < 2


def test_faces_are_painted_and_the_rest_is_not(
    footage, swapped, landmarks, inside_hull
):
    folder, _ = swapped[False]
    for frame in video.read_frames(footage[0]):
        if frame.index not in (0, 5):
            continue
        picture = images.read_image(folder / "frames" / f"{frame.index:06d}.png")
        difference = np.abs(picture.astype(int) - frame.image).max(-1)
        points = landmarks(frame.image)
        assert difference[inside_hull(frame.image, points)].mean() > 5
        assert difference[~inside_hull(frame.image, points, grow=40)].max() == 0


def test_the_background_differs_no_more_than_the_codec_makes_it(
    footage, swapped, landmarks, tmp_path, inside_hull
):
    source, copy = footage[0], tmp_path / "copy.mp4"
    with video.VideoWriter(copy, like=video.probe(source)) as writer:
        for frame in video.read_frames(source):
            writer.write(frame.image, frame.pts)
    triples = zip(
        video.read_frames(source),
        video.read_frames(copy),
        video.read_frames(swapped[False][0] / "swap.mp4"),
        strict=True,
    )
    errors = []
    for frame, again, swap in itertools.islice(triples, 6):
        outside = ~inside_hull(frame.image, landmarks(frame.image), grow=40)
        errors.append(
            np.abs(one.image[outside].astype(int) - frame.image[outside]).mean()
            for one in (again, swap)
        )
    copied, painted = np.mean([list(pair) for pair in errors], axis=0)
    assert painted < 1.2 * copied


def test_only_swapped_frames_are_labelled_in_their_lower_left_corner(swapped):
    labelled, plain = (swapped[label][0] / "frames" for label in (True, False))
    for i in range(9):
        name = f"{i:06d}.png"
        difference = np.abs(
            images.read_image(labelled / name).astype(int)
            - images.read_image(plain / name)
        ).max(-1)
        assert (difference.max() > 100) == (i < 6)
        rows, columns = np.nonzero(difference)
        if i < 6:
            assert rows.min() > SIDE * 0.9 and columns.max() < SIDE * 0.5


def test_a_clip_without_a_face_is_named_and_leaves_nothing(untrained, tmp_path):
    clip = tmp_path / "fog.mp4"
    with video.VideoWriter(clip, fps=25) as writer:
        for _ in range(3):
            writer.write(np.full((120, 160, 3), 90, np.uint8))
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"fog\.mp4 shows no face"):
        swap_clip(
            clip,
            untrained,
            "hopper",
            out / "swap.mp4",
            frames_folder=out / "frames",
            workers=0,
        )
    assert list(out.iterdir()) == []


def test_an_older_result_is_replaced_only_by_a_whole_one(footage, untrained, tmp_path):
    out, older = tmp_path / "swap.mp4", tmp_path / "frames" / "000099.png"
    export.imagined_clip(
        [np.zeros((64, 64, 3), np.uint8)], untrained, out, credentials=False
    )
    export.save_picture(np.zeros((64, 64, 3), np.uint8), older, None)
    before = out.read_bytes(), older.read_bytes()
    with pytest.raises(ValueError, match="lovelace"):
        swap_clip(
            footage[0],
            untrained,
            "lovelace",
            out,
            frames_folder=tmp_path / "frames",
            workers=0,
        )
    assert (out.read_bytes(), older.read_bytes()) == before
    assert {f.name for f in tmp_path.iterdir()} == {"swap.mp4", "frames"}
    assert [f.name for f in (tmp_path / "frames").iterdir()] == ["000099.png"]


def test_footage_that_cannot_be_read_is_named(untrained, tmp_path):
    (tmp_path / "text.mp4").write_text("words")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(video.MediaError, match=r"text\.mp4"):
            swap_clip(tmp_path / "text.mp4", untrained, "hopper", tmp_path / "a.mp4")
    assert [f.name for f in tmp_path.iterdir()] == ["text.mp4"]


@pytest.mark.parametrize("panels", ["pair", "triple"])
def test_panels_stand_side_by_side(footage, untrained, swapped, tmp_path, panels):
    swap_clip(
        footage[0],
        untrained,
        "hopper",
        tmp_path / "panels.mp4",
        frames_folder=tmp_path / "frames",
        panels=panels,
        credentials=False,
        workers=0,
    )
    for index in (0, 8):
        name = f"{index:06d}.png"
        target, swap, *mask = np.split(
            images.read_image(tmp_path / "frames" / name), len(panels) // 2, axis=1
        )
        np.testing.assert_array_equal(
            swap, images.read_image(swapped[True][0] / "frames" / name)
        )
        painted = np.abs(swap.astype(int) - target)[: SIDE * 9 // 10].max(-1) > 0
        assert painted.any() == (index == 0)
        if mask:
            assert (mask[0].max() > 250) == (index == 0)
            assert mask[0][: SIDE * 9 // 10][painted].min(initial=255) > 0


def test_hevc_and_quality_are_the_callers_choice(footage, untrained, tmp_path):
    sizes = []
    for crf in (None, 40):
        path = tmp_path / f"{crf}.mp4"
        swap_clip(
            footage[0], untrained, "hopper", path, codec="hevc", crf=crf, workers=0
        )
        with av.open(path) as container:
            assert container.streams.video[0].codec_context.name == "hevc"
        assert provenance.inspect(path)["state"] == "Valid"
        sizes.append(path.stat().st_size)
    assert sizes[1] < 0.8 * sizes[0]


def test_what_cannot_be_written_is_named_before_any_work(footage, untrained, tmp_path):
    for wrong in ({"codec": "divx"}, {"panels": "quad"}, {"colour": "sepia"}):
        with pytest.raises(ValueError, match="divx|quad|sepia"):
            swap_clip(
                footage[0], untrained, "hopper", tmp_path / "a.mp4", workers=0, **wrong
            )
    assert list(tmp_path.iterdir()) == []


# --- many clips -------------------------------------------------------------------


def test_many_clips_are_swapped_though_one_fails(
    footage, make_swapper, facesets, tmp_path, capfd
):
    def train(name, steps):
        run = training.Run(tmp_path / name, make_swapper(), steps=steps)
        run.fit(facesets, batch=2)
        return run.folder

    def swap(run, workers=0):
        made = export.swap_clips(
            sources, run, "hopper", tmp_path / "swaps", workers=workers
        )
        return *made, {f.name: f.stat().st_mtime_ns for f in made[0].values()}

    (tmp_path / "words.mp4").write_text("words")
    sources = {"one": footage[0], "bad": tmp_path / "words.mp4", "two": footage[0]}
    run = train("run", 1)
    capfd.readouterr()
    done, failed, made = swap(run, workers=1)
    bars = capfd.readouterr().err  # one for all
    assert "18/18" in bars and "swapping" not in bars
    assert list(made) == ["one.mp4", "two.mp4"]
    assert list(failed) == ["bad"] and "not a video" in failed["bad"]
    assert all(images.count_frames(clip) == 9 for clip in done.values())

    done["two"].unlink()  # what is missing is made, and nothing else
    _, _, again = swap(run)
    assert again["one.mp4"] == made["one.mp4"] and again["two.mp4"] > made["two.mp4"]
    _, _, others = swap(train("longer", 2))  # other weights make other faces
    assert all(others[name] > again[name] for name in others)


# --- interrupted ------------------------------------------------------------------


class Tired:
    """A swapper that stops in the middle of its work, as a user would stop it."""

    def __init__(self, swapper, calls):
        self.swapper, self.calls, self.painted = swapper, calls, 0
        self.size, self.preset_name = swapper.size, swapper.preset_name
        self.sha256 = swapper.sha256

    def swap(self, pictures, identity):
        if self.calls == 0:
            raise KeyboardInterrupt
        self.calls -= 1
        self.painted += len(pictures)
        return self.swapper.swap(pictures, identity)


@pytest.fixture(scope="module")
def long_clip(pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    with video.VideoWriter(path, fps=25) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


def test_an_interrupted_export_goes_on_where_it_was(
    long_clip, untrained, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "PART", 5)
    made = {}
    for name in ("whole", "resumed"):
        path, folder = tmp_path / f"{name}.mp4", tmp_path / name
        if name == "resumed":
            with pytest.raises(KeyboardInterrupt):
                swap_clip(
                    long_clip,
                    Tired(untrained, 2),
                    "hopper",
                    path,
                    frames_folder=folder,
                    workers=0,
                )
            assert not path.exists() and not folder.exists()
        tireless = Tired(untrained, -1)
        painted = swap_clip(
            long_clip, tireless, "hopper", path, frames_folder=folder, workers=0
        )
        assert painted == list(range(36))
        made[name] = tireless.painted
        assert video.probe(path).frames == 36
        assert provenance.inspect(path)["state"] == "Valid"
    assert made["resumed"] < made["whole"]
    for file in (tmp_path / "whole").iterdir():
        np.testing.assert_array_equal(
            images.read_image(file), images.read_image(tmp_path / "resumed" / file.name)
        )
    names = {f.name for f in tmp_path.iterdir()}
    assert names == {"whole", "whole.mp4", "resumed", "resumed.mp4"}


def limited(size):
    """No file can grow beyond so many bytes: a full disk, for this process alone."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def test_a_full_disk_is_named_and_all_parts_stay(
    long_clip, untrained, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "PART", 5)
    path, before = tmp_path / "swap.mp4", resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    limited(40_000)  # enough for each part, not for the clip
    try:
        with pytest.raises(OSError, match=r"whole.mp4 could not be written .*make roo"):
            swap_clip(long_clip, untrained, "hopper", path, workers=0)
    finally:
        limited(before)
    assert not path.exists()
    assert len(list((tmp_path / ".swap.mp4.part").glob("0*.mp4"))) == 8
    again = Tired(untrained, -1)
    swap_clip(long_clip, again, "hopper", path, workers=0)
    assert video.probe(path).frames == 36
    assert again.painted <= 16  # what smoothing looks back on


def test_a_clip_that_there_is_no_room_to_sign_is_signed_later(
    footage, untrained, tmp_path, monkeypatch, capsys
):
    path, given = tmp_path / "swap.mp4", (footage[0], untrained, "hopper")
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda place: free)
        with pytest.raises(OSError, match=r"swap.mp4 could not .*no space left to si"):
            swap_clip(*given, path, workers=0)
    assert f"{path} may take up to about 0.1 MB" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == [".swap.mp4.part"]
    swap_clip(*given, path, workers=0)
    assert "may take" not in capsys.readouterr().out
    assert provenance.inspect(path)["state"] == "Valid"


@pytest.mark.parametrize("last", [0, 4, 9])
def test_frames_that_were_moved_before_a_kill_stay(
    last, footage, untrained, tmp_path, monkeypatch
):
    given = footage[0], untrained, "hopper", tmp_path / "swap.mp4"
    options = {"frames_folder": tmp_path / "frames", "workers": 0}
    images.write_image(  # of an earlier, longer clip
        tmp_path / "frames/000011.png", np.zeros((8, 8, 3), np.uint8), "DeepFakery"
    )
    moved, move, publish = [], shutil.move, provenance.publish

    def move_some(*paths):
        if len(moved) == last:
            raise KeyboardInterrupt
        moved.append(move(*paths))

    def publish_pictures(unsigned, path, facts):
        if path.suffix == ".mp4":
            raise KeyboardInterrupt
        publish(unsigned, path, facts)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "move", move_some)
        patch.setattr(provenance, "publish", publish_pictures)
        swap_clip(*given, **options)
    assert len(moved) == last
    swap_clip(*given, **options)
    names = sorted(file.name for file in (tmp_path / "frames").iterdir())
    assert names == [f"{i:06d}.png" for i in range(9)]


def test_what_was_begun_with_other_settings_is_not_gone_on_with(
    long_clip, untrained, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "PART", 5)
    path = tmp_path / "swap.mp4"
    with pytest.raises(KeyboardInterrupt):
        swap_clip(long_clip, Tired(untrained, 2), "hopper", path, workers=0)
    state = (tmp_path / ".swap.mp4.part" / "state.jsonl").read_text().splitlines()
    assert len(state) >= 2 and json.loads(state[1])["frames"] == 5
    tireless = Tired(untrained, -1)
    swap_clip(long_clip, tireless, "hopper", path, workers=0, colour="none")
    assert tireless.painted == 36


def test_a_second_writer_is_told_who_is_at_work(footage, untrained, tmp_path):
    class Meanwhile(Tired):
        def swap(self, pictures, identity):
            with pytest.raises(BlockingIOError, match=r"process \d+ .*swap.mp4"):
                swap_clip(
                    footage[0], untrained, identity, tmp_path / "swap.mp4", workers=0
                )
            return super().swap(pictures, identity)

    one = Meanwhile(untrained, -1)
    swap_clip(footage[0], one, "hopper", tmp_path / "swap.mp4", workers=0)
    assert one.painted and video.probe(tmp_path / "swap.mp4").frames == 9


def test_what_is_done_is_kept_at_the_same_price_however_much_it_is(
    tmp_path, monkeypatch
):
    written = []
    write, append = records.write, records.append
    monkeypatch.setattr(
        records, "write", lambda f, text: (written.append(len(text)), write(f, text))
    )
    monkeypatch.setattr(
        records, "append", lambda f, text: (written.append(len(text)), append(f, text))
    )
    totals = []
    for count in (30, 300):
        written.clear()
        with unfinished(tmp_path / "out", __file__, {"of": "it"}) as (_, done, keep):
            for index in range(count):
                keep({"index": index, "painted": f"{index:06d}.png"})
            assert len(done) == count
        totals.append(sum(written))
    assert 8 < totals[1] / totals[0] < 11
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*not JSON")
def test_a_line_that_was_torn_costs_only_itself(tmp_path):
    for torn, kept in (("", 2), ('{"index": 2, "pai', 2), ('{"index": 2}\n', 2)):
        with pytest.raises(KeyboardInterrupt):
            with unfinished(tmp_path / "out", __file__, {"of": "it"}) as (_, _, keep):
                keep({"index": 0})
                keep({"index": 1})
                raise KeyboardInterrupt
        with (tmp_path / ".out.part" / "state.jsonl").open("a") as file:
            file.write(torn)
        with unfinished(tmp_path / "out", __file__, {"of": "it"}) as (_, done, keep):
            keep({"index": kept})
            assert [entry["index"] for entry in done] == [*range(kept + 1)]
            lines = (tmp_path / ".out.part" / "state.jsonl").read_text().splitlines()
            assert [json.loads(line) for line in lines[1:]] == done


def cut_short(aside):
    os.truncate(aside / "000000.mp4", 5000)


def another_in_its_place(aside):
    shutil.copy(aside / "000001.mp4", aside / "000000.mp4")


def lost(aside):
    (aside / "000001.mp4").unlink()


def noted(change):
    """A damage of the list: its lines, but for the settings, changed."""

    def spoil(aside):
        first, *lines = (aside / "state.jsonl").read_text().splitlines(True)
        (aside / "state.jsonl").write_text(first + "".join(change(lines)))

    return spoil


@pytest.fixture(scope="module")
def begun(footage, untrained, tmp_path_factory):
    """A function: leave in a folder what is left of a swap stopped at its very end."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(export, "PART", 3)
        patch.setattr(video.VideoWriter, "append", None)  # when all parts are painted
        swap_clip(footage[0], untrained, "hopper", folder / "swap.mp4", workers=0)
    return lambda to: shutil.copytree(folder, to, dirs_exist_ok=True)


@pytest.mark.filterwarnings("ignore:.*state.jsonl, line")
@pytest.mark.parametrize(
    "spoil",
    [
        cut_short,
        another_in_its_place,
        lost,
        noted(lambda lines: ["{\n", *lines[1:]]),  # the first part's line is torn
        noted(lambda lines: [line.replace("pts", "p") for line in lines]),
        noted(lambda lines: ['{"frames": "many", "sha256": 1}\n', "[]\n"]),
    ],
)
def test_parts_that_were_damaged_are_painted_again(
    spoil, begun, footage, untrained, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "PART", 3)
    path = tmp_path / "swap.mp4"
    begun(tmp_path)
    spoil(tmp_path / ".swap.mp4.part")
    painted = swap_clip(footage[0], untrained, "hopper", path, workers=0)
    assert sum(1 for _ in video.read_frames(path)) == 9
    assert painted == sorted(painted) and len(painted) >= 6


# --- what was there before ----------------------------------------------------------


class Unasked:
    """A swapper that nobody may ask."""

    size, preset_name, sha256 = 32, "none", staticmethod(lambda: "0")


@pytest.mark.parametrize(
    "taken",
    ["swap.mp4", "frames/holiday.png", "frames/000001.png", "frames/x/a.png", "frames"],
)
def test_what_no_export_made_is_left_alone(taken, footage, noise, tmp_path):
    file = tmp_path / taken
    file.parent.mkdir(parents=True, exist_ok=True)
    if taken.endswith(".png"):
        images.write_image(file, noise)
    else:
        shutil.copy(footage[0], file)
    before = file.read_bytes()
    with pytest.raises(
        (ValueError, OSError), match=str(file.parts[len(tmp_path.parts)])
    ):
        swap_clip(
            footage[0],
            Unasked(),
            "hopper",
            tmp_path / "swap.mp4",
            frames_folder=tmp_path / "frames",
            workers=0,
        )
    assert file.read_bytes() == before
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == [file]


def test_the_footage_itself_is_never_written_over(swapped, untrained, tmp_path):
    path = tmp_path / "mine.mp4"  # one of ours, and the source all the same
    shutil.copy(swapped[True][0] / "swap.mp4", path)
    before = path.read_bytes()
    (tmp_path / "link.mp4").symlink_to(path)
    for out in (path, tmp_path / "link.mp4"):
        with pytest.raises(ValueError, match="is what is read"):
            swap_clip(path, Unasked(), "hopper", out, credentials=False, workers=0)
        with pytest.raises(ValueError, match="is what is read"):
            export.upscale_clip(path, Unasked(), out, (64, 64), credentials=False)
    with pytest.raises(ValueError, match="frames alone"):
        swap_clip(
            path,
            Unasked(),
            "hopper",
            tmp_path / "new" / "swap.mp4",
            frames_folder=tmp_path / "new",
            workers=0,
        )
    assert path.read_bytes() == before


@pytest.mark.parametrize("credentials", [True, False])
def test_the_same_swap_again_takes_the_place_of_the_first(
    credentials, footage, untrained, tmp_path
):
    path, frames = tmp_path / "a.mp4", tmp_path / "a"  # one stem: they share nothing
    for colour in ("none", "reinhard"):
        swap_clip(
            footage[0],
            untrained,
            "hopper",
            path,
            frames_folder=frames,
            credentials=credentials,
            workers=0,
            colour=colour,
        )
    assert len(list(frames.iterdir())) == 9
    assert {f.name for f in tmp_path.iterdir()} == {"a.mp4", "a"}


@pytest.fixture
def spoiled(untrained, tmp_path, monkeypatch):
    """A swapper while whose work the identity is damaged."""
    monkeypatch.setenv("DEEPFAKERY_IDENTITY", str(tmp_path / "identity"))

    class Spoiler(Tired):
        def swap(self, pictures, identity):
            (tmp_path / "identity" / "key.pem").write_text("a key")
            return super().swap(pictures, identity)

    return Spoiler(untrained, -1)


def test_what_cannot_be_signed_in_the_end_stays_unsigned(footage, spoiled, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(provenance.SigningError, match=r"swap\.unsigned\.mp4.*key\.pem"):
        swap_clip(
            footage[0],
            spoiled,
            "hopper",
            out / "swap.mp4",
            frames_folder=out / "frames",
            workers=0,
        )
    assert {f.name for f in out.iterdir()} == {"swap.unsigned.mp4", "frames"}
    assert video.probe(out / "swap.unsigned.mp4").frames == 9
    names = {f.name for f in (out / "frames").iterdir()}
    assert {"000005.unsigned.png", "000006.png"} < names and len(names) == 9


def test_photos_that_cannot_be_signed_are_all_the_same_written(
    photos, spoiled, tmp_path
):
    with pytest.raises(
        provenance.SigningError, match=r"2 pictures.*two.bmp.unsigned\.png"
    ):
        swap_photos(photos, spoiled, "hopper", tmp_path / "out", workers=0)
    names = {f.name for f in (tmp_path / "out").rglob("*") if f.is_file()}
    assert names == {"one.unsigned.jpg", "two.bmp.unsigned.png", "fog.png"}


def test_an_identity_that_cannot_sign_stops_the_work_before_it_begins(
    footage, photos, tmp_path, monkeypatch
):
    monkeypatch.setenv("DEEPFAKERY_IDENTITY", str(tmp_path / "identity"))
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "certificate.pem").write_text("a certificate")
    out = tmp_path / "out"
    for work in (
        lambda: swap_clip(footage[0], Unasked(), "hopper", out / "a.mp4", workers=0),
        lambda: swap_photos(photos, Unasked(), "hopper", out, workers=0),
        lambda: export.upscale_clip(footage[0], Unasked(), out / "a.mp4", (64, 64)),
        lambda: export.upscale_photos(photos, Unasked(), out, (64, 64)),
        lambda: export.imagined_clip(None, Unasked(), out / "a.mp4"),
        lambda: export.moving_photo("hopper", None, out / "a.mp4"),
    ):
        with pytest.raises(ValueError, match="holds no identity.*key.pem"):
            work()
    assert not out.exists()


# --- photos -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(pictures, noise, tmp_path_factory):
    """A folder: two photos with a face, of two kinds, and one without."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "holiday").mkdir()
    images.write_image(folder / "one.jpg", pictures[0])
    images.write_image(folder / "holiday" / "two.bmp", pictures[1])
    images.write_image(folder / "fog.png", noise)
    return folder


def test_photos_in_photos_out(photos, untrained, tmp_path):
    out = tmp_path / "out"
    painted = swap_photos(photos, untrained, "hopper", out, workers=0)
    assert set(painted) == {out / "one.jpg", out / "holiday" / "two.bmp.png"}
    for file in painted:
        assert images.read_image(file).shape == (SIDE, SIDE, 3)
        said = provenance.inspect(file)
        assert said["state"] == "Valid" and not said["tampered"]
    assert (out / "fog.png").read_bytes() == (photos / "fog.png").read_bytes()
    assert len([f for f in tmp_path.rglob("*") if f.is_file()]) == 3


def test_the_longest_names_are_written(footage, spoiled, untrained, photos, tmp_path):
    # 255 bytes, as much as file systems take.
    clip = tmp_path / ("ä" * 125 + "c.mp4")
    shutil.copy(footage[0], clip)
    long = tmp_path / "long"
    long.mkdir()
    shutil.copy(photos / "one.jpg", long / ("ä" * 125 + "p.jpg"))
    shutil.copy(photos / "holiday/two.bmp", long / ("b" * 251 + ".bmp"))
    out, painted = tmp_path / "out" / clip.name, tmp_path / "photos out"
    swap_clip(clip, untrained, "hopper", out, workers=0)
    assert video.probe(out).frames == 9 and [*out.parent.iterdir()] == [out]
    assert len(swap_photos(long, untrained, "hopper", painted, workers=0)) == 2
    with pytest.raises(provenance.SigningError, match="unsigned"):
        swap_clip(clip, spoiled, "hopper", tmp_path / ("x" * 251 + ".mp4"), workers=0)
    assert len([*tmp_path.glob("x*.unsigned.mp4")]) == 1


def test_names_that_differ_by_case_are_written_side_by_side(noise, tmp_path):
    # Where the file system tells them apart.
    names = [tmp_path / "a.PNG", tmp_path / "a.png", tmp_path / "A.png"]
    with ThreadPoolExecutor(3) as crew:
        [*crew.map(lambda name: images.write_image(name, noise), names)]
    assert {images.read_image(name).shape for name in names} == {(48, 48, 3)}


def test_photos_of_every_kind_keep_names_of_their_own(pictures, untrained, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    picture = Image.fromarray(pictures[0])
    kinds = {"a": "JPEG", "a.png": "PNG", "a.jpg": "PNG", "a.heic": "HEIF", "b": "GIF"}
    for name, kind in (kinds | {"c.gif": "GIF", "d.mp4": "JPEG"}).items():
        picture.save(folder / name, kind)
    painted = swap_photos(folder, untrained, "hopper", out, workers=0)
    names = "a.png.png a.heic.png a.jpg a.png b.png c.gif.png d.mp4.png".split()
    assert {file.relative_to(out).as_posix() for file in painted} == {*names}
    assert all(provenance.inspect(file)["state"] == "Valid" for file in painted)


def test_a_black_and_white_clip_stays_so_from_its_first_frame(
    pictures, untrained, tmp_path
):
    with video.VideoWriter(tmp_path / "half.mp4", fps=25) as writer:
        for i, frame in enumerate(pictures[:12]):
            grey = np.repeat(frame[..., 1:2], 3, 2)
            writer.write(grey if i >= 6 else frame)
    stream = merge.paint_frames(tmp_path / "half.mp4", untrained, "hopper", workers=0)
    off = [
        [np.ptp(picture.astype(int), -1).max() for picture in (image, frame.image)]
        for frame, image, layers in stream
        if layers
    ]
    assert len(off) == 12 and min(off[5]) > 50
    # Of the encoder's own colours after the cut some stay in the clip.
    assert all(painted <= own + 3 for painted, own in off[6:])


@pytest.mark.parametrize("taken", ["one.jpg", "fog.png", "holiday/two.bmp.png"])
def test_photos_are_written_over_nobodys(taken, photos, untrained, noise, tmp_path):
    out = tmp_path / "out"
    images.write_image(out / taken, noise[::-1])
    before = (out / taken).read_bytes()
    for work in (
        lambda: swap_photos(photos, Unasked(), "hopper", out, workers=0),
        lambda: export.upscale_photos(photos, Unasked(), out, (64, 64)),
    ):
        with pytest.raises(ValueError, match=f"{taken} is there already"):
            work()
    assert (out / taken).read_bytes() == before
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == [out / taken]
    (out / taken).unlink()
    for _ in range(2):  # what is ours, and what is the same, may be written again
        assert len(swap_photos(photos, untrained, "hopper", out, workers=0)) == 2


def test_a_photo_is_not_painted_over_itself(photos, tmp_path):
    with pytest.raises(ValueError, match="one.jpg is what is read"):
        swap_photos(photos / "one.jpg", Unasked(), "hopper", photos, workers=0)


def test_a_single_photo_is_painted_too(photos, untrained, tmp_path):
    [painted] = swap_photos(
        photos / "one.jpg", untrained, "hopper", tmp_path / "out", workers=0
    )
    before, after = (images.read_image(f) for f in (photos / "one.jpg", painted))
    assert np.abs(before.astype(int) - after).max() > 50


def test_photos_without_a_face_are_named(photos, untrained, tmp_path):
    with pytest.raises(ValueError, match="fog"):
        swap_photos(photos / "fog.png", untrained, "hopper", tmp_path, workers=0)
    with pytest.raises(ValueError, match="among the photos"):
        swap_photos(photos, untrained, "hopper", photos / "out", workers=0)


def test_a_clip_is_no_photo(footage, untrained, tmp_path):
    with pytest.raises(ValueError, match="swap_clip"):
        swap_photos(footage[0], untrained, "hopper", tmp_path / "out", workers=0)


# --- what is not painted into anything ------------------------------------------------


def test_an_imagined_clip_says_that_a_network_made_it(tmp_path, untrained):
    frames = [np.full((64, 96, 3), shade, np.uint8) for shade in (40, 90, 140)]
    export.imagined_clip(frames, untrained, tmp_path / "walk.mp4", fps=10)
    said = provenance.inspect(tmp_path / "walk.mp4")
    assert said["source_type"] == "trainedAlgorithmicMedia" and not said["tampered"]
    assert said["weights_sha256"] == untrained.sha256() and not said["ingredients"]
    written = [f.image for f in video.read_frames(tmp_path / "walk.mp4")]
    assert len(written) == 3 and written[0].std() > 1  # the label
    export.imagined_clip(
        frames, untrained, tmp_path / "bare.mp4", label=False, credentials=False
    )
    bare = [f.image for f in video.read_frames(tmp_path / "bare.mp4")]
    assert bare[0].std() < 1
    assert provenance.inspect(tmp_path / "bare.mp4") == {"signed": False}
    assert {f.name for f in tmp_path.iterdir()} == {"walk.mp4", "bare.mp4"}


def test_any_photo_is_brought_to_life_and_says_so(tmp_path, posed):
    photo = tmp_path / "album" / "aunt.jpg"
    images.write_image(photo, posed("collins", yaw=5)[20:330, 60:340])
    moves = samples.motion(300, seed=1)[:60:12]
    export.moving_photo(photo, moves, tmp_path / "aunt.mp4", size=256)
    frames = [f.image for f in video.read_frames(tmp_path / "aunt.mp4")]
    assert len(frames) == 5 and frames[0].shape == (256, 256, 3)
    assert all(len(detect.detect(image)) == 1 for image in frames)
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 2
    said = provenance.inspect(tmp_path / "aunt.mp4")
    assert said["source_type"] == "compositeSynthetic"
    assert said["ingredients"] == ["aunt.jpg"] and said["actions"][0] == "c2pa.opened"


def test_a_photo_of_nobody_is_named(tmp_path, noise):
    images.write_image(tmp_path / "wall.png", noise)
    with pytest.raises(video.MediaError, match="wall.png shows no face"):
        export.moving_photo(
            tmp_path / "wall.png", samples.motion(2), tmp_path / "wall.mp4"
        )
    assert not (tmp_path / "wall.mp4").exists()
