"""What to beat: swaps without a network, with the interface of `FaceSwapper`.

baseline = LandmarkWarp(facesets)
export.swap_clip(clip, baseline, "hopper", "warp.mp4", colour="poisson")
"""

import hashlib

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from deepfakery.faces import detect, geometry
from deepfakery.faces.faceset import FaceSet


class IdentityCopy:
    """Paints every face as it was: what alignment, mask and blending do by themselves.

    Args:
        size: Side of the faces in pixels.
    """

    preset_name, source_kind = "identity copy", "animated"

    def __init__(self, size: int = 256):
        self.size = size

    def swap(self, pictures: np.ndarray, identity: str):
        """The faces themselves and a mask that is 1; as `FaceSwapper.swap`."""
        return pictures, np.ones((*pictures.shape[:3], 1), np.float32)

    def sha256(self) -> str:
        """No weights, no fingerprint."""
        return ""


class LandmarkWarp:
    """The classical swap: the likeliest picture of a person, bent onto the landmarks.

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
        self.size, self.identities = size, tuple(facesets)
        self.people = {}
        for name, people in facesets.items():
            records = people.records[:: -(-len(people) // limit)]
            few = FaceSet(people.folder, records)
            self.people[name] = few.images(size), few.landmarks(size)

    def swap(self, pictures: np.ndarray, identity: str):
        """Bend a picture of a person onto faces; as `FaceSwapper.swap`."""
        if identity not in self.people:
            known = ", ".join(self.people)
            raise ValueError(f"There are no faces of {identity!r}; there are {known}.")
        portraits, shapes = self.people[identity]
        painted = []
        for picture in pictures:
            points = self._landmarks(picture)
            distances = np.linalg.norm(shapes - points, axis=2).mean(1)
            nearest = int(distances.argmin())
            painted.append(self._bend(portraits[nearest], shapes[nearest], points))
        shape = (len(pictures), self.size, self.size)
        painted = np.reshape(painted, (*shape, 3)).astype(np.float32) / 255
        return painted, np.ones((*shape, 1), np.float32)

    def sha256(self) -> str:
        """Fingerprint of the pictures, hexadecimal."""
        digest = hashlib.sha256()
        for portraits, _ in self.people.values():
            digest.update(portraits)
        return digest.hexdigest()

    def _landmarks(self, picture):
        found = detect.detect((picture * 255).round().astype(np.uint8))
        if found:
            return found[0].landmarks
        # Where the crop alone is not enough to find its face, the average one is.
        mean = next(iter(self.people.values()))[1].mean(0)
        mean[17:] = geometry.mean_landmarks(self.size)
        return mean

    def _bend(self, portrait, source, target):
        spline = RBFInterpolator(
            target, source, smoothing=200.0, kernel="thin_plate_spline"
        )
        # It is smooth: a coarse grid of it is enough.
        line = np.linspace(0, self.size - 1, 33)
        grid = np.stack(np.meshgrid(line, line), -1)
        field = spline(grid.reshape(-1, 2)).reshape(grid.shape) - grid
        pixels = np.arange(self.size, dtype=np.float32)
        places = np.stack(np.meshgrid(pixels, pixels), -1)
        at = places * np.float32(32 / (self.size - 1))
        places += cv2.remap(np.float32(field), at, None, cv2.INTER_LINEAR)
        return cv2.remap(
            portrait, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
