"""How good a swap is: measures, tables, baselines."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        *("baselines", "eyes", "matching", "measure", "metrics"),
        *("stages", "tables", "trials"),
    ],
)
