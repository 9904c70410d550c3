"""A minimal network API: layers with explicit forward and backward, losses, optimizers, training.

There is no tape and no graph. A model is a `Sequential` of layers, possibly nested; parameter
names, layouts and formulas are PyTorch's, and files are safetensors, so weights go from one to the
other unchanged.

Examples
--------
A linear model learns y = 2 x from two samples:

>>> import numpy as np
>>> from fastconv import nn
>>> model = nn.Sequential(nn.Linear(1, 1, rng=0))
>>> optimizer = nn.SGD(model.parameters(), lr=0.3)
>>> x = np.array([[-1.0], [1.0]], np.float32)
>>> for _ in range(50):
...     loss, gradient = nn.mse_loss(model(x), 2 * x)
...     optimizer.zero_grad()
...     model.backward(gradient, input_gradient=False)
...     optimizer.step()
>>> model(np.array([[10.0]], np.float32)).round(3)
array([[20.]], dtype=float32)
"""

from fastconv.nn import init, schedules
from fastconv.nn.activation import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from fastconv.nn.convolution import Conv1d, Conv2d, Conv3d
from fastconv.nn.history import History
from fastconv.nn.layer import Layer, Parameter
from fastconv.nn.linear import Dropout, Flatten, Linear
from fastconv.nn.losses import cross_entropy, mse_loss
from fastconv.nn.normalisation import BatchNorm1d, BatchNorm2d, BatchNorm3d
from fastconv.nn.optim import SGD, Adam, AdamW, Optimizer, clip_gradients
from fastconv.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from fastconv.nn.profile import Profile
from fastconv.nn.sequential import Concat, Residual, Sequential
from fastconv.nn.summary import Summary
from fastconv.nn.training import evaluate, fit, predict
from fastconv.nn.transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

__all__ = [
    "GELU",
    "SGD",
    "Adam",
    "AdamW",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dropout",
    "Flatten",
    "History",
    "Layer",
    "LeakyReLU",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Optimizer",
    "Parameter",
    "Profile",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Summary",
    "Tanh",
    "clip_gradients",
    "cross_entropy",
    "evaluate",
    "fit",
    "init",
    "mse_loss",
    "predict",
    "schedules",
]
