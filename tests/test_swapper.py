import io
import zipfile
from functools import partial
from itertools import islice

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

from deepfakery import networks, training
from deepfakery.batches import batches, prepare
from deepfakery.faces.faceset import FaceSet
from deepfakery.presets import PRESETS
from deepfakery.samples import PEOPLE
from deepfakery.swapper import FaceSwapper


def weights(model):
    return [w.copy() for w in model.get_weights()]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def trained(make_swapper, facesets, tmp_path_factory):
    """A tiny swapper after 60 steps, its losses, and its run folder."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    swapper = make_swapper(rate=5e-3)
    run = training.Run(folder, swapper, swapper.config, steps=60, every=10)
    run.fit(partial(batches, facesets, swapper.size, batch=8))
    return swapper, run.history, folder


def test_the_loss_falls_for_everybody(trained):
    _, history, _ = trained
    first, last = history[0], history[-1]
    assert last["step"] == 60
    assert last["loss"] < 0.8 * first["loss"]
    for name in PEOPLE:
        assert last[f"{name}_error"] < 0.9 * first[f"{name}_error"]


def test_each_decoder_paints_its_own_person(trained, aligned):
    """Even so early, the painted colours are nearer to whoever is painted."""
    swapper, _, _ = trained
    mean = {name: aligned[name].mean(0) for name in PEOPLE}
    for source in PEOPLE:
        for name, other in (PEOPLE, PEOPLE[::-1]):
            painted, _ = swapper.swap(aligned[source], name)
            near, far = (np.abs(painted - mean[n]).mean() for n in (name, other))
            assert near < far


@pytest.mark.parametrize("train", ["autoencoder", "both"])
@pytest.mark.usefixtures("eager")
def test_a_decoder_learns_nothing_from_other_peoples_faces(
    make_swapper, facesets, train
):
    one, two = make_swapper(), make_swapper()
    for swapper in (one, two):
        swapper.compile(train=train)  # with the optimizer that trains by default
    start = weights(one.decoders["collins"])
    (x, y), (other_x, other_y) = islice(batches(facesets, 32, batch=4), 2)
    one.train_on_batch(x, y)
    two.train_on_batch(
        {**x, "hopper": other_x["hopper"]}, {**y, "hopper": other_y["hopper"]}
    )
    collins, hopper = (
        same(weights(one.decoders[n]), weights(two.decoders[n])) for n in PEOPLE
    )
    assert collins and not hopper
    assert same(
        weights(one.discriminators["collins"]), weights(two.discriminators["collins"])
    )
    assert not same(weights(one.decoders["collins"]), start)
    # The encoder is shared: it learns from both.
    assert not same(weights(one.encoder), weights(two.encoder))


def test_everybody_has_the_same_say(swapper, facesets):
    x, y = next(batches(facesets, 32, batch=4))
    turned = {name: x[name] for name in reversed(x)}
    painted, again = swapper(x), swapper(turned)
    for name in PEOPLE:
        np.testing.assert_allclose(array(painted[name]), array(again[name]), atol=1e-6)
    loss = swapper.compute_loss(x, y, painted)
    assert float(loss) == pytest.approx(float(swapper.compute_loss(x, y, again)), 1e-5)


def test_a_perfect_painting_loses_nothing(swapper, facesets):
    x, y = next(batches(facesets, 32, batch=2))
    perfect = {name: y[name][..., :4] for name in PEOPLE}
    assert float(swapper.compute_loss(x, y, perfect)) == pytest.approx(0, abs=1e-3)
    worse = {name: 1 - target for name, target in perfect.items()}
    assert float(swapper.compute_loss(x, y, worse)) > 0.5


def test_the_face_counts_more_than_its_surroundings(swapper, facesets):
    x, y = next(batches(facesets, 32, batch=4))
    losses = []
    for inside in (True, False):
        painted = {}
        for name in PEOPLE:
            target = y[name]
            where = (target[..., 3:4] > 0.5) == inside
            damage = 0.2 * where / where.mean()  # as much in all
            painted[name] = target[..., :4].copy()
            painted[name][..., :3] += damage
        losses.append(float(swapper.compute_loss(x, y, painted)))
    assert losses[0] > 1.5 * losses[1]


def test_swapping_gives_faces_and_masks(make_swapper, aligned):
    untrained = make_swapper(precision="float32")  # bfloat16 rounds by the batch
    painted, mask = untrained.swap(aligned["collins"], "hopper", batch=4)
    assert painted.shape == (6, 32, 32, 3) and mask.shape == (6, 32, 32, 1)
    for values in (painted, mask):
        assert values.dtype == np.float32 and 0 <= values.min() <= values.max() <= 1
    # In whichever company it is painted, a face is the same.
    alone, _ = untrained.swap(aligned["collins"][2:3], "hopper")
    np.testing.assert_allclose(alone[0], painted[2], atol=1e-5)
    through = untrained({"hopper": aligned["collins"]})["hopper"]
    np.testing.assert_allclose(array(through)[..., :3], painted, atol=1e-5)


def test_a_face_is_generated_alike_in_a_batch_of_any_size():
    """Networks round differently in some; a resumed clip must be the same clip."""
    swapper = FaceSwapper(("collins", "hopper"), "light", "mixed_bfloat16")
    faces = np.random.default_rng(0).random((16, 128, 128, 3), np.float32)
    swapper.bounds["hopper"].adapt(networks.predict(swapper.encoder, faces))
    whole = swapper.swap(faces, "hopper")
    for count in (1, 8, 9, 15):
        few = swapper.swap(faces[-count:], "hopper")
        for one, among_all in zip(few, whole, strict=True):
            np.testing.assert_array_equal(one, among_all[-count:])


def test_a_swap_stays_within_what_the_decoder_knows(make_swapper, facesets):
    swapper = make_swapper(precision="float32")
    folder, records = facesets["hopper"].folder, facesets["hopper"].records
    calm = {"hopper": FaceSet(folder, records[:6])}
    known = prepare(calm["hopper"].images(swapper.size), swapper.size)
    noise = np.float32(np.random.default_rng(1).uniform(size=known.shape))

    before = swapper.swap(known, "hopper")[0]
    swapper.adapt(calm)
    np.testing.assert_allclose(swapper.swap(known, "hopper")[0], before, atol=1e-4)
    latent = swapper.encoder(noise)
    nearest = swapper.bounds["hopper"](latent)
    assert np.abs(array(nearest) - array(latent)).max() > 0.1 * np.abs(latent).max()
    expected = array(swapper.decoders["hopper"](nearest))[..., :3]
    np.testing.assert_allclose(swapper.swap(noise, "hopper")[0], expected, atol=1e-5)
    swapper.adapt(None)
    expected = array(swapper.decoders["hopper"](latent))[..., :3]
    np.testing.assert_allclose(swapper.swap(noise, "hopper")[0], expected, atol=1e-5)


def test_people_are_told_apart_by_the_decoder_alone(make_swapper, facesets, aligned):
    swapper = make_swapper(precision="float32")
    swapper.adapt(facesets)
    latents = {n: array(swapper.encoder(faces)) for n, faces in aligned.items()}
    means = {n: array(b.mean) for n, b in swapper.bounds.items()}
    for name, other in (("collins", "hopper"), ("hopper", "collins")):
        bounds = swapper.bounds[name]
        apart = (means[other] - means[name]).reshape(latents[name].shape[1:])
        np.testing.assert_allclose(
            array(bounds(latents[name] + apart)),
            array(bounds(latents[name])),
            atol=1e-3,
        )
    # Who is added later leaves the others as they are, and is told from them, too.
    before = array(swapper.bounds["collins"].axes)
    swapper.adapt({"hopper": facesets["hopper"]})
    np.testing.assert_array_equal(array(swapper.bounds["collins"].axes), before)
    apart = means["collins"] - means["hopper"]
    along = array(swapper.bounds["hopper"].axes) @ (apart / np.linalg.norm(apart))
    assert np.abs(along).max() < 1e-3


@pytest.mark.usefixtures("eager")
def test_swapping_shows_the_weights_of_this_moment(swapper, aligned, facesets):
    before, _ = swapper.swap(aligned["collins"], "hopper")
    swapper.train_on_batch(*next(batches(facesets, 32, batch=4)))
    after, _ = swapper.swap(aligned["collins"], "hopper")
    assert np.abs(after - before).max() > 1e-3


def test_a_person_nobody_trained_is_named(untrained, aligned):
    with pytest.raises(ValueError, match="'lovelace'; there are collins, hopper"):
        untrained.swap(aligned["collins"], "lovelace")


@pytest.mark.usefixtures("eager")
def test_any_number_of_people_of_any_name(tiny, tmp_path, facesets):
    names = ("my clip (1)", "Zoë·2", "encoder")  # people are named after their files
    swapper = FaceSwapper(names, tiny)
    swapper.compile(keras.optimizers.Adam(1e-3))
    people = dict.fromkeys(names, facesets["collins"])
    run = training.Run(tmp_path / "run", swapper, swapper.config, steps=2, every=2)
    run.fit(partial(batches, people, 32, batch=2))
    again = FaceSwapper.from_preset(tmp_path / "run")
    assert again.identities == names and tuple(again.decoders) == names
    assert again.sha256() == swapper.sha256()


def test_two_people_of_one_name_are_refused(tiny):
    with pytest.raises(ValueError, match="'ann' is there already; choose another"):
        FaceSwapper(("ann", "ben", "ann"), tiny)


def test_each_person_adds_as_many_weights(tiny):
    sizes = [FaceSwapper("abcdefgh"[:n], tiny).count_params() for n in (2, 3, 8)]
    assert sizes[2] - sizes[0] == 6 * (sizes[1] - sizes[0])


def test_the_fingerprint_tells_weights_apart(make_swapper):
    one, two = make_swapper(), make_swapper()
    assert one.sha256() == two.sha256()
    kernel = two.decoders["hopper"].weights[0]
    kernel.assign(keras.ops.multiply(kernel, 1.001))
    assert one.sha256() != two.sha256()
    assert one.preset_name == "custom"


def test_a_preset_by_name_is_the_one_in_the_list():
    swapper = FaceSwapper.from_preset("light", identities=PEOPLE)
    assert swapper.size == PRESETS["light"]["size"] and swapper.identities == PEOPLE
    assert swapper.config["preset"] == PRESETS["light"]


def test_what_is_no_preset_and_no_run_is_named(tmp_path):
    with pytest.raises(ValueError, match="identities"):
        FaceSwapper.from_preset("light")
    with pytest.raises(ValueError, match="'heavy'; choose from original"):
        FaceSwapper(PEOPLE, "heavy")
    with pytest.raises(FileNotFoundError, match="nothing holds no checkpoint"):
        FaceSwapper.from_preset(tmp_path / "nothing")


def test_a_run_folder_gives_the_swapper_back(trained, aligned):
    swapper, _, folder = trained
    again = FaceSwapper.from_preset(folder)
    assert again.config == {**swapper.config, "preset": again.preset}
    for name in PEOPLE:
        for first, second in zip(
            swapper.swap(aligned["collins"], name),
            again.swap(aligned["collins"], name),
            strict=True,
        ):
            np.testing.assert_array_equal(first, second)


# --- each alone, then together ----------------------------------------------------


@pytest.mark.parametrize("train", ["autoencoder", "discriminator", "both"])
@pytest.mark.usefixtures("eager")
def test_only_what_was_chosen_trains(make_swapper, facesets, train):
    swapper = make_swapper(train=train)
    generator = [swapper.encoder, *swapper.decoders.values()]
    models = [*generator, *swapper.discriminators.values()]
    before = [weights(m) for m in models]
    swapper.train_on_batch(*next(batches(facesets, 32, batch=4)))
    moved = [not same(weights(m), w) for m, w in zip(models, before, strict=True)]
    assert moved[:3] == [train != "discriminator"] * 3
    assert moved[3:] == [train != "autoencoder"] * 2


def test_a_discriminator_learns_to_tell_real_from_generated(
    trained, make_swapper, facesets, aligned
):
    folder = trained[2]
    swapper = make_swapper(rate=3e-3).start_from(folder)
    swapper.compile(keras.optimizers.Adam(1e-2), train="discriminator")
    before = weights(swapper.encoder)
    logs = [
        swapper.train_on_batch(*batch, return_dict=True)
        for batch in islice(batches(facesets, 32, batch=8), 120)
    ]
    assert logs[-1]["d_accuracy"] > logs[0]["d_accuracy"] + 0.1
    assert logs[-1]["loss"] < 0.9 * logs[0]["loss"]
    assert same(weights(swapper.encoder), before)
    for name in PEOPLE:
        real = swapper.discriminate(aligned[name], name)
        made = swapper.discriminate(swapper.swap(aligned[name], name)[0], name)
        assert real.shape == (6,) and np.median(real) > np.median(made)


@pytest.mark.usefixtures("eager")
def test_one_backward_pass_gives_each_side_its_own_gradient(make_swapper, facesets):
    """No side's step depends on whether the other learns."""
    x, y = next(batches(facesets, 32, batch=4))

    def after(train, **losses):
        # Plain gradient steps show the gradient itself.
        swapper = make_swapper(precision="float32")
        swapper.compile(keras.optimizers.SGD(0.1), train=train, **losses)
        swapper.train_on_batch(x, y)
        return swapper

    both = after("both", adversarial=0.5, matching=2.0)
    alone = after("discriminator")
    unjudged = after("both", adversarial=0.0, matching=0.0)
    plain = after("autoencoder")
    for name in PEOPLE:
        for a, b in zip(
            both.discriminators[name].weights,
            alone.discriminators[name].weights,
            strict=True,
        ):
            np.testing.assert_allclose(array(a), array(b), atol=1e-5)
        for a, b, c in zip(
            unjudged.decoders[name].weights,
            plain.decoders[name].weights,
            both.decoders[name].weights,
            strict=True,
        ):
            np.testing.assert_allclose(array(a), array(b), atol=1e-5)
            assert np.abs(array(a) - array(c)).max() > 1e-5


def test_each_networks_gradient_is_clipped_as_a_whole_and_by_itself(make_swapper):
    """One that explodes takes a bounded step, and nobody else's is shortened."""
    swapper = make_swapper()
    swapper.compile(train="both")
    variables, optimizer = swapper.trainable_variables, swapper.optimizer
    loud = {v.path for v in swapper.encoder.trainable_variables}
    optimizer.build(variables)
    optimizer.apply(
        [keras.ops.full(v.shape, 100.0 if v.path in loud else 1e-5) for v in variables]
    )
    networks = (
        swapper.encoder,
        *swapper.decoders.values(),
        *swapper.discriminators.values(),
    )
    for network, adam in zip(networks, optimizer.optimizers, strict=True):
        # After one step Adam's first moment is a share of the gradient it was given.
        found = np.concatenate([array(m).ravel() for m in adam._momentums])
        norm = np.linalg.norm(found) / (1 - adam.beta_1)
        whole = 1e-5 * found.size**0.5
        expected = 1.0 if network is swapper.encoder else whole
        assert norm == pytest.approx(expected, rel=1e-3)


@pytest.mark.usefixtures("eager")
def test_a_look_at_held_out_faces_changes_nothing(make_swapper, facesets):
    swapper = make_swapper(train="both")
    batch = next(batches(facesets, 32, batch=4))
    swapper.train_on_batch(*batch)
    before = swapper.get_weights()
    assert np.isfinite(swapper.test_on_batch(*batch)).all()
    for a, b in zip(before, swapper.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["hinge", "least_squares"])
@pytest.mark.usefixtures("eager")
def test_adversarial_training_runs_saves_and_resumes(
    make_swapper, facesets, tmp_path, kind
):
    swapper = make_swapper(train="both", kind=kind, emphasis=1.0)
    run = training.Run(tmp_path / "run", swapper, swapper.config, steps=4, every=2)
    run.fit(lambda start: batches(facesets, 32, batch=4, start=start))
    assert np.isfinite([entry["loss"] for entry in run.history]).all()
    again = make_swapper(train="both", kind=kind, emphasis=1.0)
    resumed = training.Run(tmp_path / "run", again, again.config, steps=6, every=2)
    assert resumed.step == 4
    for name in PEOPLE:
        assert same(
            weights(again.discriminators[name]), weights(swapper.discriminators[name])
        )


def test_what_is_no_way_to_train_is_named(make_swapper):
    with pytest.raises(ValueError, match="'encoder' is unknown; choose from"):
        make_swapper(train="encoder")
    with pytest.raises(ValueError, match="'wasserstein'"):
        make_swapper(kind="wasserstein")


def test_eyes_and_mouth_can_count_more(make_swapper, facesets):
    x, y = next(batches(facesets, 32, batch=4))

    def blamed(emphasis, inside):
        swapper = make_swapper(emphasis=emphasis, dssim=0.0)
        painted = {n: y[n][..., :4].copy() for n in PEOPLE}
        for n in PEOPLE:
            target = y[n]
            where = (target[..., 4:] > 0.5) if inside else (target[..., 3:4] > 0.5)
            painted[n][..., :3] += 0.2 * where / where.mean()
        return float(swapper.compute_loss(x, y, painted))

    assert blamed(3.0, True) / blamed(3.0, False) > 1.3 * (
        blamed(0.0, True) / blamed(0.0, False)
    )


def test_a_painter_without_a_mask_gives_one_that_covers_all(tiny, aligned):
    maskless = {**tiny, "decoder": {**tiny["decoder"], "mask": False}}
    painted, mask = FaceSwapper(PEOPLE, maskless).swap(aligned["collins"], "hopper")
    assert painted.shape == (6, 32, 32, 3)
    np.testing.assert_array_equal(mask, np.ones((6, 32, 32, 1)))


# --- base weights -----------------------------------------------------------------


def test_base_weights_give_every_decoder_the_same_start(
    trained, make_swapper, aligned, tmp_path
):
    swapper, _, _ = trained
    swapper.save_base(tmp_path / "base.npz")
    assert [f.name for f in tmp_path.iterdir()] == ["base.npz"]
    new = make_swapper(("x", "y"))
    assert new.start_from(tmp_path / "base.npz") is new
    # Kept as float16: nearly, not wholly, the same.
    expected, _ = swapper.swap(aligned["collins"], "collins")
    for name in ("x", "y"):
        painted, _ = new.swap(aligned["collins"], name)
        np.testing.assert_allclose(painted, expected, atol=0.02)


def test_a_part_of_the_base_is_a_start_between_it_and_noise(
    trained, make_swapper, tmp_path
):
    swapper, _, _ = trained
    swapper.save_base(tmp_path / "base.npz")
    fresh, new = make_swapper(("x",)), make_swapper(("x",))
    new.start_from(tmp_path / "base.npz", keep=0.5)
    for mine, base, noise in zip(
        *(weights(s.encoder) for s in (new, swapper, fresh)), strict=True
    ):
        np.testing.assert_allclose(mine, (base + noise) / 2, atol=1e-2)


def test_an_earlier_run_is_a_start_for_the_same_people_and_for_others(
    trained, make_swapper, tiny
):
    swapper, _, folder = trained
    new = make_swapper(("hopper", "lovelace")).start_from(folder)
    assert same(weights(new.encoder), weights(swapper.encoder))
    for name, origin in (("hopper", "hopper"), ("lovelace", "collins")):
        assert same(weights(new.decoders[name]), weights(swapper.decoders[origin]))
    wider = {**tiny, "decoder": {**tiny["decoder"], "head_width": 24}}
    with pytest.raises(ValueError, match="run was trained with another preset"):
        FaceSwapper(PEOPLE, wider).start_from(folder)


# --- a person added later ---------------------------------------------------------


@pytest.fixture(scope="module")
def known(make_swapper, facesets, tmp_path_factory):
    """The run folder of two people, whose latents are known."""
    folder = tmp_path_factory.mktemp("known") / "run"
    run = training.Run(folder, make_swapper(rate=5e-3), steps=40, every=20)
    run.fit(facesets)
    return folder


@pytest.fixture
def add(known, facesets, tmp_path, tiny):
    """A function: add Lovelace, who looks like Hopper, to the two who are known."""

    def add(folder="added", steps=40, train="autoencoder", **settings):
        keras.utils.set_random_seed(1)
        swapper = FaceSwapper(("collins", "lovelace", "hopper"), tiny)
        swapper.start_from(known)
        swapper.compile(keras.optimizers.Adam(5e-3), train=train, **settings)
        run = training.Run(tmp_path / folder, swapper, steps=steps, every=4, decay=0)
        people = {"lovelace": facesets["hopper"]}
        run.fit(people if swapper.only else facesets | people)
        return run

    return add


def parts_of(swapper, name):
    return [w for p in (swapper.decoders, swapper.bounds) for w in weights(p[name])]


@pytest.mark.parametrize("train", ["autoencoder", "both"])
def test_whoever_is_added_changes_nobody_else(known, add, aligned, train):
    before, run = FaceSwapper.from_preset(known), add(train=train, only="lovelace")
    assert not {"collins_error", "hopper_error"} & run.history[0].keys()
    errors = [entry["lovelace_error"] for entry in run.history]
    assert errors[-1] < 0.9 * errors[0]
    for after in (run.trained, FaceSwapper.from_preset(run.folder)):
        assert after.identities == ("collins", "lovelace", "hopper")
        assert same(weights(after.encoder), weights(before.encoder))
        for name in PEOPLE:
            assert same(parts_of(after, name), parts_of(before, name))
            D = before.discriminators[name]
            assert same(weights(after.discriminators[name]), weights(D))
            assert float(before.bounds[name].adapted) == 1
            for source in PEOPLE:
                np.testing.assert_array_equal(
                    after.swap(aligned[source], name)[0],
                    before.swap(aligned[source], name)[0],
                )
        assert float(after.bounds["lovelace"].adapted) == 1
        moved = not same(
            weights(after.discriminators["lovelace"]),
            weights(before.discriminators["collins"]),
        )
        assert moved == (train == "both")
        made, _ = after.swap(aligned["collins"], "lovelace")
        mean = {name: aligned[name].mean(0) for name in PEOPLE}
        far, near = (np.abs(made - mean[name]).mean() for name in PEOPLE)
        assert near < far


@pytest.mark.usefixtures("eager")
def test_whoever_is_added_may_be_learned_by_all(known, add):
    """Without `only` the encoder learns on, and the others with it."""
    before, after = FaceSwapper.from_preset(known), add(steps=4).trained
    assert not same(weights(after.encoder), weights(before.encoder))
    for name in PEOPLE:
        assert not same(weights(after.decoders[name]), weights(before.decoders[name]))


@pytest.mark.usefixtures("eager")
def test_adding_somebody_resumes_exactly(add):
    whole = add("whole", steps=8, train="both", only="lovelace")
    add("halves", steps=4, train="both", only="lovelace")
    halves = add("halves", steps=8, train="both", only="lovelace")
    assert halves.step == 8 and len(halves.history) == 2
    assert same(whole.trained.get_weights(), halves.trained.get_weights())
    state = ([array(v) for v in r.trained.optimizer.variables] for r in (whole, halves))
    assert same(*state)


@pytest.mark.usefixtures("eager")
def test_who_learns_is_part_of_a_run(add, swapper):
    add(steps=4, only="lovelace")
    with pytest.raises(ValueError, match="only='lovelace', not 'hopper'"):
        add(steps=4, only="hopper")
    with pytest.raises(ValueError, match="'lovelace' is unknown; choose from"):
        swapper.compile(only="lovelace")


def test_base_weights_that_do_not_fit_are_named(untrained, tiny, tmp_path):
    untrained.save_base(tmp_path / "base.npz")
    wider = {**tiny, "decoder": {**tiny["decoder"], "head_width": 24}}
    with pytest.raises(ValueError, match=r"base\.npz does not fit"):
        FaceSwapper(PEOPLE, wider).start_from(tmp_path / "base.npz")
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        untrained.start_from(tmp_path / "none.npz")


def damaged(arrays):
    """Name → bytes of a file that is no base for these arrays."""
    first = next(iter(arrays))

    def packed(**changes):
        file = io.BytesIO()
        np.savez(file, **{**arrays, **changes})
        return file.getvalue()

    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in arrays:
            archive.writestr(f"{name}.npy", bytes(20_000_000 if name == first else 10))
    huge = io.BytesIO()
    header = {"descr": "<f2", "fortran_order": False, "shape": (10**15,)}
    with zipfile.ZipFile(huge, "w") as archive:
        for name in arrays:
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, header)
    whole = packed()
    yield "pickle", packed(**{first: np.array([{"a": print}], dtype=object)})
    yield "names", packed(extra=arrays[first])
    yield "NaN", packed(**{first: np.full_like(arrays[first], np.nan)})
    yield "text", packed(**{first: np.full(arrays[first].shape, "x")})
    yield "bomb", bomb.getvalue()
    yield "huge", huge.getvalue()
    yield "cut", whole[: len(whole) // 2]
    yield "empty", b""
    single = io.BytesIO()
    np.save(single, arrays[first])
    yield "npy", single.getvalue()


def test_a_foreign_file_of_weights_is_refused_in_a_sentence(untrained, tmp_path):
    untrained.save_base(tmp_path / "base.npz")
    with np.load(tmp_path / "base.npz") as saved:
        arrays = dict(saved)
    before = untrained.sha256()
    for name, content in damaged(arrays):
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}.npz does not fit the preset"):
            untrained.start_from(tmp_path / f"{name}.npz")
    assert untrained.sha256() == before


@pytest.mark.parametrize(
    "change",
    [
        {"preset": {"size": 10**9}},
        {"preset": "enormous"},
        {"preset": [1, 2]},
        {"preset": None},
        {"identities": "ab"},
        {"identities": [1, {}]},
        {"identities": []},
    ],
)
def test_a_foreign_run_folder_is_refused_in_a_sentence(change, swapper, tmp_path):
    config = {**swapper.config, **change}
    training.Run(tmp_path / "run", swapper, config, steps=1)._save()
    with pytest.raises(ValueError, match=r"00/run.json does not describe such a model"):
        FaceSwapper.from_preset(tmp_path / "run")


def test_against_discriminators_the_learning_rate_is_low(swapper):
    def rates(train):
        swapper.compile(train=train)
        swapper.optimizer.build(swapper.trainable_variables)
        found = swapper.optimizer.optimizers
        return {round(float(o.learning_rate), 6) for o in found}

    usual = swapper.preset.get("rate", 1e-3)
    assert rates("autoencoder") == {usual} and rates("discriminator") == {usual}
    assert rates("both") == {min(usual, 3e-4)}
    assert PRESETS["light"]["rate"] > 3e-4
