import numpy as np
import pytest

from deepfakery.samples import PEOPLE
from tools import many


class Same:
    """Gives faces back as they are, but for their brightness."""

    size = 128

    def __init__(self, brighter=0.0):
        self.brighter = brighter

    def swap(self, faces, identity):
        return faces + self.brighter, np.ones_like(faces[..., :1])


def test_an_error_is_that_of_the_pixels_inside_the_face(facesets):
    few = {name: people.spread(4) for name, people in facesets.items()}
    assert many.error_of(Same(), PEOPLE, few) == 0
    assert many.error_of(Same(0.03), PEOPLE, few) == pytest.approx(3, abs=1e-3)


def test_whoever_is_not_changed_is_who_they_were(facesets):
    few = {name: people.spread(4) for name, people in facesets.items()}
    found = many.matrix(Same(), PEOPLE, facesets, few)
    assert [*found] == [(a, b) for a in PEOPLE for b in PEOPLE]
    for (face, target), seen in found.items():
        assert seen["verified"] == (face == target)
        assert seen["expression"] == 0 < seen["expression, a still face"]
    assert many.means([found["hopper", "hopper"]]).keys() == seen.keys()
    picture = many.draw(Same(), PEOPLE, few, found)
    assert len(picture.axes) == 6


def test_somebody_added_is_as_good_within_two_percent():
    runs = [{"steps": n, "error": e} for n, e in ((25, 3.0), (50, 2.04), (100, 2.0))]
    assert many.first_as_good(runs, 2.0) == runs[1]
    assert many.first_as_good(runs, 1.9) is None


def test_more_people_take_more_weights_and_no_other_encoder():
    one, two, three = (many.speed(count, batch=1) for count in (1, 2, 3))
    more, again = (
        b["weights_million"] - a["weights_million"]
        for a, b in ((one, two), (two, three))
    )
    assert again == pytest.approx(more, abs=0.02) and 0 < more < one["weights_million"]
    assert two["images_per_cpu_s"] > 0 and two["memory_mb"] > 100
    alone = many.speed(3, frozen=True, batch=1)
    assert alone["weights_million"] == three["weights_million"]
    assert alone["step_cpu_ms"] < three["step_cpu_ms"]
