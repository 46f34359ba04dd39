"""How all kernels are compiled, by a launch as ahead of time."""

# Multiplications and additions are not fused where the source does not say so: a sum then has the
# bits that the twin's has. Warps and stages are those that spill nothing; none has been timed.
OPTIONS = {"num_warps": 4, "num_stages": 2, "enable_fp_fusion": False}
