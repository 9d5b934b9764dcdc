"""Swaps to compare with, by objects with the interface of `FaceSwapper`."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import zoom

from deepfakery import batches
from deepfakery.faces import detect, geometry, segment, tracking
from deepfakery.faces.faceset import FaceSet


class LandmarkWarp:
    """A swap without a network: a picture of a person, bent onto the landmarks.

    Of the person's faces the one is taken whose landmarks lie nearest, and thin-plate
    splines carry them onto those of the frame. Blend it with `colour="poisson"`.

    Args:
        facesets: Identity → faces.
        size: Side of the faces in pixels.
        limit: Choose among so many faces of each, spread evenly.

    Reference:
        Bookstein 1989, "Principal Warps: Thin-Plate Splines and the Decomposition of
        Deformations"; Pérez et al. 2003, "Poisson Image Editing".
    """

    preset_name, source_kind = "landmark warp", "animated"

    def __init__(self, facesets: dict[str, FaceSet], size: int = 256, limit: int = 200):
        self.size, self.identities, self.people = size, tuple(facesets), {}
        for name, people in facesets.items():
            few = FaceSet(people.folder, people.records[:: -(-len(people) // limit)])
            masks = np.uint8(few.masks(size)[..., None] * 255)
            portraits = np.concatenate([few.images(size), masks], axis=-1)
            self.people[name] = portraits, few.landmarks(size)

    def swap(self, pictures: np.ndarray, identity: str):
        """Bend a picture of a person onto faces; as `FaceSwapper.swap`."""
        if identity not in self.people:
            known = ", ".join(self.people)
            raise ValueError(f"There are no faces of {identity!r}; there are {known}.")
        portraits, shapes = self.people[identity]
        painted = np.empty((len(pictures), self.size, self.size, 4), np.float32)
        for out, picture in zip(painted, pictures, strict=True):
            points = self._landmarks(picture)
            nearest = np.linalg.norm(shapes - points, axis=2).mean(1).argmin()
            out[:] = self._bend(portraits[nearest], shapes[nearest], points)
        return painted[..., :3] / 255, painted[..., 3:] / 255

    def sha256(self) -> str:
        """Fingerprint of the pictures, hexadecimal."""
        digest = hashlib.sha256()
        for portraits, _ in self.people.values():
            digest.update(portraits)
        return digest.hexdigest()

    def _landmarks(self, picture):
        found = detect.detect(batches.restore(picture))
        if found:
            return found[0].landmarks
        # Where no face is found in the crop: the average one.
        mean = next(iter(self.people.values()))[1].mean(0)
        mean[17:] = geometry.mean_landmarks(self.size)
        return mean

    def _bend(self, portrait, source, target):
        kind = {"smoothing": 200.0, "kernel": "thin_plate_spline"}
        # It is smooth: a coarse grid of it is enough.
        line = np.linspace(0, self.size - 1, 33)
        grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
        places = RBFInterpolator(target, source, **kind)(grid).reshape(33, 33, 2)
        places = np.float32(zoom(places, (self.size / 33, self.size / 33, 1), order=1))
        edge = {"borderMode": cv2.BORDER_REPLICATE}
        return cv2.remap(portrait, places, None, cv2.INTER_CUBIC, **edge)


class TrueFaces:
    """The ground truth's own faces: the upper bound of every network of this size.

    What is then lost is lost in the merge.

    Args:
        truth: The clip to be painted into, as played by the generated person. A face is
            in every frame of both.
        size: Side of the faces in pixels.
    """

    preset_name, source_kind = "ground truth", "animated"

    def __init__(self, truth, size: int):
        self.truth, self.size, self._faces = Path(truth), size, faces_of(truth)

    def swap(self, pictures: np.ndarray, identity: str):
        """The next frames' faces, as `FaceSwapper.swap` gives generated ones."""
        crops, masks = [], []
        for image, landmarks in itertools.islice(self._faces, len(pictures)):
            transform = geometry.alignment(landmarks)
            face = geometry.crop(image, transform)
            points = geometry.transform_points(landmarks, transform)
            outline = segment.segment(face, points)
            whole = segment.mask(outline, geometry.FACE_SIZE)
            crops.append(batches.skin_beyond(face, whole))  # as networks are taught
            masks.append(segment.mask(outline, self.size))
        return batches.prepare(crops, self.size), np.float32(masks)[..., None]

    def sha256(self) -> str:
        """Fingerprint of the clip, hexadecimal."""
        return hashlib.sha256(self.truth.read_bytes()).hexdigest()


def faces_of(clip) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(frame, landmarks of its largest face), smoothed as the merge does."""
    linked = tracking.link(tracking.follow_clip(clip))
    for frame, found in tracking.steady(tracking.largest(linked, "")):
        for chosen in found.values():
            yield frame.image, chosen.landmarks
