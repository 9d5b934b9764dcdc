"""The notebooks without a browser.

python -m deepfakery demo                              the built-in people
python -m deepfakery swap --face A.mp4 --target B.mp4  anyone's footage
python -m deepfakery evaluate --swap S.mp4 --target B.mp4 --face A.mp4
python -m deepfakery compare --minutes 2 5 10          presets, plain and adversarial
python -m deepfakery imagine --photos celeba/          faces from noise
python -m deepfakery inspect swap.mp4                  what made a file, and is it whole
python -m deepfakery detect                            which faces were painted?
python -m deepfakery notebooks                         the demo, its outputs kept
python -m deepfakery upscale --in A.jpg --out B.png --size 1920x1080
python -m deepfakery enlarge --photos lfw/             learn to enlarge, step by step
python -m deepfakery pretrain --faces photos/          base weights to start from
"""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path

import nbformat
import papermill

from deepfakery import images, provenance, samples, video
from deepfakery.presets import PRESETS, WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "data/results"
#: Share of the photos that no upscaler is trained on.
HELD_OUT = 0.08
SWAP = ("01_data_generation", "02_training", "03_prediction")


def main(arguments=None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="deepfakery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="the whole way on the built-in people")
    demo.add_argument("--out", type=Path, default=ROOT / "data/output/demo")
    swap = commands.add_parser("swap", help="the whole way on your own footage")
    swap.add_argument("--face", required=True, help="footage of the person to paint")
    swap.add_argument("--target", required=True, help="footage to paint into")
    for role in ("face", "target"):
        swap.add_argument(
            f"--{role}-who",
            default="most",
            help=f"which person of the {role}'s footage: the one seen most, a number "
            "of those in the faces folder, or a photo",
        )
    swap.add_argument("--minutes", type=float, default=5, help="of training")
    swap.add_argument("--preset", default="light", choices=PRESETS)
    swap.add_argument("--out", type=Path, default=ROOT / "data/output/swap")
    swap.add_argument(
        "--study",
        action="store_true",
        help="also compare the choices of training and blending; takes minutes more",
    )
    score = commands.add_parser("evaluate", help="figures of any tool's swap")
    score.add_argument("--swap", required=True, help="clip or folder of frames")
    score.add_argument("--target", required=True, help="what it was made from")
    score.add_argument("--face", required=True, help="face folder or footage")
    score.add_argument("--truth", help="the same motion by the painted person")
    score.add_argument(
        "--warp", action="store_true", help="beside a landmark warp (--face: a folder)"
    )
    score.add_argument("--match", default="index", choices=("index", "time"))
    score.add_argument("--out", type=Path, default=ROOT / "data/output/swap")
    both = commands.add_parser("compare", help="presets and times beside each other")
    both.add_argument("--face", default="hopper", help="whose face to paint")
    both.add_argument("--target", default="collins", help="what to paint it into")
    both.add_argument("--presets", nargs="+", default=["light", "hd"], choices=PRESETS)
    both.add_argument("--minutes", nargs="+", type=float, default=[2.0, 5.0, 10.0])
    both.add_argument("--out", type=Path, default=ROOT / "data/output/compare")
    both.add_argument("--keep", action="store_true", help="keep the figures in git")
    dream = commands.add_parser("imagine", help="faces from noise, step by step")
    dream.add_argument("--photos", help="folder of photos; else the built-in people")
    dream.add_argument("--steps", type=int, default=400, help="of each trial")
    dream.add_argument("--out", type=Path, default=ROOT / "data/output/imagine")
    dream.add_argument("--keep", action="store_true", help="keep the outputs in git")
    detect_ = commands.add_parser("detect", help="which faces were painted?")
    detect_.add_argument(
        "--workspace", type=Path, default=ROOT / "data/output/demo", help="of a demo"
    )
    detect_.add_argument("--steps", type=int, default=150, help="of each detector")
    detect_.add_argument(
        "--others", nargs="+", default=[], help="clips or photo folders to judge too"
    )
    detect_.add_argument("--keep", action="store_true", help="keep the outputs in git")
    look = commands.add_parser("inspect", help="a file's Content Credentials, in words")
    look.add_argument("files", nargs="+", metavar="FILE", help="or a folder of them")
    look.add_argument("--trust", help="PEM file of certificates that you trust")
    large = commands.add_parser("upscale", help="a photo or clip at any size")
    large.add_argument(
        "--in", required=True, dest="source", help="photo, folder of photos or clip"
    )
    large.add_argument("--out", required=True, help="what to write: likewise")
    large.add_argument("--size", required=True, help="width x height, as 1920x1080")
    large.add_argument("--fit", default="pad", choices=("pad", "crop", "stretch"))
    large.add_argument("--weights", help="a run folder or .npz; else the project's")
    learn = commands.add_parser("enlarge", help="learn to enlarge, step by step")
    learn.add_argument("--photos", help="folder of photos; else the built-in people")
    learn.add_argument(
        "--times", type=float, default=0.1, help="of the full curriculum"
    )
    learn.add_argument("--out", type=Path, default=ROOT / "data/output/enlarge")
    learn.add_argument("--keep", action="store_true", help="keep the outputs in git")
    base = commands.add_parser("pretrain", help="make base weights from many faces")
    base.add_argument("--faces", required=True, help="folder of photos of many people")
    base.add_argument("--minutes", type=float, default=30, help="of training")
    base.add_argument("--preset", default="light", choices=PRESETS)
    base.add_argument(
        "--upscaler", action="store_true", help="of the upscaler, by its curriculum"
    )
    base.add_argument("--out", type=Path, default=ROOT / "data/output/base")
    commands.add_parser("notebooks", help="run the demo and keep its outputs in git")
    given = parser.parse_args(arguments)
    try:
        if given.command == "demo":
            run({}, given.out, "demo.json")
        elif given.command == "notebooks":
            keep()
        elif given.command == "evaluate":
            score_swap(given)
        elif given.command == "compare":
            compare(given)
        elif given.command == "imagine":
            study("05_dcgan", given, "imagine.json", steps=given.steps)
        elif given.command == "enlarge":
            study("06_upscaling", given, "upscaling.json", times=given.times)
        elif given.command == "upscale":
            upscale(given)
        elif given.command == "detect":
            detect(given.workspace, given.steps, given.others, given.keep)
        elif given.command == "inspect":
            inspect(given.files, given.trust)
        elif given.command == "pretrain" and given.upscaler:
            pretrain_upscaler(given.faces, given.out)
        elif given.command == "pretrain":
            pretrain(given.faces, given.out, given.preset, given.minutes)
        else:
            if given.minutes <= 0:
                parser.error("--minutes (MINUTES=) must be above 0")
            _check(given.face, given.target)
            parameters = {
                "face": _from_notebooks(given.face),
                "target": _from_notebooks(given.target),
                "face_who": _who_from_notebooks(given.face_who),
                "target_who": _who_from_notebooks(given.target_who),
                "minutes": given.minutes,
                "preset": given.preset,
            }
            run(parameters, given.out, "swap.json", given.study)
    except papermill.PapermillExecutionError as error:
        known = error.ename in (
            "MediaError",
            "ValueError",
            "FileNotFoundError",
            "OSError",
        )
        kind = "" if known else f"{error.ename} in cell {error.cell_index}: "
        said = error.evalue
        # As typed, not as seen from a notebook.
        for name in ("face", "target", "photos", "out"):
            if typed := getattr(given, name, None):
                said = said.replace(_from_notebooks(typed), str(typed))
        print(f"Error: {kind}{said}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def run(parameters: dict, out: Path, report: str, study: bool = False) -> dict:
    """Execute the three notebooks of a swap.

    Args:
        parameters: Name → value; each notebook is given those that it knows.
        out: The workspace, where everything is left.
        report: Name of the JSON file of figures in it.
        study: Also run the cells tagged `study`: comparisons that a swap can do
            without.

    Returns:
        The figures.

    Raises:
        papermill.PapermillExecutionError: A cell failed. If it was while finding
            faces, a workspace that this call made is removed again.
    """
    out = out.resolve()
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    parameters = {**parameters, "workspace": _from_notebooks(out), "report": report}
    seconds = {}
    for name in SWAP:
        print(f"\n── {name}", flush=True)
        started = time.monotonic()
        try:
            execute(name, parameters, out / f"{name}.ipynb", study)
        except papermill.PapermillExecutionError:
            if is_new and name == SWAP[0]:  # later, faces and training are kept
                shutil.rmtree(out)
            else:
                (out / f"{name}.ipynb").unlink(missing_ok=True)
            raise
        seconds[name] = round(time.monotonic() - started, 1)
    figures = json.loads((out / report).read_text())
    figures["seconds"] = {**seconds, "total": round(sum(seconds.values()), 1)}
    (out / report).write_text(json.dumps(figures, indent=2) + "\n")
    print("\n" + json.dumps(figures, indent=2))
    shown = Path(os.path.relpath(out))
    print(f"\nThe clip:          {shown / 'swap.mp4'}")
    print(f"Its frames:        {shown / 'frames'}")
    print(f"Contact sheet:     {shown / 'contact_sheet.jpg'}")
    print(f"Figures:           {shown / report}")
    print(f"Notebooks as run:  {shown}/0*.ipynb")
    return figures


def keep() -> None:
    """Run the demo afresh; keep its notebooks, picture and figures in the project."""
    out = ROOT / "data/output/demo"
    shutil.rmtree(out, ignore_errors=True)
    run({}, out, "demo.json", study=True)
    print("\n── 04_evaluation", flush=True)
    workspace = {"workspace": _from_notebooks(out)}
    execute("04_evaluation", workspace, out / "04_evaluation.ipynb")
    _store(out)
    print("\n── 07_detection", flush=True)
    detect(out, 150, keep=True)


def _store(out: Path) -> None:
    RESULTS.mkdir(exist_ok=True)
    shutil.copy(out / "contact_sheet.jpg", RESULTS)
    reports = {
        "02_training": "training.json",
        "03_prediction": "demo.json",
        "04_evaluation": "evaluation.json",
    }
    for name in (*SWAP, "04_evaluation"):
        shutil.copy(out / f"{name}.ipynb", NOTEBOOKS)
        if name in reports:
            figures = json.loads((out / reports[name]).read_text())
            _note(name, "notebook", "make notebooks", figures)
    choices = json.loads((out / "choices/figures.json").read_text())
    _note("03_prediction", "choices", "make notebooks", choices)


def _note(name: str, key: str, command: str, figures) -> None:
    """Keep figures in the project, with what they were made by; others stay."""
    path = RESULTS / f"{name}.json"
    packages = ("tensorflow", "keras", "numpy", "opencv-python-headless", "dlib-bin")
    made = {
        "command": command,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, no GPU used",
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: metadata.version(name) for name in packages},
        "seed": 0,
    }
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept[key] = {**made, "figures": figures}
    path.write_text(json.dumps(kept, indent=2) + "\n")


def compare(given) -> None:
    """Train presets for some times, plain and adversarially; leave the table."""
    # Imported here: it takes seconds that no other command needs.
    from deepfakery import tables
    from deepfakery.compare import compare

    frames = compare(
        given.face,
        given.target,
        given.out,
        presets=given.presets,
        minutes=given.minutes,
    )
    table = tables.summarise(frames)
    table.to_csv(given.out / "comparison.csv", index=False)
    print(tables.side_by_side(table).T.to_string())
    print(f"\nIn {os.path.relpath(given.out)}: comparison.csv, painted.png, and a")
    print("folder a combination with its clip.")
    if given.keep:
        target, face = samples.identities(given.face, given.target)
        minutes = " ".join(f"{m:g}" for m in given.minutes)
        command = f"python -m deepfakery compare --face {face} --target {target} "
        command += f"--minutes {minutes} --presets {' '.join(given.presets)} --keep"
        figures = {}
        for row in table.round(4).itertuples():
            shown = figures.setdefault(row.clip, {})
            shown[row.measure] = [row.value, row.low, row.high]
        truth = {face, target} <= {*samples.PEOPLE}
        name = "04_evaluation" if truth else "02_training"
        _note(name, f"{face} → {target}", command, figures)
        if truth:
            _tell("comparison", tables.markdown(tables.at_a_glance(table)))


def _tell(name: str, text: str) -> None:
    """Put a text into the README, between the marks of that name."""
    path, marks = ROOT / "README.md", (f"<!-- {name} -->", f"<!-- /{name} -->")
    before, _, rest = path.read_text().partition(marks[0])
    _, mark, after = rest.partition(marks[1])
    if not mark:
        raise ValueError(f"{path.name} has no {marks[0]} … {marks[1]} to write into.")
    path.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}")


def score_swap(given) -> None:
    """Score a finished swap; leave the table and its figure in `given.out`."""
    # Imported here: they take seconds that no other command needs.
    from deepfakery import baselines, evaluate, export, plots, tables
    from deepfakery.faceset import FaceSet

    given.out.mkdir(parents=True, exist_ok=True)
    swaps = {"swap": given.swap}
    if given.warp:
        warp = baselines.LandmarkWarp({"face": FaceSet.load(given.face)})
        swaps["landmark warp"] = path = given.out / "landmark_warp.mp4"
        export.swap_clip(given.target, warp, "face", path, colour="poisson")
    frames = evaluate.measure(
        swaps, given.target, given.face, given.truth, match=given.match
    )
    table = tables.summarise(frames)
    table.to_csv(given.out / "evaluation.csv", index=False)
    frames.to_csv(given.out / "evaluation_frames.csv", index=False)
    plots.evaluation(table).savefig(given.out / "evaluation.png", dpi=100)
    print(tables.side_by_side(table).to_string())
    print(f"\nMeans over frames, 95 % intervals; in {os.path.relpath(given.out)}:")
    print("evaluation.csv, evaluation_frames.csv, evaluation.png")


def study(name: str, given, report: str, **parameters) -> None:
    """Run a notebook that stands by itself, on `given.photos` or the built-in people.

    With `given.keep`, keep it and its figures in the project.

    Args:
        name: Of the notebook.
        given: The command's arguments.
        report: Name of the JSON file of figures that it leaves in `given.out`.
        **parameters: The command's own option, as the notebook calls it.
    """
    given.out.mkdir(parents=True, exist_ok=True)
    [(option, value)] = parameters.items()
    parameters["workspace"] = _from_notebooks(given.out)
    if given.photos:
        parameters["folder"] = _from_notebooks(given.photos)
        parameters["show_photos"] = not given.keep  # other people's faces stay out
    execute(name, parameters, given.out / f"{name}.ipynb")
    print(f"\nIn {os.path.relpath(given.out)}: {name}.ipynb, walk.mp4, …")
    if given.keep:
        shutil.copy(given.out / f"{name}.ipynb", NOTEBOOKS)
        figures = json.loads((given.out / report).read_text())
        command = f"python -m deepfakery {given.command} --{option} {value} --keep"
        command += " --photos <folder>" if given.photos else ""
        _note(name, "photos" if given.photos else "built-in", command, figures)


def detect(workspace: Path, steps: int, others=(), keep: bool = False) -> None:
    """Run notebook 7 on what notebooks 1 to 3 left behind.

    Args:
        workspace: Where they left it; what is found is added to it.
        steps: Of each detector.
        others: Clips or photo folders of other people, to judge too.
        keep: Keep notebook and figures in the project; with `others`, figures alone.

    Raises:
        FileNotFoundError: The workspace holds no trained swapper, or a source of
            `others` is missing.
    """
    if not (workspace / "run").is_dir():
        raise FileNotFoundError(
            f"{workspace} holds no trained swapper; `make demo` leaves one there."
        )
    for source in others:
        if not Path(source).exists():
            raise FileNotFoundError(f"{source} does not exist; check the name.")
    path = workspace / "07_detection.ipynb"
    parameters = {"workspace": _from_notebooks(workspace), "steps": steps}
    if others:
        parameters["others"] = [_from_notebooks(source) for source in others]
    execute("07_detection", parameters, path)
    print(f"\nIn {os.path.relpath(workspace)}: 07_detection.ipynb, detection.json")
    if keep:
        figures = json.loads((workspace / "detection.json").read_text())
        command = f"python -m deepfakery detect --steps {steps} --keep"
        if others:
            command += " --others <clips and folders of other people>"
        else:
            shutil.copy(path, NOTEBOOKS)
        _note("07_detection", "others" if others else "built-in", command, figures)


def inspect(files: list[str], trust: str | None = None) -> None:
    """Print what files say of how they were made.

    Args:
        files: Of any kind; of a folder, the pictures and clips in it.
        trust: PEM file of certificates whose signers count as known.

    Raises:
        FileNotFoundError: A file is missing.
    """
    for file in map(Path, files):
        if not file.exists():
            raise FileNotFoundError(f"{file} does not exist; check the name.")
        for one in images.list_files(file) if file.is_dir() else [file]:
            print(provenance.describe(one, trust=trust))


def pretrain(photos: str, out: Path, preset: str, minutes: float) -> None:
    """Teach an encoder and one decoder faces in general, to start swappers from.

    Args:
        photos: A folder of photos of many people.
        out: Workspace for the faces and the run; interrupted, it goes on from there.
        preset: The networks' preset.
        minutes: Of training.
    """
    # Imported here: a command that only runs notebooks needs no TensorFlow.
    import keras

    from deepfakery import batches, faceset, runs
    from deepfakery.swapper import FaceSwapper

    people = faceset.extract(photos, out / "faces", describe=False)
    keras.utils.set_random_seed(0)
    swapper = FaceSwapper(("base",), preset)
    swapper.compile()
    config = {**swapper.config, "seed": 0}
    run_ = runs.Run(out / "run", swapper, config, minutes=minutes, every=100, decay=0.3)
    faces = {"base": people.require()}
    run_.fit(partial(batches.batches, faces, swapper.size, 16, flip=0.5))
    path = WEIGHTS / f"base_{preset}.npz"
    swapper.save_base(path)
    print(f"{path.relative_to(ROOT)} after {run_.step} steps")


def pretrain_upscaler(folder: str, out: Path) -> None:
    """Take the upscaler through its curriculum and keep its weights in the project.

    First photos alone, then against the discriminators, with what the project's own
    autoencoder and a DCGAN make of the same photos among the pairs.

    Args:
        folder: Photos of many people, each side at least 160 pixels; a subfolder is
            taken for a person. 8 % are held out, people as a whole.
        out: For the runs; interrupted, it goes on from there.
    """
    import keras

    from deepfakery import degrade, photos, runs
    from deepfakery.dcgan import DCGAN
    from deepfakery.presets import base_weights
    from deepfakery.swapper import FaceSwapper
    from deepfakery.upscaler import STAGES, Upscaler, train

    files, _ = photos.split(folder, HELD_OUT, people=True)
    keras.utils.set_random_seed(0)
    upscaler = Upscaler()
    feed = partial(degrade.pairs, files, degraded=0.3)
    plain = {n: stage for n, stage in STAGES.items() if n != "adversarial"}
    train(upscaler, out, feed, plain)
    upscaler.save_base(WEIGHTS / "upscaler_light_l1.npz")
    print("weights/upscaler_light_l1.npz is written.", flush=True)

    gan = DCGAN()
    gan.compile(gan.rates(2e-4, 4e-4), augment=True, average=0.995)
    run_ = runs.Run(out / "dcgan", gan, gan.config, steps=300, decay=0)
    run_.fit(partial(photos.batches, files, gan.size))
    painter = FaceSwapper(("base",), "light")
    painter.start_from(base_weights("light"), keep=1.0)
    made = degrade.remake(painter, "base", files[:: max(1, len(files) // 400)])
    made |= degrade.reimagine(gan, files[5 :: max(1, len(files) // 100)], steps=150)
    train(
        upscaler, out, partial(feed, made=made), {"adversarial": STAGES["adversarial"]}
    )
    upscaler.save_base(WEIGHTS / "upscaler_light.npz")
    print("weights/upscaler_light.npz is written.", flush=True)
    _measure_upscalers(folder)


def _measure_upscalers(folder: str) -> None:
    """Measure the project's upscalers on people whom they never saw; keep figures."""
    import numpy as np

    from deepfakery import fidelity, photos
    from deepfakery.upscaler import Upscaler

    _, held_out = photos.split(folder, HELD_OUT, people=True)
    files = list({file.parent: file for file in held_out}.values())[:200]
    pictures = np.stack([photos.crop(images.read_image(f), 160) for f in files])
    ways = dict(fidelity.WAYS)
    for name, file in (("L1", "upscaler_light_l1"), ("adversarial", "upscaler_light")):
        ways[name] = fidelity.by(Upscaler.from_preset(WEIGHTS / f"{file}.npz"))
    figures = {"people": len(files)}
    for k in (2, 4, 8):
        figures[f"x{k}"] = fidelity.compare(ways, pictures, k)
    print(json.dumps(figures, indent=2))
    command = "python -m deepfakery pretrain --upscaler --faces <folder>"
    _note("06_upscaling", "project's weights", command, figures)


def upscale(given) -> None:
    """Bring a photo, a folder of photos or a clip to a size."""
    from deepfakery import export
    from deepfakery.upscaler import Upscaler, shipped

    size = given.size.lower().replace("×", "x").split("x")
    if len(size) != 2 or not all(part.isdecimal() and int(part) for part in size):
        raise ValueError(f"--size {given.size} is no size; give one as 1920x1080.")
    size = tuple(int(part) for part in size)
    source, out = Path(given.source), Path(given.out)
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist; check the name.")
    still = source.is_dir() or images.is_image(source)
    if not still:
        video.probe(source)
        if out.suffix.lower() != ".mp4":
            raise ValueError(f"{out} must end in .mp4, as what a clip is written to.")
    elif source.is_file() and out.suffix.lower() not in images.IMAGE_SUFFIXES:
        raise ValueError(f"{out} must end as a picture does, such as in .png.")
    upscaler = Upscaler.from_preset(given.weights) if given.weights else shipped()
    write = export.upscale_photos if still else export.upscale_clip
    out.parent.mkdir(parents=True, exist_ok=True)
    write(source, upscaler, out, size, fit=given.fit)
    print(f"{out}: {size[0]} × {size[1]}")


def execute(name: str, parameters: dict, path: Path, study: bool = True) -> None:
    """Run one notebook and write it, with its outputs, to `path`.

    Without `study`, cells tagged so are left out. Parameters that the notebook does
    not have, or that already have that value, are not passed on: a run with its
    defaults leaves the notebook's cells as they are.
    """
    source = NOTEBOOKS / f"{name}.ipynb"
    known = papermill.inspect_notebook(str(source))
    passed = {
        key: value
        for key, value in parameters.items()
        if key in known and known[key]["default"].strip("\"'") != str(value)
    }
    aside = path.with_name(f".{path.stem}.part.ipynb")
    notebook = nbformat.read(source, as_version=4)
    if not study:
        cells = notebook.cells
        notebook.cells = [c for c in cells if "study" not in c.metadata.get("tags", ())]
    nbformat.write(notebook, aside)
    try:
        with _console() as console:
            papermill.execute_notebook(
                str(aside),
                str(aside),
                parameters=passed,
                cwd=str(NOTEBOOKS),
                kernel_name="python3",
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=console,
            )
        tidy(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def tidy(path: Path) -> None:
    """Take out of an executed notebook what only its run cared about.

    Timing and paths go; of a progress bar's thousand lines, each overwriting the one
    before, the last one stays.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        outputs, streams = [], {}
        for output in cell.get("outputs", []):
            if output.output_type != "stream":
                outputs.append(output)
            elif output.name in streams:
                streams[output.name].text += output.text
            else:
                streams[output.name] = output
                outputs.append(output)
        for stream in streams.values():
            lines = stream.text.replace("\r\n", "\n").split("\n")
            lines = [line.split("\r")[-1] for line in lines if not _is_chatter(line)]
            stream.text = "\n".join(lines)
        outputs = [o for o in outputs if o.get("text") != ""]
        if "outputs" in cell:
            cell.outputs = outputs
    nbformat.write(notebook, path)


def _is_chatter(line: str) -> bool:
    # TensorFlow says this before it reads the setting that would silence it.
    words = ("cudart_stub", "absl::InitializeLog", "oneDNN custom operations")
    return any(word in line for word in words)


@contextmanager
def _console():
    """A terminal for the kernel's words, without TensorFlow's start-up chatter.

    The kernel inherits this process's own error stream, and TensorFlow writes there
    past Python; for as long as the kernel runs that stream leads nowhere.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)

    class Console:
        def write(self, text: str):
            kept = (t for t in text.splitlines(True) if not _is_chatter(t))
            os.write(terminal, "".join(kept).encode())

        def flush(self):
            pass

    try:
        yield Console()
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _check(face: str, target: str) -> None:
    """Fail before any work where footage cannot be used."""
    samples.identities(face, target)
    for who in (face, target):
        if who not in samples.PEOPLE and images.count_frames(who) == 0:
            raise ValueError(f"{who} holds no image or clip; give footage of a person.")
    if target not in samples.PEOPLE:
        video.probe(target)


def _from_notebooks(path) -> str:
    if str(path) in samples.PEOPLE:
        return str(path)
    return os.path.relpath(path, NOTEBOOKS)


def _who_from_notebooks(who: str) -> str:
    if who == "most" or who.isdecimal():
        return who
    images.read_image(who)  # says what is wrong with it
    return _from_notebooks(who)


if __name__ == "__main__":
    sys.exit(main())
