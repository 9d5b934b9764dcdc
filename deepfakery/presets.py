"""The named presets, as plain dictionaries: whoever asks for a name needs no Keras."""

import json

#: Arguments of `networks.build_encoder`, `networks.build_decoder` and
#: `networks.build_discriminator`; `rate` is Adam's learning rate, 1e-3 where none is
#: given. The larger the network, the smaller the steps that it survives.
PRESETS = {
    # The network of the first deepfakes (2017), to the letter: 82 million weights.
    "original": {
        "size": 64,
        "rate": 1e-4,
        "encoder": {
            "widths": [128, 256, 512, 1024],
            "kernel": 5,
            "first_stride": 2,
            "bottleneck": 1024,
            "reshape_channels": 1024,
            "latent_channels": 512,
        },
        "decoder": {
            "widths": [256, 128, 64],
            "head_width": 0,
            "pixel_shuffle": 1,
            "head_kernel": 5,
            "mask": False,
        },
        "discriminator": {"widths": [64, 128, 256]},
    },
    # For a quick look: most of its work is done on 16 × 16 maps.
    "small": {
        "size": 64,
        "encoder": {"widths": [64, 128, 256], "normalized": True},
        "decoder": {"widths": [64]},
        "discriminator": {"widths": [32, 64, 128]},
    },
    # Two CPU cores train it in minutes: after the first, none of its convolutions sees
    # a map of more than 32 × 32, and the last one gives 16 pixels at each place.
    "light": {
        "size": 128,
        "rate": 2e-3,
        "encoder": {
            "widths": [64, 128, 256],
            "first_stride": 6,
            "normalized": True,
            "view": 0.75,
        },
        "decoder": {"widths": [64, 64], "head_width": 0},
        "discriminator": {"widths": [32, 64, 128, 256]},
    },
    # Wider, with residual blocks: for more minutes, or a GPU.
    "hd": {
        "size": 128,
        "rate": 5e-4,
        "encoder": {
            "widths": [64, 128, 256, 256],
            "first_stride": 3,
            "bottleneck": 512,
            "reshape_channels": 256,
            "latent_channels": 256,
            "normalized": True,
            "view": 0.75,
        },
        "decoder": {"widths": [128, 96], "residual": 1},
        "discriminator": {"widths": [32, 64, 128, 256]},
    },
    # For a GPU: a face that fills a full-HD frame.
    "hd256": {
        "size": 256,
        "rate": 5e-4,
        "encoder": {
            "widths": [96, 192, 384, 512, 512],
            "first_stride": 3,
            "residual": 1,
            "bottleneck": 512,
            "reshape_channels": 512,
            "latent_channels": 512,
            "normalized": True,
            "view": 0.75,
        },
        "decoder": {"widths": [256, 192, 128], "residual": 2},
        "discriminator": {"widths": [64, 128, 256, 512]},
    },
}


def look_up(preset: str | dict, presets: dict = PRESETS) -> dict:
    """A copy of a preset, given by its name or as it is.

    Raises:
        ValueError: There is none of that name.
    """
    if isinstance(preset, str):
        if preset not in presets:
            known = ", ".join(presets)
            raise ValueError(f"There is no preset {preset!r}; choose from {known}.")
        preset = presets[preset]
    return json.loads(json.dumps(preset))


def name_of(preset: dict, presets: dict = PRESETS) -> str:
    """Name of a preset, or "custom"."""
    return next((n for n in presets if look_up(n, presets) == preset), "custom")
