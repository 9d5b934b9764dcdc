"""What is costly to make and is used by several test files: made once a session."""

import fcntl
import json
import os
import shutil
from contextlib import contextmanager

import cv2
import keras
import nbformat
import numpy as np
import pytest

from deepfakery import batches, samples, training
from deepfakery.convert import export
from deepfakery.faces import detect, extraction, geometry
from deepfakery.notebook import run
from deepfakery.swapper import FaceSwapper

#: The files that take longest; they begin first, so that no worker waits at the end.
LONGEST = (
    *("test_compare", "test_upscaling_exports", "test_notebooks", "test_training"),
    *("test_train_a_swap", "test_dcgan_notebook", "test_evaluation_notebook"),
    *("test_controls", "test_detection_notebook", "test_upscaler", "test_swapper"),
)


def pytest_collection_modifyitems(items):
    """Tests of one file stay together, in their order."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def signer(tmp_path_factory):
    """Exports are signed as somebody who exists for this session only."""
    folder = tmp_path_factory.mktemp("signer") / "identity"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFAKERY_IDENTITY", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A context in which no other worker is: it gives a folder of all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    @contextmanager
    def alone():
        with (folder / "shared.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield folder / "shared"

    return alone


@pytest.fixture(scope="session")
def clips(shared):
    """Name → a clip of 72 frames, both people under the same motion."""
    moves, made = samples.motion(72, seed=0), {}
    with shared() as folder:
        for name in samples.PEOPLE:
            made[name] = folder / f"{name}.mp4"
            if not made[name].exists():
                samples.write_clip(made[name], name, moves)
    return made


@pytest.fixture(scope="session")
def short_clips(tmp_path_factory):
    """Name → a clip of 12 frames, both people under another motion."""
    folder = tmp_path_factory.mktemp("short")
    moves = samples.motion(300, seed=1)[::25]
    return {
        name: samples.write_clip(folder / f"{name}_short.mp4", name, moves)
        for name in samples.PEOPLE
    }


@pytest.fixture(scope="session")
def facesets(clips, shared):
    """Name → the faces of that clip. Not to be changed; copy the folder first."""
    with shared() as folder:
        return {
            name: extraction.extract(clip, folder / "faces" / name, workers=2)
            for name, clip in clips.items()
        }


@pytest.fixture(scope="session")
def lay_footage(clips, facesets):
    """A function: put clips to train on and their faces where a run looks for them."""

    def lay(clips_folder, faces_folder):
        clips_folder.mkdir(parents=True, exist_ok=True)
        for name, people in facesets.items():
            shutil.copy(clips[name], clips_folder / f"{name}_train.mp4")
            shutil.copytree(people.folder, faces_folder / name)

    return lay


@pytest.fixture(scope="session")
def run_notebook():
    """A function: execute a notebook on a workspace, for real, shrunk to seconds."""

    def execute(name, folder, study=True, **given):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DEEPFAKERY_SMOKE", "1")
            given |= {"workspace": folder, "imagined": folder}
            run.execute(name, given, folder / f"{name}.ipynb", study)
        return folder

    return execute


@pytest.fixture(scope="session")
def demo_workspace(lay_footage, tmp_path_factory):
    """What notebooks 1 to 3 leave behind, by a swapper that never trained."""
    folder = tmp_path_factory.mktemp("workspace")
    lay_footage(folder / "clips", folder / "faces")
    moves = samples.motion(10, seed=1)
    for name in samples.PEOPLE:
        samples.write_clip(folder / "clips" / f"{name}_unseen.mp4", name, moves)
    swapper = FaceSwapper(samples.PEOPLE, "light")
    swapper.compile("adam")
    untrained = training.Run(folder / "run", swapper, swapper.config, steps=1)
    untrained._save()
    clip = folder / "clips" / "collins_unseen.mp4"
    export.swap_clip(clip, swapper, "hopper", folder / "swap.mp4", workers=0)
    return folder


@pytest.fixture(scope="session")
def posed():
    """A function: one frame of a person with some columns of the motion set."""

    def frame(name, **columns):
        row = [columns.get(column, 0) for column in samples.MOTION]
        return next(samples.animate(name, [row]))

    return frame


@pytest.fixture(scope="session")
def landmarks():
    """A function: the 68 landmarks of the largest face of an image."""
    return lambda image: detect.detect(image)[0].landmarks


@pytest.fixture(scope="session")
def inside_hull():
    """A function: which pixels of a frame a face covers, and some more or fewer."""

    def inside(frame, points, grow=0):
        filled = np.zeros(frame.shape[:2], np.uint8)
        cv2.fillConvexPoly(filled, geometry.hull(points).round().astype(int), 1)
        if grow:
            change = cv2.dilate if grow > 0 else cv2.erode
            filled = change(filled, np.ones((2 * abs(grow) + 1,) * 2, np.uint8))
        return filled.astype(bool)

    return inside


@pytest.fixture(scope="session")
def tiny():
    """A preset whose training steps take milliseconds."""
    return {
        "size": 32,
        "encoder": {
            "widths": (16, 32),
            "first_stride": 2,
            "bottleneck": 32,
            "reshape_channels": 16,
            "latent_channels": 16,
        },
        "decoder": {"widths": (16,), "head_width": 16, "pixel_shuffle": 1},
        "discriminator": {"widths": (8, 16)},
    }


@pytest.fixture(scope="session")
def make_swapper(tiny):
    """A function: a new, compiled, untrained swapper, always with the same weights."""

    def make(identities=samples.PEOPLE, rate=2e-3, precision=None, **losses):
        keras.utils.set_random_seed(0)
        swapper = FaceSwapper(identities, tiny, precision)
        swapper.compile(keras.optimizers.Adam(rate), **losses)
        return swapper

    return make


@pytest.fixture(scope="session")
def untrained(make_swapper):
    """An untrained tiny swapper that paints noise; not to be trained."""
    swapper = make_swapper()
    for decoder in swapper.decoders.values():  # it sees a face everywhere, nearly
        *weights, bias = decoder.get_weights()
        bias[3::4] = 3
        decoder.set_weights([*weights, bias])
    return swapper


@pytest.fixture
def eager():
    """Steps that are not compiled to a graph: a few of them take less than that."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def swapper(make_swapper):
    """An untrained tiny swapper of the test's own."""
    return make_swapper()


@pytest.fixture(scope="session")
def aligned(facesets):
    """Name → (6, 32, 32, 3) float32 faces as the tiny swapper reads them."""
    return {n: batches.prepare(f.images(limit=6), 32) for n, f in facesets.items()}


@pytest.fixture(scope="session")
def noise():
    """(48, 48, 3) uint8 in which nobody can be seen."""
    return np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)


@pytest.fixture(scope="session")
def pictures_of():
    """A function: an executed notebook that must hold no error → how many pictures."""

    def count(path):
        notebook = nbformat.read(path, as_version=4)
        outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
        assert not [o for o in outputs if o.output_type == "error"]
        texts = [o for o in outputs if "image/jpeg" not in o.get("data", {})]
        said = json.dumps(texts)
        assert str(path.parent) not in said and str(run.ROOT) not in said
        return len(outputs) - len(texts)

    return count
