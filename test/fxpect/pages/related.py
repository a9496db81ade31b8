"""Which tests, or files, are about the same thing: those that share rare keywords."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Mapping, Sequence

from fxpect.pages.naming import API, OPERATOR, PASS, Keyword

Key = tuple[str, str]
MAX_RELATED = 5
MAX_SHARED = 3
# Two tests of one pass have more to do with each other than two that use one function.
_WORTH = {PASS: 2.0, OPERATOR: 1.5, API: 1.0}
# A keyword that more than this part of all has says nothing about any of them.
_COMMON = 0.2


def related(keywords: Mapping[Key, Sequence[Keyword]],
            apart: Callable[[Key, Key], bool]) -> dict[Key, list[tuple[Key, list[Keyword]]]]:
    """Return for each key the keys most like it, with the most telling keywords that they share.

    Only keys that are ``apart`` count: the others stand beside it anyway.
    """
    owners: dict[Keyword, list[Key]] = collections.defaultdict(list)
    for key in keywords:
        for keyword in keywords[key]:
            owners[keyword].append(key)
    limit = max(2.0, _COMMON * len(keywords))
    weights = {word: _WORTH[word.kind] * math.log(1 + len(keywords) / len(keys)) for word, keys in owners.items()
               if 2 <= len(keys) <= limit}
    lengths = {key: math.sqrt(sum(weights.get(one, 0.0) ** 2 for one in keywords[key])) for key in keywords}
    answer = {}
    for key in keywords:
        shared: dict[Key, list[Keyword]] = collections.defaultdict(list)
        for keyword in sorted(set(keywords[key]) & set(weights)):
            for other in owners[keyword]:
                if apart(key, other):
                    shared[other].append(keyword)
        scores = {other: sum(weights[one] ** 2 for one in both) / lengths[other] for other, both in shared.items()}
        best = sorted(scores, key=lambda other: (-scores[other], other))[:MAX_RELATED]
        answer[key] = [(other, sorted(shared[other], key=lambda one: (-weights[one], one))[:MAX_SHARED])
                       for other in best]
    return answer
