"""What `fit` offers beyond the loop: checkpoints, early stopping, clipping, times."""

import numpy as np
import pytest

import fastconv
from fastconv import nn


def samples(count=12):
    rng = np.random.default_rng(3)
    images = rng.standard_normal((count, 2, 6, 7)).astype(np.float32)
    return images, rng.integers(0, 3, count)


def small_net():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, rng=0),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25, rng=1),
        head=nn.Sequential(nn.Linear(36, 3, rng=2)),
    )


OPTIMIZERS = {
    "momentum": lambda model: nn.SGD(model.parameters(), lr=0.05, momentum=0.9),
    "adam": lambda model: nn.Adam(model.parameters(), lr=0.01),
}


def start(make="momentum"):
    model = small_net()
    return model, OPTIMIZERS[make](model)


def run(model, optimizer, **options):
    settings = {"epochs": 4, "batch_size": 5, "rng": 7, **options}
    settings.setdefault("schedule", nn.schedules.cosine(0.2))
    return nn.fit(model, *samples(), optimizer=optimizer, **settings)


def assert_same(first, second):
    for (name, a), (_, b) in zip(first.named_arrays(), second.named_arrays()):
        np.testing.assert_array_equal(a, b, err_msg=name)


class Interrupted:
    """A loss that raises KeyboardInterrupt at its call number `at`."""

    def __init__(self, at):
        self.left = at

    def __call__(self, output, target):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return nn.cross_entropy(output, target)


# --- checkpoints


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("at", [1, 7])
def test_a_resumed_training_reaches_the_same_bits(tmp_path, make, at):
    whole, optimizer = start(make)
    expected = run(whole, optimizer)
    path = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(*start(make), checkpoint=path, loss=Interrupted(at))
    resumed, optimizer = start(make)
    history = run(resumed, optimizer, rng=99, checkpoint=path, resume=True)
    assert_same(whole, resumed)
    assert history.batch_loss == expected.batch_loss
    assert len(history.loss) == 4
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_finished_training_can_be_made_longer(tmp_path):
    path = tmp_path / "training.safetensors"
    whole, optimizer = start()
    run(whole, optimizer, schedule=None)
    run(*start(), epochs=3, schedule=None, checkpoint=path)
    longer, optimizer = start()
    run(longer, optimizer, schedule=None, checkpoint=path, resume=True)
    assert_same(whole, longer)


def test_resume_without_a_file_begins(tmp_path):
    history = run(*start(), epochs=1, checkpoint=tmp_path / "new.safetensors", resume=True)
    assert len(history.loss) == 1


def test_a_failed_write_leaves_the_checkpoint_of_the_epoch_before(tmp_path, monkeypatch):
    path = tmp_path / "training.safetensors"
    run(*start(), epochs=1, checkpoint=path)
    before = path.read_bytes()

    def full(self, target):
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="no space left"):
        run(*start(), epochs=2, checkpoint=path, resume=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "training.safetensors"
    run(*start(), epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match="batch_size 5, not 4"):
        run(*start(), batch_size=4, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="options"):
        run(*start("adam"), checkpoint=path, resume=True)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(rng=0), nn.Linear(84, 3))
    with pytest.raises(ValueError, match="do not fit the model"):
        run(model, OPTIMIZERS["momentum"](model), checkpoint=path, resume=True)
    model.save(path)
    with pytest.raises(ValueError, match="no checkpoint"):
        run(*start(), checkpoint=path, resume=True)


# --- early stopping and clipping


class Judged:
    """Validation losses by list: of calls in evaluation mode, which have no gradient to give."""

    def __init__(self, model, losses):
        self.model, self.losses, self.states = model, list(losses), []

    def __call__(self, output, target):
        if self.model.training:
            return nn.cross_entropy(output, target)
        self.states.append(self.model.state_dict())
        return self.losses.pop(0), np.zeros_like(output)


def test_patience_stops_and_goes_back_to_the_best_epoch():
    model, optimizer = start()
    loss = Judged(model, [3.0, 1.0, 2.0, float("nan"), 1.0, 0.5])
    images, labels = samples(4)
    history = run(model, optimizer, epochs=9, patience=3, validation=(images, labels), loss=loss)
    assert history.best_epoch == 1
    np.testing.assert_equal(history.validation_loss, [3.0, 1.0, 2.0, float("nan"), 1.0])
    for name, array in model.named_arrays():
        np.testing.assert_array_equal(array, loss.states[1][name])


def test_the_best_epoch_survives_a_resumption(tmp_path):
    path = tmp_path / "training.safetensors"
    model, optimizer = start()
    held_out = samples(4)
    first = Judged(model, [1.0, 2.0])
    options = {"patience": 3, "validation": held_out, "checkpoint": path}
    run(model, optimizer, epochs=2, loss=first, **options)
    model, optimizer = start()
    loss = Judged(model, [3.0, 4.0])
    history = run(model, optimizer, epochs=8, loss=loss, resume=True, **options)
    assert history.validation_loss == [1.0, 2.0, 3.0, 4.0]
    for name, array in model.named_arrays():
        np.testing.assert_array_equal(array, first.states[0][name])


def test_clipping_bounds_the_step():
    model, optimizer = nn.Sequential(nn.Flatten(), nn.Linear(84, 3, rng=0)), None
    before = model.state_dict()
    optimizer = nn.SGD(model.parameters(), lr=1.0)
    nn.fit(model, *samples(), epochs=1, batch_size=12, optimizer=optimizer, clip_norm=1e-3)
    moved = [array - before[name] for name, array in model.named_arrays()]
    norm = np.sqrt(sum(np.sum(np.square(m, dtype=np.float64)) for m in moved))
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_small_and_infinite_norms_change_nothing():
    parameter = nn.Parameter([1.0, 2.0])
    for gradient in ([0.3, 0.4], [np.inf, 1.0]):
        parameter.grad = np.array(gradient)
        nn.clip_gradients([parameter], 1.0)
        assert parameter.grad.tolist() == gradient


@pytest.mark.parametrize(
    "options, message",
    [
        ({"clip_norm": 0}, "clip_norm must be positive, not 0"),
        ({"patience": 2}, "patience=2 needs a validation set"),
        ({"patience": 0, "validation": samples()}, "patience must be at least 1"),
        ({"resume": True}, "resume=True needs checkpoint="),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run(*start(), **options)


def test_schedules_refuse():
    for make, message in (
        (lambda: nn.schedules.step((1.5,)), "drops must be between 0 and 1, not 1.5"),
        (lambda: nn.schedules.step(factor=0), "factor must be positive, not 0"),
        (lambda: nn.schedules.cosine(warmup=-1), "warmup must be between 0 and 1, not -1"),
        (lambda: nn.schedules.one_cycle(rise=2), "rise must be between 0 and 1, not 2"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


# --- times, silence, threads


def test_a_profile_has_every_layer_and_phase():
    history = run(*start(), profile=True, epochs=2, validation=samples(4))
    profile = history.profile
    assert profile.batches == 6
    assert set(profile.phases) == {"data", "forward", "loss", "backward", "optimizer"}
    assert all(seconds > 0 for seconds in profile.phases.values())
    names = " ".join(profile.layers)
    assert all(part in names for part in ("0", "1", "4", "5", "head.0"))
    inside = sum(ahead for _, ahead, _ in profile.layers.values())
    assert 0 < inside <= profile.phases["forward"]
    table = str(profile)
    assert "BatchNorm2d" in table and "optimizer" in table
    assert run(*start()).profile is None


def test_silent_by_default(capsys):
    run(*start(), epochs=1)
    assert capsys.readouterr() == ("", "")


def test_one_and_two_threads_give_the_same_bits_after_fifty_steps():
    images = np.random.default_rng(0).random((64, 1, 28, 28), dtype=np.float32)
    labels = np.random.default_rng(1).integers(0, 10, 64)
    models = []
    for threads in (1, 2):
        model = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2, rng=0),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5, rng=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 84, rng=2),
            nn.ReLU(),
            nn.Linear(84, 10, rng=3),
        )
        optimizer = nn.SGD(model.parameters(), lr=0.05, momentum=0.9)
        with fastconv.threads(threads):
            nn.fit(model, images, labels, epochs=50, batch_size=64, optimizer=optimizer, rng=0)
        models.append(model)
    assert_same(*models)
