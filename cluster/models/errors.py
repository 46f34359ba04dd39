"""What can go wrong between a model's name and its file; every message names the model.

The constructors pass their arguments on, so the errors survive pickling between Ray processes.
"""

__all__ = [
    "ModelError",
    "ModelNotCached",
    "NoSourceReachable",
    "SourceFailed",
    "UnknownModel",
    "UnusableModel",
]


class ModelError(Exception):
    """Base of every error of this package."""


class UnknownModel(ModelError):
    """The text is no catalogue name, no existing file or folder and no hub id."""

    def __init__(self, model: str, names: tuple[str, ...]) -> None:
        super().__init__(model, names)
        self.model = model
        self.names = names

    def __str__(self) -> str:
        return (
            f"unknown model {self.model!r}: neither a catalogue name ({', '.join(self.names)}), "
            "nor an existing .gguf file or model folder, nor a hub id like org/name"
        )


class UnusableModel(ModelError):
    """The model exists but in a form that Ringroad cannot load."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)
        self.model = model
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot use {self.model!r}: {self.reason}"


class ModelNotCached(ModelError):
    """The model is known, but its files are not (completely) on this machine."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"model {self.model!r} is not cached: run `ringroad models pull {self.model}`"


class SourceFailed(ModelError):
    """One source could not deliver a model; `pull` goes on to the next one."""


class NoSourceReachable(ModelError):
    """Every source failed; `failures` holds (source, reason) in the order of the attempts."""

    def __init__(self, model: str, failures: tuple[tuple[str, str], ...]) -> None:
        super().__init__(model, failures)
        self.model = model
        self.failures = failures

    def __str__(self) -> str:
        lines = [f"  {source}: {reason}" for source, reason in self.failures]
        return "\n".join([f"no source could deliver model {self.model!r}:", *lines])
