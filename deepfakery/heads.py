"""The average face, flat for alignment and in depth for pose.

Both come from dlib's landmarks over photos of Labeled Faces in the Wild, each photo and
its mirror image.

Reference:
    Gower 1975, "Generalized Procrustes analysis" (the flat one); Tomasi & Kanade 1992,
    "Shape and motion from image streams under orthography: a factorization method".
"""

import numpy as np

#: The 51 inner landmarks (brows, nose, eyes, mouth) of the average face, symmetric,
#: in a unit square that its jaw spans from side to side. Generalised Procrustes mean
#: of dlib's landmarks over 1,582 photos of Labeled Faces in the Wild.
# fmt: off
MEAN_FACE = np.array([
    (0.101, 0.137), (0.160, 0.079), (0.246, 0.059), (0.337, 0.069), (0.421, 0.102),
    (0.579, 0.102), (0.663, 0.069), (0.754, 0.059), (0.840, 0.079), (0.899, 0.137),
    (0.500, 0.201), (0.500, 0.283), (0.500, 0.366), (0.500, 0.451), (0.400, 0.514),
    (0.448, 0.533), (0.500, 0.548), (0.552, 0.533), (0.600, 0.514), (0.202, 0.221),
    (0.254, 0.191), (0.316, 0.191), (0.371, 0.228), (0.313, 0.239), (0.252, 0.240),
    (0.629, 0.228), (0.684, 0.191), (0.746, 0.191), (0.798, 0.221), (0.748, 0.240),
    (0.687, 0.239), (0.303, 0.687), (0.374, 0.650), (0.447, 0.634), (0.500, 0.646),
    (0.553, 0.634), (0.626, 0.650), (0.697, 0.687), (0.629, 0.757), (0.557, 0.787),
    (0.500, 0.793), (0.443, 0.787), (0.371, 0.757), (0.334, 0.690), (0.446, 0.675),
    (0.500, 0.680), (0.554, 0.675), (0.666, 0.690), (0.555, 0.725), (0.500, 0.731),
    (0.445, 0.725),
], np.float32)
# fmt: on

#: Landmarks that expressions hardly move: nose, eye corners.
POSE_INDEX = (27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45)

#: Where they lie on a rigid head: x right, y down, z away from the viewer, hundredths
#: of the distance between the outer eye corners. The factorization's depth is taken
#: one and a half times: landmarks lean towards the face they see most often, the
#: frontal one, and so look flat. With it the built-in people's known pitch is read in
#: full, and their yaw nearly. Turned so that their portraits at rest are level.
# fmt: off
POSE_POINTS = np.array([
    (0, -41.1, 13.2), (0, -27.6, 9), (0, -14, 4.4), (0, 0, 0), (-16.7, 8.7, 17.7),
    (-8.7, 11.9, 15), (0, 14.4, 13.2), (8.7, 11.9, 15), (16.7, 8.7, 17.7),
    (-50, -39.2, 31.5), (-21.7, -37.8, 27.2), (21.7, -37.8, 27.2), (50, -39.2, 31.5),
], np.float64)
# fmt: on
