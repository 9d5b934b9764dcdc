"""Mark what we make, so that nobody has to guess."""

import cv2
import numpy as np

LABEL = "AI-made face"


def label(image: np.ndarray, text: str = LABEL) -> np.ndarray:
    """Write a small visible label into the lower left corner.

    Args:
        image: (H, W, 3) uint8 RGB.
        text: What to write.

    Returns:
        A labelled copy.
    """
    out = image.copy()
    height, width = out.shape[:2]
    scale = max(min(height, width) / 1000, 0.3)
    font, line = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(2 * scale))
    place = (round(14 * scale), height - round(16 * scale))
    # A dark rim keeps it legible on any picture.
    cv2.putText(out, text, place, font, scale, (0, 0, 0), line + 2, cv2.LINE_AA)
    cv2.putText(out, text, place, font, scale, (255, 255, 255), line, cv2.LINE_AA)
    return out
