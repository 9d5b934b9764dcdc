"""DeepFakery: learn how deepfakes work by making one, measuring it and marking it."""

import logging
import os

__version__ = "0.2.0"

# TensorFlow reads this once, when it is first imported; its start-up chatter about
# missing GPUs is not what a reader came for.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("tensorflow").setLevel(logging.ERROR)

#: DEEPFAKERY_SMOKE=1 shrinks every run to seconds; the tests run the notebooks so.
SMOKE = os.environ.get("DEEPFAKERY_SMOKE", "") == "1"
