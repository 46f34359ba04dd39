"""The door for clients of Triton and KServe, who speak Open Inference v2."""
