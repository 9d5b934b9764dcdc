"""The face swapper: one shared encoder, a decoder and a discriminator per identity."""

import os
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import ops

from deepfakery import adversarial, batches, checkpoints, losses, networks
from deepfakery.presets import PRESETS, look_up, name_of

#: Adam's beta_1, by what trains. Against a discriminator that learns too, the usual one
#: of 0.9 overshoots.
BETA_1 = {"autoencoder": 0.9, "discriminator": 0.5, "both": 0.5}

#: Most that the learning rate may be where both train: with the 2e-3 of `light` they
#: drive each other into speckles.
ADVERSARIAL_RATE = 3e-4

#: Adam's beta_2. A decoder may generate one mean face for hundreds of steps before the
#: latent matters; then the encoder's gradient grows a hundredfold in a step. With the
#: usual 0.999 the second moment is still that of the small gradient, and the step broke
#: `hd`. See Molybog et al. 2023, "A Theory on Adam Instability in Large-Scale Machine
#: Learning".
BETA_2 = 0.99

#: Faces are generated in batches of a multiple of this; the merge asks for so many.
FILLED = 16


class FaceSwapper(keras.Model):
    """A shared encoder, and for each identity a decoder and a discriminator.

    `fit` takes ({identity: warped faces}, {identity: faces with masks}) as
    `batches.batches` yields them. Each decoder and each discriminator learns from its
    own identity alone; the encoder learns from all.

    Args:
        identities: Names of the people whose faces are generated.
        preset: A name in `presets.PRESETS`, or such a dict.
        precision: A Keras dtype policy; the best one of this machine by default.

    Example:
        swapper = FaceSwapper(("collins", "hopper"))
        swapper.compile()
        swapper.fit(batches.batches(facesets, swapper.size), steps_per_epoch=100)
        generated, mask = swapper.swap(faces_of_collins, "hopper")
    """

    def __init__(self, identities, preset="light", precision=None, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.identities, self.only = tuple(identities), None
        for i, name in enumerate(self.identities):
            if name in self.identities[:i]:
                raise ValueError(f"{name!r} is there already; choose another name.")
        self.base = None  # SHA-256 of the weights that it started from
        self.preset = preset = look_up(preset)
        self.preset_name = name_of(preset)
        self.size = preset["size"]
        with networks.precision(precision):
            self.encoder = networks.build_encoder(self.size, **preset["encoder"])
            latent = self.encoder.output_shape[1:]
            self.decoders, self.discriminators, self.bounds = {}, {}, {}
            for i, name in enumerate(self.identities):
                # Not named after its person: file names hold what Keras names may not.
                self.decoders[name] = networks.build_decoder(
                    latent, **preset["decoder"], name=f"decoder_{i}"
                )
                self.discriminators[name] = networks.build_discriminator(
                    self.size, **preset["discriminator"], name=f"discriminator_{i}"
                )
                self.bounds[name] = networks.LatentBounds(name=f"bounds_{i}")
                self.bounds[name].build((None, *latent))
        self._with_features = {
            n: adversarial.with_features(D) for n, D in self.discriminators.items()
        }
        self.errors = {n: keras.metrics.Mean(f"{n}_error") for n in self.identities}
        self.adversarial = adversarial.metrics()
        self._generators = {}
        self.built = True

    def compile(
        self,
        optimizer=None,
        *,
        train: str = "autoencoder",
        mae: float = 1.0,
        dssim: float = 0.5,
        emphasis: float = 2.0,
        adversarial: float = 0.05,
        matching: float = 0.25,
        kind: str = "hinge",
        only: str | None = None,
        **kwargs,
    ):
        """Choose what trains, and on what.

        Args:
            optimizer: A Keras optimizer; by default Adam, at the preset's rate, each
                network's gradient clipped.
            train: "autoencoder": encoder and decoders alone; "discriminator": the
                discriminators alone, against what the decoders generate now; "both":
                adversarially, in one step.
            mae, dssim: Weights of the two terms of the reconstruction loss.
            emphasis: How much more eyes and mouth count than the rest of the face.
            adversarial, matching: Weights of the generator loss and of the feature
                matching loss, where both train.
            kind: The adversarial loss, one of `losses.KINDS`.
            only: Whose decoder and discriminator train, on that person's faces alone;
                the encoder and all others stay as they are. None: all train.
            **kwargs: Of `keras.Model.compile`.

        Raises:
            ValueError: `train`, `kind` or `only` is none of these.
        """
        people = (None, *self.identities)
        modes = (train, tuple(BETA_1)), (kind, losses.KINDS), (only, people)
        for given, known in modes:
            if given not in known:
                raise ValueError(f"{given!r} is unknown; choose from {known}.")
        self.trains = train
        self.weight = {
            "mae": mae,
            "dssim": dssim,
            "emphasis": emphasis,
            "adversarial": adversarial,
            "matching": matching,
        }
        self.kind, self.only = kind, only
        self.encoder.trainable = only is None and train != "discriminator"
        for name in self.identities:
            learns = name in self._learning
            self.decoders[name].trainable = learns and train != "discriminator"
            self.discriminators[name].trainable = learns and train != "autoencoder"
        with networks.devices_of(self):
            super().compile(optimizer or self._default_optimizer(), **kwargs)

    def _default_optimizer(self):
        # Clipped: one odd batch must not undo what a thousand taught. Each network by
        # itself, so that no other decides how far it steps; and not each kernel, which
        # lets a network of twenty through with several times as much.
        rate, beta_1 = self.preset.get("rate", 1e-3), BETA_1[self.trains]
        if self.trains == "both":
            rate = min(rate, ADVERSARIAL_RATE)
        parts = self.encoder, *self.decoders.values(), *self.discriminators.values()
        adam = partial(adversarial.Adam, rate, beta_1, BETA_2, global_clipnorm=1.0)
        return adversarial.for_each(*((network, adam()) for network in parts))

    @classmethod
    def from_preset(cls, name_or_folder, identities=None) -> "FaceSwapper":
        """A new swapper from a named preset, or a trained one from its run folder.

        Args:
            name_or_folder: A name in `presets.PRESETS`, or a run folder.
            identities: Names of the people; a run folder knows its own.

        Raises:
            ValueError: A preset was given without identities.
            FileNotFoundError: It is no preset, and no run folder with a checkpoint.
        """
        if str(name_or_folder) in PRESETS:
            if not identities:
                raise ValueError("A new swapper needs identities, such as ('a', 'b').")
            return cls(identities, str(name_or_folder))

        def build(config):
            people = config["identities"]
            is_list = isinstance(people, list) and people
            if not is_list or not all(isinstance(name, str) for name in people):
                raise ValueError("identities is no list of names")
            swapper = cls(people, config["preset"])
            swapper.base = config.get("base")
            return swapper

        return checkpoints.rebuild(name_or_folder, build)

    def start_from(self, base: str | os.PathLike, keep: float = 1.0) -> "FaceSwapper":
        """Start from weights that already know faces, instead of from noise.

        Encoder and every decoder start from a base that was trained on thousands of
        people, or a share of the way to it. From an earlier run all is kept; people who
        were in it keep their own decoder and discriminator, and who is new begins with
        the first one's. `compile(only=…)` then teaches that person alone to an encoder
        that stays as it is.

        Args:
            base: A file written by `save_base`, or a run folder.
            keep: Share of the base that is kept, 0 to 1.

        Raises:
            FileNotFoundError: There is no such file or run.
            ValueError: Its shapes are not this preset's, or the run had another preset.

        Reference:
            Ash & Adams 2020, "On Warm-Starting Neural Network Training" (shrinking the
            weights to start from, and adding fresh ones).
        """
        if Path(base).is_dir():
            other = FaceSwapper.from_preset(base)
            if other.preset != self.preset:
                raise ValueError(
                    f"{base} was trained with another preset, {other.preset_name!r}; "
                    f"start from a run of {self.preset_name!r}."
                )
            self.encoder.set_weights(other.encoder.get_weights())
            for name in self.identities:
                origin = name if name in other.identities else other.identities[0]
                for part in ("decoders", "discriminators", "bounds"):
                    weights = getattr(other, part)[origin].get_weights()
                    getattr(self, part)[name].set_weights(weights)
                if name != origin:
                    self.bounds[name].reset()
            self.base = other.base
            return self
        known = checkpoints.load_base(base, self.preset_name, **self._base)
        self.base = checkpoints.fingerprint(base)
        for model in (self.encoder, *self.decoders.values()):
            part = known["encoder" if model is self.encoder else "decoder"]
            mixed = zip(part, model.get_weights(), strict=True)
            model.set_weights([keep * w + (1 - keep) * fresh for w, fresh in mixed])
        return self

    def save_base(self, path: str | os.PathLike) -> None:
        """Write the encoder and the first decoder as float16, to start others from."""
        checkpoints.save_base(path, **self._base)

    @property
    def _base(self) -> dict:
        """The networks whose weights are a base, by name."""
        return {"encoder": self.encoder, "decoder": self.decoders[self.identities[0]]}

    def sha256(self) -> str:
        """Fingerprint of encoder and decoders, hexadecimal."""
        return checkpoints.sha256(self.encoder, *self.decoders.values())

    @property
    def config(self) -> dict:
        """What it takes to build this swapper again, as plain JSON."""
        config = {"identities": list(self.identities), "preset": self.preset}
        return config | ({"base": self.base} if self.base else {})

    @property
    def objective(self) -> dict:
        """What `compile` chose, as plain JSON."""
        chosen = {"train": self.trains, "kind": self.kind, **self.weight}
        return chosen | ({"only": self.only} if self.only else {})

    @property
    def _learning(self) -> tuple[str, ...]:
        """Whose decoder and discriminator train."""
        return self.identities if self.only is None else (self.only,)

    @property
    def metrics(self):
        """Those of whoever trains; of the others nothing is measured."""
        idle = [m for name, m in self.errors.items() if name not in self._learning]
        return [m for m in super().metrics if m not in idle]

    def call(self, faces):
        """{identity: faces (B, S, S, 3)} → {identity: generated (B, S, S, 4)}."""
        names = list(faces)
        # One pass of the encoder over everybody: larger batches fill the processor.
        latents = ops.split(
            self.encoder(ops.concatenate([faces[n] for n in names])), len(names)
        )
        return {n: self.decoders[n](z) for n, z in zip(names, latents, strict=True)}

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        """Sum, over those who train, of what `compile` chose."""
        total = 0.0
        for name in self._learning:
            target = ops.convert_to_tensor(y[name])  # PyTorch is given it as NumPy
            rgb, mask = target[..., :3], target[..., 3:4]
            generated = y_pred[name][..., :3]
            # The surroundings count a little: their skin shows beside a narrower mask.
            weight = 0.1 + 0.9 * mask
            if self.weight["emphasis"]:
                weight += self.weight["emphasis"] * target[..., 4:]
            loss, error = losses.reconstruction_loss(
                rgb, generated, weight, self.weight["mae"], self.weight["dssim"]
            )
            self.errors[name].update_state(error)
            if self.trains != "discriminator":
                total += loss
                if y_pred[name].shape[-1] == 4:
                    made = y_pred[name][..., 3:]
                    total += 0.2 * losses.mean_absolute_error(mask, made)
            if self.trains != "autoencoder":
                # Only the face is scored: what surrounds it is the same in both.
                fake = mask * generated + (1 - mask) * rgb
                D = self._with_features[name]
                how = {"generator": self.trains == "both", "training": training}
                step = adversarial.step(D, rgb, fake, self.kind, **how)
                step.record(self.adversarial)
                total += step.loss(self.weight["adversarial"], self.weight["matching"])
        return losses.per_replica(total)

    def fit(self, *args, **kwargs):
        """As of `keras.Model`. Once the encoder trains, no latent is known."""
        if self.encoder.trainable:
            self.adapt(None)
        return super().fit(*args, **kwargs)

    def adapt(self, facesets: dict | None) -> None:
        """Learn which latents each decoder knows; `swap` stays within them.

        Args:
            facesets: Identity → the `FaceSet` it was trained on; `Run.fit` gives them
                at its end; of whom it gives none, nothing changes. None: forget
                them all.
        """
        if facesets is None:
            for bounds in self.bounds.values():
                bounds.reset()
            return
        latents, means = {}, {}
        for name, bounds in self.bounds.items():
            if name in facesets:
                faces = facesets[name].images(self.size, 512)
                faces = batches.prepare(faces, self.size)
                latents[name] = networks.predict(self.encoder, faces)
                means[name] = latents[name].mean(0).ravel()
            elif float(bounds.adapted):
                means[name] = ops.convert_to_numpy(bounds.mean)
        for name, known in latents.items():
            others = [mean for other, mean in means.items() if other != name]
            self.bounds[name].adapt(known, others)

    def swap(self, faces: np.ndarray, identity: str, batch: int = 64):
        """Generate another person's face with the same pose and expression.

        Args:
            faces: (N, S, S, 3) float32 in [0, 1], aligned.
            identity: Whose decoder generates.
            batch: Faces at a time.

        Returns:
            Generated faces (N, S, S, 3) and masks (N, S, S, 1), float32 in [0, 1]; all
            ones where the preset has no mask.

        Raises:
            ValueError: Nobody of that name was trained.
        """
        if identity not in self.decoders:
            known = ", ".join(self.identities)
            raise ValueError(f"There is no decoder of {identity!r}; there are {known}.")
        if identity not in self._generators:
            latent = self.bounds[identity](self.encoder(self.encoder.input))
            self._generators[identity] = keras.Model(
                self.encoder.input, self.decoders[identity](latent)
            )
        # Filled up: in a batch of another size networks round differently, and a clip
        # that goes on from another frame would not be the same.
        filled = np.pad(faces, ((0, -len(faces) % FILLED), (0, 0), (0, 0), (0, 0)))
        out = networks.predict(self._generators[identity], filled, batch)[: len(faces)]
        mask = out[..., 3:] if out.shape[-1] == 4 else np.ones_like(out[..., :1])
        return out[..., :3], mask

    def discriminate(self, faces: np.ndarray, identity: str) -> np.ndarray:
        """How real faces, as of `swap`, look to an identity's discriminator.

        Returns:
            (N,) float32, the mean score of each face's patches; higher for real.
        """
        scores = networks.predict(self.discriminators[identity], faces)
        return scores.mean((1, 2, 3))
