"""The face swapper: one shared encoder, a decoder for each identity."""

import hashlib
import os
from pathlib import Path

import keras
import numpy as np
from keras import ops

from deepfakery import losses, networks, runs
from deepfakery.presets import PRESETS


class FaceSwapper(keras.Model):
    """A shared encoder and a decoder per identity, trained to paint faces.

    `fit` takes ({identity: warped faces}, {identity: faces with masks}) as
    `batches.batches` yields them. Each decoder learns from its own identity alone;
    the encoder learns from all.

    Args:
        identities: Names of the people to paint.
        preset: A name in `presets.PRESETS`, or such a dict.

    Example:
        swapper = FaceSwapper(("collins", "hopper"))
        swapper.compile(keras.optimizers.Adam(1e-3))
        swapper.fit(batches.batches(facesets, swapper.size), steps_per_epoch=100)
        painted, mask = swapper.swap(faces_of_collins, "hopper")
    """

    def __init__(self, identities, preset="light", **kwargs):
        super().__init__(**kwargs)
        if isinstance(preset, str):
            if preset not in PRESETS:
                known = ", ".join(PRESETS)
                raise ValueError(f"There is no preset {preset!r}; choose from {known}.")
            preset = PRESETS[preset]
        self.identities = tuple(identities)
        self.preset = preset
        self.size = preset["size"]
        self.encoder = networks.build_encoder(self.size, **preset["encoder"])
        latent = self.encoder.output_shape[1:]
        self.decoders = {
            # Not named after its person: file names hold what Keras names may not.
            name: networks.build_decoder(latent, **preset["decoder"], name=f"paint_{i}")
            for i, name in enumerate(self.identities)
        }
        self.painted = {n: keras.metrics.Mean(f"{n}_error") for n in self.identities}
        self._painters = {}
        self.built = True

    @classmethod
    def from_preset(cls, name_or_folder, identities=None) -> "FaceSwapper":
        """A new swapper from a named preset, or a trained one from its run folder.

        Args:
            name_or_folder: A name in `presets.PRESETS`, or a run folder.
            identities: Names of the people to paint; a run folder knows its own.

        Raises:
            ValueError: The name is unknown, or a preset was given without identities.
            FileNotFoundError: The run folder holds no checkpoint.
        """
        if str(name_or_folder) in PRESETS:
            if not identities:
                raise ValueError("A new swapper needs identities, such as ('a', 'b').")
            return cls(identities, str(name_or_folder))
        config = runs.read(name_or_folder)["config"]
        swapper = cls(config["identities"], config["preset"])
        swapper.load_weights(runs.latest(name_or_folder) / "model.weights.h5")
        return swapper

    def start_from(self, base: str | os.PathLike) -> "FaceSwapper":
        """Start from weights that already know faces, instead of from noise.

        The encoder is taken over, and every decoder starts as the base decoder: what
        is left to learn is the difference between a face and this face.

        Args:
            base: A file written by `save_base`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It was made with another preset.
        """
        if not Path(base).exists():
            raise FileNotFoundError(f"There are no base weights at {base}.")
        with np.load(base) as saved:  # plain arrays: no pickles
            weights = [saved[str(i)].astype("float32") for i in range(len(saved))]
        count = len(self.encoder.weights)
        parts = {"encoder": weights[:count]}
        parts |= dict.fromkeys(self.identities, weights[count:])
        for name, part in parts.items():
            model = self.encoder if name == "encoder" else self.decoders[name]
            if [w.shape for w in part] != [tuple(w.shape) for w in model.weights]:
                raise ValueError(f"{base} does not fit this preset; use one that does.")
            model.set_weights(part)
        return self

    def save_base(self, path: str | os.PathLike) -> None:
        """Write the encoder and the first decoder as float16, to start others from."""
        first = self.decoders[self.identities[0]]
        weights = self.encoder.get_weights() + first.get_weights()
        arrays = {str(i): w.astype(np.float16) for i, w in enumerate(weights)}
        aside = Path(path).with_suffix(".part.npz")
        np.savez(aside, **arrays)
        os.replace(aside, path)

    @property
    def preset_name(self) -> str:
        """Name of the preset, or "custom"."""
        return next((n for n, p in PRESETS.items() if p == self.preset), "custom")

    def sha256(self) -> str:
        """Fingerprint of the weights, hexadecimal: it changes when any of them does."""
        digest = hashlib.sha256()
        for model in (self.encoder, *self.decoders.values()):
            for weight in model.get_weights():
                digest.update(np.ascontiguousarray(weight))
        return digest.hexdigest()

    @property
    def config(self) -> dict:
        """What it takes to build this swapper again, as plain JSON."""
        return {"identities": list(self.identities), "preset": self.preset}

    def call(self, faces):
        """{identity: faces (B, S, S, 3)} → {identity: painted (B, S, S, 4)}."""
        names = list(faces)
        # One pass of the encoder over everybody: larger batches fill the processor.
        latents = ops.split(
            self.encoder(ops.concatenate([faces[n] for n in names])), len(names)
        )
        return {n: self.decoders[n](z) for n, z in zip(names, latents, strict=True)}

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        """Sum over identities of masked MAE, DSSIM and the mask's own error."""
        total = 0.0
        for name in self.identities:
            target, painted = y[name], y_pred[name]
            rgb, mask = target[..., :3], target[..., 3:]
            # The surroundings count a little: hair and neck make the face believable.
            weight = 0.1 + 0.9 * mask
            error = losses.mae(rgb, painted[..., :3], weight)
            total += error + 0.5 * losses.dssim(rgb, painted[..., :3], weight)
            total += 0.2 * losses.mae(mask, painted[..., 3:])
            self.painted[name].update_state(error)
        return total

    def swap(self, faces: np.ndarray, identity: str, batch: int = 64):
        """Paint faces as another person with the same pose and expression.

        Args:
            faces: (N, S, S, 3) float32 in [0, 1], aligned.
            identity: Whose decoder paints.
            batch: Faces at a time.

        Returns:
            Painted faces (N, S, S, 3) and masks (N, S, S, 1), float32 in [0, 1].

        Raises:
            ValueError: Nobody of that name was trained.
        """
        if identity not in self.decoders:
            known = ", ".join(self.identities)
            raise ValueError(f"No decoder paints {identity!r}; there are {known}.")
        if identity not in self._painters:
            latent = self.encoder(self.encoder.input)
            painter = keras.Model(self.encoder.input, self.decoders[identity](latent))
            self._painters[identity] = painter
        painter = self._painters[identity]
        parts = [faces[i : i + batch] for i in range(0, len(faces), batch)]
        out = np.concatenate([painter.predict_on_batch(part) for part in parts])
        return out[..., :3], out[..., 3:]
