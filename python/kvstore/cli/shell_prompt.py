"""The prompt of the shell, where prompt_toolkit is installed. Only `shell` imports this, when it needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Optional

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.history import History, InMemoryHistory

if TYPE_CHECKING:
    from pathlib import Path

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document


class _Lines(History):
    """A file with a command a line, as readline keeps it: one file for both."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def load_history_strings(self) -> Iterable[str]:
        """The newest first."""
        return reversed(self._file.read_text("utf-8", "replace").splitlines())

    def store_string(self, string: str) -> None:
        """One more."""
        with self._file.open("a", encoding="utf-8", errors="replace") as out:
            out.write(string + "\n")


class _Words(Completer):
    """Completes the last word of the line."""

    def __init__(self, candidates: Callable[[str], List[str]]) -> None:
        self._candidates = candidates

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002 - prompt_toolkit's signature
        """What could stand there."""
        word = document.get_word_before_cursor(WORD=True)
        return [Completion(text, start_position=-len(word)) for text in self._candidates(document.text_before_cursor)]


def session_of(candidates: Callable[[str], List[str]], history: Optional[Path], **terminal: Any) -> PromptSession[str]:
    """A prompt with history and completion.

    Args:
        candidates: What the last word of a line could become.
        history: The file of the history; None keeps none.
        **terminal: `input` and `output`, where they are not those of the process.
    """
    kept: History = InMemoryHistory() if history is None else _Lines(history)
    return PromptSession(history=kept, completer=_Words(candidates), complete_while_typing=False, **terminal)
