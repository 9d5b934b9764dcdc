"""The notebooks and what else is done to clips and pictures, without a browser.

python -m deepfakery demo                              the built-in people
python -m deepfakery swap --face A.mp4 --target B.mp4  anyone's footage
python -m deepfakery extract A.mp4 --out faces/anna    footage → a folder of faces
python -m deepfakery evaluate --swap S.mp4 --target B.mp4 --face A.mp4
python -m deepfakery compare --minutes 2 5             presets, plain and adversarial
python -m deepfakery upscale --in A.jpg --out B.png --size 1920x1080
python -m deepfakery inspect swap.mp4                  what made a file, and is it whole
python -m deepfakery run 05_dcgan -p folder=celeba/    any notebook
"""

import argparse
import ast
import json
import os
import re
import shlex
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from deepfakery import samples
from deepfakery.faces import extraction
from deepfakery.faces.faceset import FaceSet
from deepfakery.media import images, provenance, records, video
from deepfakery.notebook import run as notebooks
from deepfakery.notebook.run import NOTEBOOKS, ROOT
from deepfakery.presets import PRESETS

#: The notebooks of a swap.
SWAP = ("01_data_generation", "02_training", "03_prediction")

#: Name → (function, its options as `argparse` takes them).
COMMANDS = {}
CLUSTER = "address of a Dask scheduler, whose workers see the same files"
WHO = "which person of it: the one seen most, a number in the faces folder, or a photo"


def main(arguments=None) -> int:
    """Run a command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):  # not every terminal knows every letter
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    given = read(arguments)
    function, _ = COMMANDS[given.pop("command")]
    try:
        function(**given)
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    except (ValueError, OSError, notebooks.NotebookError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def read(arguments=None) -> dict:
    """The command of a command line, and its options by name."""
    style = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("deepfakery", description=__doc__, **style)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (function, options) in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__.splitlines()[0])
        for names, settings in options:
            command.add_argument(*names, **settings)
    return vars(parser.parse_args(arguments))


def command(*options):
    """Make a function a command; its docstring says there what it is for."""

    def made(function):
        COMMANDS[function.__name__] = function, options
        return function

    return made


def option(*names, **settings) -> tuple:
    return names, settings


def output(name: str) -> tuple:
    return option("--out", type=Path, default=ROOT / "data/output" / name)


@command(output("demo"))
def demo(out):
    """The whole way on the built-in people."""
    swap_in(out, {}, "demo.json")


@command(
    option("--face", required=True, help="footage of whose face to generate"),
    option("--target", required=True, help="the clip that it goes into"),
    option("--face-who", default="most", help=WHO),
    option("--target-who", default="most", help=WHO),
    option("--minutes", type=float, default=5, help="of training"),
    option("--preset", default="light", choices=PRESETS),
    option("--targets", nargs="+", default=[], help="more clips of that person"),
    option("--scheduler", help=f"for --targets: {CLUSTER}"),
    output("swap"),
)
def swap(out, targets, scheduler, **given):
    """The whole way on your own footage."""
    if given["minutes"] <= 0:
        raise ValueError("--minutes (MINUTES=) must be above 0.")
    check(given["face"], given["target"], out)
    named = by_name(targets)
    for who in (given["face_who"], given["target_who"]):
        if who != "most" and not who.isdecimal():
            images.read_image(who)  # says what is wrong with it
    swap_in(out, given, "swap.json")
    if named:
        from deepfakery.convert import export

        over, face = samples.identities(given["face"], given["target"])
        people = {face: FaceSet.load(out / "faces" / over).descriptors()}
        with workspace(out), cluster(scheduler) as executor:
            more = named, out / "run", people, out / "targets"
            done, failed = export.swap_clips(*more, executor=executor)
        summarise(done, failed)


def by_name(clips: list) -> dict[str, Path]:
    """Clips by the names of what is made of them, each its own."""
    named = {}
    for clip in map(Path, clips):
        other = named.setdefault(existing(clip).stem, clip)
        if other != clip:
            raise ValueError(f"{other} and {clip} share a name; rename one of them.")
    return named


@contextmanager
def cluster(scheduler: str | None):
    """What runs clips on a Dask cluster; None where no scheduler is given."""
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        said = 'a cluster needs Dask: pip install "deepfakery[cluster]"'
        raise ValueError(f"--scheduler {scheduler}: {said}.") from None
    with Client(scheduler) as client:
        yield client.get_executor()


def summarise(done: dict, failed: dict) -> None:
    """A line a clip; ValueError where one failed."""
    width = max(map(len, (*done, *failed)))
    for name, made in done.items():
        print(f"{name:{width}}  {made}")
    for name, why in failed.items():
        print(f"{name:{width}}  failed: {why}")
    if failed:
        count = len(done) + len(failed)
        said = "the others are done. The same command tries again what is missing"
        raise ValueError(f"{len(failed)} of {count} clips failed; {said}.")


def check(face: str, target: str, out: Path) -> None:
    """Fail before any work where footage cannot be used."""
    samples.identities(face, target)
    for who in {face, target}.difference(samples.PEOPLE):
        extraction.refuse_inside(out, Path(who))
        if images.count_frames(who) == 0:
            raise ValueError(f"{who} holds no image or clip; give footage of a person.")
    if target not in samples.PEOPLE:
        video.probe(target)


@contextmanager
def workspace(out: Path):
    """Hold the folder of a command's results: a new one, or one of an earlier command.

    A new one in which no file is left is removed again.

    Raises:
        ValueError: It holds somebody's files.
        OSError: Another command writes into it at this moment.
    """
    is_new, marks = not out.exists(), {".deepfakery", ".lock"}
    known = (".deepfakery", "faces", "run")  # a notebook leaves those alone
    if not is_new and not any((out / name).exists() for name in known):
        for file in out.iterdir():
            raise ValueError(
                f"{out} holds files that are not of this project, such as {file.name}; "
                "choose a new or an empty folder."
            )
    try:
        with records.one_writer(out, "leaves its results there"):
            (out / ".deepfakery").touch()
            yield
    finally:
        if is_new and all(f.is_dir() or f.name in marks for f in out.rglob("*")):
            shutil.rmtree(out)


def swap_in(out: Path, given: dict, report: str, study: bool = False) -> None:
    """Execute the three notebooks of a swap in a workspace.

    Args:
        given: Parameters; each notebook takes those that it knows.
        report: Name of the JSON file of figures in the workspace.
        study: Also run the cells tagged `study`.
    """
    seconds, given = {}, given | {"workspace": out, "report": report}
    with workspace(out):
        for name in SWAP:
            print(f"\n── {name}", flush=True)
            started = time.monotonic()
            notebooks.execute(name, given, out / f"{name}.ipynb", study)
            seconds[name] = round(time.monotonic() - started, 1)
        figures = json.loads((out / report).read_text())
        figures["seconds"] = {**seconds, "total": round(sum(seconds.values()), 1)}
        (out / report).write_text(json.dumps(figures, indent=2) + "\n")
    print("\n" + json.dumps(figures, indent=2))
    print(f"\nIn {os.path.relpath(out)}: the clip swap.mp4, its frames in frames/,")
    print(f"contact_sheet.jpg, the figures {report}, and the notebooks as run.")


@command(
    option("footage", nargs="+", help="clips, photos or folders of either"),
    option("--out", required=True, type=Path, help="the face folder"),
    option("--who", help=WHO),
    option("--each", action="store_true", help="a face folder in --out for each"),
    option("--scheduler", help=f"for --each: {CLUSTER}"),
)
def extract(footage, out, who, each, scheduler):
    """The faces of one person, as aligned pictures; or of each clip's."""
    if not each:
        print(f"{len(extraction.extract(footage, out, who=who))} faces in {out}")
        return
    with cluster(scheduler) as executor:
        many = by_name(footage), out
        done, failed = extraction.extract_many(*many, executor=executor, who=who)
    summarise({n: f"{len(f)} faces in {f.folder}" for n, f in done.items()}, failed)


@command(
    option("--swap", required=True, help="clip or folder of frames"),
    option("--target", required=True, help="what it was made from"),
    option("--face", required=True, help="face folder or footage"),
    option("--truth", help="the same motion by the generated person"),
    output("swap"),
)
def evaluate(swap, target, face, truth, out):
    """Figures of any tool's swap."""
    from deepfakery.evaluate import measure, tables
    from deepfakery.notebook import plots

    with workspace(out):
        frames = measure.measure(swap, target, face, truth)
        table = tables.summarise(frames)
        table.to_csv(out / "evaluation.csv", index=False)
        frames.to_csv(out / "evaluation_frames.csv", index=False)
        plots.evaluation(table).savefig(out / "evaluation.png", dpi=100)
    print(tables.side_by_side(table).to_string())
    print(f"\nMeans over frames, 95 % intervals; in {os.path.relpath(out)}:")
    print("evaluation.csv, evaluation_frames.csv, evaluation.png")


@command(
    option("--face", default="hopper", help="whose face to generate"),
    option("--target", default="collins", help="what it goes into"),
    option("--presets", nargs="+", default=["light", "hd"], choices=PRESETS),
    option("--minutes", nargs="+", type=float, default=[2.0, 5.0]),
    output("compare"),
)
def compare(face, target, presets, minutes, out):
    """Presets and times beside each other, plain and adversarial."""
    from deepfakery.evaluate import tables
    from deepfakery.notebook.compare import compare

    with workspace(out):
        frames = compare(face, target, out, presets, minutes)
        table = tables.summarise(frames)
        table.to_csv(out / "comparison.csv", index=False)
    print(tables.side_by_side(table).T.to_string())
    print(f"\nIn {os.path.relpath(out)}: comparison.csv, frames.png, and a")
    print("folder a combination with its clip.")


@command(
    option("--in", required=True, dest="source", type=Path, help="photo(s) or clip"),
    option("--out", required=True, type=Path, help="what to write: likewise"),
    option("--size", required=True, help="width x height, as 1920x1080"),
    option("--fit", default="pad", choices=("pad", "crop", "stretch")),
    option("--weights", help="a run folder or .npz; else the project's"),
)
def upscale(source, out, size, fit, weights):
    """A photo, a folder of photos or a clip at any size."""
    from deepfakery.convert import export
    from deepfakery.studies.upscaler import Upscaler, shipped

    sides = re.fullmatch(r"0*([1-9]\d*)[xX×]0*([1-9]\d*)", size)
    if not sides:
        raise ValueError(f"--size {size} is no size; give one as 1920x1080.")
    is_clip = not existing(source).is_dir() and not images.is_image(source)
    if is_clip:
        video.probe(source)  # says what is wrong with it
    suffixes = {".mp4"} if is_clip else images.IMAGE_SUFFIXES
    if not source.is_dir() and out.suffix.lower() not in suffixes:
        raise ValueError(f"{out} must end in {' or '.join(sorted(suffixes))}.")
    upscaler = Upscaler.from_preset(weights) if weights else shipped()
    write = export.upscale_clip if is_clip else export.upscale_photos
    out.parent.mkdir(parents=True, exist_ok=True)
    write(source, upscaler, out, tuple(map(int, sides.groups())), fit=fit)
    print("{}: {} × {}".format(out, *sides.groups()))


@command(
    option("files", nargs="+", type=Path, help="or folders of them"),
    option("--trust", help="PEM file of certificates that you trust"),
)
def inspect(files, trust):
    """A file's Content Credentials, in words."""
    for file in files:
        found = images.list_files(file) if existing(file).is_dir() else [file]
        if not found:
            print(f"{file}\n  no picture or clip.")
        for one in found:
            print(provenance.describe(one, trust=trust))


@command(
    option("notebook", choices=sorted(f.stem for f in NOTEBOOKS.glob("0*.ipynb"))),
    option("-p", dest="texts", action="append", default=[], metavar="NAME=VALUE"),
)
def run(notebook, texts):
    """A notebook, with parameters of its first cells."""
    own, given = notebooks.parameters(notebook), {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in own:
            raise ValueError(f"{notebook} has no {name}; it has {', '.join(own)}.")
        given[name] = value = in_kind(name, value, own[name])
        for one in value if isinstance(value, list) else [value]:
            is_path = notebooks.seen_from_there(name, one) != one
            if is_path and name not in ("workspace", "imagined"):  # others are read
                existing(Path(one))
    out = Path(given.get("workspace", ROOT / own["workspace"].removeprefix("../")))
    needs_run = notebook in (SWAP[2], "04_evaluation", "07_detection")
    if needs_run and not (out / "run").is_dir():
        said = f"{out} holds no trained swapper; `make demo` leaves one there."
        raise FileNotFoundError(said)
    with workspace(out):
        given["workspace"] = out
        notebooks.execute(notebook, given, out / f"{notebook}.ipynb")
    print(f"\nIn {os.path.relpath(out)}: {notebook}.ipynb, and what it made.")


def in_kind(name: str, text: str, own):
    """A parameter's value, of the kind that the notebook's own value has."""
    if isinstance(own, list):  # names with spaces stand in quotes
        return [text] if Path(text).exists() else shlex.split(text)
    if not isinstance(own, int | float):
        return None if text == "None" else text
    with suppress(ValueError, SyntaxError):
        value = ast.literal_eval(text)
        value = float(value) if isinstance(own, float) else value
        if type(value) is type(own):
            return value
    raise ValueError(f"{name}={text}: give a {type(own).__name__}, such as {own}.")


def existing(path: Path) -> Path:
    """The path, unless there is nothing."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; check the name.")
    return path


if __name__ == "__main__":
    sys.exit(main())
