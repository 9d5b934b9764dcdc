"""The named presets, as plain dictionaries."""

#: Arguments of `networks.build_encoder` and `networks.build_decoder`, by name.
PRESETS = {
    # Two CPU cores train it in minutes: most of its work is done on 16 × 16 maps.
    "light": {
        "size": 64,
        "encoder": {"widths": [64, 128, 256], "stem": 4, "latent": 256, "depth": 128},
        "decoder": {"widths": [64], "refine": 128, "shuffle": 4},
    },
}
