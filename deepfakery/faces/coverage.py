"""What is in a face set, and what another one has that it lacks.

A decoder generates only what it has seen: where the target turns, laughs or stands in a
light in which the other person was never filmed, nothing good can come.
"""

import numpy as np

from deepfakery.faces.faceset import FaceSet

#: Name → (unit, edges between kinds, what each kind is called in a sentence).
KINDS = {
    "yaw": (
        "degrees",
        (-30, -12, 12, 30),
        (
            "turned far left",
            "turned left",
            "facing",
            "turned right",
            "turned far right",
        ),
    ),
    "pitch": ("degrees", (-10, 10), ("looking down", "level", "looking up")),
    "mouth": ("opening / width", (0.08, 0.3), ("closed", "half open", "wide open")),
    "eyes": ("opening / width", (0.14, 0.3), ("closed", "open", "wide open")),
    "light": ("grey level", (70, 130, 180), ("dark", "dim", "bright", "very bright")),
    "sharpness": ("", (15, 60), ("soft", "sharp", "very sharp")),
}
#: So many faces of a kind count as seen, and fewer than the second as lacking.
SEEN, LACKING = 8, 3


def measure(faceset: FaceSet) -> dict[str, np.ndarray]:
    """Describe every face in numbers.

    Returns:
        Name → (N,) float32 for each name in `KINDS`: yaw and pitch in degrees, opening
        of mouth and eyes as a share of their width, mean grey level of 255, variance
        of the Laplacian.
    """
    points = faceset.landmarks()
    poses = np.float32([r["pose"] for r in faceset.records]).reshape(-1, 3)
    left = _opening(points, 36, 39, (37, 41), (38, 40))
    right = _opening(points, 42, 45, (43, 47), (44, 46))
    return {
        "yaw": poses[:, 0],
        "pitch": poses[:, 1],
        "mouth": _opening(points, 60, 64, (61, 67), (62, 66), (63, 65)),
        "eyes": np.mean([left, right], axis=0),
        "light": np.float32([r["light"] for r in faceset.records]),
        "sharpness": np.float32([r["sharpness"] for r in faceset.records]),
    }


def lacking(facesets: dict[str, FaceSet]) -> dict[str, list[str]]:
    """What each identity was not filmed at while another was.

    Returns:
        Identity → sentences, such as "mouth wide open: 2 of 300, collins has 41".
    """
    measured = {name: measure(found) for name, found in facesets.items()}
    out = {name: [] for name in facesets}
    for what, (_, edges, kinds) in KINDS.items():
        counts = {
            name: np.bincount(np.digitize(m[what], edges), minlength=len(kinds))
            for name, m in measured.items()
        }
        for i, kind in enumerate(kinds):
            most = max(counts, key=lambda name: counts[name][i])
            said = kind if what == "yaw" else f"{what} {kind}"
            for name in facesets:
                if counts[most][i] >= SEEN and counts[name][i] < LACKING:
                    out[name].append(
                        f"{said}: {counts[name][i]} of {len(facesets[name])} faces, "
                        f"{most} has {counts[most][i]}"
                    )
    return out


def _opening(points: np.ndarray, left: int, right: int, *pairs) -> np.ndarray:
    """Mean height over width of an opening outlined by landmarks."""
    width = np.linalg.norm(points[:, right] - points[:, left], axis=1)
    heights = [np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in pairs]
    return np.mean(heights, axis=0) / np.maximum(width, 1e-6)
