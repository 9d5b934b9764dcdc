"""FID, on a graph that has Inception's places but not its weights."""

import numpy as np
import pytest

from deepfakery.studies import fid, likeness

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A frozen graph: mean, and mean of squares, of each quarter of a picture."""
    path = tmp_path_factory.mktemp("graph") / "classify_image_graph_def.pb"
    with tf.Graph().as_default() as whole:
        pictures = tf.compat.v1.placeholder(tf.float32, (1, 8, 8, 3), "decoded")
        x = tf.identity(pictures, "ExpandDims")
        x = tf.concat([x / 255, (x / 255) ** 2], -1)
        tf.reduce_mean(x, (1, 2), keepdims=True, name="pool_3")
    path.write_bytes(whole.as_graph_def().SerializeToString())
    return path


def drawn(seed, brightness=0.5, count=120):
    random = np.random.default_rng(seed)
    return (brightness + 0.1 * random.standard_normal((count, 8, 8, 3))).clip(0, 1)


def test_it_is_the_frechet_distance_of_the_graphs_features(graph, monkeypatch):
    monkeypatch.setattr(fid, "SAMPLES", 100)
    real, made = drawn(0), drawn(1, 0.7)

    def features(x):
        return np.concatenate([x.mean((1, 2)), (x**2).mean((1, 2))], -1)

    expected = likeness.frechet(features(real), features(made))
    assert fid.fid(real, made, graph) == pytest.approx(expected, rel=1e-3)
    assert fid.fid(real, drawn(2), graph) < expected / 50


def test_eight_bit_pictures_are_the_same_pictures(graph):
    features, real = fid.inception(graph), drawn(0)
    eight_bit = (255 * real).round().astype(np.uint8)
    assert np.allclose(features(eight_bit), features(real), atol=2e-3)


def test_what_is_not_fid_is_not_called_so(graph):
    with pytest.raises(ValueError, match="50,000"):
        fid.fid(drawn(0), drawn(1), graph)


def test_another_file_is_named(tmp_path):
    other = tmp_path / "other.pb"
    other.write_bytes(b"not a graph")
    with pytest.raises(ValueError, match="other.pb"):
        fid.inception(other)
    with pytest.raises(FileNotFoundError):
        fid.inception(tmp_path / "missing.pb")
