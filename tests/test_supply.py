"""What is published, and the oldest versions: needs `build` and a package index."""

import importlib.util

import pytest
from reliability import supply


def test_lower_bounds_are_exact_versions():
    bounds = supply.lower_bounds()
    assert len(bounds) == 4 and all("==" in bound and bound.endswith(".*") for bound in bounds)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_installing_into_an_empty_environment(kind):
    if importlib.util.find_spec("build") is None:
        pytest.skip("needs build")
    assert set(supply.published(kind)) >= {"numpy", "numba", "scipy", "KiB"}


@pytest.mark.slow
def test_the_oldest_versions():
    if importlib.util.find_spec("build") is None:
        pytest.skip("needs build")
    assert supply.oldest()["numba"].startswith("0.62")
