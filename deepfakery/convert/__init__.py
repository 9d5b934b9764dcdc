"""From a generated face to a finished frame, clip or photo."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["colour", "export", "masks", "merge", "resume", "sharpness", "tiles"],
)
