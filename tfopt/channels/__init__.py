"""How many channels to keep, and where.

`plan` ranks the units of each group and rounds what is kept; `aim` says what counts, and how much
of it may be left.
"""
