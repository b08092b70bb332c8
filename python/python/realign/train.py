"""Two-stage training.

    >>> run = realign.train.stage1(model="tinyllama", data="texts.jsonl", embeddings=["text.npy"], ids="ids.txt",
    ...                            stats="S.safetensors", out="run")
    >>> for event in run:
    ...     print(event["step"], event["loss"])
    >>> run.result["adapter"]

Every key of ``run.toml`` is a keyword; ``realign.train.keys()`` lists them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import _realign
from ._errors import InputError

#: A step's numbers by name: ``step``, ``loss``, ``lr``, ``grad_norm``, ``tokens``, and, where it was evaluated, ``eval_loss`` and so on.
Event = dict[str, float]
Callback = Callable[["Run", Event], object]


class Run:
    """A training run: iterating does the steps. When all are done, or after :meth:`stop`, the results are written and :attr:`result` names them.

    A loop that is left by ``break`` leaves the run where it is: go on with another loop, or :meth:`finish` it. Ctrl-C writes a checkpoint, from which
    ``start="resume"`` goes on.
    """

    def __init__(self, inner: _realign.Run, callbacks: Sequence[Callback]) -> None:
        self._inner = inner
        self._callbacks = list(callbacks)
        self._stopped = False
        self._result: dict[str, Any] | None = None
        self.step, self.total, out, self.device = inner.begun()
        self.out = str(out)

    def __iter__(self) -> Iterator[Event]:
        return self._events(ahead=False)

    def _events(self, ahead: bool) -> Iterator[Event]:
        while self._result is None:
            if self._stopped:
                self.finish()
                return
            try:
                record = self._inner.step(ahead)
            except KeyboardInterrupt:
                self._inner.save()
                raise
            if record is None:
                self.finish()
                return
            self.step = record[0]
            event: Event = {"step": record[0], **dict(record[1])}
            for callback in self._callbacks:
                callback(self, event)
            yield event

    def stop(self) -> None:
        """Ends the run after this step: its results are those of now."""
        self._stopped = True

    def save(self) -> int:
        """Writes a checkpoint now; returns the step that it is of."""
        return self._inner.save()

    def finish(self) -> dict[str, Any]:
        """Writes the results as they are now; a second call gives the same."""
        if self._result is None:
            import json

            self._result = json.loads(self._inner.finish())
        return self.result

    def run(self) -> dict[str, Any]:
        """All steps, for those who want no events; returns :attr:`result`. Without callbacks the device need not wait for each step's numbers."""
        for _ in self._events(ahead=not self._callbacks):
            pass
        return self.result

    @property
    def result(self) -> dict[str, Any]:
        """Where the results are, and the last numbers: the keys of the command line's ``--json``."""
        if self._result is None:
            raise InputError("the run is not over; iterate over it, or call finish()")
        return self._result

    def __repr__(self) -> str:
        return f"<realign.train.Run in {self.out!r}: step {self.step} of {self.total}>"


def keys() -> dict[str, str]:
    """Every setting and what it is."""
    return {name: help for name, help, _ in _realign.train_keys()}


def _texts(key: str, value: Any) -> list[str]:
    """A setting's value as the texts that ``run.toml`` and the command line have."""
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, (list, tuple)):
        if not value:
            raise InputError(f"{key}: an empty list; leave it out")
        return [text for part in value for text in _texts(key, part)]
    if isinstance(value, (str, int, float, os.PathLike)):
        return [os.fspath(value) if isinstance(value, os.PathLike) else str(value)]
    if hasattr(value, "item"):
        return [str(value.item())]
    raise InputError(f"{key}: {type(value).__name__} is no value of a setting")


def _begin(
    stage: str, config: str | os.PathLike[str] | None, start: str, callbacks: Sequence[Callback], device: str, settings: dict[str, Any]
) -> Run:
    given = [(key, _texts(key, value)) for key, value in settings.items() if value is not None]
    path = None if config is None else os.fspath(config)
    return Run(_realign.train(stage, path, given, start, device), callbacks)


def stage1(
    config: str | os.PathLike[str] | None = None,
    *,
    start: str = "new",
    callbacks: Sequence[Callback] = (),
    device: str = "auto",
    **settings: Any,
) -> Run:
    """Begins stage 1: the adapter learns from aligned text embeddings; the language model is frozen.

    Args:
        config: A ``run.toml``; keywords go before it.
        start: ``new`` refuses a folder with a run, ``resume`` goes on after its newest checkpoint, ``replace`` begins again.
        callbacks: Called with the run and each event; one that calls ``run.stop()`` ends the run.
        device: As everywhere.
        **settings: Every key of ``run.toml``: ``model``, ``data``, ``embeddings``, ``ids``, ``stats``, ``out``, ``lr``, …; see :func:`keys`.

    Raises:
        InputError: An unknown key, with the one that was meant; a value out of range.
    """
    return _begin("stage1", config, start, callbacks, device, settings)


def stage2(
    config: str | os.PathLike[str] | None = None,
    *,
    start: str = "new",
    callbacks: Sequence[Callback] = (),
    device: str = "auto",
    **settings: Any,
) -> Run:
    """Begins stage 2: adapter and language model learn to answer about real image embeddings. Arguments as those of :func:`stage1`."""
    return _begin("stage2", config, start, callbacks, device, settings)
