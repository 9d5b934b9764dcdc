"""Swappers without a network, with the interface of `FaceSwapper`."""

import numpy as np


class IdentityCopy:
    """Generates every face as it was: what alignment, mask and blending do alone.

    Args:
        size: Side of the faces in pixels.
    """

    preset_name, source_kind = "identity copy", "animated"

    def __init__(self, size=256):
        self.size = size

    def swap(self, pictures, identity):
        masks = np.ones((*pictures.shape[:3], 1), np.float32)
        masks[:, 0] = 0  # the network has a mask, and it covers nearly all
        return pictures, masks

    def sha256(self):
        return ""
