import numpy as np
import pytest
from scipy.linalg import sqrtm

from deepfakery import batches
from deepfakery.studies import scores


def drawn(seed, count=400, mean=0.0, scale=1.0, width=6):
    random = np.random.default_rng(seed)
    return mean + scale * random.standard_normal((count, width))


def test_the_frechet_distance_is_that_of_its_definition():
    a, b = drawn(0), drawn(1, mean=0.5, scale=1.5)
    covariances = np.cov(a.T), np.cov(b.T)
    root = sqrtm(covariances[0] @ covariances[1]).real
    total = np.trace(covariances[0] + covariances[1] - 2 * root)
    total += ((a.mean(0) - b.mean(0)) ** 2).sum()
    assert scores.frechet(a, b) == pytest.approx(total)
    assert scores.frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_the_kernel_distance_is_the_sum_over_pairs():
    a, b = drawn(0, 7), drawn(1, 5, mean=1)

    def k(x, y):
        return (x @ y / 6 + 1) ** 3

    def within(s):
        pairs = [k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]
        return np.mean(pairs)

    across = np.mean([k(x, y) for x in a for y in b])
    expected = within(a) + within(b) - 2 * across
    assert scores.kernel(a, b) == pytest.approx(expected)


@pytest.mark.parametrize("distance", [scores.frechet, scores.kernel])
def test_two_halves_of_one_set_are_nearer_than_two_sets(distance):
    halves = distance(drawn(0), drawn(1))
    assert halves < 0.3 * distance(drawn(0), drawn(1, mean=0.5))
    assert halves < 0.3 * distance(drawn(0), drawn(1, scale=0.3))
    with pytest.raises(ValueError, match="2 pictures"):
        distance(drawn(0), drawn(1, 1))


def test_a_collapsed_set_has_no_spread():
    assert scores.spread(np.ones((9, 4))) == pytest.approx(0, abs=1e-6)
    corners = np.array([(0.0, 0.0), (3.0, 0.0), (0.0, 4.0)])
    assert scores.spread(corners) == pytest.approx((3 + 4 + 5) / 3)


def test_a_copy_is_found_out():
    real = drawn(0, 50)
    copies = real[[7, 3, 41]] + 0.01
    assert scores.nearest(copies, real).tolist() == [7, 3, 41]


def test_faces_are_told_from_noise_and_people_from_each_other(facesets):
    pictures = {
        name: batches.prepare(found.images(limit=6), 64)
        for name, found in facesets.items()
    }
    noise = np.random.default_rng(0).random((3, 64, 64, 3), np.float32)
    assert scores.found(pictures["collins"]) > 0.8
    assert scores.found(noise) == 0
    described = {name: scores.describe(p) for name, p in pictures.items()}
    own = scores.spread(described["collins"])
    both = np.concatenate(list(described.values()))
    assert described["collins"].shape == (6, 128)
    assert scores.spread(both) > 1.3 * own


def test_all_figures_know_the_same_from_another_set(facesets):
    small = {
        name: batches.prepare(found.spread(12).images(), 32)
        for name, found in facesets.items()
    }
    real = scores.describe(small["collins"][::2])
    same = scores.score(small["collins"][1::2], real)
    other = scores.score(small["hopper"][1::2], real)
    assert same["found"] > 0.8 and same["frechet"] < 0.5 * other["frechet"]
    assert same["kernel"] < other["kernel"] and 0.5 < same["spread"] < 2
