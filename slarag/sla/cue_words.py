"""Closed lists of words that tell what kind of question is asked."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FUNCTION_WORDS = _words(
    """
    a about after all also am among an and any are as at be because become before being best between both but by
    called can compare compared could current did difference different do does each earlier either every example
    examples explain feature features first following for from get give had has have he her his how i if in into
    is it its kind kinds last later latest least less like list long longer main many may me mean meaning more
    most much my name named need new not of older on one only or other our please possible same say set should
    show so some tell than that the their them there these they think this those three to two type types under
    use used using very was we well were what when where which who whom whose why will with without work would
    year you younger your
    """
)
"""Words that carry form rather than topic."""

WH = _words(
    """
    what which who whom whose when where why how
    """
)
"""What questions begin with."""

AUXILIARIES = _words(
    """
    is are was were am do does did has have had can could will would should may might must isn't aren't wasn't
    weren't don't doesn't didn't hasn't haven't can't won't
    """
)
"""What yes/no questions begin with."""

LIST_OPENERS = _words(
    """
    list name enumerate identify give mention
    """
)
"""Verbs that ask for several things."""

TELLING_OPENERS = _words(
    """
    explain describe summarize summarise discuss outline elaborate clarify analyze analyse define
    """
)
"""Verbs that ask for a text."""

ORDER_OPENERS = _words(
    """
    set turn play call book order remind make start stop cancel change find open send check pay put add let
    """
)
"""Verbs that ask an assistant to act."""

QUANTITIES = _words(
    """
    many much long old far often tall big large high fast deep heavy wide hot cold soon late
    """
)
"""What follows `how` when an amount is asked for."""

FIRST_PERSON = _words(
    """
    i i'm i'd i'll i've me my mine we us our im ive
    """
)
"""The asker."""

SECOND_PERSON = _words(
    """
    you your yours you're youre u
    """
)
"""The one asked."""

RELATIVES = _words(
    """
    that which who whose whom where when
    """
)
"""What begins a clause inside a question."""

COMPARING = _words(
    """
    than both same similar between versus vs or either compared earlier later older younger longer bigger larger
    taller higher smaller closer newer better worse faster more less greater fewer first common
    """
)
"""What puts two things side by side."""

REASONS = _words(
    """
    why reason reasons cause causes because purpose impact effect effects affect process difference differences
    """
)
"""What asks for causes and effects."""

OPINIONS = _words(
    """
    think thought opinion opinions discussion discussed discuss conclusion view views attitude suggest
    """
)
"""What asks for views and discussions."""

KINDS = _words(
    """
    types kinds examples methods drugs features symptoms countries components names members ways steps parts
    areas groups factors benefits advantages elements categories states cities books games films movies roles
    uses
    """
)
"""Nouns of things that come in lists."""

NUMBER_WORDS = _words(
    """
    two three four five six seven eight nine ten 2 3 4 5 several some various
    """
)
"""How many are asked for, when it is more than one."""

PREPOSITIONS = _words(
    """
    in on at of for from to by with during under into
    """
)
"""What may precede the word that asks."""

BEGINNINGS = tuple(
    pair.replace("_", " ")
    for pair in _words(
        """
    what_is what_are what_was what_were what_did what_does what_do what_year what_type what_kind what_can
    which_of who_is who_was who_were who_did when_did when_was when_is where_is where_was where_did how_many
    how_much how_long how_old how_do how_does how_did how_can how_to how_is how_are why_is why_are why_do
    why_does why_did is_it is_there are_there are_both do_both did_the is_the was_the can_you could_you i_need
    i_want tell_me what's_the what's_my in_what in_which on_what at_what from_what which_film between_the of_the
    do_i what_film which_country were_both
    """
    )
)
"""Pairs of words that questions begin with."""
