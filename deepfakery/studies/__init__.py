"""What notebooks 5 to 7 study: faces from noise, upscaling, detection."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["dcgan", "detection", "photos", "scores", "upscaler"]
)
