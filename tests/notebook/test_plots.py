import numpy as np

from deepfakery.notebook import plots


def test_frames_keep_their_shape_in_a_strip():
    """A disc stays a disc, in wide and in tall frames, among square faces."""
    y, x = np.mgrid[:720, :1280]
    disc = (x - 640) ** 2 + (y - 360) ** 2 < 200**2
    wide = np.where(disc[..., None], 255, 0).astype(np.uint8).repeat(3, -1)
    tall = wide.transpose(1, 0, 2)
    face = np.full((64, 64, 3), 0.5)
    for images, shape, inside in (
        ([wide], (144, 256), np.s_[:]),
        ([tall], (256, 144), np.s_[:]),
        ([wide, tall], (256, 256), np.s_[56:200]),
    ):
        fitted = plots.fit(images, 256)
        assert fitted.shape[1:3] == shape and fitted.dtype == np.uint8
        lit = fitted[0][inside][..., 0] > 127
        high, across = (np.ptp(np.flatnonzero(lit.any(a))) + 1 for a in (1, 0))
        assert abs(high - across) <= 1 and abs(across - 80) <= 2
    assert (plots.fit([wide, tall], 256)[0][:56] == 255).all()  # padded with white
    assert plots.fit([face], 32).shape == (1, 32, 32, 3)

    figure = plots.strips({"clip": [wide] * 3, "faces": [face] * 3}, size=128)
    clip, faces = (ax.images[0].get_array() for ax in figure.axes)
    assert clip.shape[:2] == (72, 3 * 130 - 2) and faces.shape[:2] == (128, 388)
    width, height = figure.get_size_inches()
    assert abs(height - 0.4 - width * 200 / 388) < 0.01
    figure = plots.rejections({"a": (3, {"too small": (2, [wide, tall])})})
    assert figure.axes[3].images[0].get_array().shape[:2] == (72, 6 * 74 - 2)
