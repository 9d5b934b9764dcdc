"""What notebooks show and how they are run: plots, controls, the runner."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["compare", "controls", "plots", "run", "watching"]
)
