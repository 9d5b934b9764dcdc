import numpy as np
import pytest

from deepfakery import samples
from deepfakery.evaluate import eyes
from deepfakery.faces import detect

BLINK = samples.MOTION.index("blink")


@pytest.mark.parametrize("person", samples.PEOPLE)
def test_every_blink_of_the_ground_truth_is_seen(person):
    """On motions that nothing was learned from."""
    shut = eyes.fit(person)
    moves = np.concatenate([samples.motion(300, seed) for seed in (20, 21)])
    closed = np.flatnonzero(moves[:, BLINK] >= 0.75)
    still = np.flatnonzero(moves[:, BLINK] == 0)[::20]
    scores = {}
    for index, chosen in (("shut", closed), ("open", still)):
        frames = samples.animate(person, moves[chosen])
        found = [(frame, detect.detect(frame)) for frame in frames]
        scores[index] = np.array([shut(f, faces[0].landmarks) for f, faces in found])
    assert len(closed) >= 15
    assert (scores["shut"] > eyes.SHUT).mean() >= 0.95
    assert (scores["open"] > eyes.SHUT).mean() <= 0.05
