"""Files in and out: clips, pictures, folders, and what made them."""

import lazy_loader

MODULES = (
    "animation clips filters identity images provenance records remux video workers"
)
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, MODULES.split())
