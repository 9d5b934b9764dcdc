"""What is measured in a swap, frame by frame, and what each figure means.

`MEASURES` defines the figures; the functions below compute them for one frame. Nothing
is trained on dlib's landmarks and descriptor. SSIM, though, is a training loss, too.

Throughout, pictures are (H, W, 3) uint8 RGB (`made` by a swap, the target's `own`, or
`true`), landmarks (68, 2) pixels, and `inside` is (H, W) bool: which pixels count.
"""

from typing import NamedTuple

import cv2
import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.ndimage import uniform_filter1d
from skimage.color import deltaE_ciede2000
from skimage.metrics import structural_similarity

from deepfakery.faces import geometry

#: What the tables call that with which a swap is compared.
TARGET, TRUTH, PERSON = "target", "ground truth", "generated person"

#: Side in pixels of the aligned faces that are compared.
SIZE = 128


class Measure(NamedTuple):
    """One figure and how to read it."""

    name: str  # column of the tables
    label: str  # a few words for people
    unit: str  # "" for a bare number
    range: str  # from worst to best, or from lowest to highest
    better: str  # "higher", "lower", "near 1" or "as real": as real footage has it
    definition: str  # what is computed

    @property
    def heading(self) -> str:
        """Label, unit and the better way, as tables and figures show them."""
        signs = {"higher": "↑", "lower": "↓", "near 1": "→ 1", "as real": "→ real"}
        said = f"{self.label}, {self.unit}" if self.unit else self.label
        return f"{said} {signs[self.better]}"


# fmt: off
MEASURES = {m.name: m for m in (
    Measure("found", "face found", "share", "0 to 1", "higher",
            "Share of frames in which dlib finds a face."),
    Measure("verified", "verified", "share", "0 to 1", "higher",
            "Share of frames whose descriptor lies under 0.6 from the generated "
            "person's mean descriptor and nearer to it than to the target person's. "
            "A frame without a face counts against."),
    Measure("identity_distance", "identity distance", "", "0 to about 1", "lower",
            "Euclidean distance of dlib's 128-number identity descriptor to the mean "
            "descriptor of the generated person's footage."),
    Measure("distance_target", "distance to target", "", "0 to about 1", "higher",
            "The same distance to the person who was there before."),
    Measure("margin", "identity margin", "", "about -1 to 1", "higher",
            "Distance to the target person minus distance to the generated one; above "
            "0 the face is nearer to the generated person."),
    Measure("retrieved", "retrieved first", "share", "0 to 1", "higher",
            "Share of frames to which, among the generated person, the target person "
            "and everybody in a gallery of other people, the generated person is "
            "nearest."),
    Measure("ssim", "SSIM", "", "-1 to 1", "higher",
            "Structural similarity to the ground truth inside the true face's outline "
            "(brows to chin), at 128 × 128 pixels. The ground truth is aligned by its "
            "own landmarks, the swap by the target's, where the face belongs."),
    Measure("psnr", "PSNR", "dB", "0 to 108", "higher",
            "Peak signal-to-noise ratio on the same pixels."),
    Measure("colour_error", "colour error", "ΔE", "0 to about 100", "lower",
            "CIEDE2000 difference between the mean colours of the same pixels; about "
            "2 can just be seen."),
    Measure("landmark_error", "landmark error", "%", "0 up", "lower",
            "Mean distance of the 51 inner landmarks (brows, eyes, nose, mouth) to "
            "the ground truth's, both aligned as for SSIM, as a share of the distance "
            "between the eyes."),
    Measure("eye_error", "eye opening error", "%", "0 up", "lower",
            "Difference of the eyes' opening (lid to lid, both eyes) from the ground "
            "truth's, as a share of the distance between the eyes."),
    Measure("mouth_error", "mouth opening error", "%", "0 up", "lower",
            "Difference of the mouth's opening (inner lip to inner lip) from the "
            "ground truth's, likewise."),
    Measure("pose_error", "pose error", "°", "0 to 180", "lower",
            "Mean of the differences in yaw, pitch and roll (a rigid head fitted to "
            "the landmarks) from the ground truth where there is one, else the target. "
            "From the target, which has another head, less the clip's mean "
            "difference."),
    Measure("expression_error", "expression error", "%", "0 up", "lower",
            "Eye opening, mouth opening, mouth width and brow height, each as its "
            "deviation from that clip's own mean so that two people can be compared: "
            "mean difference from the ground truth where there is one, else the "
            "target, as a share of the distance between the eyes."),
    Measure("sharpness_ratio", "sharpness ratio", "", "0 up", "near 1",
            "Mean absolute Laplacian inside the aligned face over that of the ground "
            "truth where there is one, else the target. Below 1: softer; above 1: "
            "harder, or noisier."),
    Measure("background_ssim", "background SSIM", "", "-1 to 1", "higher",
            "Structural similarity to the target outside its face (outline widened "
            "by a quarter), in grey, longest side 256 pixels."),
    Measure("seam", "seam", "ΔE", "0 to about 100", "lower",
            "Where the generated face ends: on the way out through the face's outline, "
            "the largest step of the difference from the target (in CIE L*a*b*) "
            "within 2 % of the way, after a mean over 60° of the outline."),
    Measure("flicker", "flicker", "grey levels", "0 to 255", "as real",
            "Mean difference of the face, aligned by the target's landmarks and "
            "slightly blurred, from the mean of the frames before and after it. A real "
            "face moves, too: best is the target's value. The ground truth has none: "
            "its own landmarks tremble in their own way, most behind glasses."),
)}
# fmt: on


def expression(landmarks: np.ndarray) -> np.ndarray:
    """(4,) eye opening, mouth opening, mouth width and brow height, in percent of the
    distance between the eyes.

    Reference:
        Soukupová & Čech 2016, "Real-Time Eye Blink Detection using Facial Landmarks".
    """
    pairs = (
        ((37, 41), (38, 40), (43, 47), (44, 46)),
        ((61, 67), (62, 66), (63, 65)),
        ((48, 54),),
        ((19, 37), (24, 44)),
    )
    gaps = [np.linalg.norm(np.diff(landmarks[[*p]], axis=1), axis=-1) for p in pairs]
    return 100 * np.array([gap.mean() for gap in gaps]) / _between_eyes(landmarks)


def _between_eyes(landmarks) -> float:
    return np.linalg.norm(landmarks[36:42].mean(0) - landmarks[42:48].mean(0)) + 1e-6


def align(image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face to compare, (SIZE, SIZE, 3), and which of its pixels are face: those
    inside the landmarks' outline, without the forehead, which wears hair and hats.
    """
    transform = geometry.alignment(landmarks, SIZE)
    outline = geometry.hull(geometry.transform_points(landmarks, transform), 0)
    inside = _filled(outline, (SIZE, SIZE))
    return geometry.crop(image, transform, SIZE), inside


def _filled(outline, shape) -> np.ndarray:
    """(H, W) bool: which pixels lie in a convex polygon."""
    filled = np.zeros(shape, np.uint8)
    return cv2.fillConvexPoly(filled, outline.round().astype(np.int32), 1).astype(bool)


def landmark_error(mine: np.ndarray, place: np.ndarray, true: np.ndarray) -> float:
    """Distance of landmarks from the ground truth's, the swap's aligned by `place`, the
    target's; in percent of the distance between the eyes.
    """
    mine = geometry.transform_points(mine, geometry.alignment(place, SIZE))
    true = geometry.transform_points(true, geometry.alignment(true, SIZE))
    apart = np.linalg.norm(mine[17:] - true[17:], axis=1).mean()
    return float(100 * apart / _between_eyes(true))


def ssim(made: np.ndarray, true: np.ndarray, inside: np.ndarray) -> float:
    """Structural similarity of two aligned faces, or of greys, where `inside` is true.

    Reference:
        Wang et al. 2004, "Image Quality Assessment: From Error Visibility to
        Structural Similarity".
    """
    _, local = structural_similarity(
        np.float32(made),
        np.float32(true),
        channel_axis=2 if made.ndim == 3 else None,
        data_range=255.0,
        full=True,
    )
    return float(local[inside].mean())


def psnr(made: np.ndarray, true: np.ndarray, inside=...) -> float:
    """Peak signal-to-noise ratio in dB where `inside` is true; 108 for the same."""
    error = (np.float64(made[inside]) - true[inside]) ** 2
    return float(10 * np.log10(255**2 / max(error.mean(), 1e-6)))


def colour_error(made: np.ndarray, true: np.ndarray, inside: np.ndarray) -> float:
    """CIEDE2000 between the mean colours where `inside` is true."""
    return float(deltaE_ciede2000(*(_lab(im)[inside].mean(0) for im in (made, true))))


def _lab(image) -> np.ndarray:
    return cv2.cvtColor(np.float32(image) / 255, cv2.COLOR_RGB2LAB)


def detail(aligned: np.ndarray, inside: np.ndarray) -> float:
    """Mean absolute Laplacian of an aligned face where `inside` is true."""
    laplacian = cv2.Laplacian(cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    return float(np.abs(laplacian)[inside].mean())


def background_ssim(made: np.ndarray, own: np.ndarray, landmarks: np.ndarray) -> float:
    """Structural similarity outside the target's face; nan where it fills the frame."""
    scale = min(1.0, 256 / max(own.shape[:2]))
    made, own = (
        cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for grey in (cv2.cvtColor(im, cv2.COLOR_RGB2GRAY) for im in (made, own))
    )
    outline = geometry.hull(landmarks)
    centre = outline.mean(0)
    outline = geometry.resize_points(centre + 1.25 * (outline - centre), scale)
    outside = ~_filled(outline, own.shape)
    return ssim(made, own, outside) if outside.any() else float("nan")


def seam(made: np.ndarray, own: np.ndarray, landmarks: np.ndarray) -> float:
    """How abruptly the generated face ends, ΔE; 0 where nothing was changed.

    The difference from the target is unrolled into a ribbon around the face's outline,
    and averaged along it: an edge that follows the outline stays.
    """
    outline = geometry.hull(landmarks)
    outline = np.concatenate([outline, outline[:1]])
    along = np.cumsum([0, *np.linalg.norm(np.diff(outline, axis=0), axis=1)])
    places = np.linspace(0, along[-1], 180, endpoint=False)
    edge = make_interp_spline(along, outline, k=1)(places)
    centre = edge.mean(0)
    out = np.arange(0.85, 1.15, 0.01)[:, None, None]  # 1 is the outline
    ribbon = np.float32(centre + out * (edge - centre))
    difference, border = _lab(made) - _lab(own), cv2.BORDER_REPLICATE
    # (30, 180, 3): from inside out, around, L*a*b*
    ribbon = cv2.remap(difference, ribbon, None, cv2.INTER_LINEAR, borderMode=border)
    ribbon = uniform_filter1d(ribbon, 30, axis=1, mode="wrap")
    return float(np.linalg.norm(ribbon[2:] - ribbon[:-2], axis=2).max(0).mean())


def flicker(before: np.ndarray, now: np.ndarray, after: np.ndarray, inside) -> float:
    """Mean difference of an aligned face from the mean of its neighbours in time."""
    # Landmarks tremble by a fraction of a pixel: what is as fine is blurred first.
    before, now, after = (
        cv2.GaussianBlur(np.float32(cv2.cvtColor(im, cv2.COLOR_RGB2GRAY)), (0, 0), 2)
        for im in (before, now, after)
    )
    return float(np.abs(now - (before + after) / 2)[inside].mean())


def roc(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every threshold; a generated face is positive.

    Real faces score high: at each threshold, what scores no more is called generated.
    """
    cuts = np.unique(np.concatenate([real, fake]))
    wrong, right = (
        np.append(0, np.searchsorted(np.sort(kind), cuts, "right") / len(kind))
        for kind in (real, fake)
    )
    return wrong, right


def auc(real: np.ndarray, fake: np.ndarray) -> float:
    """The area under `roc`: how often a real face scores above a generated one.

    Reference:
        Fawcett 2006, "An introduction to ROC analysis".
    """
    wrong, right = roc(real, fake)
    return float(np.trapezoid(right, wrong))
