"""Long clips, killed work and many clips: what they take, and whether nothing is lost.

python -m tools.scale long --minutes 1 2 10
python -m tools.scale evaluate --minutes 1 10
python -m tools.scale kills --seconds 60 --kills 20
python -m tools.scale many --seconds 20 --clips 4

With --keep the figures go to data/results/scale.json. `evaluate` measures the demo's
clip over and over, beside its ground truth. Interrupted, `long` and `kills` go on with
the same command; a clip under way is measured anew. Memory (from /proc) and disk are
read five times a second; frames a second include the start of Python.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from deepfakery.convert import export, resume
from deepfakery.faces import extraction
from deepfakery.faces.faceset import FaceSet
from deepfakery.media import images, records, video
from deepfakery.notebook.run import ROOT
from deepfakery.swapper import FaceSwapper
from tools.bench.extract import looped, wide_clip
from tools.keep import note

WORK = ("extract", "convert")


class Work:
    """Extraction, conversion or measuring, a process; `out` is what it makes."""

    def __init__(self, what: str, out: Path, *options):
        self.what, self.out, self.aside = what, out, records.aside(out)
        self.log = out.with_suffix(".log")
        module = "tools.scale" if what == "convert" else "deepfakery"
        self.command = [sys.executable, "-m", module, what, *options, "--out", out]

    @classmethod
    def on(cls, what: str, clip: Path, out: Path, given) -> "Work":
        """Extraction of a clip, or its conversion by a run."""
        if what == "extract":
            return cls(what, out, clip)
        run = "--run", given.run, "--identity", given.identity
        return cls(what, out, "--clip", clip, *run)

    def run(self, seconds: float = math.inf) -> bool:
        """Do it, and watch memory and disk; False where a kill came before its end."""
        self.memory, self.disk, started = 0, 0, time.monotonic()
        with self.log.open("w") as log:
            process = subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=log)
        try:
            while process.poll() is None:
                if time.monotonic() - started >= seconds:
                    return self.what == "convert" and self.out.exists()
                self.memory = max(self.memory, resident(process.pid))
                if self.what == "convert":  # a folder of faces only grows
                    self.disk = max(self.disk, used(self.out) + used(self.aside))
                time.sleep(min(0.2, seconds))
        finally:
            process.kill()
            process.wait()
            self.seconds = round(time.monotonic() - started, 1)
            self.disk = max(self.disk, used(self.out))
        if process.returncode:
            raise OSError(f"{self.what} failed; {self.log} says why. Mend that.")
        return True

    def kept(self) -> int:
        """Frames that the same command will not do again."""
        if self.what == "extract":
            return extraction.kept(self.out)
        is_whole = self.out.exists()
        return video.probe(self.out).frames if is_whole else resume.kept(self.out)

    def counted(self) -> int:
        """Frames on its progress bar, those kept from before included."""
        counts = re.findall(r"(\d+)/\d+ \[", self.log.read_text(errors="replace"))
        return int(counts[-1]) if counts else 0

    def digest(self) -> str:
        """SHA-256 of all decoded frames, or of all faces and their records."""
        digest = hashlib.sha256()
        if self.what == "convert":
            for frame in video.read_frames(self.out):
                digest.update(f"{frame.pts}".encode() + frame.image.tobytes())
        else:
            for record in FaceSet.load(self.out).records:
                digest.update(json.dumps(record).encode())
                digest.update((self.out / record["image"]).read_bytes())
        return digest.hexdigest()

    def remove(self) -> None:
        for path in (self.out, self.aside):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def resident(pid: int) -> int:
    """Bytes of memory of a process and its descendants; shared pages count in each."""
    total = 0
    with suppress(OSError):  # it has ended meanwhile
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        total = os.sysconf("SC_PAGE_SIZE") * pages
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            total += sum(resident(int(child)) for child in file.read_text().split())
    return total


def used(path: Path) -> int:
    """Bytes of a file or of the files in a folder."""
    total = 0
    for file in (path, *path.rglob("*")):
        with suppress(OSError):  # renamed meanwhile
            total += file.stat().st_size if file.is_file() else 0
    return total


def footage(given, seconds: float, clip: Path | None = None) -> Path:
    """A clip over and over, or a built-in one, at least as long as asked for."""
    base = clip or given.clip or given.out / f"collins {given.height}.mp4"
    path = given.out / f"{base.stem} {seconds:g} s.mp4"
    if not path.exists():
        if not base.exists():
            wide_clip(base, 300, given.height)
        aside = given.out / "unfinished.mp4"
        looped(base, aside, math.ceil(seconds / video.probe(base).duration - 0.01))
        aside.rename(path)
    return path


def evaluate(given) -> list[dict]:
    """Speed and peak memory of measuring a swap, by length."""
    state, rows = load(given.out / "evaluate.json")
    demo, known = given.run.parent, {row["minutes"] for row in rows}
    clips = {
        "--swap": demo / "swap.mp4",
        "--target": demo / "clips/collins_unseen.mp4",
        "--truth": demo / "clips/hopper_unseen.mp4",
    }
    for minutes in tqdm(sorted({*given.minutes} - known), unit="clip"):
        options = ["--face", demo / "faces/hopper"]
        for option, clip in clips.items():
            options += option, footage(given, 60 * minutes, clip)
        work = Work("evaluate", given.out / "measured", *options)
        work.remove()
        work.run()
        frames = images.count_frames(options[-1])
        one = {"minutes": minutes, "frames": frames}
        one["frames_per_s"] = round(frames / work.seconds, 2)
        rows.append(one | {"memory_mb": work.memory // 10**6})
        state.write_text(json.dumps(rows))
    return rows


def long(given) -> list[dict]:
    """Speed, peak memory and disk of extraction and conversion, by length."""
    state, rows = load(given.out / "long.json")
    for minutes in tqdm(given.minutes, unit="clip"):
        clip = footage(given, 60 * minutes)
        info, frames = video.probe(clip), images.count_frames(clip)
        said = {"extract": extraction.FACE_BYTES}
        said["convert"] = resume.needed(info.width * info.height)
        for what in WORK:
            one = {"clip": clip.stem, "work": what, "frames": frames}
            if any(one.items() <= row.items() for row in rows):
                continue
            work = Work.on(what, clip, given.out / f"long {what}.mp4", given)
            work.remove()
            work.run()
            one["frames_per_s"] = round(frames / work.seconds, 2)
            one["memory_mb"] = work.memory // 10**6
            sizes = work.disk, used(work.out), said[what] * frames
            names = "disk_mb", "result_mb", "said_mb"
            one |= {k: round(v / 1e6, 1) for k, v in zip(names, sizes, strict=True)}
            rows.append(one)
            state.write_text(json.dumps(rows))
    return rows


def kills(given) -> list[dict]:
    """Kill extraction and conversion at random moments, and go on each time.

    Where it is done before its next kill, the result is compared and it begins anew.
    """
    clip, tables = footage(given, given.seconds), []
    for what in WORK:
        state, rows = load(given.out / f"kills {clip.stem} {what}.json")
        if not rows:
            whole = Work.on(what, clip, given.out / f"whole {what}.mp4", given)
            whole.remove()
            whole.run()
            one = {"work": what, "frames": whole.kept(), "undisturbed_s": whole.seconds}
            one |= {"fastest_s": whole.seconds, "done": 0}
            rows.append(one | {"sha256": whole.digest()})
        work = Work.on(what, clip, given.out / f"killed {what}.mp4", given)
        first = rows[0]
        with tqdm(total=given.kills, initial=len(rows) - 1, desc=what) as bar:
            while len(rows) <= given.kills or "equal" not in rows[-1]:
                seed = given.seed, len(rows), first["done"]
                chance = np.random.default_rng(seed).uniform()
                moment = round(first["fastest_s"] * chance, 1)
                before = work.kept()
                if work.run(moment if len(rows) <= given.kills else math.inf):
                    first["done"] += 1
                    if before == 0:  # the machine may be less busy now
                        first["fastest_s"] = min(first["fastest_s"], work.seconds)
                    is_equal = work.digest() == first["sha256"]
                    for row in rows:
                        row.setdefault("equal", is_equal)
                    work.remove()
                else:
                    kept = work.kept()
                    one = {"work": what, "killed_after_s": moment, "kept": kept}
                    twice = max(before, work.counted()) - kept
                    rows.append(one | {"done_twice": max(0, twice)})
                    bar.update()
                state.write_text(json.dumps(rows))
        tables += rows
    return tables


def many(given) -> list[dict]:
    """Convert clips on a cluster of two, one of them killed; then the same again."""
    from distributed import Client, LocalCluster

    clip, out, rows = footage(given, given.seconds), given.out / "many", []
    shutil.rmtree(out, ignore_errors=True)
    copies = (given.out / f"clip {i + 1}.mp4" for i in range(given.clips))
    sources = {copy.stem: Path(shutil.copy(clip, copy)) for copy in copies}

    def kill_one(client):
        while not list(out.glob(".*/000000.mp4")):  # a first part is there
            time.sleep(0.05)
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

    nodes = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**nodes) as cluster, Client(cluster) as client:
        for what in ("a worker is killed", "one clip is missing", "nothing is missing"):
            before, started = stamps(out), time.monotonic()
            if not rows:
                threading.Thread(target=kill_one, args=(client,), daemon=True).start()
            work = sources, given.run, given.identity, out
            done, failed = export.swap_clips(*work, executor=client.get_executor())
            seconds, frames = time.monotonic() - started, images.count_frames(clip)
            one = {"what": what, "seconds": round(seconds, 1), "failed": failed}
            one["whole"] = sum(video.probe(f).frames == frames for f in done.values())
            one["made"] = sorted(dict(stamps(out) - before))
            rows.append(one)
            if len(rows) == 1 and done:
                next(iter(done.values())).unlink()
    return rows


#: What is measured, by the name of its command.
WAYS = {"long": long, "evaluate": evaluate, "kills": kills, "many": many}


def stamps(folder: Path) -> set:
    return {(file.name, file.stat().st_mtime_ns) for file in folder.glob("*.mp4")}


def load(path: Path) -> tuple[Path, list]:
    return path, json.loads(path.read_text()) if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.scale")
    parser.add_argument("what", choices=("convert", *WAYS))
    parser.add_argument("--clip", type=Path, help="else a built-in person")
    parser.add_argument("--height", type=int, default=1080, help="of the built-in one")
    parser.add_argument("--run", type=Path, default=ROOT / "data/output/demo/run")
    parser.add_argument("--identity", default="hopper", help="whose face to generate")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 10])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--out", type=Path, default=ROOT / "data/output/scale")
    parser.add_argument("--keep", action="store_true", help="keep the figures in git")
    given = parser.parse_args()
    given.out, given.run = given.out.absolute(), given.run.absolute()
    if given.clip and not given.clip.exists():
        parser.error(f"{given.clip} does not exist; check the name")
    if not given.run.is_dir():
        parser.error(f"{given.run} is missing; `make demo` makes it, or give --run")
    if given.what == "convert":
        swapper = FaceSwapper.from_preset(given.run)
        export.swap_clip(given.clip, swapper, given.identity, given.out)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        rows = WAYS[given.what](given)
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command goes on from here.")
    print(pd.DataFrame(rows).drop(columns="sha256", errors="ignore").to_string())
    if given.keep:
        command = "python -m tools.scale " + shlex.join(sys.argv[1:])
        note("scale", given.what, command, rows)


if __name__ == "__main__":
    main()
