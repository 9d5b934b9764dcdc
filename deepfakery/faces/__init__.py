"""From footage to a folder of aligned faces: found, followed, filtered, described."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        *("coverage", "detect", "extraction", "faceset", "filtering"),
        *("geometry", "people", "segment", "tracking"),
    ],
)
