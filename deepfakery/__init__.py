"""DeepFakery: learn how deepfakes work by making one, measuring it and marking it.

    import deepfakery as df

    faces = {name: df.extract(clip, folder / name) for name, clip in clips.items()}
    swapper = df.FaceSwapper.from_preset("light", identities=faces)
    swapper.start_from(df.base_weights("light"))
    swapper.compile()
    df.Run(folder / "run", swapper, minutes=3).fit(faces)
    df.swap_clip(clips["collins"], swapper, "hopper", folder / "swap.mp4")

The method is in the modules of this folder, in this order: networks, losses,
adversarial, swapper, batches, training, checkpoints. Everything else is in a folder
named after a stage of the data's way: media, faces, samples, convert, evaluate,
studies, notebook. What stands here is imported when it is first used.
"""

import logging
import os
import tempfile
import warnings

import lazy_loader

__version__ = "0.3.0"

# TensorFlow reads this once, when it is first imported; its start-up chatter about
# missing GPUs is not what a reader came for.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("tensorflow").setLevel(logging.ERROR)

#: DEEPFAKERY_SMOKE=1 shrinks every run to seconds; the tests run the notebooks so.
SMOKE = os.environ.get("DEEPFAKERY_SMOKE", "") == "1"

# A container's user may have no home, which Jupyter and the signing of exports ask for.
if os.path.expanduser("~") == "~":
    os.environ["HOME"] = tempfile.mkdtemp(prefix="deepfakery-home-")
    warnings.warn(
        f"This user has no home folder; until the end it is {os.environ['HOME']}. Set "
        "HOME to keep what is made there, such as the identity that signs exports.",
        stacklevel=2,
    )

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        *("adversarial", "batches", "checkpoints", "losses", "networks", "training"),
        *("media", "faces", "samples", "convert", "evaluate", "studies", "notebook"),
    ],
    submod_attrs={
        "checkpoints": ["base_weights"],
        "convert.export": ["swap_clip", "swap_photos"],
        "evaluate": ["measure"],
        "faces.extraction": ["extract"],
        "faces.faceset": ["FaceSet"],
        "media.animation": ["animate"],
        "media.provenance": ["inspect"],
        "notebook": ["controls", "plots"],
        "notebook.watching": ["Preview", "TensorBoard"],
        "presets": ["PRESETS"],
        "swapper": ["FaceSwapper"],
        "training": ["Run"],
    },
)
