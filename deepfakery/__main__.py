"""The notebooks without a browser.

python -m deepfakery demo                              the built-in people
python -m deepfakery swap --face A.mp4 --target B.mp4  anyone's footage
python -m deepfakery evaluate --swap S.mp4 --target B.mp4 --face A.mp4
python -m deepfakery compare --minutes 2 5             presets, plain and adversarial
python -m deepfakery imagine --photos celeba/          faces from noise
python -m deepfakery inspect swap.mp4                  what made a file, and is it whole
python -m deepfakery detect                            which faces were painted?
python -m deepfakery notebooks                         the demo, its outputs kept
python -m deepfakery upscale --in A.jpg --out B.png --size 1920x1080
python -m deepfakery enlarge --photos lfw/             learn to enlarge, step by step
"""

import argparse
import builtins
import json
import os
import shlex
import shutil
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import papermill

from deepfakery import samples
from deepfakery.faces import extraction
from deepfakery.media import images, provenance, records, video
from deepfakery.networks import PRESETS
from deepfakery.notebook.results import RESULTS, note, tell
from deepfakery.notebook.run import NOTEBOOKS, ROOT, execute, seen_from_there

#: Whom the notebooks swap where nothing else is said.
SWAPPED = {"face": "hopper", "target": "collins"}

SWAP = ("01_data_generation", "02_training", "03_prediction")


def main(arguments=None) -> int:
    """Run a command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):  # not every terminal knows every letter
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
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
    both.add_argument("--minutes", nargs="+", type=float, default=[2.0, 5.0])
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
    commands.add_parser("notebooks", help="run the demo and keep its outputs in git")
    given = parser.parse_args(arguments)
    try:
        if given.command == "demo":
            run({}, given.out, "demo.json")
        elif given.command == "notebooks":
            keep()
        elif given.command == "evaluate":
            with workspace(given.out):
                score_swap(given)
        elif given.command == "compare":
            with workspace(given.out):
                compare(given)
        elif given.command == "imagine":
            with workspace(given.out):
                study("05_dcgan", given, "imagine.json", steps=given.steps)
        elif given.command == "enlarge":
            with workspace(given.out):
                study("06_upscaling", given, "upscaling.json", times=given.times)
        elif given.command == "upscale":
            upscale(given)
        elif given.command == "detect":
            others = [name for text in given.others for name in _names(text)]
            detect(given.workspace, given.steps, others, given.keep)
        elif given.command == "inspect":
            inspect(given.files, given.trust)
        else:
            if given.minutes <= 0:
                parser.error("--minutes (MINUTES=) must be above 0")
            _check(given.face, given.target, given.out)
            parameters = {
                "face": seen_from_there(given.face),
                "target": seen_from_there(given.target),
                "face_who": _whoseen_from_there(given.face_who),
                "target_who": _whoseen_from_there(given.target_who),
                "minutes": given.minutes,
                "preset": given.preset,
            }
            run(parameters, given.out, "swap.json", given.study)
    except papermill.PapermillExecutionError as error:
        built_in = getattr(builtins, error.ename, Exception)
        known = error.ename in ("MediaError", "SigningError") or issubclass(
            built_in, (ValueError, OSError)
        )
        kind = "" if known else f"{error.ename} in cell {error.cell_index}: "
        said = error.evalue
        # As typed, not as seen from a notebook.
        for name in ("face", "target", "photos", "out"):
            if typed := getattr(given, name, None):
                said = said.replace(seen_from_there(typed), str(typed))
        print(f"Error: {kind}{said}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def workspace(out: Path):
    """Hold the folder of a command's results: a new one, or one of an earlier command.

    Raises:
        ValueError: It holds somebody's files.
        OSError: Another command writes into it at this moment.
    """
    known = (".deepfakery", "faces", "run")  # a notebook leaves those alone
    if out.exists() and not any((out / name).exists() for name in known):
        for file in out.iterdir():
            raise ValueError(
                f"{out} holds files that are not of this project, such as {file.name}; "
                "choose a new or an empty folder."
            )
    with records.one_writer(out, "leaves its results there"):
        (out / ".deepfakery").touch()
        yield


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
            faces, a workspace that this call made is removed again, as far as nothing
            but this call's work is in it. What earlier calls left stays.
        ValueError, OSError: As for `workspace`.
    """
    out = out.resolve()
    is_new = not out.exists()
    with workspace(out):
        return _run(parameters, out, report, study, is_new)


def _run(parameters, out, report, study, is_new) -> dict:
    parameters = {**parameters, "workspace": seen_from_there(out), "report": report}
    seconds = {}
    for name in SWAP:
        print(f"\n── {name}", flush=True)
        started = time.monotonic()
        try:
            execute(name, parameters, out / f"{name}.ipynb", study)
        except papermill.PapermillExecutionError:
            if is_new and name == SWAP[0]:  # later, faces and training are kept
                _take_back(out)
            raise
        if name == SWAP[0]:
            _compare(out / "faces", parameters)
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


def _take_back(out: Path) -> None:
    """Remove a workspace's clips of built-in people, and folders that hold nothing."""
    for who in samples.PEOPLE:
        (out / "clips" / f"{who}_train.mp4").unlink(missing_ok=True)
    inner = sorted((p for p in out.rglob("*") if p.is_dir()), reverse=True)
    for folder in (*inner, out):
        if {file.name for file in folder.iterdir()} <= {".lock", ".deepfakery"}:
            for name in (".lock", ".deepfakery"):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


def _compare(folder: Path, parameters: dict) -> None:
    """Say so before any training where both face sets show one person."""
    # Imported here: it takes seconds that no other command needs.
    from deepfakery.faces import people
    from deepfakery.faces.faceset import FaceSet

    given = (parameters.get(*default) for default in SWAPPED.items())
    sets = [FaceSet.load(folder / name) for name in samples.identities(*given)]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        people.compare(*sets)
    for one in said:
        print(f"Warning: {one.message}", file=sys.stderr)


def keep() -> None:
    """Run the demo afresh; keep its notebooks, picture and figures in the project.

    A demo's workspace that is there is moved aside.
    """
    out = ROOT / "data/output/demo"
    if out.exists():
        aside = out.with_name(f"demo before {time.strftime('%Y-%m-%d %H.%M.%S')}")
        os.rename(out, aside)
        print(f"What was in {os.path.relpath(out)} is now in {os.path.relpath(aside)}")
    run({}, out, "demo.json", study=True)
    print("\n── 04_evaluation", flush=True)
    workspace = {"workspace": seen_from_there(out)}
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
            note(name, "notebook", "make notebooks", figures)
    choices = json.loads((out / "choices/figures.json").read_text())
    note("03_prediction", "choices", "make notebooks", choices)


def compare(given) -> None:
    """Train presets for some times, plain and adversarially; leave the table."""
    # Imported here: it takes seconds that no other command needs.
    from deepfakery.evaluate import tables
    from deepfakery.notebook.compare import compare

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
        note(name, f"{face} → {target}", command, figures)
        if truth:
            tell("comparison", tables.markdown(tables.at_a_glance(table)))


def score_swap(given) -> None:
    """Score a finished swap; leave the table and its figure in `given.out`."""
    # Imported here: they take seconds that no other command needs.
    from deepfakery.convert import export
    from deepfakery.evaluate import baselines, measure, tables
    from deepfakery.faces.faceset import FaceSet
    from deepfakery.notebook import plots

    given.out.mkdir(parents=True, exist_ok=True)
    swaps = {"swap": given.swap}
    if given.warp:
        warp = baselines.LandmarkWarp({"face": FaceSet.load(given.face)})
        swaps["landmark warp"] = path = given.out / "landmark_warp.mp4"
        export.swap_clip(given.target, warp, "face", path, colour="poisson")
    frames = measure.measure(
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
    parameters["workspace"] = seen_from_there(given.out)
    if given.photos:
        parameters["folder"] = seen_from_there(given.photos)
        parameters["show_photos"] = not given.keep  # other people's faces stay out
    execute(name, parameters, given.out / f"{name}.ipynb")
    print(f"\nIn {os.path.relpath(given.out)}: {name}.ipynb, walk.mp4, …")
    if given.keep:
        shutil.copy(given.out / f"{name}.ipynb", NOTEBOOKS)
        for picture in given.out.glob("faces.jpg"):
            shutil.copy(picture, RESULTS)
        figures = json.loads((given.out / report).read_text())
        command = f"python -m deepfakery {given.command} --{option} {value} --keep"
        command += " --photos <folder>" if given.photos else ""
        note(name, "photos" if given.photos else "built-in", command, figures)


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
    parameters = {"workspace": seen_from_there(workspace), "steps": steps}
    if others:
        parameters["others"] = [seen_from_there(source) for source in others]
    execute("07_detection", parameters, path)
    print(f"\nIn {os.path.relpath(workspace)}: 07_detection.ipynb, detection.json")
    if keep:
        figures = json.loads((workspace / "detection.json").read_text())
        command = f"python -m deepfakery detect --steps {steps} --keep"
        if others:
            command += " --others <clips and folders of other people>"
        else:
            shutil.copy(path, NOTEBOOKS)
        note("07_detection", "others" if others else "built-in", command, figures)


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
        found = images.list_files(file) if file.is_dir() else [file]
        if not found:
            print(f"{file}\n  no picture or clip.")
        for one in found:
            print(provenance.describe(one, trust=trust))


def upscale(given) -> None:
    """Bring a photo, a folder of photos or a clip to a size."""
    from deepfakery.convert import export
    from deepfakery.studies.upscaler import Upscaler, shipped

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


def _names(text: str) -> list[str]:
    """Files that `make` hands over in one text; names with spaces stand in quotes."""
    return [text] if Path(text).exists() else shlex.split(text)


def _check(face: str, target: str, out: Path) -> None:
    """Fail before any work where footage cannot be used."""
    samples.identities(face, target)
    for who in (face, target):
        if who not in samples.PEOPLE:
            extraction.refuse_inside(out, Path(who))
        if who not in samples.PEOPLE and images.count_frames(who) == 0:
            raise ValueError(f"{who} holds no image or clip; give footage of a person.")
    if target not in samples.PEOPLE:
        video.probe(target)


def _whoseen_from_there(who: str) -> str:
    if who == "most" or who.isdecimal():
        return who
    images.read_image(who)  # says what is wrong with it
    return seen_from_there(who)


if __name__ == "__main__":
    sys.exit(main())
