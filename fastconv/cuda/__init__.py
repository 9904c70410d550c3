"""The engine for NVIDIA GPUs: the operations on arrays that lie on a device.

Imported when an array on a device first comes to a door. `backend` alone imports Numba's CUDA
package; file and function names are those of `fastconv.cpu` where the idea is the same.
"""
