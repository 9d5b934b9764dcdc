"""DeepFakery: learn how deepfakes work by making one, measuring it and marking it."""

import logging
import os
import tempfile
import warnings

__version__ = "0.2.0"

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
