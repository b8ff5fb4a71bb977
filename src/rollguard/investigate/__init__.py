"""Find weak tools and the causes of their failures.

`causes` is the search for what failing calls have in common; with `values`, `predicates` and `significance` it is pure.
"""
