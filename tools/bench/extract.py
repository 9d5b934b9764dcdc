"""How fast faces are found, and how much memory that takes, against a plain loop.

python -m tools.bench.extract [clip of 1280 × 720]
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np

from deepfakery import samples
from deepfakery.faces import detect, extraction
from deepfakery.media import video


def speed(
    clip=None,
    frames: int = 900,
    plain: int = 60,
    workers: int = 2,
    described: bool = True,
) -> dict:
    """Time extraction at 1280 × 720 against detecting in every whole frame.

    Both start from the file, and extraction also writes aligned faces.

    Args:
        clip: A clip with one face; by default a built-in person before a wide wall.
        frames: How long the built-in clip is.
        plain: Frames of it that the plain loop looks at, spread evenly.
        workers: Processes of the extraction; the plain loop is one.
        described: Also time extraction with identity descriptors.

    Returns:
        `extract.720p.frames_per_s`, start-up included; `.plain_frames_per_s`;
        `.speedup`; `.landmark_shift`, the mean distance between the landmarks of both
        as a share of the distance between the eyes; `.found`, share of frames;
        `.described_frames_per_s`, with identity descriptors.
    """
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        clip = Path(clip) if clip else wide_clip(folder / "wide.mp4", frames)
        seconds = []
        for describe in (False, True)[: 1 + described]:
            started = time.perf_counter()
            found = extraction.extract(
                clip, folder / f"{describe}", describe=describe, workers=workers
            )
            seconds.append(time.perf_counter() - started)
        state = json.loads((found.folder / "extraction.json").read_text())
        places = {r["frame"]: np.float32(r["landmarks"]) for r in found.records}
        every = max(1, state["frames"] // plain)
        spent, looked, shifts = 0.0, 0, []
        stream, frame = video.read_frames(clip), True
        while frame:
            started = time.perf_counter()
            frame = next(stream, None)
            if not frame or frame.index % every:
                continue
            landmarks = _plain(frame.image)
            spent += time.perf_counter() - started
            looked += 1
            if landmarks is not None and frame.index in places:
                eyes = landmarks[36:48].reshape(2, 6, 2).mean(1)
                apart = np.linalg.norm(landmarks - places[frame.index], axis=1).mean()
                shifts.append(apart / np.linalg.norm(eyes[1] - eyes[0]))
    rate = state["frames"] / seconds[0]
    faces = state["lines"] + sum(state["rejected"].values())  # one a frame
    figures = {
        "extract.720p.frames_per_s": rate,
        "extract.720p.plain_frames_per_s": looked / spent,
        "extract.720p.speedup": rate / (looked / spent),
        "extract.720p.landmark_shift": float(np.mean(shifts)),
        "extract.720p.found": faces / state["frames"],
    }
    if described:
        slower = state["frames"] / seconds[1]
        figures["extract.720p.described_frames_per_s"] = slower
    return figures


def memory(minutes: tuple[float, float] = (1, 10), workers: int = 2) -> dict:
    """Compare the memory that a short clip and a long one take.

    Args:
        minutes: Lengths of the two, at 30 frames a second.
        workers: Processes.

    Returns:
        `extract.memory_ratio`, long to short, and `extract.memory_mib` of the long one.
    """
    short, long = peak_memory("tools.bench.extract", minutes, str(workers))
    return {"extract.memory_ratio": long / short, "extract.memory_mib": long}


def peak_memory(module: str, minutes, *arguments: str) -> list[float]:
    """MiB that `python -m module peak clip …` reports, for clips of some lengths."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        short = samples.write_clip(folder / "s.mp4", "collins", samples.motion(300))
        for length in minutes:
            clip = looped(short, folder / f"{length}.mp4", round(length * 6))
            done = subprocess.run(
                [sys.executable, "-m", module, "peak", clip, *arguments],
                check=True,
                capture_output=True,
                text=True,
            )
            peaks.append(float(done.stdout.split()[-1]))
    return peaks


def _plain(image: np.ndarray) -> np.ndarray | None:
    found = [detect.fit_landmarks(image, *box) for box, _ in detect.boxes(image, 0.0)]
    return max(found, key=lambda points: np.ptp(points), default=None)


def wide_clip(path: Path, frames: int, height: int = 720) -> Path:
    person, side = samples.portrait("collins", height), round(height * 7 / 18)
    with video.VideoWriter(path, fps=30) as writer:
        for image in samples.animate(person, samples.motion(frames)):
            wide = cv2.copyMakeBorder(image, 0, 0, side, side, cv2.BORDER_REPLICATE)
            writer.write(wide)
    return path


def looped(clip: Path, path: Path, times: int) -> Path:
    """The clip over and over, its packets copied."""
    with av.open(path, "w") as out:
        track, offset = None, 0
        for _ in range(times):
            with av.open(clip) as source:
                stream = source.streams.video[0]
                track = track or out.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        packet.pts, packet.dts = (
                            packet.pts + offset,
                            packet.dts + offset,
                        )
                        packet.stream = track
                        out.mux(packet)
                offset += stream.duration
    return path


def _peak(clip: str, workers: str) -> None:
    extraction.extract(clip, f"{clip}.d", workers=int(workers))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest_child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print((own + int(workers) * largest_child) / 1024)


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        _peak(*sys.argv[2:])
    else:
        print(json.dumps({**speed(*sys.argv[1:2]), **memory()}, indent=2))
