"""What is hot on a GPU, each written twice: in Triton, and in plain torch as its twin.

A twin is the oracle of its kernel and what runs on a CPU. `select.kernels_for` says which of the two a
device takes; docs/triton.md what has been compiled and what has not been measured.
"""
