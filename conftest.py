"""Which doctests can run here: the modules of CUDA kernels need its package to be imported."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("numba_cuda") else ["fastconv/cuda/*"]
