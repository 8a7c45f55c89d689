"""Task type of a prompt, by keywords.

A text has the task with the most different keywords in it; on a tie the first task in `KEYWORDS` wins, without any
keyword it is `unknown`. Keywords are words or phrases, matched as a whole, ignoring case; one that ends in `*` matches
every word with that prefix. Only the first `LOOK_AT` characters count, since instructions come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from caps_fast.records import Array
from caps_fast.traces.sharegpt import OPENING_CHARACTERS
from caps_fast.workload.synthetic import TASKS

LOOK_AT = OPENING_CHARACTERS
KEYWORDS = {
    "code": """
        algorithm, api, apis, arraylist, async, aws, bash, bug, c#, c++, code, codes, coding, compil*, css, dataframe,
        debug*, developer, django, docker*, error message, excel formula, flask, function, functions, github, golang,
        html, html5, java, javascript, js, json, kubernetes, laravel, linux, node.js, nodejs, numpy, pandas, php,
        powershell, program, programmer, programming, python, react, refactor*, regex, ruby, rust, script, scripts,
        software engineer, sql, stack trace, tensorflow, terminal, typescript, unit test, unit tests, variable, vba,
        vue""",
    "classification": """
        answer only, answer with, categori*, choose one, choose the, classif*, detect whether, determine if, determine
        whether, extract*, fact check, grade, is it true, label, labels, moderat*, multiple choice, one word, positive
        or negative, rate the, score the, sentiment, spam, tag, true or false, which of the following, yes or no""",
    "generation": """
        act as, article, articles, blog, brainstorm, compose, continue, create, describe, draft, email, essay,
        explain, generate, give me, helpful assistant, ideas, letter, list, outline, paragraph, plan, poem, rephrase,
        rewrite, story, summari*, summary, tell me, translat*, write""",
}
_WORD = re.compile(r"[a-z0-9][a-z0-9+#]*(?:\.[a-z0-9+#]+)*")
_words: dict[str, int] = {}
_stems: dict[str, int] = {}
_phrases: list[tuple[str, int]] = []
for _task, _table in KEYWORDS.items():
    for _keyword in " ".join(_table.split()).split(", "):
        if _keyword.endswith("*"):
            _stems[_keyword[:-1]] = TASKS.index(_task)
        elif " " in _keyword:
            _phrases.append((f" {_keyword} ", TASKS.index(_task)))
        else:
            _words[_keyword] = TASKS.index(_task)
_stem_lengths = sorted({len(stem) for stem in _stems})
_order = [TASKS.index(task) for task in KEYWORDS]


def task_of_prompt(text: str) -> int:
    """Index in `workload.synthetic.TASKS` of the task that the keywords of `text` point to."""
    words = _WORD.findall(text[:LOOK_AT].lower())
    found: set[tuple[str, int]] = set()
    for word in words:
        if word in _words:
            found.add((word, _words[word]))
        for length in _stem_lengths:
            if word[:length] in _stems:
                found.add((word[:length], _stems[word[:length]]))
    line = f" {' '.join(words)} "
    found.update(entry for entry in _phrases if entry[0] in line)
    counts = [0] * len(TASKS)
    for _, task in found:
        counts[task] += 1
    best = max(_order, key=counts.__getitem__)
    return best if counts[best] else TASKS.index("unknown")


def tasks_of_prompts(texts: Iterable[str]) -> Array:
    """`task_of_prompt` of every text: int8 (n,). Each different beginning is evaluated once."""
    known: dict[str, int] = {}
    heads = [text[:LOOK_AT] for text in texts]
    for head in heads:
        if head not in known:
            known[head] = task_of_prompt(head)
    return np.array([known[head] for head in heads], np.int8)
