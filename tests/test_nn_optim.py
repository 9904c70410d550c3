"""Optimizers against numbers worked out by hand from their formulas, and their memory."""

import math
import tracemalloc

import numpy as np
import pytest

from fastconv import nn

GRADIENTS = ([1.0, -0.5], [0.5, 2.0], [-3.0, 0.25])


def run(make, gradients=GRADIENTS, dtype=np.float64):
    """Values of the parameter, first [1, -2], after each step."""
    parameter = nn.Parameter(np.array([1.0, -2.0], dtype))
    optimizer = make([parameter])
    path = []
    for gradient in gradients:
        parameter.grad = np.array(gradient, dtype)
        optimizer.step()
        path.append(parameter.data.copy())
    return path


def test_sgd_walks_down_the_gradient():
    path = run(lambda p: nn.SGD(p, lr=0.1))
    np.testing.assert_allclose(path, [[0.9, -1.95], [0.85, -2.15], [1.15, -2.175]], rtol=1e-14)


def test_sgd_momentum():
    # v: 1, 0.9 + 0.5 = 1.4, 1.26 - 3 = -1.74 and -0.5, -0.45 + 2 = 1.55, 1.395 + 0.25 = 1.645.
    path = run(lambda p: nn.SGD(p, lr=0.1, momentum=0.9))
    np.testing.assert_allclose(path, [[0.9, -1.95], [0.76, -2.105], [0.934, -2.2695]], rtol=1e-14)


def test_sgd_dampening_spares_the_first_step():
    # v: 1, 0.9 + 0.25 = 1.15, 1.035 - 1.5 = -0.465 and
    # -0.5, -0.45 + 1 = 0.55, 0.495 + 0.125 = 0.62.
    path = run(lambda p: nn.SGD(p, lr=0.1, momentum=0.9, dampening=0.5))
    np.testing.assert_allclose(path, [[0.9, -1.95], [0.785, -2.005], [0.8315, -2.067]], rtol=1e-14)


def test_sgd_nesterov():
    # g + 0.9 v with the v of test_sgd_momentum: 1.9, 1.76, -4.566 and -0.95, 3.395, 1.7305.
    path = run(lambda p: nn.SGD(p, lr=0.1, momentum=0.9, nesterov=True))
    expected = [[0.81, -1.905], [0.634, -2.2445], [1.0906, -2.41755]]
    np.testing.assert_allclose(path, expected, rtol=1e-14)


def test_sgd_weight_decay_goes_into_the_velocity():
    # g + 0.1 p: 1.1 and -0.7; then p = 0.89, -1.93: 0.589 and 1.807; v = 1.1 * 0.5 + 0.589 = 1.139,
    # -0.35 + 1.807 = 1.457.
    path = run(lambda p: nn.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.1), GRADIENTS[:2])
    np.testing.assert_allclose(path, [[0.89, -1.93], [0.7761, -2.0757]], rtol=1e-14)


def test_adam_first_two_steps():
    # m = 0.1 and 0.14, corrected 1 and 0.14/0.19;
    # v = 0.001 and 0.001249, corrected 1 and 0.001249/0.001999.
    path = run(lambda p: nn.Adam(p, lr=0.1, eps=0.0), ([1.0, 1.0], [0.5, 0.5]))
    second = 0.1 * (0.14 / 0.19) / math.sqrt(0.001249 / 0.001999)
    np.testing.assert_allclose(path, [[0.9, -2.1], [0.9 - second, -2.1 - second]], rtol=1e-12)


def test_adam_weight_decay_goes_into_the_gradient():
    # g + 0.5 p = 1.5 and -1.5: a step of lr / (1 + eps / 1.5) in its direction.
    path = run(lambda p: nn.Adam(p, lr=0.1, weight_decay=0.5, eps=0.3), ([1.0, -0.5],))
    np.testing.assert_allclose(path, [[1 - 0.15 / 1.8, -2 + 0.15 / 1.8]], rtol=1e-12)


def test_adamw_weight_decay_leaves_the_gradient_alone():
    # p (1 - 0.1 * 0.5), then a step of lr against the gradient's sign.
    path = run(lambda p: nn.AdamW(p, lr=0.1, weight_decay=0.5, eps=0.0), ([7.0, -0.5],))
    np.testing.assert_allclose(path, [[0.95 - 0.1, -1.9 + 0.1]], rtol=1e-12)


OPTIMIZERS = {
    "sgd": lambda p: nn.SGD(p, lr=0.1),
    "sgd with everything": lambda p: nn.SGD(
        p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True
    ),
    "sgd dampened": lambda p: nn.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, dampening=0.5),
    "adam": lambda p: nn.Adam(p, weight_decay=0.1),
    "adamw": lambda p: nn.AdamW(p),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_step_after_the_first_allocates(name):
    parameters = [nn.Parameter(np.ones(200_000, np.float32)), nn.Parameter(np.ones((3, 5)))]
    optimizer = OPTIMIZERS[name](parameters)
    arrays = [parameter.data for parameter in parameters]
    gradients = [np.ones_like(array) for array in arrays]

    def step():
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        optimizer.step()

    step()
    tracemalloc.start()
    try:
        step()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000  # bytes; one temporary of the large parameter would take 800,000
    assert all(parameter.data is array for parameter, array in zip(parameters, arrays))
    assert all(np.all(gradient == 1) for gradient in gradients)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_follows_float64(name):
    single, double = run(OPTIMIZERS[name], dtype=np.float32), run(OPTIMIZERS[name])
    assert single[-1].dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_dict_continues_where_it_stood(name):
    one, two = nn.Parameter([1.0, -2.0]), nn.Parameter([1.0, -2.0])
    first, second = OPTIMIZERS[name]([one]), OPTIMIZERS[name]([two])
    for gradient in GRADIENTS:
        one.grad = np.array(gradient)
        first.step()
    first.lr = 0.25
    two.data = one.data
    second.load_state_dict(first.state_dict())
    assert second.lr == 0.25
    for parameter, optimizer in ((one, first), (two, second)):
        parameter.grad = np.array([1.0, 1.0])
        optimizer.step()
    np.testing.assert_array_equal(one.data, two.data)
    # The saved state was copied: the steps of one optimizer do not reach the other.
    one.grad = np.array([1.0, 1.0])
    first.step()
    assert not np.array_equal(one.data, two.data)


def test_learning_rate_can_be_changed():
    parameter = nn.Parameter([1.0])
    optimizer = nn.SGD([parameter], lr=1.0)
    optimizer.lr = 0.25
    parameter.grad = np.array([1.0])
    optimizer.step()
    assert parameter.data == [0.75]
    with pytest.raises(ValueError, match="lr must be at least 0, not -1"):
        optimizer.lr = -1


def test_a_parameter_without_gradient_stays():
    moved, still = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = nn.SGD([moved, still], lr=0.5, weight_decay=0.1)
    moved.grad = np.array([1.0])
    versions = moved.version, still.version
    optimizer.step()
    assert moved.data == [1 - 0.5 * 1.1]
    assert still.data == [1.0]
    assert moved.version > versions[0]
    assert still.version == versions[1]
    optimizer.zero_grad()
    assert moved.grad is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: nn.SGD([]), ValueError, "parameters must not be empty"),
        (lambda p: nn.SGD([p, p]), ValueError, "given twice"),
        (lambda p: nn.SGD([np.ones(2)]), TypeError, "must be Parameter objects"),
        (lambda p: nn.SGD([p], lr=-0.1), ValueError, "lr must be at least 0, not -0.1"),
        (lambda p: nn.SGD([p], lr=math.nan), ValueError, "lr must be at least 0, not nan"),
        (lambda p: nn.SGD([p], momentum=-1), ValueError, "momentum must be at least 0, not -1"),
        (lambda p: nn.SGD([p], nesterov=True), ValueError, "nesterov needs momentum above 0"),
        (lambda p: nn.Adam([p], betas=(0.9, 1.0)), ValueError, "betas must be two numbers"),
        (lambda p: nn.Adam([p], betas=(0.9,)), ValueError, "betas must be two numbers"),
        (lambda p: nn.AdamW([p], eps=-1e-8), ValueError, "AdamW: eps must be at least 0"),
        (lambda p: nn.Adam([p], weight_decay=-1), ValueError, "weight_decay must be at least 0"),
    ],
)
def test_bad_options(make, error, message):
    with pytest.raises(error, match=message):
        make(nn.Parameter([1.0]))


def test_a_gradient_of_another_shape_is_refused():
    parameter = nn.Parameter(np.ones((2, 3)))
    parameter.grad = np.ones(3)
    with pytest.raises(ValueError, match=r"grad of shape \(3,\) is not of its parameter's shape"):
        nn.SGD([parameter]).step()


def test_load_state_dict_refuses_another_optimizer():
    parameter = nn.Parameter([1.0])
    saved = nn.Adam([parameter]).state_dict()
    with pytest.raises(ValueError, match=r"options .* are not those of SGD"):
        nn.SGD([parameter]).load_state_dict(saved)
    with pytest.raises(ValueError, match="state of 1 parameters for an optimizer of 2"):
        nn.Adam([parameter, nn.Parameter([1.0])]).load_state_dict(saved)
    parameter.grad = np.ones(1)
    optimizer = nn.Adam([parameter])
    optimizer.step()
    with pytest.raises(ValueError, match=r"mean of shape \(1,\) does not fit .* \(3,\)"):
        nn.Adam([nn.Parameter([1.0, 1.0, 1.0])]).load_state_dict(optimizer.state_dict())
