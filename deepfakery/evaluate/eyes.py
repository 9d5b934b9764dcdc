"""Are the eyes shut? By how the same person's open and shut eyes look.

    shut = eyes.fit("hopper")
    shut(image, landmarks)           # 0: open, 1: shut

dlib's landmarks stand open on shut eyes. So a ridge regression on the picture of the
eyes is fitted to the built-in people's own footage, whose motion is known.
"""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

import deepfakery
from deepfakery import samples
from deepfakery.faces import detect, geometry

#: Eyes count as shut from here on.
SHUT = 0.5

#: Motions to learn from: far from those of notebooks and tests.
SEEDS = range(100, 104)

#: Side in pixels of the aligned face, blur in pixels, size of the picture of the eyes:
#: coarse enough that the blur of a network of 64 pixels does not count.
SIDE, BLUR, PICTURE = 128, 1.5, (32, 12)


@cache
def fit(person: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """A function for one of `samples.PEOPLE`: an image and its face's (68, 2) landmarks
    → how far the eyes are shut, 0 to 1 but for noise.
    """
    seen, known = [], []
    for seed in SEEDS[:1] if deepfakery.SMOKE else SEEDS:
        moves = samples.motion(300, seed)
        blinks = moves[:, samples.MOTION.index("blink")]
        chosen = np.flatnonzero((blinks > 0) | (np.arange(300) % 10 == 0))
        images = samples.animate(samples.portrait(person, 256), moves[chosen])
        for image, blink in zip(images, blinks[chosen], strict=True):
            if faces := detect.detect(image):
                seen.append(_picture(image, faces[0].landmarks))
                known.append(blink)
    seen, known = np.array(seen), np.array(known)
    middle, mean = seen.mean(0), known.mean()
    spread = seen - middle
    costs = 200.0 * np.eye(spread.shape[1])
    weights = np.linalg.solve(spread.T @ spread + costs, spread.T @ (known - mean))

    def shut(image, landmarks):
        return float((_picture(image, landmarks) - middle) @ weights + mean)

    return shut


def _picture(image, landmarks) -> np.ndarray:
    """Both eyes as a few numbers, whatever the light."""
    face = geometry.crop(image, geometry.alignment(landmarks, SIDE), SIDE)
    grey = np.float32(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY))
    eyes = geometry.mean_landmarks(SIDE)[19:31]
    (left, top), (right, bottom) = eyes.min(0) - (6, 9), eyes.max(0) + (6, 9)
    part = cv2.GaussianBlur(grey, (0, 0), BLUR)
    part = part[int(top) : int(bottom), int(left) : int(right)]
    part = cv2.resize(part, PICTURE, interpolation=cv2.INTER_AREA)
    return ((part - part.mean()) / (part.std() + 1e-3)).ravel()
