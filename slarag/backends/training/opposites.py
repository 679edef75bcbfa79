"""The opposite of a sentence, made by rule: a word for its antonym, or a negation put in or taken out.

Claims made so teach refutation where no annotator wrote any (after KBIN, Wright et al., 2022, section 3.3, which swaps
concepts; words for direction and effect are what findings are stated in).
"""

from __future__ import annotations

import random
import re

_PAIRS = """
increase decrease | increases decreases | increased decreased | increasing decreasing | higher lower | high low
greater smaller | more less | improve worsen | improves worsens | improved worsened | better worse | best worst
effective ineffective | safe unsafe | common rare | positive negative | promote inhibit | promotes inhibits
promoted inhibited | enhance reduce | enhances reduces | enhanced reduced | raise lower | rises falls
upregulated downregulated | upregulates downregulates | activates suppresses | activated suppressed
necessary unnecessary | sufficient insufficient | likely unlikely | possible impossible | able unable
majority minority | most few | always never | early late | similar different | dependent independent
strong weak | stronger weaker | longer shorter | faster slower | warmer cooler | warming cooling | causes prevents
caused prevented | cause prevent | gain loss | rise fall | reliable unreliable | beneficial harmful
superior inferior | hot cold | good bad | larger smaller | large small | first last | oldest youngest | north south
"""
_ANTONYMS = {
    word: other
    for line in _PAIRS.strip().splitlines()
    for pair in line.split(" | ")
    for word, other in (pair.split(), reversed(pair.split()))
}
_AUXILIARY = re.compile(r"\b(is|are|was|were|can|could|may|might|will|would|should|must)\b(?! not\b)", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:(does|do|did) not |(is|are|was|were|can|could|may|will|would|should|has|have) not )")
_WORD = re.compile(r"[A-Za-z]+")


def opposite(sentence: str, rng: random.Random) -> str | None:
    """`sentence` with its meaning turned round, by one way of those that it allows; None if it allows none."""
    ways = [way for way in (_without_negation(sentence), _antonym(sentence, rng)) if way is not None]
    if not ways or rng.random() < 0.3:
        ways = [_negated(sentence), *ways]
    usable = [way for way in ways if way is not None]
    return rng.choice(usable) if usable else None


def _antonym(sentence: str, rng: random.Random) -> str | None:
    found = [match for match in _WORD.finditer(sentence) if match.group().lower() in _ANTONYMS]
    if not found:
        return None
    match = rng.choice(found)
    other = _ANTONYMS[match.group().lower()]
    if match.group()[0].isupper():
        other = other.capitalize()
    return sentence[: match.start()] + other + sentence[match.end() :]


def _without_negation(sentence: str) -> str | None:
    match = _NEGATION.search(sentence)
    if match is None:
        return None
    kept = f"{match.group(2)} " if match.group(2) else ""
    return sentence[: match.start()] + kept + sentence[match.end() :]


def _negated(sentence: str) -> str | None:
    match = _AUXILIARY.search(sentence)
    if match is None or _NEGATION.search(sentence) is not None:
        return None
    rest = sentence[match.end() :]
    return None if rest.startswith((" no ", " never ")) else f"{sentence[: match.end()]} not{rest}"
