"""fit, predict, evaluate: small nets learn, seeds repeat, reports and interruptions behave."""

import sys

import numpy as np
import pytest

import fastconv
from fastconv import nn


def small_net(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    options = {"dtype": dtype, "rng": rng}
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, **options),
        nn.BatchNorm2d(4, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.1, rng=rng),
        nn.Flatten(),
        nn.Linear(16, 3, **options),
    )


def samples(count=12, dtype=np.float32):
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, 1, 4, 4)).astype(dtype), np.arange(count) % 3


def train(model, images, labels, **options):
    settings = {"epochs": 3, "batch_size": 5, "progress": False, "rng": 0, **options}
    optimizer = settings.pop("optimizer", None) or nn.SGD(model.parameters(), 0.05, momentum=0.9)
    return nn.fit(model, images, labels, optimizer=optimizer, **settings)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: nn.SGD(p, lr=0.1, momentum=0.9),
        lambda p: nn.Adam(p, lr=0.02),
        lambda p: nn.AdamW(p, lr=0.02),
    ],
)
def test_a_small_net_learns_random_labels_by_heart(make):
    model = small_net()
    images, labels = samples()
    history = train(
        model, images, labels, epochs=60, batch_size=12, optimizer=make(model.parameters())
    )
    assert history.loss[-1] < 0.2 * history.loss[0]
    assert nn.evaluate(model, images, labels)[1] == 1.0
    np.testing.assert_array_equal(nn.predict(model, images).argmax(axis=1), labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_seed_repeats_every_bit(dtype):
    states = []
    for _ in range(2):
        model = small_net(3, dtype)
        history = train(model, *samples(dtype=dtype))
        states.append((model.state_dict(), history.batch_loss))
    assert states[0][1] == states[1][1]
    for name, array in states[0][0].items():
        np.testing.assert_array_equal(array, states[1][0][name])
    other = train(small_net(3, dtype), *samples(dtype=dtype), rng=1)
    assert other.batch_loss != states[0][1]


def test_history_has_one_entry_per_epoch():
    images, labels = samples()
    history = train(small_net(), images, labels, validation=(images[:4], labels[:4]))
    lists = (
        history.loss,
        history.accuracy,
        history.validation_loss,
        history.validation_accuracy,
        history.seconds,
        history.images_per_second,
    )
    assert [len(values) for values in lists] == [3] * 6
    assert len(history.batch_loss) == 3 * 3
    # 12 samples in batches of 5, 5 and 2: the epoch's loss weighs each sample alike.
    first = history.batch_loss[:3]
    assert history.loss[0] == pytest.approx((5 * first[0] + 5 * first[1] + 2 * first[2]) / 12)
    speed, seconds = history.images_per_second[0], history.seconds[0]
    assert speed == pytest.approx(12 / seconds)


def test_fit_is_the_loop_written_out():
    images, labels = samples()
    one, two = small_net(5), small_net(5)
    train(one, images, labels, epochs=2, batch_size=6, shuffle=False)
    optimizer = nn.SGD(two.parameters(), 0.05, momentum=0.9)
    for _ in range(2):
        for start in (0, 6):
            output = two(images[start : start + 6])
            _, gradient = nn.cross_entropy(output, labels[start : start + 6])
            optimizer.zero_grad()
            two.backward(gradient)
            optimizer.step()
    expected = two.state_dict()
    for name, array in one.state_dict().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-6, atol=1e-7)


def test_schedule_scales_the_learning_rate_and_gives_it_back():
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    optimizer = nn.SGD(model.parameters(), lr=0.5)
    seen = []

    def schedule(done):
        seen.append(done)
        return 1 - done

    rates = []

    def loss(output, target):
        rates.append(optimizer.lr)
        return nn.mse_loss(output, target)

    x = np.ones((4, 1), np.float32)
    train(model, x, x, epochs=2, batch_size=2, optimizer=optimizer, loss=loss, schedule=schedule)
    assert seen == [0.0, 0.25, 0.5, 0.75]
    assert rates == [0.5, 0.375, 0.25, 0.125]
    assert optimizer.lr == 0.5


def test_targets_may_be_values():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(64, 3))
    y = x @ np.array([[1.0], [-2.0], [0.5]]) + 3
    model = nn.Sequential(nn.Linear(3, 1, dtype=np.float64, rng=rng))
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    history = train(
        model, x, y, epochs=100, loss=nn.mse_loss, optimizer=optimizer, validation=(x, y)
    )
    assert history.loss[-1] < 1e-8
    assert history.accuracy == history.validation_accuracy == []
    np.testing.assert_allclose(model[0].weight.data, [[1, -2, 0.5]], rtol=1e-3)
    assert nn.evaluate(model, x, y, loss=nn.mse_loss)[1] is None


def test_byte_images_are_scaled_and_get_a_channel():
    images = np.random.default_rng(3).integers(0, 256, (6, 4, 4), np.uint8)
    model = small_net()
    scaled = (images[:, None] / np.float32(255)).astype(np.float32)
    np.testing.assert_array_equal(nn.predict(model, images), nn.predict(model, scaled))
    labels = np.arange(6) % 3
    assert train(model, images, labels, epochs=1).loss[0] > 0
    wide = small_net(dtype=np.float64)
    assert nn.predict(wide, images).dtype == np.float64


def test_predict_does_not_depend_on_the_batch_size_nor_change_the_model():
    model = small_net()
    images, labels = samples()
    train(model, images, labels)
    model.train()
    model[1].eval()
    before = model.state_dict()
    modes = [layer.training for layer in model.layers()]
    expected = nn.predict(model, images)
    for batch_size in (1, 5, 100):
        np.testing.assert_allclose(
            nn.predict(model, images, batch_size=batch_size), expected, rtol=1e-6, atol=1e-7
        )
    assert [layer.training for layer in model.layers()] == modes
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_evaluate_weighs_every_sample_alike():
    model = nn.Sequential(nn.ReLU())
    scores = np.array([[2, 0], [0, 1], [3, 0]], np.float32)
    expected = nn.cross_entropy(scores, [0, 0, 1])[0]
    loss, accuracy = nn.evaluate(model, scores, [0, 0, 1], batch_size=2)
    assert loss == pytest.approx(expected)
    assert accuracy == pytest.approx(1 / 3)
    assert isinstance(accuracy, float)


def test_accuracy_of_segmentations_counts_positions():
    model = nn.Sequential(nn.ReLU())
    scores = np.zeros((2, 2, 3), np.float32)
    scores[:, 1] = [1, 0, 1]
    labels = np.array([[1, 0, 0], [1, 1, 1]])
    assert nn.evaluate(model, scores, labels)[1] == pytest.approx(4 / 6)


def test_an_interrupted_training_leaves_a_usable_model():
    model = small_net()
    images, labels = samples()
    optimizer = nn.SGD(model.parameters(), lr=0.05)
    calls = []

    def loss(output, target):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return nn.cross_entropy(output, target)

    with pytest.raises(KeyboardInterrupt):
        train(model, images, labels, loss=loss, optimizer=optimizer, schedule=lambda done: 0.5)
    assert optimizer.lr == 0.05
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert np.isfinite(nn.predict(model, images)).all()


def test_one_line_per_epoch_without_a_terminal(capsys):
    images, labels = samples()
    train(small_net(), images, labels, epochs=2, progress=True, validation=(images, labels))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2: loss ")
    assert "accuracy" in lines[1]
    assert "validation loss" in lines[1]
    assert lines[1].endswith("images/s")


@pytest.mark.parametrize("progress", [False, None])
def test_silence_without_a_terminal(capsys, progress):
    train(small_net(), *samples(), progress=progress)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("progress", [True, None])
def test_a_bar_on_a_terminal(capsys, monkeypatch, progress):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    train(small_net(), *samples(), epochs=2, progress=progress)
    text = capsys.readouterr().err
    for part in ("epoch 1/2: 100%", "epoch 2/2: 100%", "12/12", "images/s", "loss", "accuracy"):
        assert part in text


def test_lines_on_a_terminal_without_tqdm(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    train(small_net(), *samples(), epochs=2, progress=True)
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "fit: epochs must be at least 1"),
        ({"batch_size": 0}, ValueError, "fit: batch_size must be at least 1"),
        ({"batch_size": 2.5}, TypeError, "fit: batch_size must be an integer"),
        ({"labels": np.zeros(5, int)}, ValueError, "do not fit 12 images"),
        ({"images": np.zeros((12, 1, 4, 4), int)}, TypeError, "must be uint8 or of a float type"),
        ({"images": np.zeros((0, 1, 4, 4))}, ValueError, "hold no sample"),
        ({"labels": np.full(12, 3)}, ValueError, "labels run from 3 to 3"),
        ({"validation": (np.zeros((2, 1, 4, 4)), [0])}, ValueError, "do not fit 2 images"),
    ],
)
def test_fit_refuses(options, error, message):
    images, labels = samples()
    options = dict(options)
    with pytest.raises(error, match=message):
        train(small_net(), options.pop("images", images), options.pop("labels", labels), **options)


def test_a_model_without_parameters_works_in_float32():
    assert nn.predict(nn.Sequential(nn.ReLU()), np.ones((2, 3))).dtype == np.float32


@pytest.mark.parametrize("batch", [32])
def test_fifty_steps_give_the_same_weights_for_any_number_of_threads(batch):
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, 1, 16, 16)).astype(np.float32)
    labels = random.integers(0, 10, batch)

    def trained(threads):
        model = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2, rng=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 40, 3, rng=2),
            nn.BatchNorm2d(40),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(40 * 36, 10, rng=3),
        )
        optimizer = nn.SGD(model.parameters(), lr=0.01, momentum=0.9)
        with fastconv.threads(threads):
            for _ in range(50):
                _, gradient = nn.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                model.backward(gradient, input_gradient=False)
                optimizer.step()
        return model.state_dict()

    one, two = trained(1), trained(2)
    for name, weights in one.items():
        np.testing.assert_array_equal(weights, two[name], err_msg=name, strict=True)
