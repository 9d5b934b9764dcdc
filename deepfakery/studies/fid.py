"""The standard FID, for who has the network that it is defined by.

    fid(photos, gan.imagine(noise), "classify_image_graph_def.pb")

FID is the Fréchet distance on 2,048 features of one frozen Inception network, between
50,000 made pictures and real ones cropped alike. With another network or fewer pictures
it is another figure; `likeness` has those that need no download.

Reference:
    Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a
    Local Nash Equilibrium". The network is the file `classify_image_graph_def.pb` in
    TensorFlow's archive `inception-2015-12-05.tgz`.
"""

import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deepfakery.studies import likeness

#: Made pictures that FID is defined over.
SAMPLES = 50_000


def fid(real: np.ndarray, made: np.ndarray, graph: str | os.PathLike) -> float:
    """The standard FID.

    Args:
        real: (N, S, S, 3) uint8, or float in [0, 1].
        made: (50,000, S, S, 3), likewise, of the same size and crop.
        graph: Inception's frozen graph, `classify_image_graph_def.pb`.

    Raises:
        ValueError: Too few pictures, or the file is not that graph.
        FileNotFoundError: There is no such file.
    """
    if len(made) < SAMPLES or real.shape[1:] != made.shape[1:]:
        raise ValueError(
            f"FID is defined over {SAMPLES:,} made pictures of the real ones' size, "
            f"not {len(made):,} of {made.shape[1:]} beside {real.shape[1:]}; use "
            "likeness.frechet for others, and do not call it FID."
        )
    features = inception(graph)
    return likeness.frechet(features(real), features(made))


def inception(graph: str | os.PathLike):
    """Inception's features, as a function.

    Args:
        graph: As for `fid`.

    Returns:
        A function: (N, S, S, 3) uint8, or float in [0, 1] → (N, 2048) float32.

    Raises:
        As `fid`.
    """
    import tensorflow as tf  # the graph is TensorFlow's own; nothing else reads it

    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(Path(graph).read_bytes())

        def read(pictures):
            (pooled,) = tf.import_graph_def(
                definition, {"ExpandDims:0": pictures}, ["pool_3:0"]
            )
            return tf.reshape(pooled, (tf.shape(pictures)[0], -1))

        shape = tf.TensorSpec((None, None, None, 3), tf.float32)
        network = tf.compat.v1.wrap_function(read, [shape])
    except FileNotFoundError:
        raise
    except Exception as error:  # of the parser, or of a graph without these places
        raise ValueError(
            f"{graph} is not Inception's frozen graph; take "
            "classify_image_graph_def.pb out of inception-2015-12-05.tgz."
        ) from error

    def features(pictures, batch=50):
        out = []
        for start in tqdm(range(0, len(pictures), batch), unit="batch", desc="FID"):
            part = pictures[start : start + batch]
            scale = 1 if part.dtype == np.uint8 else 255  # the graph wants 0 to 255
            out.append(network(tf.constant(np.float32(part) * scale)).numpy())
        return np.concatenate(out)

    return features
