"""Every kind of file that is read, what reads it, and how both are tried.

A case is a seed: it chooses the file, the damage and the reader. See `test_fuzz.py`.
"""

import contextlib
import faulthandler
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path

import av
import damage as d
import numpy as np
import pytest
from PIL import Image
from swappers import IdentityCopy

SECONDS, BYTES = 60, 3e9  # of a case, at most


def make(root):
    """Lay whole files of every kind into folders of `root`."""
    from deepfakery import checkpoints, samples, training
    from deepfakery.faces import extraction
    from deepfakery.media import provenance, video

    (root / "clip").mkdir(parents=True)
    moves = samples.motion(300, seed=1)[::38]
    silent = samples.write_clip(root / "silent.mp4", "collins", moves)
    other = samples.write_clip(root / "other.mp4", "hopper", moves)
    tone = np.sin(np.arange(11776, dtype=np.float32) / 9)[None]
    for name in ("a.mp4", "a.mov", "a.mkv"):
        options = {} if name == "a.mkv" else {"movflags": "faststart"}
        with (
            av.open(str(silent)) as old,
            av.open(str(root / "clip" / name), "w", options=options) as new,
        ):
            picture = new.add_stream_from_template(old.streams.video[0])
            audio = new.add_stream("aac", rate=44100, layout="mono")
            for i in range(0, 11776, 1024):
                part = tone[:, i : i + 1024]
                sound = av.AudioFrame.from_ndarray(part, "fltp", "mono")
                sound.rate, sound.pts = 44100, i
                new.mux(audio.encode(sound))
            new.mux(audio.encode(None))
            for packet in old.demux(video=0):
                if packet.dts is not None:
                    packet.stream = picture
                    new.mux(packet)
    provenance.sign(root / "clip/a.mp4", target=silent)
    (root / "photos/sub").mkdir(parents=True)
    names = "a.jpg", "b.png", "c.webp", "d.tif", "sub/e.jpg"
    for name, frame in zip(names, samples.animate("collins", moves[:5]), strict=True):
        Image.fromarray(frame).save(root / "photos" / name)
    (root / "photos/list_eval_partition.csv").write_text("a.jpg,0\nb.png,1\n")
    extraction.extract([silent, other], root / "faces", workers=0)
    for kind, name in (("photos", "a.jpg"), ("photos", "b.png"), ("clip", "a.mp4")):
        (root / "signed").mkdir(exist_ok=True)
        provenance.sign(shutil.copy(root / kind / name, root / "signed"))
    shutil.copytree(os.environ["DEEPFAKERY_IDENTITY"], root / "identity")
    (root / "export").mkdir()
    with pytest.MonkeyPatch.context() as patch:  # stopped before its last steps
        patch.setattr(video.VideoWriter, "append", None)
        with pytest.raises(TypeError):
            swap(silent, root / "export/swap.mp4")
    state = root / "export/.swap.mp4.part/state.jsonl"
    state.write_text("".join(state.read_text().splitlines(True)[:-1]))
    model = swapper()
    run = training.Run(root / "run/first", model, model.config, steps=9)
    for run.step in (1, 2):
        run._save()
    start = f"first {checkpoints.read(root / 'run/first')['sha256']}"
    after = training.Run(root / "run/second", model, {"after": start}, steps=9)
    after.step = 1
    after._save()
    (root / "weights").mkdir()
    model.save_base(root / "weights/base.npz")


def swapper():
    from deepfakery.swapper import FaceSwapper

    encoder = {
        "widths": (16, 32),
        "first_stride": 2,
        "bottleneck": 32,
        "reshape_channels": 16,
        "latent_channels": 16,
    }
    decoder = {"widths": (16,), "head_width": 16, "pixel_shuffle": 1}
    preset = {"size": 32, "encoder": encoder, "decoder": decoder}
    model = FaceSwapper(("a", "b"), preset | {"discriminator": {"widths": (8, 16)}})
    model.compile()
    return model


def swap(source, path, photos=False):
    """(painted, frames in the source, frames in what was written)."""
    from deepfakery.convert import export
    from deepfakery.media import video

    export.PART, model = 3, IdentityCopy(64)
    write = export.swap_photos if photos else export.swap_clip
    painted = write(source, model, "a", path, workers=0)
    both = () if photos else (source, path)
    return painted, *(sum(1 for _ in video.read_frames(file)) for file in both)


# What reads files: each is given the damaged one, the folder that holds it, the whole
# files and a place to write to. It asserts what is promised beside an answer.


def extract(file, folder, whole, out):
    from deepfakery.faces import extraction

    source = folder if folder.name == "photos" else file
    found = extraction.extract(source, out / "faces", workers=0, describe=False)
    assert len(found) == len([*found.folder.glob("*.jpg")])
    assert source is file or len(found) >= 3, "one bad photo lost others"


def swap_clip(file, folder, whole, out):
    _, before, after = swap(file, out / "swap.mp4")
    assert before == after, f"{before} frames became {after}"


def go_on(file, folder, whole, out):
    assert swap(whole / "silent.mp4", folder / "swap.mp4")[2] == 8, "frames were lost"


def swap_photos(file, folder, whole, out):
    assert len(swap(folder, out / "swap", True)[0]) >= 4, "one bad photo lost others"


def animate(file, folder, whole, out):
    from deepfakery.convert import export

    export.moving_photo(file, np.zeros((2, 12)), out / "moving.mp4", size=64)


def read_photos(file, folder, whole, out):
    from deepfakery.studies import photos

    for part in photos.split(folder):
        photos.read(part, 64)


def measure(file, folder, whole, out):
    from deepfakery.evaluate import measure

    who = np.ones((1, 128), np.float32)
    measure.measure(file, whole / "silent.mp4", who, described=1, workers=0)


def inspect(file, folder, whole, out):
    from deepfakery import __main__
    from deepfakery.media import provenance

    assert file.name in provenance.describe(file)
    assert isinstance(provenance.inspect(file)["signed"], bool)
    assert __main__.main(["inspect", str(folder)]) == 0


def check(file, folder, whole, out):
    from deepfakery import __main__

    __main__.check("hopper", str(file), out)


def sign(file, folder, whole, out):
    from deepfakery.media import provenance

    photo = Path(shutil.copy(whole / "photos/b.png", out))
    if folder.name != "identity":
        provenance.sign(photo, target=file)
        provenance.sign(file)
        return
    known, os.environ["DEEPFAKERY_IDENTITY"] = os.environ.copy(), str(folder)
    try:
        provenance.sign(photo)
        provenance.inspect(photo, trust=folder / "certificate.pem")
    finally:
        os.environ.update(known)


def faces(file, folder, whole, out):
    from deepfakery.evaluate import baselines
    from deepfakery.faces.faceset import FaceSet

    found = FaceSet.load(folder)
    found.fingerprint(), found.descriptors(), found.others(), found.rejected()
    assert found.images(64).shape == (len(found), 64, 64, 3)
    assert np.isfinite(found.landmarks()).all()
    assert all(Path(r["image"]).name == r["image"] for r in found.records)
    kept, known = (
        {*(place / "faces.jsonl").read_bytes().split(b"\n")}
        for place in (folder, whole / "faces")
    )
    spoilt = file.suffix == ".jpg"
    assert len(found) >= len(kept & known - {b""}) - spoilt, "one bad face lost others"
    if len(found):
        baselines.LandmarkWarp({"a": found})


def choose(file, folder, whole, out):
    from deepfakery.faces import people

    for who in ("2", "everyone", "most"):
        people.choose(folder, who)
        faces(file, folder, whole, out)


def extract_on(file, folder, whole, out):
    from deepfakery.faces import extraction

    with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
        said = json.loads((folder / "extraction.json").read_text())
        said["files"][0] |= {"at": 0, "done": False}
        (folder / "extraction.json").write_text(json.dumps(said))
    sources = [whole / "silent.mp4", whole / "other.mp4"]
    extraction.extract(sources, folder, workers=0)
    faces(file, folder, whole, out)


def run(file, folder, whole, out):
    from deepfakery import training
    from deepfakery.swapper import FaceSwapper

    first, model = folder / "first", swapper()
    training.read(first)
    training.load(first, model)
    run = training.Run(first, model, model.config, steps=2)
    run._reason_to_stop(), run._save()
    training.Run(folder / "third", model, model.config, steps=2, after=first)
    FaceSwapper.from_preset(first)


def start(file, folder, whole, out):
    swapper().start_from(file)


CLIPS = "clip", "*.m*", (extract, swap_clip, check, measure, inspect)
STILLS = (
    "photos",
    "[a-e].*",
    (swap_photos, extract, read_photos, animate, check, inspect),
)
FACES = faces, choose, extract_on
WAYS = d.bits, d.cut, d.block, d.wrong, d.structure, d.structure
#: (damage, folder, files of it, what reads them)
KINDS = [
    *((way, *files) for way in WAYS for files in (CLIPS, STILLS)),
    (d.wrong, "photos", "*.csv", (read_photos,)),
    *[(d.text, "faces", "faces.jsonl", FACES)] * 3,
    (d.text, "faces", "extraction.json", FACES),
    (d.wrong, "faces", "*_0*.jpg", FACES),
    *[(d.text, "run", "first/*/run.json", (run,))] * 2,
    (d.weights, "run", "first/*/*.h5", (run,)),
    (d.text, "export", ".*/state.jsonl", (go_on,)),
    (d.structure, "export", ".*/*.mp4", (go_on,)),
    *((way, "signed", "*", (inspect, sign)) for way in (d.bits, d.structure)),
    (d.members, "weights", "*.npz", (start,)),
    (d.bits, "weights", "*.npz", (start,)),
    (d.block, "identity", "*.pem", (sign,)),
]


def chosen(seed):
    """(damage, folder, files of it, what reads them), by turns."""
    turn, kind = divmod(seed, len(KINDS))
    way, folder, files, readers = KINDS[kind]
    return way, folder, files, readers[(kind + turn) % len(readers)]


def name_of(seed):
    way, folder, _, reader = chosen(seed)
    return f"seed{seed:03d}-{way.__name__}-{folder}-{reader.__name__}"


def answer(seed, whole, root):
    """Damage a file and have it read: (what is wrong, what was said)."""
    way, name, files, reader = chosen(seed)
    random, folder, out = np.random.default_rng(seed), root / "in" / name, root / "out"
    shutil.copytree(whole / name, folder)
    out.mkdir()
    (root / "outside.jpg").write_bytes(b"not ours")
    found = sorted(f for f in folder.rglob(files) if f.is_file())
    file = found[random.integers(len(found))]
    way(random, file)
    before, faults, said = file.read_bytes(), [], ""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            reader(file, folder, whole, out)
        except Exception as error:
            said = str(error)
            faults += fault(error, root)
    odd = [w for w in warned if w.category in (RuntimeWarning, ResourceWarning)]
    faults += [f"{w.category.__name__}: {w.message}" for w in odd[:1]]
    if (root / "outside.jpg").read_bytes() != b"not ours":
        faults.append("a file outside was touched")
    if name in ("clip", "photos") and file.read_bytes() != before:
        faults.append("the source was changed")
    return faults and f"{file.relative_to(root)}: {'; '.join(faults)}", said


def fault(error, root):
    """What an error lacks to be an answer."""
    said = str(error)
    known = isinstance(error, ValueError | OSError)
    known = known and type(error).__module__ in ("builtins", "deepfakery.media.video")
    advises = re.search(r"[;:.] \w| \(", said)
    sound = known and not isinstance(error, UnicodeError) and str(root) in said
    if sound and advises and said.endswith((".", ")")) and "\n" not in said:
        return []
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/deepfakery/" in f.filename] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    return [f"{type(error).__name__} at {place}: {said[:300]}"]


def serve(whole):
    """Answer seeds from stdin, a line each: (fault, said, seconds, memory at most)."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what is printed meanwhile is no answer
    import deepfakery.training  # noqa: F401 (loads TensorFlow, outside the clock)

    def peak():
        # Not getrusage: its peak is also that of the process which started this one.
        said = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s*(\d+) kB", said)[1]) * 1024

    def watch():
        while peak() < BYTES:
            time.sleep(0.1)
        os._exit(99)

    threading.Thread(target=watch, daemon=True).start()
    for line in sys.stdin:
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found, said = answer(int(line), whole, Path(folder).resolve())
        faulthandler.cancel_dump_traceback_later()
        result = found or "", said, time.monotonic() - started, peak()
        print(json.dumps(result), file=answers)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
