"""Answers of a model about an embedding."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from . import _realign
from ._rows import vector


class Answer(Iterator[str]):
    """An answer in the making: iterating gives its text piece by piece."""

    def __init__(self, inner: _realign.Answer) -> None:
        self._inner = inner

    def __next__(self) -> str:
        piece = self._inner.next()
        if piece is None:
            raise StopIteration
        return piece

    def stop(self) -> None:
        """Ends it after the piece that is being made."""
        self._inner.stop()

    @property
    def text(self) -> str:
        """The whole answer, without white space around it; waits for it."""
        return self._said()[0]

    @property
    def tokens(self) -> list[int]:
        """Its tokens; waits for them."""
        return self._said()[1]

    @property
    def end(self) -> str:
        """Why it ended: ``finished``, ``length`` or ``stopped``; waits for it."""
        return self._said()[2]

    def _said(self) -> tuple[str, list[int], str]:
        said = self._inner.said()
        while said is None:
            if self._inner.next() is None:
                said = self._inner.said()
                break
        return said if said is not None else ("", [], "stopped")

    def __str__(self) -> str:
        return self.text


class Assistant:
    """A language model with an adapter that lets it see embeddings.

    >>> assistant = realign.Assistant("tinyllama", "run/adapter.safetensors")
    >>> for piece in assistant.ask(embedding, "What is it?"):
    ...     print(piece, end="", flush=True)
    """

    __slots__ = ("_inner",)

    def __init__(
        self,
        model: str | os.PathLike[str],
        adapter: str | os.PathLike[str] | None = None,
        *,
        lora: str | os.PathLike[str] | None = None,
        precision: str = "f32",
        weights: str | None = None,
        visual_tokens: int | None = None,
        device: str = "auto",
    ) -> None:
        """Opens a model folder or GGUF file.

        Args:
            model: The language model.
            adapter: From training; without it the model is asked in text alone.
            lora: Low-rank additions in PEFT's layout.
            precision: ``f32`` or ``mixed``.
            weights: How matrices are held: ``f32``, ``f16``, ``bf16`` or ``q8_0``; by default as in the files.
            visual_tokens: Tokens that an image stands for; by default as many as the adapter was trained with.
            device: As everywhere.
        """
        args = {
            "adapter": None if adapter is None else os.fspath(adapter),
            "precision": precision,
            "weights": weights,
            "lora": None if lora is None else os.fspath(lora),
            "visual_tokens": visual_tokens,
        }
        self._inner = _realign.Assistant(os.fspath(model), args, device)

    @property
    def width(self) -> int | None:
        """Numbers of an embedding; None without an adapter."""
        return self._inner.width()

    def ask(
        self,
        embedding: Any,
        prompt: str = "",
        *,
        system: str | None = None,
        plain: bool = False,
        max_tokens: int = 128,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Answer:
        """Begins an answer.

        Args:
            embedding: The image's row ``[d]``, or None to ask in text alone.
            prompt: The question; ``<image>`` in it stands for the image, which otherwise comes first.
            system: A system message.
            plain: No chat template: one line of text behind the image, as stage 1 trains.
            max_tokens: Of the answer at most.
            temperature: 0 always takes the most likely token.
            top_p: Choose among the most likely tokens that make up this much probability.
            seed: Same seed, same answer on the same device.
        """
        args = {
            "prompt": prompt,
            "system": system,
            "plain": plain,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
        }
        row = None if embedding is None else vector(embedding, "embedding")
        return Answer(self._inner.ask(row, args))
